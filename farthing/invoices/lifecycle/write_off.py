"""Writing off what remains on an invoice, and taking that back.

Rule: docs/rules/invoices-and-payments.md#write-off
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import InvalidOperation
from farthing.invoices.events import InvoiceEvent, record_invoice_event
from farthing.invoices.figures.settlement import expect_remainder, give_up_remainder, settle
from farthing.invoices.hooks import InvoiceHooks
from farthing.invoices.receivable import is_unpaid
from farthing.invoices.tables import Invoice
from farthing.storage.queries.rows import lock_row


async def write_off(
    session: AsyncSession, invoice_id: str, reason: str, now: datetime, *, effects: InvoiceHooks
) -> Invoice:
    """Give up what remains on an invoice; it stays on the invoice, and nobody is asked for it any more.

    Raises NotFound, and InvalidOperation unless the invoice is final and unpaid, or while a payment is in flight.
    """
    invoice = await lock_row(session, Invoice, invoice_id)
    if not is_unpaid(invoice):
        raise _refused(invoice, _why_not(invoice))
    await effects.before_writing_off(session, invoice)
    give_up_remainder(session, invoice, reason, now)
    invoice.collect_at = None
    await settle(session, invoice, now)
    await record_invoice_event(session, InvoiceEvent.UPDATED, invoice)
    return invoice


async def undo_write_off(session: AsyncSession, invoice_id: str, now: datetime) -> Invoice:
    """Have a debt owed again that was written off. Raises NotFound, and InvalidOperation unless it was."""
    invoice = await lock_row(session, Invoice, invoice_id)
    if invoice.written_off_at is None:
        raise _refused(invoice, "the invoice is not written off")
    expect_remainder(session, invoice)
    await settle(session, invoice, now)
    await record_invoice_event(session, InvoiceEvent.UPDATED, invoice)
    return invoice


def _why_not(invoice: Invoice) -> str:
    if invoice.written_off_at is not None:
        return "the invoice is written off already"
    return "only what is unpaid on a finalized invoice can be written off"


def _refused(invoice: Invoice, reason: str) -> InvalidOperation:
    return InvalidOperation(
        reason,
        {
            "invoice_id": invoice.id,
            "invoice_status": invoice.invoice_status.value,
            "payment_status": invoice.payment_status.value,
        },
    )
