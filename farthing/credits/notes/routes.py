"""Endpoints of credit notes."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Controller, Request, Response, get, post
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.api.queries.expand import expansions
from farthing.api.queries.lists import page, read_query
from farthing.api.work import rehearsal
from farthing.core.clock import Clock
from farthing.credits.notes import reads
from farthing.credits.notes.document import note_pdf, pdf_answer
from farthing.credits.notes.einvoice import issued_note
from farthing.credits.notes.lifecycle.creation import create_note
from farthing.credits.notes.lifecycle.finalization import finalize_draft, void_note
from farthing.credits.notes.refunding import send_refunds_of
from farthing.credits.notes.schemas import (
    CreateCreditNoteRequest,
    CreditNotePreviewResponse,
    CreditNoteQuery,
    CreditNoteResponse,
    FinalizeCreditNoteRequest,
    ListCreditNotesResponse,
)
from farthing.credits.notes.tables import CreditNote, CreditNoteType
from farthing.invoices.einvoice.files import file_answer, requested_format
from farthing.invoices.reads.presentation import shown
from farthing.invoices.tables import Invoice
from farthing.payments.integrations.gateways import Gateways
from farthing.payments.shared_by_routes import GATEWAYS
from farthing.storage.midway import resume_point
from farthing.storage.queries.rows import find

READ, WRITE = needs("creditnote", "read"), needs("creditnote", "write")
EXPANDABLE = {name: frozenset[str]() for name in reads.PARTS}
HttpRequest = Request[Any, Any, Any]


class NotePoint(msgspec.Struct):
    """Where a repeated request goes on: with the note that took effect and whose refunds wait for providers."""

    credit_note_id: str


class CreditNotes(Controller):
    """Credit notes."""

    path = "/creditnotes"
    tags = ("Credit Notes",)
    dependencies = GATEWAYS

    @post("/", operation_id="createCreditNote", guards=[WRITE])
    async def create(
        self, data: CreateCreditNoteRequest, session: AsyncSession, gateways: Gateways, clock: Clock
    ) -> CreditNoteResponse:
        """Create a credit note, and let it take effect at once if asked to."""
        interrupted = resume_point(session, NotePoint)
        if interrupted is not None:
            note = await find(session, CreditNote, interrupted.credit_note_id)
        else:
            note = (await create_note(session, data, clock.now())).note
        await send_refunds_of(session, gateways, note, NotePoint(note.id), clock.now())
        return await reads.answer_of(session, note, clock.now())

    @post("/preview", operation_id="previewCreditNote", guards=[READ], status_code=200)
    async def preview(
        self, data: CreateCreditNoteRequest, request: HttpRequest, clock: Clock
    ) -> CreditNotePreviewResponse:
        """See what a credit note would come to, and what would become of the money; nothing is kept."""
        data.process_credit_note, data.idempotency_key = True, None
        async with rehearsal(request) as session:
            note = (await create_note(session, data, clock.now())).note
            return CreditNotePreviewResponse(
                credit_note=await reads.answer_of(session, note, clock.now(), ()),
                invoice=await shown(session, await find(session, Invoice, note.invoice_id)),
                movements=await reads.movements_of(session, note),
            )

    @get("/", operation_id="listCreditNotes", guards=[READ], opt={"query": CreditNoteQuery})
    async def browse(self, request: HttpRequest, session: AsyncSession, clock: Clock) -> ListCreditNotesResponse:
        """List credit notes."""
        query = read_query(request, CreditNoteQuery)
        wanted = expansions(query.expand, EXPANDABLE)
        notes, total = await reads.browse(session, query)
        answers = await reads.answers_of(session, notes, set(wanted), clock.now())
        answer: ListCreditNotesResponse = page(answers, total, query, next_offset=True)
        return answer

    @get("/{id:str}", operation_id="getCreditNote", guards=[READ])
    async def read(self, id: str, session: AsyncSession, clock: Clock) -> CreditNoteResponse:
        """Get a credit note with its invoice, subscription and customer."""
        return await reads.answer_of(session, await find(session, CreditNote, id), clock.now())

    @post("/{id:str}/finalize", operation_id="processCreditNote", guards=[WRITE], status_code=200)
    async def finalize(
        self,
        id: str,
        session: AsyncSession,
        gateways: Gateways,
        clock: Clock,
        data: FinalizeCreditNoteRequest | None = None,
    ) -> CreditNoteResponse:
        """Let a draft take effect."""
        if resume_point(session, NotePoint) is not None:
            note = await find(session, CreditNote, id)
        else:
            target = data.refund_target if data is not None else None
            note = await finalize_draft(session, id, target, clock.now())
        await send_refunds_of(session, gateways, note, NotePoint(note.id), clock.now())
        answer = await reads.answer_of(session, note, clock.now(), ())
        kind = "Adjustment" if note.credit_note_type is CreditNoteType.ADJUSTMENT else "Refund"
        answer.message = f"{kind} credit note processed successfully"
        return answer

    @post("/{id:str}/void", operation_id="voidCreditNote", guards=[WRITE], status_code=200)
    async def void(self, id: str, session: AsyncSession, clock: Clock) -> CreditNoteResponse:
        """Take a draft, or an adjustment that took effect, back."""
        note = await void_note(session, id, clock.now())
        answer = await reads.answer_of(session, note, clock.now(), ())
        answer.message = "Credit note voided successfully"
        return answer

    @get("/{id:str}/pdf", operation_id="getCreditNotePdf", guards=[READ])
    async def pdf(self, id: str, session: AsyncSession) -> Response[bytes]:
        """The credit note as a PDF."""
        note = await find(session, CreditNote, id)
        return pdf_answer(note, await note_pdf(session, note), "inline")

    @get("/{id:str}/einvoice", operation_id="getCreditNoteEinvoice", guards=[READ])
    async def einvoice(self, id: str, session: AsyncSession, format: str) -> Response[bytes]:
        """A finalized credit note as an e-invoice: XRechnung, Peppol BIS Billing or Factur-X."""
        wanted = requested_format(format)
        note = await find(session, CreditNote, id)
        return await file_answer(note.tenant_id, await issued_note(session, note), wanted)
