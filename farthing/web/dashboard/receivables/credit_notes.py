"""Credit notes from an invoice's page: choose lines and amounts, see what becomes of them, confirm; and refunds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from litestar import Controller, Response, get, post
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.work import rehearsal
from farthing.core.clock import Clock
from farthing.core.composition import Composition
from farthing.core.encoding.decoding import convert
from farthing.core.errors import FarthingError, ValidationFailed
from farthing.core.ids import new_ulid
from farthing.core.money import EXACT, ZERO
from farthing.credits.notes import reads
from farthing.credits.notes.document import note_pdf, pdf_answer
from farthing.credits.notes.lifecycle import limits
from farthing.credits.notes.lifecycle.creation import create_note
from farthing.credits.notes.lifecycle.finalization import finalize_draft, void_note
from farthing.credits.notes.refunding import send_refunds_of
from farthing.credits.notes.routes import NotePoint
from farthing.credits.notes.schemas import CreateCreditNoteRequest
from farthing.credits.notes.tables import CreditNote, CreditNoteReason, CreditNoteStatus, CreditNoteType
from farthing.credits.rules.notes import line_ceiling
from farthing.invoices.reads.presentation import shown
from farthing.invoices.reads.reading_zones import reading_zone
from farthing.invoices.tables import Invoice
from farthing.payments.refunds.retry import retry_refund
from farthing.payments.refunds.schemas import RefundUnappliedMoneyRequest
from farthing.payments.refunds.sending import RefundPoint, send_waiting
from farthing.payments.refunds.tables import UNDERWAY, RefundRecord, RefundStatus
from farthing.payments.refunds.unapplied import refund_unapplied_money
from farthing.payments.shared_by_routes import provide_gateways
from farthing.payments.unapplied.allocation import allocate_oldest_first
from farthing.payments.unapplied.money import move_overpayment
from farthing.payments.unapplied.schemas import AllocateMoneyRequest
from farthing.storage.queries.rows import find
from farthing.web.access.visitors import changes, form_of, shows
from farthing.web.dashboard.customer_names import names_of
from farthing.web.dashboard.receivables.invoices import zone_of
from farthing.web.rendering.answers import HttpRequest, done, own_path, refused, render
from farthing.web.rendering.typed_fields import number_in, problems_at

AMOUNT = "amount:"
"""The beginning of the name of each line's field."""
_REFUND_FIELDS = ("currency", "unapplied_money_id", "refund_reason", "refund_destination", "reference")
_SPLIT = ("prepaid_wallet", "back_to_source", "next_invoice")


class CreditNotePages(Controller):
    """Credit notes, refunds, and what was paid too much."""

    path = "/"
    include_in_schema = False

    @get("/invoices/{invoice_id:str}/credit-notes/new", guards=[shows("creditnote")])
    async def begin(self, invoice_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Choose the lines and amounts of a note."""
        target = request.query_params.get("refund_target", "")
        return await _form(request, session, invoice_id, {"refund_target": target} if target else {})

    @post("/invoices/{invoice_id:str}/credit-notes/preview", guards=[changes("creditnote")], status_code=200)
    async def preview(
        self, invoice_id: str, request: HttpRequest, session: AsyncSession, clock: Clock
    ) -> Response[str]:
        """See tax, the invoice afterwards and what becomes of the money, before anything is done."""
        given = form_of(request)
        try:
            asked = _asked(invoice_id, given)
            asked.idempotency_key = None
            async with rehearsal(request) as undone:
                note = (await create_note(undone, asked, clock.now())).note
                outcome = {
                    "note": await reads.answer_of(undone, note, clock.now(), ()),
                    "after": await shown(undone, await find(undone, Invoice, invoice_id)),
                    "movements": await reads.movements_of(undone, note),
                }
        except FarthingError as error:
            problems = problems_at(error, _placing(given), dict.fromkeys((*_amounts(given), *_SPLIT, "memo")))
            return await _form(request, session, invoice_id, given, problems=problems)
        return await _form(request, session, invoice_id, given, outcome=outcome)

    @post("/invoices/{invoice_id:str}/credit-notes", guards=[changes("creditnote")])
    async def create(
        self, invoice_id: str, request: HttpRequest, session: AsyncSession, clock: Clock, services: Composition
    ) -> Response[str]:
        """Issue the note that was looked at."""
        try:
            note = (await create_note(session, _asked(invoice_id, form_of(request)), clock.now())).note
            point = NotePoint(note.id)
            await send_refunds_of(session, provide_gateways(services), note, point, clock.now())
        except FarthingError as error:
            return await refused(request, f"/invoices/{invoice_id}/credit-notes/new", error)
        return done(request, f"/credit-notes/{note.id}", f"Credit note {note.credit_note_number} is issued.")

    @get("/credit-notes/{note_id:str}", guards=[shows("creditnote")])
    async def read(self, note_id: str, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """One credit note: its lines, its tax, and what became of the money."""
        note = await find(session, CreditNote, note_id)
        answer = await reads.answer_of(session, note, clock.now(), ())
        drafted = note.credit_note_status is CreditNoteStatus.DRAFT
        adjusts = note.credit_note_type is CreditNoteType.ADJUSTMENT
        refunds = await session.scalars(
            select(RefundRecord).where(RefundRecord.credit_note_id == note.id).order_by(RefundRecord.id)
        )
        return render(
            request,
            "credit_note.html",
            note=note,
            lines=answer.line_items or [],
            refund_status=answer.refund_status,
            refunds=refunds.all(),
            invoice=await find(session, Invoice, note.invoice_id),
            names=await names_of(session, {note.customer_id}),
            zone=await zone_of(session),
            can_finalize=drafted,
            can_void=drafted or (adjusts and note.credit_note_status is CreditNoteStatus.FINALIZED),
        )

    @get("/credit-notes/{note_id:str}/pdf", guards=[shows("creditnote")])
    async def pdf(self, note_id: str, session: AsyncSession) -> Response[bytes]:
        """The credit note as a PDF."""
        note = await find(session, CreditNote, note_id)
        return pdf_answer(note, await note_pdf(session, note), "attachment")

    @post("/credit-notes/{note_id:str}/finalize", guards=[changes("creditnote")])
    async def finalize(
        self, note_id: str, request: HttpRequest, session: AsyncSession, clock: Clock, services: Composition
    ) -> Response[str]:
        """Let a draft take effect."""
        try:
            note = await finalize_draft(session, note_id, None, clock.now())
            await send_refunds_of(session, provide_gateways(services), note, NotePoint(note.id), clock.now())
        except FarthingError as error:
            return await refused(request, f"/credit-notes/{note_id}", error)
        return done(request, f"/credit-notes/{note_id}", "The credit note has taken effect.")

    @post("/credit-notes/{note_id:str}/void", guards=[changes("creditnote")])
    async def void(self, note_id: str, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """Void a note."""
        try:
            await void_note(session, note_id, clock.now())
        except FarthingError as error:
            return await refused(request, f"/credit-notes/{note_id}", error)
        return done(request, f"/credit-notes/{note_id}", "Voided. The invoice stands as if it had never been.")

    @post("/refunds/{refund_id:str}/retry", guards=[changes("payment")])
    async def retry(
        self, refund_id: str, request: HttpRequest, session: AsyncSession, clock: Clock, services: Composition
    ) -> Response[str]:
        """Pay a refund that failed into the wallet."""
        refund = await find(session, RefundRecord, refund_id)
        back = f"/invoices/{refund.invoice_id}" if refund.invoice_id else f"/customers/{refund.customer_id}"
        try:
            refund = await retry_refund(session, provide_gateways(services), refund_id, clock.now())
        except FarthingError as error:
            return await refused(request, back, error)
        return done(request, back, _what_became_of([refund]))

    @post("/customers/{customer_id:str}/unapplied-money", guards=[changes("payment")])
    async def allocate(
        self, customer_id: str, request: HttpRequest, session: AsyncSession, clock: Clock
    ) -> Response[str]:
        """Let the invoices that are due first have a customer's unapplied money."""
        back = f"/customers/{customer_id}"
        try:
            asked = convert({"currency": form_of(request).get("currency", "")}, AllocateMoneyRequest)
            allocations = await allocate_oldest_first(session, customer_id, asked.currency, None, clock.now())
        except FarthingError as error:
            return await refused(request, back, error)
        count = len(allocations)
        return done(request, back, f"Paid on {count} invoice{'' if count == 1 else 's'}.")

    @post("/customers/{customer_id:str}/unapplied-money/refund", guards=[changes("payment")])
    async def give_back(
        self, customer_id: str, request: HttpRequest, session: AsyncSession, clock: Clock, services: Composition
    ) -> Response[str]:
        """Give a customer's unapplied money back to who paid it."""
        given = form_of(request)
        back = own_path(given.get("back") or f"/customers/{customer_id}")
        try:
            written = {name: given[name] for name in _REFUND_FIELDS if given.get(name)}
            body = {**written, "amount": number_in("amount", given.get("amount", ""))}
            asked = convert(body, RefundUnappliedMoneyRequest).asked_of(customer_id)
            asked = replace(asked, key=given.get("once", "")[:50] or None)
            refunds = await refund_unapplied_money(session, asked, clock.now())
            point = RefundPoint([refund.id for refund in refunds])
            await send_waiting(session, provide_gateways(services), point.refund_ids, point, clock.now())
            for refund in refunds:
                await session.refresh(refund)
        except FarthingError as error:
            return await refused(request, back, error)
        return done(request, back, _what_became_of(refunds))

    @post("/invoices/{invoice_id:str}/overpayment", guards=[changes("payment")])
    async def move(self, invoice_id: str, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """Move what was paid too much to the customer's balance."""
        try:
            await move_overpayment(session, invoice_id, None, clock.now())
        except FarthingError as error:
            return await refused(request, f"/invoices/{invoice_id}", error)
        return done(request, f"/invoices/{invoice_id}", "What was paid too much is on the customer's balance now.")


def _what_became_of(refunds: Sequence[RefundRecord]) -> str:
    states = {refund.refund_status for refund in refunds}
    if RefundStatus.FAILED in states:
        return "The provider has refused a refund; its money is on the customer's balance."
    if states & set(UNDERWAY):
        return "The money is on its way back; the provider has not confirmed it yet."
    return "The refund is settled."


async def _form(
    request: HttpRequest,
    session: AsyncSession,
    invoice_id: str,
    given: Mapping[str, str],
    *,
    problems: Mapping[str, str] = MappingProxyType({}),
    outcome: Mapping[str, Any] | None = None,
) -> Response[str]:
    invoice = await find(session, Invoice, invoice_id)
    kind = limits.type_for(invoice)
    on_invoice = await limits.creditable_lines(session, invoice)
    overpaid = EXACT.subtract(invoice.amount_paid, invoice.amount_due)
    lines = [
        {
            "id": line_id,
            "name": row.display_name or row.meter_display_name or row.plan_display_name or "Charge",
            "start": row.period_start,
            "end": row.period_end,
            "amount": row.amount,
            "tax": on_invoice.creditable[line_id].tax,
            "credited": on_invoice.creditable[line_id].credited,
            "most": max(
                EXACT.subtract(
                    line_ceiling(on_invoice.creditable[line_id], overpaid), on_invoice.creditable[line_id].credited
                ),
                ZERO,
            ),
            "given": given.get(AMOUNT + line_id, ""),
        }
        for line_id, row in on_invoice.rows.items()
    ]
    return render(
        request,
        "credit_note_new.html",
        invoice=invoice,
        lines=lines,
        cut_in=await reading_zone(session, invoice),
        kind=kind,
        maximum=await limits.available_amount(session, invoice, kind),
        reasons=list(CreditNoteReason),
        given=given,
        problems=problems,
        outcome=outcome,
        once=given.get("once") or new_ulid(),
        names=await names_of(session, {invoice.customer_id}),
    )


def _amounts(given: Mapping[str, str]) -> dict[str, str]:
    """What was typed for lines, by the names of the fields and in the order in which the lines are asked for."""
    return {name: text for name, text in given.items() if name.startswith(AMOUNT) and text}


def _placing(given: Mapping[str, str]) -> Callable[[str], str]:
    """Which field of the form a name of the wire stands for: the amount of a line has one of its own."""
    fields = {f"line_items[{number}].amount": name for number, name in enumerate(_amounts(given))}
    return lambda name: fields.get(name, name.removeprefix("split."))


def _asked(invoice_id: str, given: Mapping[str, str]) -> CreateCreditNoteRequest:
    """Raises ValidationFailed for amounts that are none."""
    lines = [
        {"invoice_line_item_id": name.removeprefix(AMOUNT), "amount": number_in(name, text)}
        for name, text in _amounts(given).items()
    ]
    if not lines:
        raise ValidationFailed.of("amount", "must be given for at least one line")
    body: dict[str, Any] = {
        "invoice_id": invoice_id,
        "reason": given.get("reason", ""),
        "line_items": lines,
        "memo": given.get("memo") or None,
        "process_credit_note": True,
        "idempotency_key": given.get("once", "")[:255] or None,
    }
    split = {name: number_in(name, given[name]) for name in _SPLIT if given.get(name)}
    if split:
        body["split"] = split
    elif given.get("refund_target"):
        body["refund_target"] = given["refund_target"]
    return convert(body, CreateCreditNoteRequest)
