"""The endpoint that gives unapplied money back."""

from __future__ import annotations

import msgspec
from litestar import Controller, post
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import Clock
from farthing.payments.integrations.gateways import Gateways
from farthing.payments.refunds.schemas import (
    RefundedMoneyResponse,
    RefundResponse,
    RefundUnappliedMoneyRequest,
)
from farthing.payments.refunds.sending import send_waiting
from farthing.payments.refunds.tables import RefundRecord
from farthing.payments.refunds.unapplied import refund_unapplied_money
from farthing.payments.shared_by_routes import GATEWAYS, WRITE
from farthing.payments.unapplied import reads
from farthing.storage.midway import resume_point
from farthing.storage.queries.rows import in_array


class RefundPoint(msgspec.Struct):
    """Where a repeated request goes on: with the refunds that it recorded."""

    refund_ids: list[str]


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
