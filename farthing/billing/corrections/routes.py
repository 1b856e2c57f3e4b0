"""Endpoints of corrections of invoices."""

from __future__ import annotations

from litestar import Controller, get, post
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.billing.corrections.correcting import correct_invoice
from farthing.billing.corrections.differences import differences_of
from farthing.billing.corrections.reads import answers_of, corrections_of
from farthing.billing.corrections.schemas import (
    CorrectInvoiceRequest,
    CorrectionPreviewResponse,
    InvoiceCorrectionResponse,
    ListInvoiceCorrectionsResponse,
    preview_answer,
)
from farthing.core.clock import Clock
from farthing.invoices.tables import Invoice
from farthing.storage.queries.rows import find


class InvoiceCorrections(Controller):
    """Corrections of what invoices charged for usage."""

    path = "/invoices/{id:str}/corrections"
    tags = ("Invoices",)

    @post("/preview", operation_id="previewInvoiceCorrection", guards=[needs("invoice", "read")], status_code=200)
    async def preview(self, id: str, session: AsyncSession, clock: Clock) -> CorrectionPreviewResponse:
        """See what the usage of a finalized invoice comes to today, line by line; nothing is kept."""
        invoice = await find(session, Invoice, id)
        return preview_answer(invoice, await differences_of(session, invoice, clock.now()))

    @post("/", operation_id="correctInvoice", guards=[needs("invoice", "write")], status_code=200)
    async def correct(
        self, id: str, data: CorrectInvoiceRequest, session: AsyncSession, clock: Clock
    ) -> InvoiceCorrectionResponse:
        """Make the differences good; the same state of the events again answers the first correction."""
        correction = await correct_invoice(session, id, data.resolution, clock.now())
        (answer,) = await answers_of(session, [correction])
        return answer

    @get("/", operation_id="listInvoiceCorrections", guards=[needs("invoice", "read")])
    async def browse(self, id: str, session: AsyncSession) -> ListInvoiceCorrectionsResponse:
        """List the corrections of an invoice."""
        invoice = await find(session, Invoice, id)
        return ListInvoiceCorrectionsResponse(items=await corrections_of(session, invoice.id))
