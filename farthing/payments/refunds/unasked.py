"""Money of an invoice that went back without anybody having asked for it here: the payer's bank took it in a dispute,
or somebody sent it back at the provider itself. The invoice still counts as paid by it, but there is no more to give.

Rule: docs/rules/credit-notes.md#what-went-back-already
"""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.money import EXACT, ZERO
from farthing.invoices.tables import Invoice
from farthing.payments.refunds.records import BY_DISPUTE
from farthing.payments.refunds.tables import RefundDestination, RefundRecord
from farthing.payments.tables import Payment, PaymentMethodType


async def sent_back_unasked(session: AsyncSession, invoice: Invoice) -> Decimal:
    """What of the payments of an invoice went back beside its credit notes, its void and the returns that follow it."""
    await session.flush()
    asked = (
        select(func.coalesce(func.sum(RefundRecord.settled_amount), 0))
        .where(
            RefundRecord.payment_id == Payment.id,
            RefundRecord.refund_destination != RefundDestination.WALLET,
            RefundRecord.idempotency_key.not_like(Payment.id + BY_DISPUTE + "%"),
        )
        .scalar_subquery()
    )
    total = await session.scalar(
        select(func.coalesce(func.sum(func.greatest(Payment.refunded_amount - asked, 0)), 0)).where(
            Payment.destination_id == invoice.id,
            Payment.payment_method_type != PaymentMethodType.CREDITS,
            Payment.refunded_amount > 0,
        )
    )
    return EXACT.add(total or ZERO, ZERO)
