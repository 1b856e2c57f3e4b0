"""Saying what happened to a payment, through the outbox."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.invoices.tables import Invoice
from farthing.payments.schemas import snapshot
from farthing.payments.tables import Payment
from farthing.storage.queries.writing import write_pending
from farthing.storage.record.outbox import record_event


async def record_payment_event(
    session: AsyncSession, event_name: str, payment: Payment, invoice: Invoice | None
) -> None:
    """Record an event with the payment as it is now; `invoice` is what it pays, if it pays one."""
    await write_pending(session)  # stamps its times
    number = invoice.invoice_number if invoice is not None else None
    await record_event(session, event_name, "payment", payment.id, snapshot(payment, number))
