"""Endpoints of invoices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestar import Controller, Request, Response, get, post, put
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.api.queries.expand import expansions
from farthing.api.queries.lists import page, read_query
from farthing.api.work import UnitOfWork, unit_of_work
from farthing.core.clock import Clock
from farthing.core.composition import Composition
from farthing.core.encoding.file_names import content_disposition
from farthing.core.encoding.wire import Message
from farthing.core.errors import ValidationFailed
from farthing.customers.lookup import by_external_id
from farthing.identity.credentials.links import open_link, reader_of, require_open
from farthing.identity.credentials.master_key import MasterKeys
from farthing.invoices import events
from farthing.invoices.einvoice.files import file_answer, requested_format
from farthing.invoices.einvoice.issued import issued_invoice
from farthing.invoices.events import TRIGGERED_BY_HAND, InvoiceEvent
from farthing.invoices.hooks import InvoiceHooks
from farthing.invoices.lifecycle import edits, marking, one_off, transitions, write_off
from farthing.invoices.ports import InvoicePorts
from farthing.invoices.reads import documents, listing
from farthing.invoices.reads.conversions import conversions_of
from farthing.invoices.reads.presentation import (
    all_shown,
    shown,
    whole,
    with_conversions,
    with_subscriptions,
    with_tax_rates,
)
from farthing.invoices.requests import (
    CreateInvoiceRequest,
    InvoiceFilter,
    ModifyInvoiceRequest,
    UpdateInvoiceRequest,
    UpdatePaymentStatusRequest,
    VoidInvoiceRequest,
    WriteOffInvoiceRequest,
)
from farthing.invoices.schemas import (
    CommunicationTriggerResponse,
    InvoiceEditResponse,
    InvoiceResponse,
    ListInvoicesResponse,
    PresignedUrlResponse,
    WebhookTriggerResponse,
)
from farthing.invoices.tables import Invoice
from farthing.settings import Settings
from farthing.storage.postgres import Database, ports_of
from farthing.storage.queries.pages import rows_of
from farthing.storage.queries.rows import find, lock_row

READ = [needs("invoice", "read")]
WRITE = [needs("invoice", "write")]
MANY_ROWS = 200
"""A page of more than these is a long read."""
TAX_RATE = {"tax_applied": frozenset({"tax_rate"})}
EXPANDABLE = {
    **TAX_RATE,
    "customer": frozenset[str](),
    "subscription": frozenset({"plan"}),
    "coupon_applications": frozenset({"coupon"}),
}


def effects_of(session: AsyncSession) -> InvoiceHooks:
    """What is done above in the transaction of an invoice's change."""
    return ports_of(session, InvoicePorts).hooks


class Invoices(Controller):
    """Invoices and what is done with them."""

    path = "/invoices"
    tags = ("Invoices",)

    @post("/", operation_id="createInvoice", guards=WRITE)
    async def create(
        self, data: CreateInvoiceRequest, session: AsyncSession, clock: Clock, services: Composition
    ) -> InvoiceResponse:
        """Create an invoice; it is finalized at once unless it is asked for as a DRAFT, or waits for a checkout."""
        if data.checkout is not None:
            return await ports_of(session, InvoicePorts).checkouts.create(session, services, data, clock)
        invoice, parts = await one_off.create_whole(session, data, clock.now(), effects=effects_of(session))
        conversions = await conversions_of(session, [invoice], [parts], clock.now())
        return whole(invoice, parts, conversion=conversions.get(invoice.id))

    @get("/", operation_id="listInvoices", guards=READ, opt={"query": InvoiceFilter})
    async def browse(self, request: Request[Any, Any, Any]) -> ListInvoicesResponse:
        """List invoices."""
        return await _page(unit_of_work(request), read_query(request, InvoiceFilter))

    @post("/search", operation_id="queryInvoice", guards=READ, status_code=200)
    async def search(self, request: Request[Any, Any, Any], data: InvoiceFilter | None = None) -> ListInvoicesResponse:
        """Search invoices."""
        return await _page(unit_of_work(request), data or InvoiceFilter())

    @get("/{id:str}", operation_id="getInvoice", guards=READ)
    async def read(self, id: str, session: AsyncSession, clock: Clock, expand: str | None = None) -> InvoiceResponse:
        """Get an invoice with its lines, discounts, taxes, payer and subscription."""
        wanted = expansions(expand, TAX_RATE)
        invoice = await find(session, Invoice, id)
        answers = await all_shown(session, [invoice])
        if "tax_applied" in wanted:
            await with_tax_rates(session, answers)
        await with_subscriptions(session, answers, {}, clock.now())
        return answers[0]

    @put("/{id:str}", operation_id="updateInvoice", guards=WRITE)
    async def update(self, id: str, data: UpdateInvoiceRequest, session: AsyncSession, clock: Clock) -> InvoiceResponse:
        """Update the document's address, due date or metadata of an invoice."""
        return await shown(session, await edits.update(session, id, data, clock.now()))

    @post("/{id:str}/finalize", operation_id="finalizeInvoice", guards=WRITE, status_code=200)
    async def finalize(self, id: str, session: AsyncSession, clock: Clock) -> Message:
        """Finalize a draft."""
        invoice = await lock_row(session, Invoice, id)
        await transitions.finalize(session, invoice, clock.now(), effects=effects_of(session))
        return Message(message="invoice finalized successfully")

    @post("/{id:str}/void", operation_id="voidInvoice", guards=WRITE, status_code=200)
    async def void(
        self, id: str, session: AsyncSession, clock: Clock, data: VoidInvoiceRequest | None = None
    ) -> Message:
        """Void an invoice; what was paid on it goes back to the payer. One that waits for a checkout ends that."""
        await transitions.void_as_asked(session, id, data or VoidInvoiceRequest(), clock.now())
        return Message(message="invoice voided successfully")

    @post("/{id:str}/write-off", operation_id="writeOffInvoice", guards=WRITE, status_code=200)
    async def give_up(
        self, id: str, data: WriteOffInvoiceRequest, session: AsyncSession, clock: Clock
    ) -> InvoiceResponse:
        """Write off what remains on an invoice: it is owed no more, and the invoice stays as it is."""
        invoice = await write_off.write_off(session, id, data.reason, clock.now(), effects=effects_of(session))
        return await shown(session, invoice)

    @post("/{id:str}/write-off/undo", operation_id="undoInvoiceWriteOff", guards=WRITE, status_code=200)
    async def undo_write_off(self, id: str, session: AsyncSession, clock: Clock) -> InvoiceResponse:
        """Take a write-off back: what remains on the invoice is owed again."""
        return await shown(session, await write_off.undo_write_off(session, id, clock.now()))

    @post("/{id:str}/modify/execute", operation_id="executeInvoiceModify", guards=WRITE, status_code=200)
    async def modify(
        self, id: str, data: ModifyInvoiceRequest, session: AsyncSession, clock: Clock
    ) -> InvoiceEditResponse:
        """Add, change or remove lines of a draft."""
        assert data.line_item_params is not None, "checked when the body was read"
        invoice = await edits.modify_lines(session, id, data.line_item_params, clock.now())
        return InvoiceEditResponse(invoice=await shown(session, invoice))

    @put("/{id:str}/payment", operation_id="updateInvoicePaymentStatus", guards=WRITE)
    async def mark(
        self, id: str, data: UpdatePaymentStatusRequest, session: AsyncSession, clock: Clock
    ) -> InvoiceResponse:
        """Mark an invoice paid, unpaid or failed by hand."""
        invoice = await marking.mark(
            session, id, data.payment_status, data.amount, clock.now(), effects=effects_of(session)
        )
        return await shown(session, invoice)

    @get("/{id:str}/pdf", operation_id="getInvoicePdf", guards=READ)
    async def pdf(
        self,
        id: str,
        session: AsyncSession,
        services: Composition,
        url: bool = False,
        force_generate: bool = False,
    ) -> Response[Any]:
        """The invoice as a PDF, or (`url=true`) an address where it can be fetched for 15 minutes.

        A document address set on the invoice is answered as it is, unless `force_generate`.
        """
        invoice = await find(session, Invoice, id)
        if not url:
            return await _document(session, invoice)
        link = None if force_generate else invoice.invoice_pdf_url
        # links live in real time, whatever an environment's test clock says
        now = services.part(Database).clock.now()
        link = link or documents.link(
            invoice, services.part(Settings).base_url, services.part(Settings).master_key(), now
        )
        answer = PresignedUrlResponse(presigned_url=link)
        return Response(answer, headers={"Cache-Control": "no-store"}, media_type="application/json")

    @get("/{id:str}/einvoice", operation_id="getInvoiceEinvoice", guards=READ)
    async def einvoice(self, id: str, session: AsyncSession, format: str) -> Response[bytes]:
        """A finalized invoice as an e-invoice: XRechnung, Peppol BIS Billing or Factur-X."""
        wanted = requested_format(format)
        invoice = await find(session, Invoice, id)
        return await file_answer(invoice.tenant_id, await issued_invoice(session, invoice), wanted)

    @post("/{id:str}/comms/trigger", operation_id="triggerInvoiceCommsWebhook", guards=WRITE, status_code=200)
    async def communicate(self, id: str, session: AsyncSession, services: Composition) -> CommunicationTriggerResponse:
        """Record that the payer should be written to about this invoice, and mail it where mail is on."""
        invoice = await find(session, Invoice, id)
        await events.record_invoice_event(session, InvoiceEvent.COMMUNICATION, invoice)
        email = await ports_of(session, InvoicePorts).mail_invoice(session, invoice, services.part(Settings))
        return CommunicationTriggerResponse(message="communication triggered successfully", email=email)

    @post("/{id:str}/webhook/trigger", operation_id="triggerInvoiceWebhook", guards=WRITE, status_code=200)
    async def tell_again(self, id: str, session: AsyncSession, event_name: str) -> WebhookTriggerResponse:
        """Tell an event of an invoice once more, with the invoice as it stands."""
        if event_name not in TRIGGERED_BY_HAND:
            allowed = ", ".join(sorted(TRIGGERED_BY_HAND))
            raise ValidationFailed.of("event_name", f"must be one of {allowed}")
        event, invoice = InvoiceEvent(event_name), await find(session, Invoice, id)
        # asking that an invoice be sent is an act of its own; the others are told once more
        record = events.record_invoice_event if event is InvoiceEvent.COMMUNICATION else events.repeat_invoice_event
        await record(session, event, invoice)
        return WebhookTriggerResponse(message="webhook triggered successfully", event_name=event_name)


@get("/invoices/documents/{token:str}", include_in_schema=False, opt={"public": True})
async def open_document(token: str, request: Request[Any, Any, Any], services: Composition) -> Response[Any]:
    """A document by its link: public, for the link itself is the credential."""
    now = services.part(Database).clock.now()
    link = open_link(documents.INVOICE_DOCUMENT, token, services.part(MasterKeys).accepted(now), now)
    work = unit_of_work(request)
    work.begin(reader_of(link), read_only=True)
    await work.admit()
    await require_open(work.session, link)
    return await _document(work.session, await documents.linked_invoice(work.session, link))


async def _document(session: AsyncSession, invoice: Invoice) -> Response[bytes]:
    name = invoice.invoice_number or invoice.id
    return Response(
        await documents.pdf(session, invoice),
        media_type="application/pdf",
        headers={"Content-Disposition": content_disposition("inline", f"{name}.pdf"), "Cache-Control": "no-store"},
    )


async def _page(work: UnitOfWork, query: InvoiceFilter) -> ListInvoicesResponse:
    wanted = expansions(query.expand, EXPANDABLE)
    if query.page_size > MANY_ROWS:
        await work.begin_long_read()  # megabytes with all their lines
    if query.is_plain and not (wanted or query.external_customer_id):
        items, total = await listing.invoices_page(work.read_once, query)
        if not any(map(listing.may_convert, items)):
            return _listed(items, total, query)
    # what takes several statements is read in one snapshot
    session = await work.admitted_session()
    customer_id = None
    if query.external_customer_id:
        customer_id = (await by_external_id(session, query.external_customer_id)).id
    items, total = await listing.invoices_page(rows_of(session), query, customer_id)
    await with_conversions(session, [invoice for invoice in items if listing.may_convert(invoice)])
    if "tax_applied" in wanted:
        await with_tax_rates(session, items)
    if "subscription" in wanted:
        nested: dict[str, set[str]] = {name: set() for name in wanted["subscription"]}
        await with_subscriptions(session, items, nested, work.clock.now())
    return _listed(items, total, query)


def _listed(items: Sequence[InvoiceResponse], total: int, query: InvoiceFilter) -> ListInvoicesResponse:
    answer: ListInvoicesResponse = page(items, total, query, next_offset=False)
    return answer
