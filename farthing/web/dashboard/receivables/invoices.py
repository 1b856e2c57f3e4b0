"""Invoices: the list, one invoice with what can be done with it, and where each line's number came from."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

from litestar import Controller, Response, get, post
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.dunning.reads import open_case_of
from farthing.core.caller import READ
from farthing.core.clock import Clock
from farthing.core.encoding.file_names import content_disposition
from farthing.core.enums import Status
from farthing.core.errors import FarthingError
from farthing.core.ids import new_ulid
from farthing.credits.notes.reads import notes_of_invoice
from farthing.identity.settings import current
from farthing.identity.settings.catalogue import InvoiceConfig
from farthing.invoices.annotations.tables import AnnotatedType
from farthing.invoices.figures.computation import published_lines
from farthing.invoices.lifecycle import transitions
from farthing.invoices.line_tables import CouponApplicationRow, TaxAppliedRow
from farthing.invoices.reads import documents
from farthing.invoices.reads.reading_zones import reading_zone
from farthing.invoices.receivable import InvoiceStatus, PaymentStatus, is_unpaid
from farthing.invoices.routes import effects_of
from farthing.invoices.settlement_tables import PaymentSettlement
from farthing.invoices.tables import Invoice
from farthing.notifications.email.reads import emails_of_invoice
from farthing.payments.integrations.marketplaces import collector_of
from farthing.payments.processing.descriptions import method_of, payments_behind, reference_of
from farthing.payments.refunds.records import refunds_of_invoice
from farthing.payments.tables import Payment
from farthing.reporting.line_explanation import LineExplanation, explain_line
from farthing.storage.queries.rows import find, lock_row
from farthing.web.access.visitors import changes, shows, visitor_of
from farthing.web.dashboard.annotations import annotations_of
from farthing.web.dashboard.catalogue.plans.price_words import UnitWords, price_words
from farthing.web.dashboard.customer_names import names_of
from farthing.web.dashboard.receivables.conversion import converted_figures, missing_rate
from farthing.web.dashboard.timeline import newest_activities
from farthing.web.rendering.answers import HttpRequest, done, refused, render
from farthing.web.rendering.words import wording

_IN_THE_TABLE = frozenset({"quantity", "list_unit_amount"})
"""What of the notes of a line says no more than the table of its price, unless something else had a say."""


class InvoicePages(Controller):
    """Invoices."""

    path = "/invoices"
    include_in_schema = False

    @get("/{invoice_id:str}", guards=[shows("invoice")])
    async def one(self, invoice_id: str, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """One invoice: its lines, how the total came about, its payments, and what can be done with it."""
        seen = visitor_of(request)
        invoice = await find(session, Invoice, invoice_id)
        return render(
            request,
            "invoice.html",
            invoice=invoice,
            activities=await newest_activities(request, session, entity_id=invoice.id),
            activity_query={"entity_id": invoice.id},
            annotations=await annotations_of(session, AnnotatedType.INVOICE, invoice.id),
            now=clock.now(),
            zone=await zone_of(session),
            cut_in=await reading_zone(session, invoice),
            names=await names_of(session, {invoice.customer_id, invoice.owner_id}),
            lines=await published_lines(session, invoice.id),
            conversion=await converted_figures(session, invoice, clock.now()),
            waiting_for_rate=await missing_rate(session, invoice, clock.now()),
            coupons=await _rows(session, CouponApplicationRow, CouponApplicationRow.invoice_id == invoice.id),
            taxes=await _rows(session, TaxAppliedRow, TaxAppliedRow.entity_id == invoice.id),
            settlements=(
                await session.scalars(
                    select(PaymentSettlement)
                    .where(PaymentSettlement.invoice_id == invoice.id, PaymentSettlement.amount > 0)
                    .order_by(PaymentSettlement.created_at)
                )
            ).all(),
            payments=(
                await session.scalars(
                    select(Payment)
                    .where(Payment.destination_id == invoice.id, Payment.status == Status.PUBLISHED)
                    .order_by(Payment.created_at)
                )
            ).all()
            if seen.may(READ, "payment")
            else [],
            paid_from=await payments_behind(session, invoice.id) if seen.may(READ, "payment") else {},
            method_of=method_of,
            reference_of=reference_of,
            notes=await notes_of_invoice(session, invoice.id) if seen.may(READ, "creditnote") else [],
            emails=await emails_of_invoice(session, invoice.id) if seen.may(READ, "customer") else [],
            refunds=await refunds_of_invoice(session, invoice.id) if seen.may(READ, "payment") else [],
            can_credit=invoice.invoice_status is InvoiceStatus.FINALIZED
            and invoice.payment_status is not PaymentStatus.REFUNDED,
            once=new_ulid(),
            returned_by_void=await transitions.returned_by_void(session, invoice),
            credits_paid=invoice.total_prepaid_credits_applied,
            can_finalize=invoice.invoice_status is InvoiceStatus.DRAFT,
            can_void=transitions.INVOICE.allows(invoice.invoice_status, InvoiceStatus.VOIDED)
            and invoice.payment_status in transitions.VOIDABLE,
            can_write_off=is_unpaid(invoice),
            dunning=await open_case_of(session, invoice.id),
            collector=await collector_of(session, invoice.subscription_id),
            can_pay=invoice.invoice_status is InvoiceStatus.FINALIZED and invoice.amount_remaining > 0,
        )

    @get("/{invoice_id:str}/lines/{line_id:str}", guards=[shows("invoice")])
    async def line(self, invoice_id: str, line_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Where one line's number came from: price, quantity, reductions, and the events counted."""
        seen = visitor_of(request)
        story = await explain_line(session, invoice_id, line_id, sees_events=seen.may(READ, "event"))
        return render(
            request,
            "line.html",
            story=story,
            charge=price_words(story.price, UnitWords()).charge if story.price is not None else "",
            details=_notes_of(story),
            zone=await zone_of(session),
        )

    @get("/{invoice_id:str}/pdf", guards=[shows("invoice")])
    async def pdf(self, invoice_id: str, session: AsyncSession) -> Response[bytes]:
        """The invoice as a PDF."""
        return pdf_of(await find(session, Invoice, invoice_id), await _document(session, invoice_id))

    @post("/{invoice_id:str}/finalize", guards=[changes("invoice")])
    async def finalize(
        self, invoice_id: str, request: HttpRequest, session: AsyncSession, clock: Clock
    ) -> Response[str]:
        """Finalize a draft."""
        try:
            invoice = await lock_row(session, Invoice, invoice_id)
            await transitions.finalize(session, invoice, clock.now(), effects=effects_of(session))
        except FarthingError as error:
            return await refused(request, f"/invoices/{invoice_id}", error)
        return done(request, f"/invoices/{invoice_id}", f"Finalized as {invoice.invoice_number}.")


def _notes_of(story: LineExplanation) -> list[tuple[str, str]]:
    """What the calculation noted on a line, for people: the parts of its price stand in their table already."""
    shown = []
    for key, value in story.details:
        if value is None or key == "parts" or (story.plain and key in _IN_THE_TABLE):
            continue
        shown.append((key, _note(value)))
    return shown


def _note(value: object) -> str:
    if isinstance(value, bool):
        return "Yes" if value else "No"
    if not isinstance(value, str):
        return wording.readable(value)
    try:
        return wording.quantity(Decimal(value))
    except InvalidOperation:
        return wording.words(value)


async def zone_of(session: AsyncSession) -> str:
    """The time zone of the seller's books."""
    return (await current.read(session, InvoiceConfig)).timezone


async def _rows(
    session: AsyncSession, table: type[CouponApplicationRow | TaxAppliedRow], mine: object
) -> Sequence[object]:
    query = select(table).where(mine, table.status == Status.PUBLISHED)  # type: ignore[arg-type]  # a comparison
    return (await session.scalars(query.order_by(table.position))).all()


async def _document(session: AsyncSession, invoice_id: str) -> bytes:
    return await documents.pdf(session, await find(session, Invoice, invoice_id))


def pdf_of(invoice: Invoice, content: bytes) -> Response[bytes]:
    """A document to download, under the invoice's number."""
    name = invoice.invoice_number or "draft"
    headers = {
        "content-disposition": content_disposition("attachment", f"{name}.pdf"),
        "cache-control": "no-store",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    }
    return Response(content, media_type="application/pdf", headers=headers)
