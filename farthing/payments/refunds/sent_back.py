"""What a payment is after some of it was sent back."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.money import EXACT, plain
from farthing.invoices.receivable import PaymentStatus
from farthing.invoices.tables import Invoice
from farthing.payments.events import record_payment_event
from farthing.payments.states import SETTLING
from farthing.payments.tables import Payment


async def record_money_sent_back(
    session: AsyncSession, invoice: Invoice | None, payment: Payment, in_all: Decimal, now: datetime
) -> None:
    """The provider has sent `in_all` of a payment back, everything before included. The invoice does not change."""
    if payment.payment_status not in SETTLING or in_all <= payment.refunded_amount:
        return
    payment.refunded_amount = in_all
    whole = in_all >= payment.amount
    payment.payment_status = PaymentStatus.REFUNDED if whole else PaymentStatus.PARTIALLY_REFUNDED
    payment.refunded_at = now
    await record_payment_event(session, "payment.updated", payment, invoice)


async def record_money_returned(
    session: AsyncSession, invoice: Invoice | None, payment: Payment, in_all: Decimal, reason: str
) -> None:
    """Only `in_all` of a payment has gone back: what else was said to have gone did not reach the payer, for a reason
    that its `error_message` tells."""
    if payment.payment_status not in SETTLING or in_all >= payment.refunded_amount:
        return
    amount = EXACT.subtract(payment.refunded_amount, in_all)
    payment.error_message = f"{plain(amount)} {payment.currency}: {reason}"
    payment.refunded_amount = in_all
    payment.payment_status = PaymentStatus.PARTIALLY_REFUNDED if in_all else PaymentStatus.SUCCEEDED
    payment.refunded_at = payment.refunded_at if in_all else None
    await record_payment_event(session, "payment.updated", payment, invoice)
