"""Is the tax on each credit note of a settlement the same share of the line's tax as its net is of the line's net?

The notes of each line of an invoice are gone through in the order in which they took effect. Reads only.
Rule: docs/rules/proration.md#tax-on-what-is-given-back
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core import currency
from farthing.core.money import EXACT, ZERO, plain
from farthing.credits.notes.tables import CreditNote, CreditNoteLine, CreditNoteType
from farthing.credits.rules.notes import divided_at, share_of_taxes
from farthing.invoices.figures.computation import calculate
from farthing.invoices.figures.derivation import Difference
from farthing.invoices.parts import lines_of
from farthing.invoices.tables import Invoice
from farthing.rating.totals.lines import LineTotals
from farthing.storage.queries.rows import in_array

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
    unpaid: dict[tuple[str, str], tuple[_NotedShare, CreditNoteLine]] = {}
    for note, line in _unpaid_first(noted):
        assert note.finalized_at is not None, "only notes that took effect are looked at"
        totals, before = lines.get(line.invoice_line_item_id), by_line[line.invoice_line_item_id]
        if note.settlement_key is not None and totals is not None:
            key = note.settlement_key, line.invoice_line_item_id
            taxes = dict(totals.taxes)
            share = _NotedShare(
                EXACT.subtract(totals.amount, totals.discount), taxes, before.left(taxes, note.finalized_at), digits
            )
            if note.credit_note_type is CreditNoteType.ADJUSTMENT:
                if key in unpaid:
                    yield from _difference(*unpaid[key])
                unpaid[key] = share, line  # whether it was divided shows the refund, if there is one
            elif key in unpaid and _divided(*unpaid[key], line):
                del unpaid[key]
            else:
                yield from _difference(share, line)
        for rate, amount in _stored(line).items():
            before.taken.append((rate, amount, note.finalized_at, note.voided_at))
    for share, line in unpaid.values():
        yield from _difference(share, line)


@dataclass(frozen=True, slots=True)
class _NotedShare:
    """A line of an invoice when something was taken back of it: its net and its taxes, and what was left of these."""

    net: Decimal
    taxes: Mapping[str, Decimal]
    left: Mapping[str, Decimal]
    digits: int

    def taxes_on(self, amount: Decimal) -> dict[str, Decimal]:
        """The taxes that go back with `amount` of the net."""
        if self.net <= 0:
            return {}
        return _above_zero(share_of_taxes(amount, self.net, self.taxes, self.left, self.digits))


def _unpaid_first(noted: Sequence[tuple[CreditNote, CreditNoteLine]]) -> list[tuple[CreditNote, CreditNoteLine]]:
    """The lines of notes in the order in which they took effect: of one settlement, what was unpaid first."""
    first: dict[str, int] = {}
    for place, (note, _) in enumerate(noted):
        first.setdefault(note.settlement_key or note.id, place)
    return sorted(
        noted,
        key=lambda pair: (first[pair[0].settlement_key or pair[0].id], pair[0].credit_note_type.value),
    )


def _difference(share: _NotedShare, line: CreditNoteLine) -> Iterator[Difference]:
    stored, due = _stored(line), share.taxes_on(line.net_amount)
    if stored != due:
        yield Difference(line.id, "tax on unused time", _shown(stored), _shown(due))


def _divided(share: _NotedShare, unpaid: CreditNoteLine, paid: CreditNoteLine) -> bool:
    """Whether what was taken back of a line was divided into these two, in its own proportion."""
    net = EXACT.add(unpaid.net_amount, paid.net_amount)
    taxes = share_of_taxes(net, share.net, share.taxes, share.left, share.digits) if share.net > 0 else ()
    parts = divided_at(net, taxes, unpaid.amount, share.digits)
    return all(
        (line.net_amount, _stored(line)) == (part.net, _above_zero(part.taxes))
        for line, part in zip((unpaid, paid), parts, strict=True)
    )


def _stored(line: CreditNoteLine) -> dict[str, Decimal]:
    return _above_zero((tax["tax_rate_id"], Decimal(tax["amount"])) for tax in line.taxes)


def _above_zero(taxes: Iterable[tuple[str, Decimal]]) -> dict[str, Decimal]:
    return {rate: amount for rate, amount in taxes if amount > 0}


def _shown(taxes: Mapping[str, Decimal]) -> str:
    return ", ".join(f"{plain(amount)} of {rate}" for rate, amount in sorted(taxes.items())) or "none"
