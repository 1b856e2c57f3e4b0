"""Credit notes as they are shown: with their lines, how their refund fares, and what a caller asked to see beside."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.money import plain
from farthing.credits.notes.schemas import (
    CreditMovementResponse,
    CreditNoteLineItemResponse,
    CreditNoteQuery,
    CreditNoteResponse,
)
from farthing.credits.notes.tables import CreditNote, CreditNoteLine, CreditNoteStatus, CreditNoteType
from farthing.customers.schemas import CustomerResponse
from farthing.customers.tables import Customer
from farthing.invoices.reads.presentation import all_shown
from farthing.invoices.receivable import PaymentStatus
from farthing.invoices.tables import Invoice
from farthing.payments.refunds.tables import RefundRecord, RefundStatus
from farthing.storage.queries.listing import select_page
from farthing.storage.queries.rows import in_array
from farthing.subscriptions.reads.answers import subscription_answers
from farthing.subscriptions.tables import Subscription

SEARCHABLE = (
    "id",
    "credit_note_number",
    "invoice_id",
    "customer_id",
    "subscription_id",
    "credit_note_status",
    "credit_note_type",
    "reason",
    "currency",
    "total_amount",
    "created_at",
    "updated_at",
    "finalized_at",
    "voided_at",
)
PARTS = frozenset({"invoice", "subscription", "customer"})
NEXT_INVOICE = "NEXT_INVOICE"


async def browse(session: AsyncSession, query: CreditNoteQuery) -> tuple[list[CreditNote], int]:
    """One page of notes and the count of all that match."""
    statement = select(CreditNote)
    if query.credit_note_ids is not None:
        statement = statement.where(CreditNote.id.in_(query.credit_note_ids))
    if query.credit_note_status:
        statement = statement.where(CreditNote.credit_note_status.in_(query.credit_note_status))
    for name in ("invoice_id", "customer_id", "credit_note_type"):
        wanted = getattr(query, name)
        if wanted is not None:
            statement = statement.where(getattr(CreditNote, name) == wanted)
    return await select_page(session, CreditNote, query, SEARCHABLE, statement)


async def answers_of(
    session: AsyncSession, notes: Sequence[CreditNote], wanted: Collection[str], now: datetime
) -> list[CreditNoteResponse]:
    """Notes with what belongs to them; as many queries for a page as for one."""
    await session.flush()
    lines: defaultdict[str, list[CreditNoteLineItemResponse]] = defaultdict(list)
    ids = [note.id for note in notes]
    for line in await lines_of(session, ids):
        lines[line.credit_note_id].append(CreditNoteLineItemResponse.of(line))
    refunds: defaultdict[str, list[RefundStatus]] = defaultdict(list)
    statuses = select(RefundRecord.credit_note_id, RefundRecord.refund_status)
    for note_id, status in await session.execute(statuses.where(in_array(RefundRecord.credit_note_id, ids))):
        refunds[note_id or ""].append(status)
    answers = [
        CreditNoteResponse.of(
            note,
            line_items=lines[note.id],
            refund_status=_refund_status(note, refunds[note.id]),
            split=_split(note),
        )
        for note in notes
    ]
    await _expand(session, answers, wanted, now)
    return answers


async def answer_of(
    session: AsyncSession, note: CreditNote, now: datetime, wanted: Collection[str] = PARTS
) -> CreditNoteResponse:
    """One note with what belongs to it."""
    return (await answers_of(session, [note], wanted, now))[0]


async def lines_of(session: AsyncSession, note_ids: Sequence[str]) -> list[CreditNoteLine]:
    """The lines of notes, each note's in their order."""
    query = select(CreditNoteLine).where(in_array(CreditNoteLine.credit_note_id, note_ids))
    rows = await session.scalars(query.order_by(CreditNoteLine.credit_note_id, CreditNoteLine.position))
    return list(rows)


async def notes_of_invoice(session: AsyncSession, invoice_id: str) -> list[CreditNote]:
    """The notes of an invoice, oldest first."""
    query = select(CreditNote).where(CreditNote.invoice_id == invoice_id).order_by(CreditNote.created_at, CreditNote.id)
    return list(await session.scalars(query))


def _split(note: CreditNote) -> dict[str, str] | None:
    if note.credit_note_type is CreditNoteType.ADJUSTMENT:
        return None
    return {
        "prepaid_wallet": plain(note.to_wallet),
        "back_to_source": plain(note.to_source),
        "next_invoice": plain(note.to_next_invoice),
    }


def _refund_status(note: CreditNote, statuses: Sequence[RefundStatus]) -> PaymentStatus | None:
    """How the refund of a note fares in all: the word of the part that is least far."""
    if note.credit_note_type is CreditNoteType.ADJUSTMENT or note.credit_note_status is not CreditNoteStatus.FINALIZED:
        return None
    for status, word in (
        (RefundStatus.FAILED, PaymentStatus.FAILED),
        (RefundStatus.PENDING, PaymentStatus.PENDING),
        (RefundStatus.PROCESSING, PaymentStatus.PROCESSING),
    ):
        if status in statuses:
            return word
    return PaymentStatus.SUCCEEDED


async def _expand(
    session: AsyncSession, answers: Sequence[CreditNoteResponse], wanted: Collection[str], now: datetime
) -> None:
    if "invoice" in wanted:
        ids = {answer.invoice_id for answer in answers}
        invoices = (await session.scalars(select(Invoice).where(in_array(Invoice.id, ids)))).all()
        by_id = {shown.id: shown for shown in await all_shown(session, invoices)}
        for answer in answers:
            answer.invoice = by_id.get(answer.invoice_id)
    if "customer" in wanted:
        ids = {answer.customer_id for answer in answers}
        customers = await session.scalars(select(Customer).where(in_array(Customer.id, ids)))
        payers = {customer.id: CustomerResponse.of(customer) for customer in customers}
        for answer in answers:
            answer.customer = payers.get(answer.customer_id)
    ids = {answer.subscription_id for answer in answers if answer.subscription_id}
    if "subscription" in wanted and ids:
        rows = (await session.scalars(select(Subscription).where(in_array(Subscription.id, ids)))).all()
        subscriptions = {shown.id: shown for shown in await subscription_answers(session, rows, {}, now)}
        for answer in answers:
            answer.subscription = subscriptions.get(answer.subscription_id or "")


async def movements_of(session: AsyncSession, note: CreditNote) -> list[CreditMovementResponse]:
    """What becomes of the money of a note that took effect."""
    refunds = await session.scalars(
        select(RefundRecord).where(RefundRecord.credit_note_id == note.id).order_by(RefundRecord.id)
    )
    movements = [
        CreditMovementResponse(
            destination=refund.refund_destination.value, amount=plain(refund.amount), payment_id=refund.payment_id
        )
        for refund in refunds
    ]
    if note.to_next_invoice > 0:
        movements.append(CreditMovementResponse(destination=NEXT_INVOICE, amount=plain(note.to_next_invoice)))
    return movements
