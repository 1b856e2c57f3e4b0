"""Is each settlement what the lines before it say: the credit for unused time, the charge for the rest, and where both
went?

The settlements of an environment are gone through in the order in which they were made, beside what stood behind each
fee by then. What was paid for a fee is read from its lines: net, service time, what fixed coupons took. Reads only.
Rule: docs/rules/proration.md#what-is-settled
Rule: docs/rules/proration.md#settlement
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import groupby

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.calculation.proration import DiscountShare, Served, part_of, unused_time
from farthing.billing.calculation.service_time import NO_TIME, ServiceSpan, service_of
from farthing.billing.changes.fee_sources import paid_by_credit
from farthing.billing.changes.prepaid_fees import FeeTransfer, discount_shares_of
from farthing.billing.periods.coupons import returned_shares
from farthing.billing.proof.rating.service_time import service_span_at
from farthing.billing.tables import ProrationSettlement
from farthing.core import currency
from farthing.core.enums import LineKind, Status
from farthing.core.money import EXACT, ZERO, exact_sum, plain, round_to
from farthing.credits.notes.tables import CreditNote, CreditNoteLine
from farthing.invoices.figures.derivation import Difference
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.invoices.receivable import InvoiceStatus, InvoiceType
from farthing.invoices.tables import Invoice
from farthing.payments.refunds.unasked import unasked_by_invoice
from farthing.rating.pricing.cost import price_quantity
from farthing.storage.queries.rows import in_array
from farthing.subscriptions.item_changes import ItemAction
from farthing.subscriptions.snapshot import loading
from farthing.subscriptions.snapshot.values import LineItemSnapshot, SubscriptionSnapshot

PAGE = 200
"""Subscriptions that are looked at together."""


@dataclass(frozen=True, slots=True)
class _FeeLine:
    """A line that charges a fee, and the invoice that it stands on."""

    line: InvoiceLineItem
    invoice: Invoice
    shares: tuple[DiscountShare, ...]

    @property
    def discount(self) -> Decimal:
        return self.line.charge_discount

    @property
    def since(self) -> datetime | None:
        """From when it counts: that its invoice is final, or was skipped because a credit paid all of it."""
        if self.invoice.invoice_status is InvoiceStatus.SKIPPED:
            return self.invoice.created_at
        return self.invoice.finalized_at

    @property
    def paid(self) -> Decimal:
        """What it charges less discounts, with what an earlier credit paid of it."""
        return EXACT.add(EXACT.subtract(self.line.charge_amount, self.discount), self.line.proration_credit)


@dataclass(slots=True)
class _FeeLines:
    """Lines of fees, in their order, by line item and by invoice."""

    of_item: dict[str, list[_FeeLine]] = field(default_factory=lambda: defaultdict(list))
    on_invoice: dict[str, list[_FeeLine]] = field(default_factory=lambda: defaultdict(list))
    by_hand: dict[str, list[_NoteByHand]] = field(default_factory=lambda: defaultdict(list))
    sent_back: Mapping[str, Decimal] = field(default_factory=dict)
    """What went back of invoices unasked."""


@dataclass(frozen=True, slots=True)
class _NoteByHand:
    """What a note that somebody asked for took back of a line, net, and while it was in effect."""

    net: Decimal
    since: datetime
    until: datetime | None

    def counts_at(self, moment: datetime) -> bool:
        return self.since <= moment and (self.until is None or self.until > moment)


@dataclass(slots=True)
class _Behind:
    """What stands behind one fee in one service period, as far as the settlements have come."""

    paid: Decimal = ZERO
    credited: Decimal = ZERO
    moved_on: bool = False
    """Whether an earlier fee's credit paid a part."""
    service: timedelta = NO_TIME
    until: timedelta = NO_TIME
    shares: list[DiscountShare] = field(default_factory=list)
    is_settled: bool = False

    def served(self) -> Served:
        return Served(
            paid=self.paid,
            credited=self.credited,
            paid_service=self.until,
            paid_length=self.service,
            discounts=tuple(self.shares),
            is_settled=self.is_settled,
        )


async def settlement_differences(session: AsyncSession) -> list[Difference]:
    """Every settlement of the environment that is not what the lines and prices of its fees make it."""
    settled = sorted(await session.scalars(select(ProrationSettlement.subscription_id).distinct()))
    found: list[Difference] = []
    for first in range(0, len(settled), PAGE):
        subscription_ids = settled[first : first + PAGE]
        rows = (
            await session.scalars(
                select(ProrationSettlement)
                .where(
                    in_array(ProrationSettlement.subscription_id, subscription_ids),
                    ProrationSettlement.status == Status.PUBLISHED,
                )
                .order_by(ProrationSettlement.subscription_id, ProrationSettlement.created_at, ProrationSettlement.id)
            )
        ).all()
        loaded = await loading.load(session, subscription_ids)
        members = {member.id: member for snapshot in loaded for member in (*snapshot.grouped, snapshot)}
        lines = await _fee_lines(session, rows, [item.id for member in members.values() for item in member.items])
        lines.by_hand = await _notes_by_hand(session, lines)
        lines.sent_back = await unasked_by_invoice(session, list(lines.on_invoice))
        for subscription_id, theirs in groupby(rows, key=lambda row: row.subscription_id):
            if subscription_id in members:
                found += _Settlements(members[subscription_id], list(theirs), lines).differences()
    return found


async def _fee_lines(session: AsyncSession, rows: Sequence[ProrationSettlement], item_ids: Sequence[str]) -> _FeeLines:
    """The lines of these fees, on invoices that are final or void, and all lines of the settlements' own invoices."""
    line = InvoiceLineItem
    own = {row.invoice_id for row in rows if row.invoice_id is not None}
    found = await session.execute(
        select(line, Invoice)
        .join(Invoice, Invoice.id == line.invoice_id)
        .where(
            in_array(line.subscription_line_item_id, item_ids) | in_array(line.invoice_id, own),
            line.status == Status.PUBLISHED,
            # those that the system before charged have no kind, and say what service they pay for
            (line.kind == LineKind.FIXED) | (line.kind.is_(None) & line.whole_seconds.is_not(None)),
            Invoice.status == Status.PUBLISHED,
            Invoice.invoice_status.in_((InvoiceStatus.FINALIZED, InvoiceStatus.VOIDED)) | paid_by_credit(),
        )
        .order_by(line.id)
    )
    pairs = found.all()
    shares = await discount_shares_of(session, {row.id: invoice.id for row, invoice in pairs})
    lines = _FeeLines()
    for row, invoice in pairs:
        charged = _FeeLine(row, invoice, tuple(shares.get(row.id, ())))
        lines.of_item[row.subscription_line_item_id or ""].append(charged)
        lines.on_invoice[invoice.id].append(charged)
    return lines


async def _notes_by_hand(session: AsyncSession, lines: _FeeLines) -> dict[str, list[_NoteByHand]]:
    """By line of an invoice."""
    line_ids = [fee_line.line.id for fee_lines in lines.of_item.values() for fee_line in fee_lines]
    noted = await session.execute(
        select(
            CreditNoteLine.invoice_line_item_id,
            CreditNoteLine.charge_net,
            CreditNote.finalized_at,
            CreditNote.voided_at,
        )
        .join(CreditNote, CreditNote.id == CreditNoteLine.credit_note_id)
        .where(
            in_array(CreditNoteLine.invoice_line_item_id, line_ids),
            CreditNote.settlement_key.is_(None),
            CreditNote.finalized_at.is_not(None),
        )
    )
    notes: dict[str, list[_NoteByHand]] = defaultdict(list)
    for line_id, net, since, until in noted:
        if since is not None:
            notes[line_id].append(_NoteByHand(net, since, until))
    return notes


@dataclass(slots=True)
class _Settlements:
    """The settlements of one subscription."""

    member: SubscriptionSnapshot
    rows: Sequence[ProrationSettlement]
    lines: _FeeLines
    behind: dict[tuple[str, datetime], _Behind] = field(default_factory=lambda: defaultdict(_Behind))
    counted: set[str] = field(default_factory=set)

    @property
    def digits(self) -> int:
        return currency.digits(self.member.currency)

    def differences(self) -> Iterator[Difference]:
        groups: dict[str, list[ProrationSettlement]] = defaultdict(list)
        for row in self.rows:
            groups[row.settlement_key].append(row)
        for rows in groups.values():
            moves = []
            for row in rows:
                yield from self._row(row)
                moves.append(self._move(row))
            yield from self._where_it_went(rows)
            self._pass_on(rows, moves)

    def _row(self, row: ProrationSettlement) -> Iterator[Difference]:
        before, after = self._sides(row)
        item = before or after
        span = None if item is None else service_span_at(self.member, item, row.window_start)
        if item is None or span is None:
            return
        if span.start != row.window_start:
            yield Difference(row.id, "service period", str(row.window_start), str(span.start))
            return
        if before is not None and self._is_known(row, before):
            yield from self._credit(row, before, span)
        if after is not None:
            yield from self._charge(row, after, span)

    def _sides(self, row: ProrationSettlement) -> tuple[LineItemSnapshot | None, LineItemSnapshot | None]:
        item = self.member.item(row.subscription_line_item_id)
        if row.action == ItemAction.ADD.value:
            return None, item
        followers = (
            other
            for other in self.member.items
            if other.replaces_id == row.subscription_line_item_id and other.start == row.effective_at
        )
        return item, next(followers, None)

    def _is_known(self, row: ProrationSettlement, item: LineItemSnapshot) -> bool:
        """Whether what was paid for a fee by then can be told: nothing of it has become void since, and nobody has
        edited it by hand."""
        return not any(
            line.line.period_start is not None
            and row.window_start <= line.line.period_start < row.window_end
            and (line.invoice.invoice_status is InvoiceStatus.VOIDED or line.invoice.is_manually_edited)
            for line in self.lines.of_item[item.id]
        )

    def _credit(self, row: ProrationSettlement, item: LineItemSnapshot, span: ServiceSpan) -> Iterator[Difference]:
        behind = self.behind[item.id, row.window_start]
        self._count_lines(row, item, span, behind)
        listed = price_quantity(item.price, item.quantity) if item.is_advance and not item.is_onetime else ZERO
        known = replace(behind.served(), credited=EXACT.add(behind.credited, self._credited_by_hand(row, {item.id})))
        unused = unused_time(known, listed, span, row.effective_at, self.digits)
        # of what moved on to this fee, notes may have taken back a part where it came from
        elsewhere = self._credited_by_hand(row, self.lines.of_item.keys() - {item.id}) if behind.moved_on else ZERO
        # of what was paid, a part may have gone back unasked, before the settlement or after it
        gone = self._sent_back(row, self.lines.of_item.keys() if behind.moved_on else {item.id})
        if not EXACT.subtract(unused.credit, EXACT.add(elsewhere, gone)) <= row.credit <= unused.credit:
            yield Difference(row.id, "credit for unused time", plain(row.credit), plain(unused.credit))
        had = behind.shares if row.credit or known.was_free else ()
        due = [part_of(share, unused.share_of_paid, self.digits) for share in had if share.period_start is not None]
        stored, derived = _by_budget(returned_shares(row.returned_discounts)), _by_budget(due)
        if stored != derived:
            yield Difference(row.id, "discounts returned", _shown(stored), _shown(derived))

    def _credited_by_hand(self, row: ProrationSettlement, item_ids: Collection[str]) -> Decimal:
        """What notes had taken back of the lines of these fees when one of them was settled."""
        notes = [note for line in self._lines_in(row, item_ids) for note in self.lines.by_hand[line.id]]
        return exact_sum([note.net for note in notes if note.counts_at(row.created_at)])

    def _sent_back(self, row: ProrationSettlement, item_ids: Collection[str]) -> Decimal:
        """What went back unasked, by now, of the invoices with the lines of these fees."""
        invoice_ids = {line.invoice_id for line in self._lines_in(row, item_ids)}
        return exact_sum([self.lines.sent_back.get(invoice_id, ZERO) for invoice_id in invoice_ids])

    def _lines_in(self, row: ProrationSettlement, item_ids: Collection[str]) -> list[InvoiceLineItem]:
        """The lines of these fees in the service period of a settlement."""
        own = {item.id for item in self.member.items}
        return [
            fee_line.line
            for item_id in own.intersection(item_ids)
            for fee_line in self.lines.of_item[item_id]
            if fee_line.line.period_start is not None
            and row.window_start <= fee_line.line.period_start < row.window_end
        ]

    def _count_lines(
        self, row: ProrationSettlement, item: LineItemSnapshot, span: ServiceSpan, behind: _Behind
    ) -> None:
        """Add what invoices have charged for the fee, up to the settlement, beside the settlements themselves."""
        of_settlements = {other.invoice_id for other in self.rows if other.invoice_id is not None}
        for fee_line in self.lines.of_item[item.id]:
            line, invoice = fee_line.line, fee_line.invoice
            if (
                line.id in self.counted
                or line.period_start is None
                or not span.window.contains(line.period_start)
                or fee_line.since is None
                or fee_line.since > row.created_at
                or (invoice.invoice_type is InvoiceType.ONE_OFF and invoice.id in of_settlements)
            ):
                continue
            self.counted.add(line.id)
            service = service_of(line.whole_seconds or ZERO)
            behind.paid = EXACT.add(behind.paid, fee_line.paid)
            behind.service += service
            behind.until = max(behind.until, span.consumed(line.period_start) + service)
            behind.shares += fee_line.shares

    def _charge(self, row: ProrationSettlement, item: LineItemSnapshot, span: ServiceSpan) -> Iterator[Difference]:
        own = service_span_at(self.member, item, row.effective_at) or span
        share = own.share(service_of(row.charged_seconds))
        due = round_to(Fraction(price_quantity(item.price, item.quantity)) * share, self.digits)
        if row.charge != due:
            yield Difference(row.id, "charge for the rest", plain(row.charge), plain(due))
        most = own.between(row.effective_at, None)
        if service_of(row.charged_seconds) > most:
            yield Difference(row.id, "service time charged", str(row.charged_seconds), f"at most {most}")
        lines = [line for line in self.lines.of_item[item.id] if line.invoice.id == row.invoice_id]
        if row.invoice_id is None or any(line.invoice.is_manually_edited for line in lines):
            return
        discount = exact_sum([line.discount for line in lines])
        if row.discount != discount:
            yield Difference(row.id, "discount of the charge", plain(row.discount), plain(discount))

    def _where_it_went(self, rows: Sequence[ProrationSettlement]) -> Iterator[Difference]:
        """Credits have reduced the charges of an invoice, or are owed to the payer."""
        credit = exact_sum([row.credit for row in rows])
        given = exact_sum([row.credited_to_payer for row in rows])
        charge = exact_sum([EXACT.subtract(row.charge, row.discount) for row in rows])
        lines = self.lines.on_invoice[rows[0].invoice_id or ""]
        if any(line.invoice.is_manually_edited for line in lines):
            return
        used = exact_sum([line.line.proration_credit for line in lines])
        opened = any(line.invoice.invoice_type is not InvoiceType.ONE_OFF for line in lines)
        due = EXACT.subtract(credit, used if opened else min(credit, charge))
        # credits and charges that carry different taxes are not netted
        taxed = any(row.tax_credited for row in rows) or any(line.invoice.total_tax for line in lines)
        most = EXACT.subtract(credit, used) if taxed else due
        if not due <= given <= most:
            yield Difference(rows[0].id, "owed to the payer", plain(given), plain(due))
        if lines and not opened and used > min(credit, charge):
            yield Difference(rows[0].id, "credit on the invoice", plain(used), plain(min(credit, charge)))

    def _move(self, row: ProrationSettlement) -> FeeTransfer:
        before, after = self._sides(row)
        return FeeTransfer(
            before=None if before is None else before.id,
            after=None if after is None else after.id,
            credit=row.credit,
            charge=EXACT.subtract(row.charge, row.discount),
            given=row.credited_to_payer,
        )

    def _pass_on(self, rows: Sequence[ProrationSettlement], moves: Sequence[FeeTransfer]) -> None:
        """What was taken from the fees before, and invoiced beside that, stands behind the fees after."""
        invoiced = self.lines.on_invoice[rows[0].invoice_id or ""]
        standing = [line for line in invoiced if line.invoice.invoice_status is InvoiceStatus.FINALIZED]
        pool = exact_sum([EXACT.subtract(line.line.charge_amount, line.discount) for line in standing])
        for row, move in zip(rows, moves, strict=True):
            if move.before is not None:
                behind = self.behind[move.before, row.window_start]
                taken = min(move.credit, max(EXACT.subtract(behind.paid, behind.credited), ZERO))
                behind.credited = EXACT.add(behind.credited, taken)
                behind.is_settled = True
                pool = EXACT.add(pool, taken)
            pool = EXACT.subtract(pool, move.given)
        for row, move in zip(rows, moves, strict=True):
            if move.after is None:
                continue
            after = self.member.item(move.after)
            span = None if after is None else service_span_at(self.member, after, row.effective_at)
            if span is None:
                continue
            put = max(min(move.charge, pool), ZERO)
            pool = EXACT.subtract(pool, put)
            behind = self.behind[move.after, span.start]
            behind.paid = EXACT.add(behind.paid, put)
            behind.moved_on = behind.moved_on or any(other.credit for other in rows)
            behind.service += service_of(row.charged_seconds)
            behind.until = span.consumed(row.effective_at) + service_of(row.charged_seconds)
            behind.shares += [
                share for line in standing if line.line.subscription_line_item_id == move.after for share in line.shares
            ]


def _by_budget(shares: Sequence[DiscountShare]) -> Mapping[str, Decimal]:
    """What went back to the budgets, by association and period; nothing where it is nothing."""
    totals: dict[str, Decimal] = defaultdict(lambda: ZERO)
    for share in shares:
        totals[f"{share.association_id} of {share.period_start}"] += share.amount
    return {budget: amount for budget, amount in totals.items() if amount}


def _shown(amounts: Mapping[str, Decimal]) -> str:
    return ", ".join(f"{plain(amount)} to {budget}" for budget, amount in sorted(amounts.items())) or "none"
