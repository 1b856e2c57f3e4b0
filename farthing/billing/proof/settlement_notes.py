"""Is the tax on each credit note of a settlement the same share of the line's tax as its net is of the line's net?

The notes of each line of an invoice are gone through in the order in which they took effect. Reads only.
Rule: docs/rules/proration.md#tax-on-what-is-given-back
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core import currency
from farthing.core.money import EXACT, ZERO, plain
from farthing.credits.notes.tables import CreditNote, CreditNoteLine, CreditNoteType
from farthing.credits.rules.notes import share_of_taxes
from farthing.invoices.figures.computation import calculate
from farthing.invoices.figures.derivation import Difference
from farthing.invoices.parts import lines_of
from farthing.invoices.tables import Invoice
from farthing.rating.totals.lines import LineTotals
from farthing.storage.rows import in_array

PAGE = 500
"""Invoices that are looked at together."""


@dataclass(slots=True)
class _LineTaxes:
    """What was taken back of a line's taxes, note by note: rate, amount, and since and until when it counted."""

    taken: list[tuple[str, Decimal, datetime, datetime | None]] = field(default_factory=list)

    def left(self, taxes: Mapping[str, Decimal], moment: datetime) -> dict[str, Decimal]:
        left = dict(taxes)
        for rate, amount, since, until in self.taken:
            if since <= moment and (until is None or until > moment):
                left[rate] = EXACT.subtract(left.get(rate, ZERO), amount)
        return left


async def settlement_note_differences(session: AsyncSession) -> list[Difference]:
    """The lines of settlements' notes whose tax is not the share of their invoice's tax."""
    found: list[Difference] = []
    by_settlement = select(CreditNote.invoice_id).where(CreditNote.settlement_key.is_not(None)).distinct()
    invoice_ids = sorted(await session.scalars(by_settlement))
    for first in range(0, len(invoice_ids), PAGE):
        page = invoice_ids[first : first + PAGE]
        invoices = (await session.scalars(select(Invoice).where(in_array(Invoice.id, page)))).all()
        lines = await lines_of(session, page)
        noted = await _notes_of(session, page)
        for invoice in invoices:
            totals = calculate(invoice, lines[invoice.id], invoice.total_prepaid_credits_applied)
            found += _of_invoice(invoice, {line.id: line for line in totals.lines}, noted[invoice.id])
    return found


async def _notes_of(
    session: AsyncSession, invoice_ids: Sequence[str]
) -> dict[str, list[tuple[CreditNote, CreditNoteLine]]]:
    rows = await session.execute(
        select(CreditNote, CreditNoteLine)
        .join(CreditNoteLine, CreditNoteLine.credit_note_id == CreditNote.id)
        .where(in_array(CreditNote.invoice_id, invoice_ids), CreditNote.finalized_at.is_not(None))
        .order_by(CreditNote.finalized_at, CreditNote.id, CreditNoteLine.position)
    )
    noted: dict[str, list[tuple[CreditNote, CreditNoteLine]]] = defaultdict(list)
    for note, line in rows:
        noted[note.invoice_id].append((note, line))
    return noted


def _of_invoice(
    invoice: Invoice, lines: Mapping[str, LineTotals], noted: Sequence[tuple[CreditNote, CreditNoteLine]]
) -> Iterator[Difference]:
    digits = currency.digits(invoice.currency)
    by_line: dict[str, _LineTaxes] = defaultdict(_LineTaxes)
    divided = _lines_in_two_notes(noted)
    for note, line in noted:
        assert note.finalized_at is not None, "only notes that took effect are looked at"
        totals, before = lines.get(line.invoice_line_item_id), by_line[line.invoice_line_item_id]
        whole = (note.settlement_key, line.invoice_line_item_id) not in divided
        if note.settlement_key is not None and totals is not None and whole:
            net, taxes = EXACT.subtract(totals.amount, totals.discount), dict(totals.taxes)
            left = before.left(taxes, note.finalized_at)
            derived = share_of_taxes(line.net_amount, net, taxes, left, digits) if net > 0 else ()
            due = {rate: amount for rate, amount in derived if amount > 0}
            stored = {tax["tax_rate_id"]: Decimal(tax["amount"]) for tax in line.taxes}
            if stored != due:
                yield Difference(line.id, "tax on unused time", _shown(stored), _shown(due))
        for tax in line.taxes:
            counted = (tax["tax_rate_id"], Decimal(tax["amount"]), note.finalized_at, note.voided_at)
            before.taken.append(counted)


def _lines_in_two_notes(
    noted: Sequence[tuple[CreditNote, CreditNoteLine]],
) -> set[tuple[str | None, str]]:
    """What a settlement took back of one line partly as unpaid and partly as paid: its tax was divided with it."""
    kinds: dict[tuple[str | None, str], set[CreditNoteType]] = defaultdict(set)
    for note, line in noted:
        kinds[note.settlement_key, line.invoice_line_item_id].add(note.credit_note_type)
    return {key for key, found in kinds.items() if len(found) > 1}


def _shown(taxes: Mapping[str, Decimal]) -> str:
    return ", ".join(f"{plain(amount)} of {rate}" for rate, amount in sorted(taxes.items())) or "none"
