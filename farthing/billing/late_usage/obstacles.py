"""What corrections forbid: voiding an invoice of which something was paid out."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import InvalidOperation
from farthing.core.money import ZERO
from farthing.invoices.receivable import InvoiceStatus
from farthing.invoices.tables import Invoice

_PAID_OUT = text(
    "SELECT correction_id FROM invoice_correction_lines WHERE invoice_id = :invoice AND direction = 'credit' LIMIT 1"
)


async def require_not_paid_out(session: AsyncSession, invoice: Invoice) -> None:
    """Raises InvalidOperation for an invoice of which a correction has paid something out: it cannot be voided."""
    if invoice.invoice_status is not InvoiceStatus.FINALIZED or invoice.refunded_amount == ZERO:
        return
    await session.flush()
    correction_id = await session.scalar(_PAID_OUT, {"invoice": invoice.id})
    if correction_id is not None:
        raise InvalidOperation(
            "a correction has paid out what the invoice charged too much",
            {"invoice_id": invoice.id, "correction_id": correction_id},
        )
