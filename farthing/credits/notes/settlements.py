"""Notes that nobody asks for: a change of a subscription takes back what unused time was charged, with the tax on it.

What is unpaid of an invoice is lowered first; of what was paid on one that carries tax, the rest is refunded into the
wallet. Without tax no document has to take anything back, so the rest is left to the caller.
Rule: docs/rules/credit-notes.md#unused-time
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core import currency
from farthing.core.ids import Kind, new_id
from farthing.core.money import EXACT, ZERO, exact_sum
from farthing.credits.notes import limits
from farthing.credits.notes.events import record_note_event
from farthing.credits.notes.finalization import finalize_note
from farthing.credits.notes.lines import TakenBack, new_line, sums_of, tax_terms_of
from farthing.credits.notes.numbering import number_note
from farthing.credits.notes.tables import CreditNote, CreditNoteReason, CreditNoteStatus, CreditNoteType
from farthing.credits.rules.notes import divided_at, most_adjusted, most_refunded
from farthing.invoices.tables import Invoice, InvoiceLineItem
from farthing.storage.rows import in_array


@dataclass(frozen=True, slots=True)
class SettlementCause:
    """Which settlement takes something back, and the reason that its notes give."""

    key: str
    reason: CreditNoteReason


@dataclass(frozen=True, slots=True)
class TakenFromInvoice:
    """The notes that took something back of an invoice, and what no note could (gross)."""

    notes: tuple[CreditNote, ...]
    left: Decimal


async def take_back(
    session: AsyncSession, invoice: Invoice, taken: Sequence[TakenBack], cause: SettlementCause, now: datetime
) -> TakenFromInvoice:
    """Write and finalize the notes that take `taken` back of a locked, finalized invoice; `announce_notes` numbers
    them."""
    digits, notes = currency.digits(invoice.currency), []
    if limits.type_for(invoice) is CreditNoteType.ADJUSTMENT:
        # a payment in flight is not waited for: what it pays too much stays on the invoice
        room = most_adjusted(invoice.total, invoice.adjustment_amount, invoice.amount_paid, ZERO)
        unpaid, taken = _split(taken, room, digits)
        if unpaid:
            notes.append(await _issue(session, invoice, CreditNoteType.ADJUSTMENT, unpaid, cause, now))
    if invoice.total_tax > 0:
        room = most_refunded(invoice.amount_paid, invoice.refunded_amount, ZERO)
        paid, taken = _split(taken, room, digits)
        if paid:
            notes.append(await _issue(session, invoice, CreditNoteType.REFUND, paid, cause, now))
    return TakenFromInvoice(tuple(notes), exact_sum([part.gross for part in taken]))


def _split(taken: Sequence[TakenBack], room: Decimal, digits: int) -> tuple[list[TakenBack], list[TakenBack]]:
    """The first parts that come to at most `room`, the one at the edge divided, and the others."""
    within: list[TakenBack] = []
    beyond: list[TakenBack] = []
    for part in taken:
        fits = min(part.gross, room)
        room = EXACT.subtract(room, fits)
        if fits == part.gross:
            within.append(part)
        elif fits == 0:
            beyond.append(part)
        else:
            first, rest = divided_at(part.net, part.taxes, fits, digits)
            within.append(TakenBack(part.line_id, first.net, first.taxes))
            beyond.append(TakenBack(part.line_id, rest.net, rest.taxes))
    return within, beyond


async def _issue(
    session: AsyncSession,
    invoice: Invoice,
    kind: CreditNoteType,
    taken: Sequence[TakenBack],
    cause: SettlementCause,
    now: datetime,
) -> CreditNote:
    rows = await session.scalars(
        select(InvoiceLineItem).where(in_array(InvoiceLineItem.id, [part.line_id for part in taken]))
    )
    by_id = {row.id: row for row in rows}
    rates = tax_terms_of(invoice)
    lines = [new_line(by_id[part.line_id], part, rates, position) for position, part in enumerate(taken)]
    note_id, key = new_id(Kind.CREDIT_NOTE), f"{cause.key}/{invoice.id}/{kind.value}"
    sums = sums_of(lines)
    note = CreditNote(
        id=note_id,
        credit_note_number=note_id,  # nobody sees it: the number is given last
        invoice_id=invoice.id,
        customer_id=invoice.customer_id,
        subscription_id=invoice.subscription_id,
        credit_note_status=CreditNoteStatus.DRAFT,
        credit_note_type=kind,
        reason=cause.reason,
        memo="Unused time",
        currency=invoice.currency,
        **sums,
        to_wallet=sums["total_amount"] if kind is CreditNoteType.REFUND else ZERO,
        to_source=ZERO,
        to_next_invoice=ZERO,
        split_is_exact=False,
        meta={},
        idempotency_key=key,
        derived_key=True,
        request_hash=hashlib.sha256(key.encode()).hexdigest(),
        settlement_key=cause.key,
    )
    session.add(note)
    await session.flush()
    for line in lines:
        line.credit_note_id = note.id
    session.add_all(lines)
    await session.flush()
    await finalize_note(session, invoice, note, now)
    return note


async def announce_notes(session: AsyncSession, notes: Sequence[CreditNote], now: datetime) -> None:
    """Give the notes of a settlement their numbers, and record what became of them.

    It comes last, when no wallet is locked or made any more: others wait for the next number.
    """
    for note in notes:
        await number_note(session, note, None, now)
        for event_name in ("credit_note.created", "credit_note.updated"):
            await record_note_event(session, event_name, note)
