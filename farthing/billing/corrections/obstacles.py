"""What corrections forbid: voiding an invoice of which something was paid out."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.corrections.tables import CorrectionDirection, InvoiceCorrectionLine
from farthing.core.errors import InvalidOperation
from farthing.core.money import ZERO
from farthing.invoices.receivable import InvoiceStatus
from farthing.invoices.tables import Invoice


async def require_not_paid_out(session: AsyncSession, invoice: Invoice) -> None:
    """Raises InvalidOperation for an invoice of which a correction has paid something out: it cannot be voided."""
    if invoice.invoice_status is not InvoiceStatus.FINALIZED or invoice.refunded_amount == ZERO:
        return
    row = InvoiceCorrectionLine
    query = select(row.correction_id).where(row.invoice_id == invoice.id, row.direction == CorrectionDirection.CREDIT)
    correction_id = await session.scalar(query.limit(1))
    if correction_id is not None:
        raise InvalidOperation(
            "a correction has paid out what the invoice charged too much",
            {"invoice_id": invoice.id, "correction_id": correction_id},
        )
