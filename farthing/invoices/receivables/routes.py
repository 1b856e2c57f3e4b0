"""What a customer owes, over HTTP."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Request, get

from farthing.api.guards import needs
from farthing.api.queries.lists import read_query
from farthing.api.work import unit_of_work
from farthing.core.clock import Clock
from farthing.core.encoding import wire
from farthing.invoices.receivables.aging import CustomerAging, age
from farthing.invoices.receivables.summary import CustomerMultiCurrencyInvoiceSummary, SummaryScope, summarise


class SummaryQuery(wire.Request):
    """Which invoices the summary speaks of."""

    scope: SummaryScope = SummaryScope.ALL


class CustomerInvoiceSummaries(Controller):
    """The summary and the ageing of one customer's invoices."""

    path = "/customers"
    tags = ["Invoices"]
    guards = [needs("invoice", "read")]

    @get("/{id:str}/invoices/summary", operation_id="getCustomerInvoiceSummary", opt={"query": SummaryQuery})
    async def summary(
        self, id: str, request: Request[Any, Any, Any], clock: Clock
    ) -> CustomerMultiCurrencyInvoiceSummary:
        """What the customer was billed, owes, owes late, and how much of that is usage, per currency."""
        work = unit_of_work(request)
        which = read_query(request, SummaryQuery).scope
        return await summarise(work.database, work.scope, id, clock.now(), which)

    @get("/{id:str}/invoices/aging", operation_id="getCustomerInvoiceAging")
    async def aging(self, id: str, request: Request[Any, Any, Any], clock: Clock) -> CustomerAging:
        """What the customer is asked to pay, by days past due, per currency."""
        work = unit_of_work(request)
        return await age(work.database, work.scope, id, clock.now())
