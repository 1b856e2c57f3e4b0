"""What happens to an invoice's payments when it is voided, or written off."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import InvalidOperation
from farthing.invoices.receivable import PaymentStatus
from farthing.invoices.tables import Invoice
from farthing.payments.events import record_payment_event
from farthing.payments.ports import PaymentPorts
from farthing.payments.states import OPEN
from farthing.payments.tables import Payment
from farthing.storage.postgres import clock_of, ports_of

_UNSETTLED = (*OPEN, PaymentStatus.PROCESSING)


async def withdraw_open(session: AsyncSession, invoice: Invoice) -> None:
    """Void what is open on a locked invoice. Raises InvalidOperation while a provider may be taking the money.

    Hosted pages are closed afterwards, outside the transaction, by `reconciliation`; what is paid on one before that
    is recorded and sent back.
    """
    now = clock_of(session).now()
    payments = await session.scalars(
        select(Payment)
        .where(Payment.destination_id == invoice.id, Payment.payment_status.in_(_UNSETTLED))
        .order_by(Payment.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    for payment in payments.all():
        if payment.payment_status is PaymentStatus.PROCESSING:
            raise _in_flight(invoice, payment.id)
        await withdraw(session, payment, invoice, now)
        if payment.checkout_session_id is not None:
            await ports_of(session, PaymentPorts).checkouts.withdrawn(session, payment, now)


async def withdraw(session: AsyncSession, payment: Payment, invoice: Invoice, now: datetime) -> None:
    """Void a locked payment that is open, and have its page closed."""
    payment.payment_status = PaymentStatus.VOIDED
    payment.voided_at = now
    payment.withdrawal_due = payment.payment_url is not None
    await record_payment_event(session, "payment.updated", payment, invoice)


async def require_nothing_in_flight(session: AsyncSession, invoice: Invoice) -> None:
    """Raise InvalidOperation, naming the payment, while a provider may be taking money for a locked invoice."""
    in_flight = await session.scalar(
        select(Payment.id)
        .where(Payment.destination_id == invoice.id, Payment.payment_status == PaymentStatus.PROCESSING)
        .limit(1)
    )
    if in_flight is not None:
        raise _in_flight(invoice, in_flight)


def _in_flight(invoice: Invoice, payment_id: str) -> InvalidOperation:
    return InvalidOperation(
        "a payment of the invoice is being processed; wait for its outcome",
        {"invoice_id": invoice.id, "payment_id": payment_id},
    )
