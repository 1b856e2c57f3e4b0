"""Late usage: what has changed in periods whose invoice is final already, and what of it the next invoice charges.

A line's late usage is the meter's value over its window now, less what was invoiced of it; so it is right for every
aggregation, for corrections and for deletions. Its price is what the whole costs now, less what was charged, so that
allowances and tiers count once.
Rule: docs/rules/late-usage.md#what-is-late
Rule: docs/rules/late-usage.md#what-is-charged
Rule: docs/rules/late-usage.md#not-charged
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.calculation.bill import goes_on
from farthing.billing.calculation.charges import MeteredCharge
from farthing.billing.calculation.commitments import in_force, span_of
from farthing.billing.calculation.usage_charges import Committed, Question, UsagePlan, plan
from farthing.billing.late_usage.pools import CommitmentPool, PooledPeriod
from farthing.calendar.period import Period
from farthing.catalogue.prices.rated import rated
from farthing.catalogue.prices.tables import Price
from farthing.catalogue.products import tables as products
from farthing.core.enums import LineKind, Status
from farthing.core.money import ZERO
from farthing.events.ingest.meters import meter_of
from farthing.events.tables import MeterBackfill
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.invoices.receivable import BillingReason, InvoiceStatus
from farthing.metering.meter import Meter
from farthing.storage.postgres import scope_of
from farthing.storage.queries.rows import in_array
from farthing.subscriptions.snapshot import loading
from farthing.subscriptions.snapshot.values import LineItemSnapshot, SubscriptionSnapshot

REACH = timedelta(days=35)
"""How long before the end of an invoice's period another may have ended for its late usage to be charged."""

FINISHED = (InvoiceStatus.FINALIZED, InvoiceStatus.SKIPPED)
"""Invoices that no computation will change any more; one that came to nothing is final, too."""
CHARGING = (InvoiceStatus.DRAFT, *FINISHED)
REASONS = (BillingReason.SUBSCRIPTION_CYCLE, BillingReason.PRORATION)
"""Invoices of whole periods, and of those that a cancellation ended. What threshold invoices charged is part of the
line of their period."""


class NotCharged(StrEnum):
    """Why late usage is reported and never charged."""

    COMMITMENT = "commitment"
    EDITED = "edited_by_hand"
    NO_WATERMARK = "no_watermark"
    METER_WIDENED = "meter_widened"
    NEGATIVE = "negative"


@dataclass(frozen=True, slots=True)
class InvoicedUsage:
    """A usage line of a finished invoice.

    `amount`, `quantity` (billable) and `usage` (raw) are what all invoices that count charge so far for its item and
    window: the line itself, its overage, threshold invoices of the period, and earlier late lines, which may stand on
    an invoice of their own, less what corrections took back. `base` is what its own invoice made of it before the
    subscription's commitment; None where late lines or corrections have changed that since. A line that is all overage
    stands for its item.
    `billed` is the subscription that was invoiced, `subscription_id` the one that used: the same, or a child of it.
    """

    id: str
    invoice_id: str
    billed: str
    subscription_id: str
    item_id: str
    price_id: str
    display_name: str
    window: Period
    invoice_period: Period
    watermark: int | None
    committed: bool
    edited: bool
    measured: bool
    amount: Decimal
    quantity: Decimal
    usage: Decimal
    base: Decimal | None


@dataclass(frozen=True, slots=True)
class RecheckableLine:
    """A line that can be measured again, at the price and in the period that it was charged for."""

    line: InvoicedUsage
    member: SubscriptionSnapshot
    plan: UsagePlan
    kept: NotCharged | None
    committed: Committed | None = None
    """How the item's own commitment stands in the period; None without one."""
    pool: CommitmentPool | None = None
    """The account that it shares with the other lines under the subscription's commitment; None without one."""
    commitment_window: Period | None = None
    """The window of the commitment over several billing periods that it is under; None without one."""
    is_elsewhere: bool = False
    """Whether it is here for its pool alone, and its own invoice was not asked for."""
    is_forgotten: bool = False
    """Whether events of it are kept no longer, so that it stands as it was invoiced."""
    is_left_by_correction: bool = False
    """Whether a correction has left it to the next invoice to charge: fewer units may cost more."""

    def ranges(self) -> Iterable[Question]:
        """Every question that `late_charges` needs answered."""
        return self.plan.ranges()


async def finished_before(session: AsyncSession, ends: Mapping[str, datetime]) -> list[str]:
    """The finished invoices of these subscriptions whose period ended before `ends`, and at most `REACH` before."""
    rows = await session.scalars(
        _FINISHED_BEFORE,
        {
            "environment": scope_of(session).environment_id,
            "subscriptions": list(ends),
            "since": [end - REACH for end in ends.values()],
            "before": list(ends.values()),
            "finished": [status.value for status in FINISHED],
            "reasons": [reason.value for reason in REASONS],
        },
    )
    return list(rows)


# each step through its index, whatever the planner believes of tables that are being filled (OFFSET 0 keeps its hands
# off); the word 'published' is a constant, so that partial indexes serve
_FINISHED_BEFORE = text(
    """
    SELECT invoice.id
    FROM unnest(CAST(:subscriptions AS text[]), CAST(:since AS timestamptz[]), CAST(:before AS timestamptz[]))
        AS asked (subscription_id, since, before)
    CROSS JOIN LATERAL (
        SELECT id FROM invoices
        WHERE environment_id = :environment AND subscription_id = asked.subscription_id AND status = 'published'
            AND invoice_type = 'SUBSCRIPTION' AND invoice_status = ANY (:finished) AND billing_reason = ANY (:reasons)
            AND period_end >= asked.since AND period_end < asked.before
        OFFSET 0
    ) AS invoice
    """
)
_LINES = text(
    """
    SELECT line.id, invoice.id AS invoice_id, invoice.subscription_id AS billed, line.subscription_id,
        line.subscription_line_item_id AS item_id,
        line.price_id, coalesce(line.display_name, '') AS display_name, line.period_start, line.period_end,
        invoice.period_start AS invoice_start, invoice.period_end AS invoice_end, invoice.usage_watermark AS watermark,
        coalesce(jsonb_typeof(line.commitment_info) = 'object', false) OR so_far.overage AS committed,
        line.parent_line_item_id IS NOT NULL AS edited, line.raw_usage IS NOT NULL AS measured,
        so_far.amount + corrected.amount AS amount, so_far.quantity + corrected.quantity AS quantity,
        so_far.usage + corrected.usage AS usage,
        CASE WHEN NOT so_far.late AND corrected.times = 0 THEN so_far.base END AS base
    FROM unnest(CAST(:invoices AS text[])) AS asked (id)
    CROSS JOIN LATERAL (
        SELECT id, subscription_id, period_start, period_end, usage_watermark FROM invoices
        WHERE id = asked.id AND invoice_status = ANY (:finished) OFFSET 0
    ) AS invoice
    CROSS JOIN LATERAL (
        SELECT DISTINCT ON (subscription_line_item_id, period_start) * FROM invoice_line_items
        WHERE environment_id = :environment AND invoice_id = invoice.id AND status = 'published'
            AND kind IN (:usage, :overage) AND subscription_line_item_id IS NOT NULL
        ORDER BY subscription_line_item_id, period_start, kind = :overage, position
        OFFSET 0
    ) AS line
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(amount), 0) AS amount, coalesce(sum(quantity), 0) AS quantity,
            coalesce(sum(raw_usage), 0) AS usage,
            sum(commitment_base) FILTER (WHERE charged.invoice_id = line.invoice_id) AS base,
            coalesce(bool_or(kind = :overage), false) AS overage, coalesce(bool_or(kind = :late_usage), false) AS late
        FROM (
            SELECT invoice_id, coalesce(source_amount, amount) AS amount, quantity, raw_usage, kind, commitment_base
            FROM invoice_line_items AS other
            WHERE other.environment_id = :environment AND other.status = 'published'
                AND other.subscription_line_item_id = line.subscription_line_item_id
                AND other.period_start = line.period_start AND other.invoice_id <> ALL (:own)
            OFFSET 0
        ) AS charged
        CROSS JOIN LATERAL (
            SELECT FROM invoices
            WHERE id = charged.invoice_id AND status = 'published' AND invoice_status = ANY (:charging)
            OFFSET 0
        ) AS charging
        WHERE kind IN (:usage, :late_usage, :overage)
    ) AS so_far
    CROSS JOIN LATERAL (
        -- what was taken of overage of all lines on its account was not charged by its own
        SELECT coalesce(sum(amount) FILTER (WHERE EXISTS (
                SELECT FROM invoice_line_items AS charged
                WHERE charged.id = correction.invoice_line_item_id AND charged.subscription_line_item_id IS NOT NULL
            )), 0) AS amount,
            coalesce(sum(quantity), 0) AS quantity, coalesce(sum(usage), 0) AS usage, count(*) AS times
        FROM invoice_correction_lines AS correction
        WHERE correction.environment_id = :environment AND correction.direction = 'credit'
            AND correction.subscription_line_item_id = line.subscription_line_item_id
            AND correction.period_start = line.period_start
            AND EXISTS (SELECT FROM invoices
                WHERE id = correction.invoice_id AND status = 'published' AND invoice_status = ANY (:charging))
    ) AS corrected
    ORDER BY invoice.period_end, invoice.id, line.position, line.id
    """
)


async def recheckable_lines(
    session: AsyncSession, invoice_ids: Sequence[str], own: Collection[str] = ()
) -> list[RecheckableLine]:
    """The usage lines of these invoices, as far as they are finished, in the order of their periods.

    What the `own` invoices charge does not count: they are being computed. A line whose item is gone is left out.
    Statements: one for the lines and, where there are any, those of `loading.load`, meters, their backfills, and
    prices of items that have another one by now.
    """
    if not invoice_ids:
        return []
    rows = await session.execute(
        _LINES,
        {
            "environment": scope_of(session).environment_id,
            "invoices": list(invoice_ids),
            "own": list(own),
            "finished": [status.value for status in FINISHED],
            "charging": [status.value for status in CHARGING],
            "usage": LineKind.USAGE.value,
            "late_usage": LineKind.LATE_USAGE.value,
            "overage": LineKind.OVERAGE.value,
        },
    )
    lines = [
        InvoicedUsage(
            id=row.id,
            invoice_id=row.invoice_id,
            billed=row.billed,
            subscription_id=row.subscription_id,
            item_id=row.item_id,
            price_id=row.price_id,
            display_name=row.display_name,
            window=Period(row.period_start, row.period_end),
            invoice_period=Period(row.invoice_start, row.invoice_end),
            watermark=row.watermark,
            committed=row.committed,
            edited=row.edited,
            measured=row.measured,
            amount=row.amount,
            quantity=row.quantity,
            usage=row.usage,
            base=row.base,
        )
        for row in rows
        if row.period_start < row.period_end
    ]
    return await _planned(session, lines) if lines else []


async def _planned(session: AsyncSession, lines: Sequence[InvoicedUsage]) -> list[RecheckableLine]:
    since = min(min(line.window.start, line.invoice_period.start) for line in lines)
    # a child that its parent was invoiced for may have been released since
    charged = {line.billed for line in lines} | {line.subscription_id for line in lines}
    loaded = await loading.load(session, sorted(charged), since=since)
    members = {member.id: member for snapshot in loaded for member in (snapshot, *snapshot.grouped)}
    found = [
        (line, member, item)
        for line in lines
        if (member := members.get(line.subscription_id)) is not None
        and (item := member.item(line.item_id)) is not None
        and item.meter_id is not None
    ]
    items = await _at_their_prices(session, found)
    meters = await _meters(session, {item.meter_id or "" for _, _, item in found})
    periods = _logical_periods(lines)
    result = []
    for (line, member, _), item in zip(found, items, strict=True):
        meter, settled = meters[item.meter_id or ""]
        period = periods[line.billed, line.invoice_period, line.subscription_id]
        charge = MeteredCharge(item, line.window, period)
        entitlement = member.allowances(period).get(meter.id)
        measured = plan(member, charge, meter, entitlement)
        kept = _excluded_because(line, member, item, settled)
        committed = None
        if item.commitment is not None:
            share, closes = in_force(member, item.commitment.duration, period)
            committed = Committed(trues_up=closes, share=share)
        window = _window_of(member, item, period)
        result.append(RecheckableLine(line, member, measured, kept, committed, commitment_window=window))
    return await _pooled(session, lines, _with_versions(result, periods), periods)


def _with_versions(
    found: Sequence[RecheckableLine], periods: Mapping[tuple[str, Period, str], Period]
) -> list[RecheckableLine]:
    """The lines, with the pools of versions of an item that follow one another on an invoice under one commitment."""
    of_item: dict[tuple[str, str], list[RecheckableLine]] = defaultdict(list)
    for recheckable in found:
        of_item[recheckable.line.invoice_id, recheckable.line.item_id].append(recheckable)
    items = {key: lines[-1].plan.charge.item for key, lines in of_item.items()}
    later: dict[tuple[str, str], str] = {}
    for (invoice_id, item_id), item in items.items():
        is_lasting = of_item[invoice_id, item_id][0].commitment_window is not None
        if item.replaces_id is not None and not is_lasting and goes_on(item, items.get((invoice_id, item.replaces_id))):
            later[invoice_id, item.replaces_id] = item_id
    if not later:
        return list(found)
    pools: dict[tuple[str, str], CommitmentPool] = {}
    followers = {(invoice_id, item_id) for (invoice_id, _), item_id in later.items()}
    for invoice_id, first in later.keys() - followers:
        versions = [first]
        while (invoice_id, versions[-1]) in later:
            versions.append(later[invoice_id, versions[-1]])
        theirs = [line for version in versions for line in of_item[invoice_id, version]]
        is_known = len(theirs) == len(versions) and all(line.kept is None and line.line.measured for line in theirs)
        line, member = theirs[0].line, theirs[0].member
        period = periods[line.billed, line.invoice_period, line.subscription_id]
        pool = CommitmentPool(member.id, (PooledPeriod(invoice_id, period),), is_known, tuple(versions))
        pools |= {(invoice_id, version): pool for version in versions}
    return [_sharing(line, pools.get((line.line.invoice_id, line.line.item_id))) for line in found]


def _sharing(recheckable: RecheckableLine, pool: CommitmentPool | None) -> RecheckableLine:
    if pool is None:
        return recheckable
    kept = recheckable.kept if pool.is_known else recheckable.kept or NotCharged.COMMITMENT
    return replace(recheckable, pool=pool, kept=kept)


async def _pooled(
    session: AsyncSession,
    lines: Sequence[InvoicedUsage],
    found: Sequence[RecheckableLine],
    periods: Mapping[tuple[str, Period, str], Period],
) -> list[RecheckableLine]:
    """The lines, with the pools of those under a commitment of their subscription: one statement, if there are any."""
    by_pool: dict[tuple[str, str], list[RecheckableLine]] = defaultdict(list)
    for recheckable in found:
        if recheckable.member.commitment is not None and recheckable.commitment_window is None:
            by_pool[recheckable.line.invoice_id, recheckable.member.id].append(recheckable)
    if not by_pool:
        return list(found)
    charged = Counter((line.invoice_id, line.subscription_id) for line in lines)
    true_ups = await _true_ups(session, {invoice_id for invoice_id, _ in by_pool})
    pools = {}
    for key, theirs in by_pool.items():
        member, line = theirs[0].member, theirs[0].line
        period = periods[line.billed, line.invoice_period, line.subscription_id]
        true_up = true_ups.get(key, _NO_TRUE_UP)
        decides_alone = all(
            recheckable.line.measured and recheckable.kept is None and recheckable.committed is None
            for recheckable in theirs
        )
        whole = len(theirs) == charged[key] and not true_up.edited
        of_period = PooledPeriod(line.invoice_id, period, true_up.amount, true_up.line_id)
        pools[key] = CommitmentPool(member.id, (of_period,), decides_alone and whole)
    return [_sharing(line, pools.get((line.line.invoice_id, line.member.id))) for line in found]


@dataclass(frozen=True, slots=True)
class _TrueUp:
    line_id: str | None
    amount: Decimal
    edited: bool


_NO_TRUE_UP = _TrueUp(None, ZERO, False)


async def _true_ups(session: AsyncSession, invoice_ids: Collection[str]) -> dict[tuple[str, str], _TrueUp]:
    """What was charged to reach commitments, by invoice and subscription."""
    line = InvoiceLineItem
    rows = await session.execute(
        select(line.invoice_id, line.subscription_id, line.id, line.charge_amount, line.parent_line_item_id).where(
            in_array(line.invoice_id, invoice_ids), line.kind == LineKind.TRUE_UP, line.status == Status.PUBLISHED
        )
    )
    return {
        (invoice_id, subscription_id or ""): _TrueUp(line_id, amount, parent_id is not None)
        for invoice_id, subscription_id, line_id, amount, parent_id in rows
    }


def _logical_periods(lines: Sequence[InvoicedUsage]) -> dict[tuple[str, Period, str], Period]:
    """The period that allowances ran over: the invoice's, or a longer one that threshold invoices had cut, whose
    usage lines begin where it does."""
    starts: dict[tuple[str, Period, str], datetime] = {}
    for line in lines:
        key = line.billed, line.invoice_period, line.subscription_id
        starts[key] = min(starts.get(key, line.invoice_period.start), line.window.start)
    return {key: Period(start, key[1].end) for key, start in starts.items()}


async def _at_their_prices(
    session: AsyncSession, found: Sequence[tuple[InvoicedUsage, SubscriptionSnapshot, LineItemSnapshot]]
) -> list[LineItemSnapshot]:
    """The items as they were charged; a change of plan may have pointed them to another price since."""
    changed = {line.price_id for line, _, item in found if line.price_id != item.price_id}
    prices: dict[str, Price] = {}
    if changed:
        prices = {price.id: price for price in await session.scalars(select(Price).where(Price.id.in_(changed)))}
    return [
        replace(item, price_id=line.price_id, price=rated(prices[line.price_id])) if line.price_id in prices else item
        for line, _, item in found
    ]


async def _meters(session: AsyncSession, ids: Collection[str]) -> dict[str, tuple[Meter, MeterBackfill | None]]:
    """Meters, with what is known of how they came to stored events."""
    meters = await session.scalars(select(products.MeterRow).where(products.MeterRow.id.in_(ids)))
    backfills = await session.scalars(
        select(MeterBackfill).where(MeterBackfill.id.in_(ids)).execution_options(populate_existing=True)
    )
    by_id = {backfill.id: backfill for backfill in backfills}
    return {row.id: (meter_of(row), by_id.get(row.id)) for row in meters}


def _excluded_because(
    line: InvoicedUsage, member: SubscriptionSnapshot, item: LineItemSnapshot, backfill: MeterBackfill | None
) -> NotCharged | None:
    if member.commitment is None and not _decides_alone(line, member, item):
        return NotCharged.COMMITMENT
    if line.edited:
        return NotCharged.EDITED
    if line.watermark is None:
        return NotCharged.NO_WATERMARK
    return NotCharged.METER_WIDENED if widened_since(backfill, line.watermark) else None


def _decides_alone(line: InvoicedUsage, member: SubscriptionSnapshot, item: LineItemSnapshot) -> bool:
    """Whether a line's own usage alone decides what it costs: it is under no commitment, or under one of its own item
    at the price it was made for; other versions, and other periods, that share it are its pool.
    """
    own, today = item.commitment, member.item(item.id)
    is_promised = own is not None or bool(item.buckets)
    if is_promised != line.committed:
        return False
    # what a quantity comes to follows from the price, which was another one then
    by_price = bool(item.buckets) or (own is not None and own.quantity is not None)
    is_repriced = by_price and (today is None or today.price_id != item.price_id)
    return not is_repriced


def _window_of(member: SubscriptionSnapshot, item: LineItemSnapshot, period: Period) -> Period | None:
    """The window of the commitment over several billing periods that an item is under; None without one."""
    own = item.commitment
    duration = None if own is None or own.windowed else own.duration
    if member.commitment is not None:
        duration = member.commitment.duration
    span = span_of(member, duration, period)
    return None if span is None else span.window


def widened_since(backfill: MeterBackfill | None, watermark: int) -> bool:
    """Whether a meter has come to count stored events since usage was read up to `watermark`, or is about to."""
    if backfill is None:
        return False
    sequence = backfill.finished_sequence  # None for what finished before there were watermarks
    return backfill.finished_at is None or (sequence is not None and sequence > watermark)
