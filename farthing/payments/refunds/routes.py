"""Endpoints of refunds, and the one that gives unapplied money back."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Request, get, post
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.queries.expand import expansions
from farthing.api.queries.lists import page, read_query
from farthing.core.clock import Clock
from farthing.payments.integrations.gateways import Gateways
from farthing.payments.refunds.retry import retry_refund
from farthing.payments.refunds.schemas import (
    ListRefundsResponse,
    RefundedMoneyResponse,
    RefundQuery,
    RefundResponse,
    RefundUnappliedMoneyRequest,
)
from farthing.payments.refunds.sending import RefundPoint, send_waiting
from farthing.payments.refunds.tables import RefundRecord, RefundStatus
from farthing.payments.refunds.unapplied import refund_unapplied_money
from farthing.payments.shared_by_routes import GATEWAYS, READ, WRITE
from farthing.payments.unapplied import reads
from farthing.storage.midway import resume_point
from farthing.storage.queries.listing import select_page
from farthing.storage.queries.rows import find, in_array

SEARCHABLE = (
    "id",
    "invoice_id",
    "payment_id",
    "credit_note_id",
    "unapplied_money_id",
    "reference",
    "customer_id",
    "payment_gateway",
    "currency",
    "amount",
    "refund_status",
    "refund_destination",
    "refund_reason",
    "created_at",
    "updated_at",
)
_LISTS = {
    "invoice_ids": RefundRecord.invoice_id,
    "payment_ids": RefundRecord.payment_id,
    "credit_note_ids": RefundRecord.credit_note_id,
    "refund_statuses": RefundRecord.refund_status,
    "refund_destinations": RefundRecord.refund_destination,
}


class Refunds(Controller):
    """Refunds."""

    path = "/refunds"
    tags = ("Refunds",)
    dependencies = GATEWAYS

    @get("/", operation_id="listRefunds", guards=[READ], opt={"query": RefundQuery})
    async def browse(self, request: Request[Any, Any, Any], session: AsyncSession) -> ListRefundsResponse:
        """List refunds."""
        query = read_query(request, RefundQuery)
        expansions(query.expand, {})
        statement = select(RefundRecord)
        for name, column in _LISTS.items():
            wanted = getattr(query, name)
            if wanted:
                statement = statement.where(column.in_(wanted))
        if query.gateway is not None:
            statement = statement.where(RefundRecord.payment_gateway == query.gateway.value)
        if query.only_settled:
            statement = statement.where(RefundRecord.refund_status == RefundStatus.SUCCEEDED)
        rows, total = await select_page(session, RefundRecord, query, SEARCHABLE, statement)
        answer: ListRefundsResponse = page([RefundResponse.of(row) for row in rows], total, query, next_offset=False)
        return answer

    @get("/{id:str}", operation_id="getRefund", guards=[READ])
    async def read(self, id: str, session: AsyncSession) -> RefundResponse:
        """Get a refund."""
        return RefundResponse.of(await find(session, RefundRecord, id))

    @post("/{id:str}/retry", operation_id="retryRefund", guards=[WRITE], status_code=200)
    async def retry(self, id: str, session: AsyncSession, gateways: Gateways, clock: Clock) -> RefundResponse:
        """Pay a refund that a provider has not sent back into the customer's wallet."""
        return RefundResponse.of(await retry_refund(session, gateways, id, clock.now()))


class CustomerUnappliedRefunds(Controller):
    """Giving back what a customer paid that stands on no invoice."""

    path = "/customers/{id:str}/unapplied-money/refund"
    tags = ("Refunds",)
    dependencies = GATEWAYS

    @post("/", operation_id="refundUnappliedMoney", guards=[WRITE], status_code=200)
    async def refund(
        self, id: str, data: RefundUnappliedMoneyRequest, session: AsyncSession, gateways: Gateways, clock: Clock
    ) -> RefundedMoneyResponse:
        """Give unapplied money back to who paid it: through the provider it came by, or by hand."""
        point = resume_point(session, RefundPoint)
        if point is None:
            recorded = await refund_unapplied_money(session, data.asked_of(id), clock.now())
            point = RefundPoint([refund.id for refund in recorded])
        await send_waiting(session, gateways, point.refund_ids, point, clock.now())
        rows = await session.scalars(
            select(RefundRecord)
            .where(in_array(RefundRecord.id, point.refund_ids))
            .execution_options(populate_existing=True)
        )
        by_id = {refund.id: refund for refund in rows}
        return RefundedMoneyResponse(
            refunds=[RefundResponse.of(by_id[refund_id]) for refund_id in point.refund_ids],
            balances=await reads.balances(session, id),
        )
