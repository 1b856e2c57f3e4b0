"""A draft: its lines added, changed and taken off, its due date, its figures worked out anew, and discarding it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from litestar import Controller, Response, get, post
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.errors import as_domain_error
from farthing.billing.reads import previews
from farthing.calendar.zones import to_local, zone_or_abbreviation
from farthing.core.clock import Clock
from farthing.core.encoding.decoding import convert
from farthing.core.errors import FarthingError, VersionConflict
from farthing.core.money import plain
from farthing.invoices.figures.computation import published_lines
from farthing.invoices.lifecycle import edits, transitions
from farthing.invoices.reads.reading_zones import reading_zone
from farthing.invoices.receivable import InvoiceStatus, InvoiceType
from farthing.invoices.requests import (
    ComputeInvoiceRequest,
    InvoiceModifyLineItemParams,
    UpdateInvoiceRequest,
    VoidInvoiceRequest,
)
from farthing.invoices.tables import Invoice
from farthing.storage.queries.rows import find, lock_row
from farthing.web.access.visitors import changes, form_of, shows
from farthing.web.dashboard.customer_names import names_of
from farthing.web.dashboard.receivables.drafts.typed_invoice import LINE_FIELDS, end_of_day, line_body
from farthing.web.rendering.answers import HttpRequest, done, refused, render
from farthing.web.rendering.typed_fields import problems_at


class DraftPages(Controller):
    """Drafts."""

    path = "/invoices/{invoice_id:str}/edit"
    include_in_schema = False

    @get("/", guards=[shows("invoice")])
    async def read(self, invoice_id: str, request: HttpRequest, session: AsyncSession) -> Response[Any]:
        """The lines of a draft, each to be changed."""
        invoice = await find(session, Invoice, invoice_id)
        if invoice.invoice_status is not InvoiceStatus.DRAFT:
            return done(request, f"/invoices/{invoice_id}", "Only drafts can be changed.")
        return await _page(request, session, invoice, {})

    @post("/", guards=[changes("invoice")])
    async def change(self, invoice_id: str, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """Add, change or take off a line, or move the due date; only while the draft is as it was looked at."""
        given, here = form_of(request), f"/invoices/{invoice_id}/edit"
        try:
            await _lock_as_seen(session, invoice_id, given.get("version", ""))
            said = await _changed(session, invoice_id, given, clock)
        except (FarthingError, msgspec.ValidationError) as raised:
            error = as_domain_error(raised)
            await session.rollback()
            if error.status != 400:
                return await refused(request, here, error)
            return await _page(request, session, await find(session, Invoice, invoice_id), given, error)
        return done(request, here, said)

    @post("/compute", guards=[changes("invoice")])
    async def compute(
        self, invoice_id: str, request: HttpRequest, session: AsyncSession, clock: Clock
    ) -> Response[str]:
        """Work the figures out anew, from the usage of its period or from its lines."""
        here = f"/invoices/{invoice_id}/edit"
        try:
            invoice = await find(session, Invoice, invoice_id)
            if invoice.invoice_type is InvoiceType.SUBSCRIPTION and invoice.derived_key:
                _, skipped = await previews.compute(session, invoice_id, clock.now())
                if skipped:
                    return done(request, f"/invoices/{invoice_id}", "It comes to nothing, and is skipped.")
            else:
                await edits.recompute(session, invoice_id, ComputeInvoiceRequest(), clock.now())
        except FarthingError as error:
            return await refused(request, here, error)
        return done(request, here, "Worked out anew.")

    @post("/discard", guards=[changes("invoice")])
    async def discard(
        self, invoice_id: str, request: HttpRequest, session: AsyncSession, clock: Clock
    ) -> Response[str]:
        """Void a draft: nobody will be asked for it."""
        try:
            await _lock_draft(session, invoice_id)
            await transitions.void_as_asked(session, invoice_id, VoidInvoiceRequest(), clock.now())
        except FarthingError as error:
            return await refused(request, f"/invoices/{invoice_id}", error)
        return done(request, f"/invoices/{invoice_id}", "Discarded. Nobody is asked for it.")


async def _lock_draft(session: AsyncSession, invoice_id: str) -> Invoice:
    """Raises VersionConflict once it is no draft any more."""
    invoice = await lock_row(session, Invoice, invoice_id)
    if invoice.invoice_status is not InvoiceStatus.DRAFT:
        raise VersionConflict(
            "The invoice is no draft any more", {"invoice_id": invoice.id, "invoice_status": invoice.invoice_status}
        )
    return invoice


async def _lock_as_seen(session: AsyncSession, invoice_id: str, version: str) -> None:
    """Raises VersionConflict for a draft that was changed since, by the same form sent twice or by somebody else."""
    invoice = await _lock_draft(session, invoice_id)
    if str(invoice.version) != version:
        raise VersionConflict(
            "The draft was changed since this page was shown; please look at it again", {"invoice_id": invoice.id}
        )


async def _changed(session: AsyncSession, invoice_id: str, given: Mapping[str, str], clock: Clock) -> str:
    invoice = await find(session, Invoice, invoice_id)
    zone = zone_or_abbreviation(await reading_zone(session, invoice))
    action, line_id = given.get("action", ""), given.get("line", "")
    if action == "due":
        asked = convert({"due_date": end_of_day("due", given.get("due", ""), zone)}, UpdateInvoiceRequest)
        await edits.update(session, invoice_id, asked, clock.now())
        return "The due date is moved."
    if action == "remove":
        body: dict[str, Any] = {"action": "remove", "line_item_ids": [line_id]}
    else:
        line = line_body(given, 0, invoice.charge_currency, zone)
        line = {**line, "amount": plain(line["amount"])}
        del line["price_type"]
        body = {"action": "add", "items": [line]}
        if line_id:
            body = {"action": "update", "line_item_id": line_id, "update": line}
    await edits.modify_lines(session, invoice_id, convert(body, InvoiceModifyLineItemParams), clock.now())
    return {"add": "The line is added.", "update": "The line is changed.", "remove": "The line is gone."}[
        body["action"]
    ]


async def _page(
    request: HttpRequest,
    session: AsyncSession,
    invoice: Invoice,
    given: Mapping[str, str],
    error: FarthingError | None = None,
) -> Response[str]:
    zone = await reading_zone(session, invoice)
    problems: dict[str, str] = {}
    if error is not None:
        fields = {"due": "", **{f"{name}-0": "" for name in LINE_FIELDS}}
        problems = problems_at(error, _place, fields)
    due = to_local(invoice.due_date, zone_or_abbreviation(zone)).date().isoformat() if invoice.due_date else ""
    return render(
        request,
        "drafts/edit.html",
        status=error.status if error is not None else 200,
        invoice=invoice,
        names=await names_of(session, {invoice.customer_id}),
        lines=await published_lines(session, invoice.id),
        given=given,
        problems=problems,
        due=due,
        zone=zone,
        can_compute=not invoice.is_manually_edited,
        computes_usage=invoice.invoice_type is InvoiceType.SUBSCRIPTION,
    )


_FIELDS = {
    "display_name": "name-0",
    "amount": "amount-0",
    "quantity": "quantity-0",
    "period_start": "from-0",
    "period_end": "until-0",
    "due_date": "due",
}


def _place(name: str) -> str:
    return _FIELDS.get(name.rpartition(".")[2], name)
