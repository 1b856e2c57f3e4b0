"""Which payments the money of an invoice came by, and how much of each can still go back.

Rule: docs/rules/credit-notes.md#back-to-the-source
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.money import EXACT, ZERO
from farthing.invoices.settlement_tables import PaymentSettlement, SettlementKind
from farthing.invoices.tables import Invoice
from farthing.payments.refunds.events import record_refund_event
from farthing.payments.refunds.records import (
    RefundCause,
    SourcePart,
    mark_succeeded,
    name_gateway,
    new_record,
    sum_underway,
)
from farthing.payments.refunds.sent_back import record_money_sent_back
from farthing.payments.refunds.tables import RefundDestination, RefundRecord, RefundStatus
from farthing.payments.states import SETTLING
from farthing.payments.tables import Payment, PaymentMethodType
from farthing.payments.unapplied.tables import UnappliedMoney
from farthing.storage.queries.rows import in_array

_GONE = (RefundStatus.FAILED, RefundStatus.CANCELLED)


async def plan_source_refunds(session: AsyncSession, invoice: Invoice, amount: Decimal) -> list[SourcePart]:
    """How `amount` of a locked invoice goes back by the way it came; what comes to less has no such way.

    Locks the payments. Providers' payments come first, the newest first, then money that was recorded by hand.
    """
    counted = await _counted(session, invoice.id)
    payments = await _lock(session, list(counted))
    returned = await _returned(session, invoice.id)
    underway = await sum_underway(session, list(counted))
    parts: list[SourcePart] = []
    left = amount
    for payment in payments:
        here = EXACT.subtract(counted[payment.id], returned.get(payment.id, ZERO))
        in_all = EXACT.subtract(payment.amount, EXACT.add(payment.refunded_amount, underway.get(payment.id, ZERO)))
        part = min(here, in_all, left)
        if part > 0:
            parts.append(SourcePart(payment, part))
            left = EXACT.subtract(left, part)
    return parts


async def record_source_refunds(
    session: AsyncSession, cause: RefundCause, parts: Sequence[SourcePart], now: datetime
) -> None:
    """Record what goes back by the way it came: a provider is asked later, other money is on its own way already."""
    for part in parts:
        payment = part.payment
        through_gateway = payment.gateway_payment_id is not None
        destination = RefundDestination.GATEWAY if through_gateway else RefundDestination.OUT_OF_BAND
        refund = new_record(cause, part.amount, destination, now)
        refund.payment_id = payment.id
        if through_gateway:
            name_gateway(refund, payment)
        session.add(refund)
        await session.flush()
        await record_refund_event(session, "refund.created", refund)
        if not through_gateway:
            in_all = EXACT.add(payment.refunded_amount, part.amount)
            await record_money_sent_back(session, cause.invoice, payment, in_all, now)
            await mark_succeeded(session, refund, now)


async def _counted(session: AsyncSession, invoice_id: str) -> dict[str, Decimal]:
    """What counts on an invoice, by the payment that it came by, allocated money included."""
    await session.flush()
    settlement = PaymentSettlement
    direct = select(settlement.payment_id, settlement.amount).where(
        settlement.invoice_id == invoice_id, settlement.kind == SettlementKind.PAYMENT
    )
    allocated = (
        select(UnappliedMoney.payment_id, settlement.amount)
        .join(UnappliedMoney, UnappliedMoney.id == settlement.unapplied_money_id)
        .where(settlement.invoice_id == invoice_id, UnappliedMoney.payment_id.is_not(None))
    )
    counted: defaultdict[str, Decimal] = defaultdict(lambda: ZERO)
    for query in (direct, allocated):
        for payment_id, amount in await session.execute(query):
            counted[payment_id or ""] = EXACT.add(counted[payment_id or ""], amount)
    return dict(counted)


async def _lock(session: AsyncSession, payment_ids: list[str]) -> list[Payment]:
    """The payments that can go back, locked in the order of their ids, in the order in which they go back."""
    locked = await session.scalars(
        select(Payment)
        .where(in_array(Payment.id, payment_ids))
        .order_by(Payment.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    usable = [payment for payment in locked.all() if payment.payment_status in SETTLING and _has_way_back(payment)]
    newest_first = sorted(usable, key=lambda payment: (payment.succeeded_at or payment.created_at, payment.id))[::-1]
    return sorted(newest_first, key=lambda payment: payment.gateway_payment_id is None)


def _has_way_back(payment: Payment) -> bool:
    by_provider = payment.payment_gateway is not None and payment.gateway_payment_id is not None
    return by_provider or payment.payment_method_type is PaymentMethodType.OFFLINE


async def _returned(session: AsyncSession, invoice_id: str) -> dict[str, Decimal]:
    """What of an invoice went back, or is on its way back, by the payment that it came by."""
    query = (
        select(RefundRecord.payment_id, func.sum(RefundRecord.amount))
        .where(
            RefundRecord.invoice_id == invoice_id,
            RefundRecord.payment_id.is_not(None),
            RefundRecord.refund_destination != RefundDestination.WALLET,
            RefundRecord.refund_status.not_in(_GONE),
        )
        .group_by(RefundRecord.payment_id)
    )
    return {payment_id or "": amount for payment_id, amount in (await session.execute(query))}
