"""Commitments over several billing periods: the usage lines of all invoices of a window, in one account.

What earlier and later periods of the window used decides what usage costs, so a line is told with all of them.
Rule: docs/rules/late-usage.md#under-a-commitment-over-several-periods
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.calculation.bill import goes_on
from farthing.billing.calculation.commitments import in_force
from farthing.billing.calculation.usage_charges import Answers, value_of
from farthing.billing.late_usage.detection import CHARGING, FINISHED, REASONS, RecheckableLine, recheckable_lines
from farthing.billing.late_usage.pools import CommitmentPool, PooledPeriod
from farthing.calendar.period import Period
from farthing.core import currency
from farthing.core.enums import LineKind, Status
from farthing.core.money import EXACT, ZERO, exact_sum, round_to
from farthing.events.usage.event_store import LateQuestion, store_of
from farthing.events.usage.stretch import Stretch
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.invoices.receivable import BillingReason, InvoiceType
from farthing.invoices.tables import Invoice
from farthing.storage.postgres import scope_of
from farthing.storage.queries.rows import in_array, not_in_array
from farthing.subscriptions.snapshot.values import LineItemSnapshot

Account = tuple[str, str, str, datetime]
"""What shares a commitment of a window: the subscription that was invoiced, the one that used, the first version of the
item (empty where the commitment is the subscription's), and the window's start."""


@dataclass(frozen=True, slots=True)
class CommitmentUse:
    """What was used of commitments, at its cost before any overage factor, as an invoice of the subscription `billed`
    counts it: by a subscription, and by which of its line items, unless it was overage of all of them, in the period
    that began at `start`."""

    billed: str
    subscription_id: str
    item_id: str
    start: datetime
    base: Decimal


async def commitment_use(session: AsyncSession, members: Collection[str], own: Collection[str]) -> list[CommitmentUse]:
    """What invoices, but for `own`, have counted towards longer commitments of `members`, late lines with them, and
    what corrections took off that; computed drafts count, threshold invoices do not.

    They may have been invoiced by themselves, and with a parent.
    """
    given = {**_scope(session), "members": list(members)}
    billed = [*members, *await session.scalars(_BILLED, given)]
    line = InvoiceLineItem
    rows = await session.execute(
        select(
            Invoice.subscription_id,
            line.subscription_id,
            line.subscription_line_item_id,
            # a version that began in mid-period belongs where its period does
            func.least(line.period_start, Invoice.period_start),
            line.commitment_base,
        )
        .join(Invoice, Invoice.id == line.invoice_id)
        .where(
            in_array(Invoice.subscription_id, billed),
            in_array(line.subscription_id, members),
            line.status == Status.PUBLISHED,
            line.commitment_base.is_not(None),
            Invoice.status == Status.PUBLISHED,
            Invoice.invoice_status.in_(CHARGING),
            # an ended subscription's late lines stand on an invoice of their own
            (Invoice.invoice_type == InvoiceType.SUBSCRIPTION) | (line.kind == LineKind.LATE_USAGE),
            Invoice.billing_reason != BillingReason.AUTO_INVOICE_THRESHOLD,
            not_in_array(Invoice.id, own),
        )
    )
    taken = await session.execute(_CORRECTED_USE, {**given, "billed": billed})
    return [
        CommitmentUse(billed_id or "", subscription_id or "", item_id or "", *rest)
        for billed_id, subscription_id, item_id, *rest in [*rows, *taken]
    ]


_BILLED = text(
    """
    SELECT DISTINCT invoice.subscription_id
    FROM subscription_line_items AS item
    JOIN invoice_line_items AS line ON line.environment_id = item.environment_id
        AND line.subscription_line_item_id = item.id AND line.status = 'published'
    JOIN invoices AS invoice ON invoice.id = line.invoice_id AND invoice.invoice_status = ANY (:charging)
    WHERE item.environment_id = :environment AND item.subscription_id = ANY (:members)
        AND invoice.subscription_id IS NOT NULL
    """
)
_CORRECTED_USE = text(
    """
    SELECT correction.subscription_id, line.subscription_id, line.subscription_line_item_id, line.period_start,
        correction.commitment_base
    FROM invoice_correction_lines AS correction
    JOIN invoice_line_items AS line ON line.id = correction.invoice_line_item_id
    JOIN invoices AS charged ON charged.id = correction.invoice_id
    WHERE correction.environment_id = :environment AND correction.subscription_id = ANY (:billed)
        AND correction.commitment_base IS NOT NULL AND line.subscription_id = ANY (:members)
        AND charged.status = 'published' AND charged.invoice_status = ANY (:charging)
    """
)
_TAKEN_OF_OVERAGE = text(
    """
    SELECT correction.invoice_line_item_id, sum(correction.amount)
    FROM invoice_correction_lines AS correction
    JOIN invoices AS charged ON charged.id = correction.invoice_id
    WHERE correction.environment_id = :environment AND correction.subscription_id = ANY (:billed)
        AND correction.invoice_line_item_id = ANY (:lines) AND correction.direction = 'credit'
        AND charged.status = 'published' AND charged.invoice_status = ANY (:charging)
    GROUP BY correction.invoice_line_item_id
    """
)


def _scope(session: AsyncSession) -> dict[str, Any]:
    return {"environment": scope_of(session).environment_id, "charging": [status.value for status in CHARGING]}


async def with_windows(
    session: AsyncSession, lines: Sequence[RecheckableLine], own: Collection[str] = ()
) -> list[RecheckableLine]:
    """The lines, and those that share their longer commitments on other invoices, in pools of a window each.

    Statements: where there are such commitments, those of `recheckable_lines` again, and six more.
    """
    lasting = [line for line in lines if line.commitment_window is not None]
    if not lasting:
        return list(lines)
    elsewhere = await _other_invoices(session, lasting, {line.line.invoice_id for line in lines}, own)
    others = [line for line in await recheckable_lines(session, elsewhere, own) if line.commitment_window is not None]
    first_versions = _first_versions([*lasting, *others])
    asked = {_account(line, first_versions) for line in lasting}
    theirs = [replace(line, is_elsewhere=True) for line in others if _account(line, first_versions) in asked]
    every = sorted([*lines, *theirs], key=lambda line: (line.line.invoice_period.end, line.line.invoice_id))
    found = await _WindowCharges.read(session, [*lasting, *theirs], own)
    by_account: dict[Account, list[int]] = defaultdict(list)
    for place, line in enumerate(every):
        if line.commitment_window is not None:
            by_account[_account(line, first_versions)].append(place)
    for places in by_account.values():
        pooled = found.pooled([every[place] for place in places], first_versions)
        for place, line in zip(places, pooled, strict=True):
            every[place] = line
    return every


async def without_forgotten(
    session: AsyncSession, lines: Sequence[RecheckableLine], answers: Answers
) -> list[RecheckableLine]:
    """The lines, of which those on other invoices stand as they were invoiced whose usage is less although no event
    came or went since: retention has deleted theirs. One statement, if there are any."""
    fallen = [
        line
        for line in lines
        if line.is_elsewhere and value_of(line.plan.meter, line.plan.raw, answers) < line.line.usage
    ]
    asked = [
        LateQuestion(line.line.id, customer, piece.start, piece.end, line.line.watermark)
        for line in fallen
        if line.line.watermark is not None
        for question in line.plan.raw
        for piece in (Stretch(question.customers, question.start, question.end), *question.more)
        for customer in piece.customers
    ]
    if not asked:
        return list(lines)
    changed = await store_of(session).usage.find_late(session, asked)
    forgotten = {line.line.id for line in fallen} - changed
    return [replace(line, is_forgotten=line.line.id in forgotten) for line in lines]


async def _other_invoices(
    session: AsyncSession, lines: Sequence[RecheckableLine], asked: Collection[str], own: Collection[str]
) -> list[str]:
    """The finished invoices of the windows that these lines are in, but for those they stand on."""
    windows: dict[str, list[Period]] = defaultdict(list)
    for line in lines:
        if line.commitment_window is not None:
            windows[line.line.billed].append(line.commitment_window)
    rows = await session.execute(
        select(Invoice.id, Invoice.subscription_id, Invoice.period_start)
        .where(
            in_array(Invoice.subscription_id, windows),
            Invoice.status == Status.PUBLISHED,
            Invoice.invoice_type == InvoiceType.SUBSCRIPTION,
            Invoice.invoice_status.in_(FINISHED),
            Invoice.billing_reason.in_(REASONS),
            Invoice.period_start >= min(window.start for some in windows.values() for window in some),
            not_in_array(Invoice.id, [*asked, *own]),
        )
        .order_by(Invoice.id)
    )
    return [
        invoice_id
        for invoice_id, subscription_id, start in rows
        if start is not None and any(window.contains(start) for window in windows[subscription_id or ""])
    ]


def _first_versions(lines: Iterable[RecheckableLine]) -> dict[str, str]:
    """The first of the versions that share each item's commitment, by the id of each."""
    items: dict[str, LineItemSnapshot] = {item.id: item for line in lines for item in line.member.items}
    first: dict[str, str] = {}
    for item in items.values():
        version = item
        while (former := items.get(version.replaces_id or "")) is not None and goes_on(version, former):
            version = former
        first[item.id] = version.id
    return first


def _account(line: RecheckableLine, first_versions: Mapping[str, str]) -> Account:
    assert line.commitment_window is not None, "only lines under a longer commitment share one"
    item_id = "" if line.member.commitment is not None else first_versions[line.line.item_id]
    return line.line.billed, line.member.id, item_id, line.commitment_window.start


@dataclass(frozen=True, slots=True)
class _ChargedRow:
    """A row of an invoice that charges for usage, or beside it for all of it."""

    id: str
    invoice_id: str
    billed: str
    subscription_id: str
    item_id: str
    kind: LineKind
    window_start: datetime
    start: datetime
    amount: Decimal
    quantity: Decimal
    base: Decimal | None
    is_cut: bool
    is_edited: bool
    rating: Mapping[str, Any] | None

    @property
    def cost(self) -> Decimal:
        """What its usage cost before any commitment, as it was rated."""
        return exact_sum([Decimal(part["amount"]) for part in (self.rating or {}).get("parts", ())])

    @property
    def rated_quantity(self) -> Decimal:
        return Decimal((self.rating or {}).get("quantity", "0"))


@dataclass(frozen=True, slots=True)
class _WindowCharges:
    """What invoices have charged in the windows, by member, and what was used of the commitments."""

    rows: Mapping[str, Sequence[_ChargedRow]]
    taken: Mapping[str, Decimal]
    use: Sequence[CommitmentUse]

    @classmethod
    async def read(
        cls, session: AsyncSession, lines: Sequence[RecheckableLine], own: Collection[str]
    ) -> _WindowCharges:
        billed = {line.line.billed for line in lines}
        members = {line.member.id for line in lines}
        since = min(line.commitment_window.start for line in lines if line.commitment_window is not None)
        row = InvoiceLineItem
        start = func.least(row.period_start, Invoice.period_start)
        found = await session.execute(
            select(
                row.id,
                row.invoice_id,
                Invoice.subscription_id,
                row.subscription_id,
                func.coalesce(row.subscription_line_item_id, ""),
                row.kind,
                row.period_start,
                start,
                row.charge_amount,
                row.quantity,
                row.commitment_base,
                row.already_invoiced.is_not(None),
                row.parent_line_item_id.is_not(None),
                row.rating,
            )
            .join(Invoice, Invoice.id == row.invoice_id)
            .where(
                in_array(Invoice.subscription_id, billed),
                in_array(row.subscription_id, members),
                row.kind.in_((LineKind.USAGE, LineKind.OVERAGE, LineKind.TRUE_UP)),
                row.status == Status.PUBLISHED,
                Invoice.status == Status.PUBLISHED,
                Invoice.invoice_status.in_(CHARGING),
                Invoice.invoice_type == InvoiceType.SUBSCRIPTION,
                not_in_array(Invoice.id, own),
                start >= since,
            )
        )
        rows: dict[str, list[_ChargedRow]] = defaultdict(list)
        for columns in found:
            charged = _ChargedRow(*columns)
            rows[charged.subscription_id].append(charged)
        overages = [charged.id for theirs in rows.values() for charged in theirs if not charged.item_id]
        taken = {}
        if overages:
            values = {**_scope(session), "billed": list(billed), "lines": overages}
            taken = {line_id: amount for line_id, amount in await session.execute(_TAKEN_OF_OVERAGE, values)}  # noqa: C416
        return cls(rows, taken, await commitment_use(session, members, own))

    def pooled(self, lines: Sequence[RecheckableLine], first_versions: Mapping[str, str]) -> list[RecheckableLine]:
        """The lines of an account, the earliest first, with their pool."""
        first = lines[0]
        window, member, of_item = first.commitment_window, first.member, first.member.commitment is None
        assert window is not None, "only lines under a longer commitment share one"
        periods = {line.line.invoice_id: line.plan.charge.period for line in lines}
        last = max(period.end for period in periods.values())
        versions: tuple[str, ...] = ()
        if of_item:
            versions = tuple(dict.fromkeys(line.line.item_id for line in lines))
        chain = {item_id for item_id, of in first_versions.items() if of == first_versions[first.line.item_id]}
        rows = [
            row
            for row in self.rows.get(member.id, ())
            if row.billed == first.line.billed
            and window.contains(row.start)
            and row.start < last
            and (not of_item or row.item_id in chain)
        ]
        uses = [
            use
            for use in self.use
            if use.subscription_id == member.id and window.contains(use.start) and (not of_item or use.item_id in chain)
        ]
        began = min(period.start for period in periods.values())
        billed = first.line.billed
        # what was invoiced with a former parent, or before there was one
        prior = exact_sum([use.base for use in uses if use.billed != billed and use.start < began])
        used = exact_sum([prior, *(use.base for use in uses if use.billed == billed and use.start < last)])
        pool = CommitmentPool(
            member.id,
            tuple(self._period(invoice_id, period, rows) for invoice_id, period in periods.items()),
            all(_is_told(line) for line in lines) and _are_all_there(lines, rows),
            versions,
            used,
            prior,
        )
        by_charge = {(row.invoice_id, row.item_id, row.window_start): row for row in rows if row.kind is LineKind.USAGE}
        return [
            replace(
                line
                if of_item
                else _as_rated(line, by_charge.get((line.line.invoice_id, line.line.item_id, line.line.window.start))),
                pool=pool,
            )
            for line in lines
        ]

    def _period(self, invoice_id: str, period: Period, rows: Sequence[_ChargedRow]) -> PooledPeriod:
        true_up = next((row for row in rows if row.invoice_id == invoice_id and row.kind is LineKind.TRUE_UP), None)
        overage = next(
            (row for row in rows if row.invoice_id == invoice_id and row.kind is LineKind.OVERAGE and not row.item_id),
            None,
        )
        return PooledPeriod(
            invoice_id,
            period,
            true_up=ZERO if true_up is None else true_up.amount,
            true_up_line_id=None if true_up is None else true_up.id,
            overage=ZERO if overage is None else EXACT.add(overage.amount, self.taken.get(overage.id, ZERO)),
            overage_line_id=None if overage is None else overage.id,
        )


def _is_told(line: RecheckableLine) -> bool:
    """Whether a line can be told: nothing keeps it from it, threshold invoices have not cut its period, and no end has
    cut its commitment, of which what was in force then is not known."""
    member, own, period = line.member, line.plan.charge.item.commitment, line.plan.charge.period
    commitment = own if member.commitment is None else member.commitment
    share = 1 if commitment is None else in_force(member, commitment.duration, period)[0]
    return line.kept is None and line.line.measured and period == line.line.invoice_period and share == 1


def _are_all_there(lines: Sequence[RecheckableLine], rows: Sequence[_ChargedRow]) -> bool:
    """Whether all that was charged in the window's periods is on the lines, and nothing was edited or cut.

    A draft amid the window is still to be computed, and what is left of an item that is gone cannot be measured.
    """
    known = {(line.line.invoice_id, line.line.item_id, line.line.window.start) for line in lines}
    invoices = {line.line.invoice_id for line in lines}
    return all(
        not row.is_cut
        and not row.is_edited
        and ((row.invoice_id, row.item_id, row.window_start) in known if row.item_id else row.invoice_id in invoices)
        for row in rows
    )


def _as_rated(line: RecheckableLine, row: _ChargedRow | None) -> RecheckableLine:
    """The line with all of its quantity, and its cost before the commitment of which it has a share."""
    if row is None:
        return line
    quantity = exact_sum([line.line.quantity, row.quantity.copy_negate(), row.rated_quantity])
    digits = currency.digits(line.member.currency)
    base = None if line.line.base is None else round_to(row.cost, digits)
    return replace(line, line=replace(line.line, quantity=quantity, base=base))
