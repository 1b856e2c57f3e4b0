"""E-invoices of invoices and credit notes: in which formats there is one, and what is missing for the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestar import Controller, Response, get
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.credits.notes.einvoice import issued_note
from farthing.credits.notes.tables import CreditNote
from farthing.invoices.einvoice.assembly import IssuedDocument
from farthing.invoices.einvoice.files import Availability, availabilities, file_answer, requested_format
from farthing.invoices.einvoice.issued import issued_invoice
from farthing.invoices.einvoice.national.rules import BUYER, SELLER
from farthing.invoices.tables import Invoice
from farthing.storage.queries.rows import find
from farthing.web.access.visitors import shows
from farthing.web.dashboard.accounts.customer_form import billing_form
from farthing.web.forms.fields import parts_of
from farthing.web.rendering.answers import HttpRequest, render
from farthing.web.rendering.words.field_names import in_words

_LABELS = {part.name.removeprefix("metadata."): part.label for part, _ in parts_of(billing_form())}
"""What people call what a buyer is known by."""


class EinvoicePages(Controller):
    """E-invoices."""

    path = "/"
    include_in_schema = False

    @get("/invoices/{invoice_id:str}/e-invoice", guards=[shows("invoice")])
    async def of_invoice(self, invoice_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """The formats of an invoice."""
        invoice = await find(session, Invoice, invoice_id)
        issued = await issued_invoice(session, invoice)
        return _page(request, issued, f"/invoices/{invoice.id}", invoice.customer_id)

    @get("/invoices/{invoice_id:str}/e-invoice/{wanted:str}", guards=[shows("invoice")])
    async def invoice_file(self, invoice_id: str, wanted: str, session: AsyncSession) -> Response[bytes]:
        """An invoice in one format."""
        asked = requested_format(wanted)
        invoice = await find(session, Invoice, invoice_id)
        return await file_answer(invoice.tenant_id, await issued_invoice(session, invoice), asked)

    @get("/credit-notes/{note_id:str}/e-invoice", guards=[shows("creditnote")])
    async def of_note(self, note_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """The formats of a credit note."""
        note = await find(session, CreditNote, note_id)
        return _page(request, await issued_note(session, note), f"/credit-notes/{note.id}", note.customer_id)

    @get("/credit-notes/{note_id:str}/e-invoice/{wanted:str}", guards=[shows("creditnote")])
    async def note_file(self, note_id: str, wanted: str, session: AsyncSession) -> Response[bytes]:
        """A credit note in one format."""
        asked = requested_format(wanted)
        note = await find(session, CreditNote, note_id)
        return await file_answer(note.tenant_id, await issued_note(session, note), asked)


def _page(request: HttpRequest, issued: IssuedDocument, document: str, customer_id: str) -> Response[str]:
    formats = availabilities(issued)
    return render(
        request,
        "e_invoice.html",
        number=issued.figures.number,
        document=document,
        formats=formats,
        lacking=_lacking(formats),
        place_of=_place_of(customer_id, document),
        name_of=_name_of,
    )


def _name_of(field: str) -> str:
    """What people call what is missing, and whose it is."""
    whose, _, name = field.partition(".")
    name = name.removeprefix("metadata.")
    if whose == BUYER:
        label = _LABELS.get(name) or in_words(name)
        return f"The customer’s {label if label.startswith('VAT') else label[:1].lower() + label[1:]}"
    if whose == SELLER:
        return "Your " + in_words(name).lower().replace("vat", "VAT").replace("iban", "IBAN")
    return in_words(field)


def _lacking(formats: Sequence[Availability]) -> list[tuple[dict[str, str], list[str]]]:
    """What stands against formats, with the names of those that lack the same."""
    groups: list[tuple[dict[str, str], list[str]]] = []
    for each in formats:
        known = next((titles for obstacles, titles in groups if obstacles == each.obstacles), None)
        if known is not None:
            known.append(each.title)
        elif each.obstacles:
            groups.append((each.obstacles, [each.title]))
    return groups


def _place_of(customer_id: str, document: str) -> Any:
    """Where a person sets what is missing: a function from the field to a path."""
    places = {SELLER: "/settings/einvoice_config", BUYER: f"/customers/{customer_id}/billing-details"}
    return lambda field: places.get(field.split(".")[0], document)
