"""Notes whose net and tax are given: a change of a subscription takes back what unused time was charged, a correction
what too much usage was.

What is unpaid of an invoice is lowered first, and of what was paid the rest is refunded. For unused time on an invoice
without tax no document has to take anything back, so there the rest is left to the caller.
Rule: docs/rules/credit-notes.md#unused-time
Rule: docs/rules/late-usage.md#corrections-of-invoices
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from fractions import Fraction

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core import currency
from farthing.core.ids import Kind, new_id
from farthing.core.money import EXACT, ZERO, exact_sum
from farthing.credits.notes.lifecycle import limits
from farthing.credits.notes.lifecycle.events import record_note_event
from farthing.credits.notes.lifecycle.finalization import finalize_note
from farthing.credits.notes.lifecycle.lines import TakenBack, new_line, sums_of, tax_terms_of
from farthing.credits.notes.lifecycle.numbering import number_note
from farthing.credits.notes.tables import CreditNote, CreditNoteReason, CreditNoteStatus, CreditNoteType
from farthing.credits.rules.notes import divided_at, most_adjusted, most_refunded
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.invoices.tables import Invoice
from farthing.rating.totals.conversion import converted_share
from farthing.storage.queries.rows import in_array

MOST_DIGITS = 8
"""As many as a stored amount has."""


class PaidPart(Enum):
    """What becomes of the part that was paid already."""

    TAXED_TO_WALLET = "taxed_to_wallet"
    """It is refunded into the wallet where the invoice carries tax, and else left to the caller."""
    TO_WALLET = "to_wallet"
    TO_NEXT_INVOICE = "to_next_invoice"


@dataclass(frozen=True, slots=True)
class SettlementCause:
    """Which settlement or correction takes something back, and the reason that its notes give. `key` is its own."""

    key: str
    reason: CreditNoteReason
    memo: str = "Unused time"
    paid_part: PaidPart = PaidPart.TAXED_TO_WALLET
    correction_id: str | None = None


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
    if invoice.total_tax > 0 or cause.paid_part is not PaidPart.TAXED_TO_WALLET:
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
            source, source_rest = _divided_source(part, first.net)
            within.append(TakenBack(part.line_id, first.net, first.taxes, source))
            beyond.append(TakenBack(part.line_id, rest.net, rest.taxes, source_rest))
    return within, beyond


def _divided_source(part: TakenBack, net: Decimal) -> tuple[Decimal | None, Decimal | None]:
    """The share of what a part was in the currency of its charge that `net` of it is, and the rest."""
    if part.source_net is None:
        return None, None
    source = converted_share(Fraction(net), part.net, part.source_net, MOST_DIGITS)
    return source, EXACT.subtract(part.source_net, source)


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
    refunded = sums["total_amount"] if kind is CreditNoteType.REFUND else ZERO
    set_aside = refunded if cause.paid_part is PaidPart.TO_NEXT_INVOICE else ZERO
    note = CreditNote(
        id=note_id,
        credit_note_number=note_id,  # nobody sees it: the number is given last
        invoice_id=invoice.id,
        customer_id=invoice.customer_id,
        subscription_id=invoice.subscription_id,
        credit_note_status=CreditNoteStatus.DRAFT,
        credit_note_type=kind,
        reason=cause.reason,
        memo=cause.memo,
        currency=invoice.currency,
        **sums,
        to_wallet=EXACT.subtract(refunded, set_aside),
        to_source=ZERO,
        to_next_invoice=set_aside,
        split_is_exact=False,
        meta={},
        idempotency_key=key,
        derived_key=True,
        request_hash=hashlib.sha256(key.encode()).hexdigest(),
        settlement_key=None if cause.correction_id else cause.key,
        correction_id=cause.correction_id,
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
