"""Which lines of final invoices paid for a fee that ends: a credit for its unused time stands on them.

A fee was paid for by its own lines, by those of the items that it followed, and by those of whatever was credited when
one of these was charged, each in the service period that was credited. A credit is given on the newest of them first,
on each at most what no credit note has taken back.
Rule: docs/rules/proration.md#tax-on-what-is-given-back
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.calculation.proration import CreditPart, Proration, SettledChange, fee_of, window_around
from farthing.billing.calculation.service_time import service_span
from farthing.billing.sent_back import sent_back_by_line
from farthing.billing.tables import ProrationSettlement
from farthing.calendar.period import Period
from farthing.core.enums import Status
from farthing.core.money import EXACT, ZERO, exact_sum
from farthing.credits.notes.lifecycle.lines import TakenBack
from farthing.credits.notes.tables import CreditNote, CreditNoteLine, CreditNoteStatus
from farthing.invoices.figures.computation import calculate
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.invoices.parts import lines_of
from farthing.invoices.receivable import InvoiceStatus
from farthing.invoices.tables import Invoice
from farthing.rating.totals.conversion import converted_share
from farthing.storage.queries.rows import in_array
from farthing.subscriptions.item_changes import ItemChange
from farthing.subscriptions.snapshot.values import LineItemSnapshot, SubscriptionSnapshot
from farthing.subscriptions.tables import SubscriptionLineItem


@dataclass(slots=True)
class FundingLine:
    """A line of a final invoice: its net and its tax by rate, and what notes that took effect have left of both.

    `net`, `left` and `by_hand` are in the currency of its charges; `paid_net` and `paid_left`, and all tax, in the one
    that the invoice is paid in, which is another where it was converted. `by_hand` is what those of the notes took that
    somebody asked for.
    """

    row: InvoiceLineItem
    net: Decimal
    paid_net: Decimal
    taxes: Mapping[str, Decimal]
    left: Decimal
    paid_left: Decimal
    left_taxes: dict[str, Decimal]
    by_hand: Decimal = ZERO

    @property
    def rates(self) -> frozenset[str]:
        return frozenset(self.taxes)

    def paid_share(self, part: CreditPart, digits: int) -> Decimal:
        """What a part of a credit is of what was paid: the same share of the line, and all that is left for all of it.

        Rule: docs/rules/currencies.md#giving-back
        """
        if self.row.source_amount is None:
            return part.amount
        if part.amount == self.left:
            return self.paid_left
        return min(converted_share(part.exact, self.net, self.paid_net, digits), self.paid_left)


@dataclass(slots=True)
class FeeSources:
    """The invoices and lines that paid for fees: `families` are each item and those that it followed, newest first,
    and `upstream` the items whose credits paid for an item beside its own lines."""

    invoices: dict[str, Invoice] = field(default_factory=dict)
    lines: dict[str, FundingLine] = field(default_factory=dict)
    by_item: dict[str, list[FundingLine]] = field(default_factory=lambda: defaultdict(list))
    families: dict[str, list[str]] = field(default_factory=dict)
    upstream: list[str] = field(default_factory=list)

    def attributed(self, proration: Proration) -> Proration:
        """The proration with the lines that each credit stands on; a credit is worth less where notes that somebody
        asked for have taken back what it would stand on."""
        left = {line_id: line.left for line_id, line in self.lines.items()}
        changes = []
        for change in proration.changes:
            parts = self._parts(change, left)
            credit = exact_sum([part.amount for part in parts])
            changes.append(replace(change, parts=parts, credit=credit))
        return Proration(tuple(changes))

    def _parts(self, change: SettledChange, left: dict[str, Decimal]) -> tuple[CreditPart, ...]:
        needed, parts = change.credit, list[CreditPart]()
        unrounded = change.worth / Fraction(change.credit) if change.credit else Fraction(1)
        lines = self._lines_behind(change)
        for line in lines:
            taken = min(needed, left[line.row.id])
            if taken > 0:
                needed = EXACT.subtract(needed, taken)
                left[line.row.id] = EXACT.subtract(left[line.row.id], taken)
                parts.append(CreditPart(taken, line.rates, line.row.id, unrounded))
        needed = EXACT.subtract(needed, exact_sum([line.by_hand for line in lines]))
        if needed > 0:
            parts.append(CreditPart(needed, unrounded=unrounded))
        return tuple(parts)

    def _lines_behind(self, change: SettledChange) -> list[FundingLine]:
        if change.change.before is None:
            return []
        item_ids = [*self.families.get(change.change.before.id, ()), *self.upstream]
        return [line for item_id in item_ids for line in self.by_item[item_id]]


def paid_by_credit() -> ColumnElement[bool]:
    """Whether a line is of an opening that the credit for an earlier fee has paid altogether: it came to nothing, so it
    was skipped, and pays for its fee all the same."""
    return (Invoice.invoice_status == InvoiceStatus.SKIPPED) & (InvoiceLineItem.proration_credit > 0)


async def find_fee_sources(
    session: AsyncSession, snapshot: SubscriptionSnapshot, changes: Sequence[ItemChange], *, lock: bool
) -> FeeSources:
    """What paid for the fees that end. With `lock` the invoices are locked, in order of id; their payer's wallets and
    the sequence of numbers come after them."""
    sources, known, newest = FeeSources(), set[str](), dict[str, Period]()
    for change in changes:
        item = fee_of(change.before)
        span = None if item is None else service_span(snapshot, item, change.at)
        if item is not None and span is not None:
            sources.families[item.id] = _family(snapshot, item)
            newest |= dict.fromkeys(sources.families[item.id], window_around(span, change.at))
    while newest:
        known |= newest.keys()
        rows = await _load(session, sources, newest, lock=lock)
        paying = await _paying(session, newest, rows)
        newest = {item_id: window for item_id, window in paying.items() if item_id not in known}
        sources.upstream += sorted(newest, reverse=True)
    await _take_off_notes(session, sources)
    return sources


def _family(snapshot: SubscriptionSnapshot, ending: LineItemSnapshot) -> list[str]:
    """The line item that ends and those that it has followed, newest first."""
    family: list[str] = []
    item: LineItemSnapshot | None = ending
    while item is not None and item.id not in family:
        family.append(item.id)
        item = snapshot.item(item.replaces_id) if item.replaces_id is not None else None
    return family


async def _load(
    session: AsyncSession, sources: FeeSources, windows: Mapping[str, Period], *, lock: bool
) -> list[InvoiceLineItem]:
    """Add the final invoices that charge items in `windows`, and their lines, newest first; these lines."""
    line = InvoiceLineItem
    charging = (
        select(line.invoice_id)
        .join(Invoice, Invoice.id == line.invoice_id)
        .where(
            in_array(line.subscription_line_item_id, windows),
            line.period_start >= min(window.start for window in windows.values()),
            line.status == Status.PUBLISHED,
            (Invoice.invoice_status == InvoiceStatus.FINALIZED) | paid_by_credit(),
            Invoice.status == Status.PUBLISHED,
        )
    )
    query = select(Invoice).where(Invoice.id.in_(charging))
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    invoices = (await session.scalars(query.order_by(Invoice.id))).all()
    lines = await lines_of(session, [invoice.id for invoice in invoices])
    charged = []
    for invoice in invoices:
        sources.invoices[invoice.id] = invoice
        totals = calculate(invoice, lines[invoice.id], invoice.total_prepaid_credits_applied)
        for row, worked in zip(lines[invoice.id], totals.lines, strict=True):
            window = windows.get(row.subscription_line_item_id or "")
            if window is not None and row.period_start is not None and window.contains(row.period_start):
                net, paid = (
                    EXACT.subtract(row.charge_amount, row.charge_discount),
                    EXACT.subtract(worked.amount, worked.discount),
                )
                taxes = dict(worked.taxes)
                sources.lines[row.id] = FundingLine(row, net, paid, taxes, net, paid, dict(taxes))
                charged.append(row)
    for row in sorted(charged, key=lambda row: row.id, reverse=True):
        sources.by_item[row.subscription_line_item_id or ""].append(sources.lines[row.id])
    return charged


async def _paying(
    session: AsyncSession, windows: Mapping[str, Period], rows: Sequence[InvoiceLineItem]
) -> dict[str, Period]:
    """What paid for items, in `windows`, beside their lines `rows`: the items that were credited in the settlements in
    which these were charged, and those that they have followed since; by item with its service period."""
    start = min(window.start for window in windows.values())
    entry, item = ProrationSettlement, SubscriptionLineItem
    reduced = {row.invoice_id for row in rows if row.proration_credit > 0}
    own = select(entry.settlement_key).where(
        in_array(entry.subscription_line_item_id, windows),
        entry.effective_at >= start,
        entry.status == Status.PUBLISHED,
    )
    credited = await session.execute(
        select(entry.subscription_line_item_id, entry.window_start, entry.window_end).where(
            entry.settlement_key.in_(own) | in_array(entry.invoice_id, reduced),
            entry.credit > 0,
            entry.status == Status.PUBLISHED,
        )
    )
    paying = {item_id: Period(window_start, window_end) for item_id, window_start, window_end in credited}
    followed = await session.execute(
        select(item.id, item.replaces_id).where(
            in_array(item.id, windows), item.replaces_id.is_not(None), item.start_date >= start
        )
    )
    # a version that was charged nothing has no settlement of its own that leads to the one before it
    return {former: windows[item_id] for item_id, former in followed if former is not None} | paying


async def _take_off_notes(session: AsyncSession, sources: FeeSources) -> None:
    """What notes that took effect have credited of the lines is not there to be given back again, nor is what went
    back unasked."""
    if not sources.lines:
        return
    noted = await session.execute(
        select(CreditNoteLine, CreditNote.settlement_key.is_(None))
        .join(CreditNote, CreditNote.id == CreditNoteLine.credit_note_id)
        .where(
            in_array(CreditNoteLine.invoice_line_item_id, sources.lines),
            CreditNote.credit_note_status == CreditNoteStatus.FINALIZED,
        )
    )
    for note_line, is_by_hand in noted:
        line = sources.lines[note_line.invoice_line_item_id]
        if is_by_hand:
            line.by_hand = EXACT.add(line.by_hand, note_line.charge_net)
        line.left = max(EXACT.subtract(line.left, note_line.charge_net), ZERO)
        line.paid_left = max(EXACT.subtract(line.paid_left, note_line.net_amount), ZERO)
        for tax in note_line.taxes:
            rate = tax["tax_rate_id"]
            line.left_taxes[rate] = EXACT.subtract(line.left_taxes.get(rate, ZERO), Decimal(tax["amount"]))
    for line_id, gone in (await sent_back_by_line(session, sources.invoices)).items():
        if line_id in sources.lines:
            _take_off(sources.lines[line_id], gone)


def _take_off(line: FundingLine, gone: TakenBack) -> None:
    line.by_hand = EXACT.add(line.by_hand, gone.charged_net)
    line.left = max(EXACT.subtract(line.left, gone.charged_net), ZERO)
    line.paid_left = max(EXACT.subtract(line.paid_left, gone.net), ZERO)
    for rate, tax in gone.taxes:
        line.left_taxes[rate] = EXACT.subtract(line.left_taxes.get(rate, ZERO), tax)


async def taken_by_hand(session: AsyncSession, line_ids: Collection[str]) -> Mapping[str, Decimal]:
    """What notes that somebody asked for have taken back of lines, net, and what went back unasked: it is not given
    back again."""
    row = CreditNoteLine
    sums = await session.execute(
        select(row.invoice_line_item_id, func.sum(row.charge_net))
        .join(CreditNote, CreditNote.id == row.credit_note_id)
        .where(
            in_array(row.invoice_line_item_id, line_ids),
            CreditNote.credit_note_status == CreditNoteStatus.FINALIZED,
            CreditNote.settlement_key.is_(None),
        )
        .group_by(row.invoice_line_item_id)
    )
    taken: dict[str, Decimal] = dict(sums.all())
    charging = select(InvoiceLineItem.invoice_id).where(in_array(InvoiceLineItem.id, line_ids)).distinct()
    for line_id, gone in (await sent_back_by_line(session, (await session.scalars(charging)).all())).items():
        taken[line_id] = EXACT.add(taken.get(line_id, ZERO), gone.charged_net)
    return taken
