"""Endpoints of dunning."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Request, delete, get, post, put
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.api.queries.expand import expansions
from farthing.api.queries.lists import page, read_query
from farthing.billing.dunning import reads, retries, terms
from farthing.billing.dunning.schemas import (
    CustomerDunningRequest,
    CustomerDunningResponse,
    DunningCaseResponse,
    DunningQuery,
    ListDunningCasesResponse,
)
from farthing.core.clock import Clock
from farthing.payments.integrations.gateways import Gateways
from farthing.payments.shared_by_routes import GATEWAYS

READ = [needs("invoice", "read")]
WRITE = [needs("invoice", "write")]


class DunningQueue(Controller):
    """Charges that failed and are tried again."""

    path = "/dunning"
    tags = ("Dunning",)

    @get("/", operation_id="listDunningCases", guards=READ, opt={"query": DunningQuery})
    async def browse(self, request: Request[Any, Any, Any], session: AsyncSession) -> ListDunningCasesResponse:
        """List the cases of invoices whose charge failed: the next to fall due first, those that are over last."""
        query = read_query(request, DunningQuery)
        expansions(query.expand, {})
        cases, total = await reads.select_cases(session, query)
        items = await reads.answers(session, cases)
        answer: ListDunningCasesResponse = page(items, total, query, next_offset=False)
        return answer


class InvoiceDunning(Controller):
    """The case of one invoice."""

    path = "/invoices/{id:str}/dunning"
    tags = ("Dunning",)
    dependencies = GATEWAYS

    @get("/", operation_id="getInvoiceDunning", guards=READ)
    async def read(self, id: str, session: AsyncSession) -> DunningCaseResponse:
        """Get how often a failed charge of an invoice was tried again, and what comes next."""
        return await reads.case_of(session, id)

    @post("/retry", operation_id="retryInvoiceCharge", guards=WRITE, status_code=200)
    async def retry(self, id: str, session: AsyncSession, gateways: Gateways, clock: Clock) -> DunningCaseResponse:
        """Make the next retry of an invoice at once; how it went shows on the answer."""
        await retries.retry_now(session, gateways, id, clock)
        return await reads.case_of(session, id)

    @post("/stop", operation_id="stopInvoiceDunning", guards=WRITE, status_code=200)
    async def stop(self, id: str, session: AsyncSession, clock: Clock) -> DunningCaseResponse:
        """Try the charge of an invoice no more."""
        await retries.stop(session, id, clock.now())
        return await reads.case_of(session, id)


class DunningOfCustomers(Controller):
    """What customers get of their own."""

    path = "/customers/{id:str}/dunning"
    tags = ("Dunning",)

    @get("/", operation_id="getCustomerDunning", guards=READ)
    async def read(self, id: str, session: AsyncSession) -> CustomerDunningResponse:
        """Get when failed charges of a customer are tried again, and what is done in the end."""
        return await terms.customer_terms(session, id)

    @put("/", operation_id="updateCustomerDunning", guards=WRITE)
    async def update(self, id: str, data: CustomerDunningRequest, session: AsyncSession) -> CustomerDunningResponse:
        """Give a customer terms of its own, in place of those it had."""
        await terms.set_customer_terms(session, id, data)
        return await terms.customer_terms(session, id)

    @delete("/", operation_id="deleteCustomerDunning", guards=WRITE)
    async def remove(self, id: str, session: AsyncSession) -> None:
        """Let the environment's setting hold for a customer again."""
        await terms.drop_customer_terms(session, id)
