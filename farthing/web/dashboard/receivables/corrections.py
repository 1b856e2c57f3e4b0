"""Corrections from an invoice's page: what its usage comes to today, line by line, and making it good."""

from __future__ import annotations

from decimal import Decimal

from litestar import Controller, Response, get, post
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.corrections.correcting import correct_invoice
from farthing.billing.corrections.differences import differences_of
from farthing.billing.corrections.reads import corrections_of
from farthing.billing.corrections.schemas import CorrectInvoiceRequest, preview_answer
from farthing.core.clock import Clock
from farthing.core.encoding.decoding import convert
from farthing.core.encoding.times import read_typed_time
from farthing.core.errors import FarthingError
from farthing.invoices.reads.reading_zones import reading_zone
from farthing.invoices.tables import Invoice
from farthing.storage.queries.rows import find
from farthing.web.access.visitors import changes, form_of, shows
from farthing.web.dashboard.receivables.invoices import zone_of
from farthing.web.rendering.answers import HttpRequest, done, refused, render


class CorrectionPages(Controller):
    """Corrections of what an invoice charged for usage."""

    path = "/invoices/{invoice_id:str}/corrections"
    include_in_schema = False

    @get("/", guards=[shows("invoice")])
    async def read(self, invoice_id: str, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """What the usage of an invoice comes to today, and how it was corrected before."""
        invoice = await find(session, Invoice, invoice_id)
        corrections = await corrections_of(session, invoice.id)
        seen = preview_answer(invoice, await differences_of(session, invoice, clock.now()))
        return render(
            request,
            "corrections.html",
            invoice=invoice,
            seen=seen,
            differs=any(line.difference is not None and Decimal(line.difference) for line in seen.lines),
            periods=[(read_typed_time(line.period_start), read_typed_time(line.period_end)) for line in seen.lines],
            cut_in=await reading_zone(session, invoice),
            corrections=corrections,
            made_at=[read_typed_time(correction.created_at) for correction in corrections],
            zone=await zone_of(session),
        )

    @post("/", guards=[changes("invoice")])
    async def correct(
        self, invoice_id: str, request: HttpRequest, session: AsyncSession, clock: Clock
    ) -> Response[str]:
        """Make the differences good."""
        here = f"/invoices/{invoice_id}/corrections"
        try:
            asked = convert({"resolution": form_of(request).get("resolution", "")}, CorrectInvoiceRequest)
            await correct_invoice(session, invoice_id, asked.resolution, clock.now())
        except FarthingError as error:
            return await refused(request, here, error)
        return done(request, here, "Corrected.")
