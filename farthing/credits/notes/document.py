"""The document of a credit note: its rows as the values that the page of an invoice is set from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal

from litestar import Response
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.zones import to_local
from farthing.core.encoding.file_names import Disposition, content_disposition
from farthing.core.money import EXACT, ZERO
from farthing.credits.notes.reads import lines_of
from farthing.credits.notes.tables import CreditNote, CreditNoteLine
from farthing.customers.tables import Customer
from farthing.identity.settings.catalogue import InvoicePdfConfig
from farthing.identity.settings.current import read
from farthing.identity.settings.logo import Logo
from farthing.invoices.pdf.document import InvoiceDocument, Line, LineGroup, Tax, Totals
from farthing.invoices.pdf.render import render
from farthing.invoices.pdf.turns import typeset
from farthing.invoices.reads.letterhead import buyer_of, language_of, seller_of, seller_zone
from farthing.invoices.tables import Invoice
from farthing.storage.queries.rows import find


async def note_pdf(session: AsyncSession, note: CreditNote) -> bytes:
    """The note as a PDF, as it stands now."""
    return await typeset(note.tenant_id, render, await note_document(session, note))


async def note_document(session: AsyncSession, note: CreditNote) -> InvoiceDocument:
    """Everything that stands on the note's pages; its day is one of the seller's zone.

    Rule: docs/rules/credit-notes.md#document
    """
    zone = await seller_zone(session)
    logo = (await read(session, InvoicePdfConfig)).logo
    invoice = await find(session, Invoice, note.invoice_id)
    lines = await lines_of(session, [note.id])
    customer = await session.get_one(Customer, note.customer_id)
    return InvoiceDocument(
        kind="Credit note",
        corrects=invoice.invoice_number or "",
        seller=await seller_of(session, note.tenant_id),
        customer=await buyer_of(session, customer, invoice),
        currency=note.currency,
        language=await language_of(session, customer),
        status=note.credit_note_status.value,
        number=note.credit_note_number,
        issued=to_local(note.finalized_at or note.created_at, zone).date(),
        description=note.reason.value.replace("_", " ").capitalize(),
        groups=(LineGroup(lines=tuple(_line(line) for line in lines)),),
        taxes=tuple(_taxes(lines)),
        totals=Totals(subtotal=note.net_amount, tax=note.tax_amount, total=note.total_amount, due=ZERO),
        notes=note.memo,
        logo=Logo.of_base64(logo) if logo else None,
    )


def _line(line: CreditNoteLine) -> Line:
    return Line(name=line.display_name or "Charge", amount=line.net_amount)


def _taxes(lines: Sequence[CreditNoteLine]) -> Iterable[Tax]:
    """The tax taken back by rate, on the net of the lines that carry it."""
    amounts: defaultdict[str, Decimal] = defaultdict(lambda: ZERO)
    nets: defaultdict[str, Decimal] = defaultdict(lambda: ZERO)
    rates = {tax["tax_rate_id"]: tax for line in lines for tax in line.taxes}
    for line in lines:
        for tax in line.taxes:
            rate_id = tax["tax_rate_id"]
            amounts[rate_id] = EXACT.add(amounts[rate_id], Decimal(tax["amount"]))
            nets[rate_id] = EXACT.add(nets[rate_id], line.net_amount)
    for rate_id, rate in rates.items():
        yield Tax(
            name=rate["name"] or rate_id,
            code=rate["code"],
            rate=rate["rate"],
            taxable=nets[rate_id],
            amount=amounts[rate_id],
        )


def pdf_answer(note: CreditNote, content: bytes, disposition: Disposition) -> Response[bytes]:
    """The document under the note's number, to look at (`inline`) or to keep (`attachment`)."""
    headers = {
        "content-disposition": content_disposition(disposition, f"{note.credit_note_number}.pdf"),
        "cache-control": "no-store",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    }
    return Response(content, media_type="application/pdf", headers=headers)
