"""Revenue by day, period or in all, and by what it is asked by.

Every granularity adds up the same parts: what each line earns on each day. So rows of days add up to those of periods,
and those to the total.
Rule: docs/rules/reporting.md#revenue
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC as UTC_OFFSET
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.zones import UTC, to_local
from farthing.core.clock import instant
from farthing.core.encoding.wire import json_number
from farthing.core.errors import ValidationFailed
from farthing.core.event_loop.slices import collect
from farthing.core.money import allocate
from farthing.rating.pricing.price import RatedPrice
from farthing.reporting.revenue.by_day.allocation import (
    AllocationPolicy,
    DayPart,
    UsageThrough,
)
from farthing.reporting.revenue.by_day.spreading import parts_of
from farthing.reporting.revenue.by_day.usage import WantedDays, usage_by_day
from farthing.reporting.revenue.figures import RevenueFigures
from farthing.reporting.revenue.lines import (
    LineSelection,
    RevenueLine,
    RevenueSource,
    RevenueStatus,
    count_lines,
    earliest_line,
    few_at_once,
    prices_of,
    read_lines,
    reverted_figures,
    reverts_of,
)
from farthing.reporting.revenue.open_periods import earliest_open_period, provisional_lines
from farthing.reporting.revenue.schemas import (
    RevenueAnalyticsQuery,
    RevenueAnalyticsRequest,
    RevenueAnalyticsResponse,
    RevenueAnalyticsRow,
    RevenueGranularity,
)
from farthing.reporting.revenue.sources import shares_by_source
from farthing.reporting.turns import owner_of_reports

REVENUE_SOURCE, CURRENCY, EVENT_SOURCE = "revenue_source", "currency", "source"
GROUPS = (REVENUE_SOURCE, EVENT_SOURCE, "customer_id", "subscription_id", "price_id", "meter_id", CURRENCY)
MOST_ROWS = 100_000
MOST_DAYS = 3_660

_DAY = timedelta(days=1)
_LATEST = datetime(9999, 1, 1, tzinfo=UTC_OFFSET)
"""Beyond it the day that follows, and the same day in another zone, may have no date."""
_INSTANT = timedelta(microseconds=1)
# the line's period, or its date where it has none, touches the time; or something of it is taken back then
_TOUCHED = """
    coalesce(l.period_start, i.finalized_at, i.reference_date) < :until
    AND greatest(l.period_start, l.period_end, coalesce(l.period_start, i.finalized_at, i.reference_date)) >= :since
    OR i.voided_at >= :since AND i.voided_at < :until
    OR EXISTS (
        SELECT FROM credit_notes AS n WHERE n.environment_id = :environment AND n.invoice_id = i.id
            AND n.finalized_at < :until AND greatest(n.finalized_at, n.voided_at) >= :since
    )
"""


@dataclass(frozen=True, slots=True)
class RevenuePart:
    """What a line, or what takes some of it back, comes to on one day."""

    line: RevenueLine
    part: DayPart
    adjustment: RevenueSource | None


@dataclass(frozen=True, slots=True)
class _RowKey:
    group: tuple[tuple[str, str], ...]
    status: RevenueStatus
    day: str | None
    period: tuple[str, str] | None
    adjustment: str | None


async def revenue(session: AsyncSession, asked: RevenueAnalyticsRequest, now: datetime) -> RevenueAnalyticsResponse:
    """Answer a question about revenue; the session is one snapshot. Raises ValidationFailed."""
    query, days = _read(asked, now)
    selection = _selection(asked)
    by_day = query.granularity is RevenueGranularity.DAY
    parts = await revenue_parts(
        session, selection, days, now, query.allocation_policy, status=asked.status, by_day=by_day
    )
    sources: Mapping[str, Sequence[tuple[str, Decimal]]] = {}
    if EVENT_SOURCE in query.group_by:
        sources = await shares_by_source(session, list({part.line.id: part.line for part in parts}.values()))
    rows: defaultdict[_RowKey, RevenueFigures] = defaultdict(RevenueFigures)

    def added_up() -> Iterator[None]:
        for part in parts:
            for source, figures in _by_source(part, sources):
                key = _key(part, source, query)
                rows[key] = rows[key] + figures
            yield

    await collect(added_up(), owner_of_reports(session))
    if len(rows) > MOST_ROWS:
        raise ValidationFailed.of("group_by", f"would make more than {MOST_ROWS:,} rows; ask for less at a time")
    return RevenueAnalyticsResponse(
        rows=[_row(key, rows[key]) for key in sorted(rows, key=_order)],
        contains_allocated=by_day and any(part.part.is_allocated for part in parts),
        query=query,
    )


async def revenue_since(session: AsyncSession, customer_ids: Sequence[str], now: datetime) -> datetime | None:
    """The beginning of the day before which customers have earned nothing; None where they have at no time."""
    selection = LineSelection(customer_ids=customer_ids)
    known = [await earliest_line(session, selection, now), await earliest_open_period(session, selection)]
    first = min((moment for moment in known if moment is not None), default=None)
    return None if first is None else datetime.combine(first.astimezone(UTC_OFFSET).date(), time(), UTC_OFFSET)


async def lines_by_customer(session: AsyncSession, asked: RevenueAnalyticsRequest, now: datetime) -> dict[str, int]:
    """How many invoiced lines the answer to a question is made of, by customer. Raises ValidationFailed."""
    _, days = _read(asked, now)
    return await count_lines(session, _selection(asked), now, _TOUCHED, {"since": days.start, "until": days.end})


@dataclass(frozen=True, slots=True)
class DaySpan:
    """The days from `first` until the one before `after` of `zone`, and the instants at which they begin and end."""

    first: date
    after: date
    start: datetime
    end: datetime
    zone: ZoneInfo

    def holds(self, day: date) -> bool:
        return self.first <= day < self.after


async def revenue_parts(
    session: AsyncSession,
    selection: LineSelection,
    days: DaySpan,
    now: datetime,
    policy: AllocationPolicy,
    *,
    status: RevenueStatus | None,
    by_day: bool,
) -> list[RevenuePart]:
    """What every line of a selection earns on each of the days, and what was taken back on them.

    Unless it is needed `by_day`, the usage of a line lies on its last of the days.
    """
    lines = await read_lines(session, selection, now, _TOUCHED, {"since": days.start, "until": days.end})
    if status is not RevenueStatus.FINAL:
        lines += await provisional_lines(session, selection, days.end, now)
    lines = [line for line in lines if status is None or line.status is status]
    prices = await prices_of(session, {line.price_id for line in lines})
    wanted = None if by_day else WantedDays(frozenset({days.first, days.after}), frozenset())
    used = await usage_by_day(session, [line for line in lines if line.is_metered], prices, days.zone, wanted)
    owner = owner_of_reports(session)
    parts = await collect(few_at_once(_parts(lines, prices, used, policy, days)), owner)
    by_id = {line.id: line for line in lines}
    for revert in await reverts_of(session, lines):
        for at, net in revert.moments:
            day = to_local(at, days.zone).date()
            if days.holds(day):
                parts.append(_taken_back(by_id[revert.line_id], net, day))
    return parts


def _parts(
    lines: Sequence[RevenueLine],
    prices: Mapping[str, RatedPrice],
    used: Mapping[str, Sequence[UsageThrough]],
    policy: AllocationPolicy,
    days: DaySpan,
) -> Iterator[RevenuePart]:
    for line in lines:
        within = days.first, days.after
        for part in parts_of(line, prices.get(line.price_id), used.get(line.id), policy, days.zone, within):
            if days.holds(part.day):
                yield RevenuePart(line, part, line.adjustment)


def _taken_back(line: RevenueLine, net: Decimal, day: date) -> RevenuePart:
    return RevenuePart(line, DayPart(day, reverted_figures(net), False), RevenueSource.REVERT)


def _by_source(
    part: RevenuePart, sources: Mapping[str, Sequence[tuple[str, Decimal]]]
) -> Iterator[tuple[str, RevenueFigures]]:
    """A part split by the sources of the events behind it, each figure exactly; all of it has none without events."""
    shares = sources.get(part.line.id, ())
    if not shares:
        yield "", part.part.figures
        return
    figures = part.part.figures
    names = RevenueFigures.__dataclass_fields__
    weights = [usage for _, usage in shares]
    split = {name: _split(getattr(figures, name), weights) for name in names}
    for number, (source, _) in enumerate(shares):
        yield source, RevenueFigures(**{name: amounts[number] for name, amounts in split.items()})


def _split(amount: Decimal, weights: Sequence[Decimal]) -> list[Decimal]:
    exponent = amount.as_tuple().exponent
    digits = max(2, -exponent if isinstance(exponent, int) else 0)
    parts = allocate(abs(amount), weights, digits)
    return parts if amount >= 0 else [part.copy_negate() for part in parts]


# what is asked, and how it is answered


def _read(asked: RevenueAnalyticsRequest, now: datetime) -> tuple[RevenueAnalyticsQuery, DaySpan]:
    """The request with its defaults, and the days of UTC that it touches. Raises ValidationFailed."""
    # a range without an end includes now, also where a clock stands still
    end = asked.end_time or now + _INSTANT
    if end <= asked.start_time:
        raise ValidationFailed.of("end_time", "must be after start_time")
    if end > _LATEST:
        raise ValidationFailed.of("end_time", f"must not be after {instant(_LATEST)}")
    first, after = asked.start_time.astimezone(UTC_OFFSET).date(), (end - _INSTANT).astimezone(UTC_OFFSET).date() + _DAY
    if (after - first).days > MOST_DAYS:
        raise ValidationFailed.of("end_time", f"must be at most {MOST_DAYS:,} days after start_time")
    groups = list(dict.fromkeys(asked.group_by or ()))
    for number, name in enumerate(groups):
        if name not in GROUPS:
            raise ValidationFailed.of(f"group_by[{number}]", f"must be one of {', '.join(GROUPS)}; not '{name}'")
    if EVENT_SOURCE in groups and not (asked.customer_ids or asked.subscription_ids):
        raise ValidationFailed.of("group_by", "source needs customer_ids or subscription_ids")
    query = RevenueAnalyticsQuery(
        start_time=instant(asked.start_time),
        end_time=instant(asked.end_time or now),
        granularity=asked.granularity or RevenueGranularity.TOTAL,
        group_by=groups,
        allocation_policy=asked.allocation_policy or AllocationPolicy.BILLED,
        include_adjustments=bool(asked.include_adjustments),
        customer_ids=asked.customer_ids,
        subscription_ids=asked.subscription_ids,
        price_ids=asked.price_ids,
        meter_ids=asked.meter_ids,
        currency=asked.currency or None,
        status=asked.status,
    )
    start = datetime.combine(first, time(), UTC_OFFSET)
    return query, DaySpan(first, after, start, datetime.combine(after, time(), UTC_OFFSET), UTC)


def _selection(asked: RevenueAnalyticsRequest) -> LineSelection:
    return LineSelection(
        customer_ids=asked.customer_ids or None,
        subscription_ids=asked.subscription_ids or None,
        price_ids=asked.price_ids or None,
        meter_ids=asked.meter_ids or None,
        currency=asked.currency or None,
    )


def _key(part: RevenuePart, source: str, query: RevenueAnalyticsQuery) -> _RowKey:
    line = part.line
    adjustment = part.adjustment if query.include_adjustments else None
    values = {
        REVENUE_SOURCE: (adjustment or line.source).value,
        EVENT_SOURCE: source,
        "customer_id": line.customer_id,
        "subscription_id": line.subscription_id,
        "price_id": line.price_id,
        "meter_id": line.meter_id,
        CURRENCY: line.currency,
    }
    shown = {REVENUE_SOURCE, *query.group_by} | ({CURRENCY} if query.currency is None else set())
    period = None
    if query.granularity is RevenueGranularity.PERIOD:
        start = line.period_start or line.dated_at
        period = instant(start), instant(max(line.period_end or start, start))
    return _RowKey(
        tuple((name, values[name]) for name in GROUPS if name in shown),
        line.status,
        part.part.day.isoformat() if query.granularity is RevenueGranularity.DAY else None,
        period,
        None if adjustment is None else adjustment.value,
    )


def _order(key: _RowKey) -> tuple[object, ...]:
    return key.day or "", key.period or (), key.group, key.status.value, key.adjustment or ""


def _row(key: _RowKey, figures: RevenueFigures) -> RevenueAnalyticsRow:
    start, end = key.period or (None, None)
    return RevenueAnalyticsRow(
        group=dict(key.group),
        status=key.status,
        usage_at_list_rate=json_number(figures.usage_at_list_rate),
        tier_delta=json_number(figures.tier_delta),
        entitlement_qty=json_number(figures.entitlement_qty),
        entitlement_amount=json_number(figures.entitlement_amount),
        billable_qty=json_number(figures.billable_qty),
        line_discount=json_number(figures.line_discount),
        invoice_discount=json_number(figures.invoice_discount),
        net_amount=json_number(figures.net_amount),
        day=key.day,
        period_start=start,
        period_end=end,
        adjustment_type=key.adjustment,
    )
