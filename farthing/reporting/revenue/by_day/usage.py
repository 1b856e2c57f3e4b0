"""On which days the usage of lines came, measured by the builder of usage queries as their invoices measured it.

Rule: docs/rules/reporting.md#days-of-a-line
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.calculation.charges import MeteredCharge
from farthing.billing.calculation.usage_charges import Answers, Spread, UsageRange, buckets_of, plan, value_of
from farthing.billing.measurement import measure_usage
from farthing.calendar.period import Period
from farthing.calendar.zones import first_instant_at, to_local
from farthing.catalogue.products.tables import MeterRow
from farthing.core.errors import ValidationFailed
from farthing.core.event_loop.slices import collect
from farthing.core.money import EXACT, ZERO
from farthing.events.ingest.meters import meter_of
from farthing.metering.meter import AggregationType, Meter
from farthing.rating.pricing.cost import price_values
from farthing.rating.pricing.price import RatedPrice
from farthing.reporting.revenue.by_day.allocation import UsageThrough
from farthing.reporting.revenue.lines import RevenueLine
from farthing.reporting.turns import owner_of_reports
from farthing.storage.queries.rows import in_array
from farthing.subscriptions.snapshot.loading import load

MOST_DAYS_MEASURED = 60_000
"""For how many days, of all lines together, usage is measured for one answer."""
DAYS_AT_ONCE = 1_000
"""For how many before other requests have their turn; a line is not parted."""

_DAY = timedelta(days=1)
_INSTANT = timedelta(microseconds=1)
_ADDS_UP_BY_DAY = frozenset({AggregationType.COUNT, AggregationType.SUM, AggregationType.SUM_WITH_MULTIPLIER})


@dataclass(frozen=True, slots=True)
class _LineUsage:
    """A line's meter, the stretches in which it counts, and the last instants of its days."""

    line: RevenueLine
    meter: Meter
    raw: Spread
    days: tuple[tuple[date, datetime], ...]

    @property
    def adds_up(self) -> bool:
        """Whether a day can be measured by itself and added to the days before."""
        aggregation = self.meter.aggregation
        return aggregation.type in _ADDS_UP_BY_DAY and aggregation.bucket_size is None

    def spreads(self) -> list[Spread]:
        """What to measure for each day: the day itself, or all until its end."""
        start = self.raw[0].start if self.raw else None
        spreads = []
        for _, end in self.days:
            spreads.append(_cut(self.raw, start, end))
            if self.adds_up:
                start = end
        return spreads


@dataclass(frozen=True, slots=True)
class WantedDays:
    """The days with whose beginning something is asked; of the lines `in_full` every day matters."""

    edges: frozenset[date]
    in_full: frozenset[str]
    in_order: Sequence[date] = field(init=False)
    """The edges."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "in_order", sorted(self.edges))


async def usage_by_day(
    session: AsyncSession,
    lines: Sequence[RevenueLine],
    prices: Mapping[str, RatedPrice],
    zone: ZoneInfo,
    wanted: WantedDays | None = None,
) -> dict[str, list[UsageThrough]]:
    """By line, how much of its usage had come by the end of each of its days; lines whose subscription or meter is gone
    are left out.

    Where only some days are `wanted`, no more is measured than how much had come by the ends of the days before them,
    and of the line: until then its days add up to the same. That holds for levels too, which may come to nothing again:
    nothing costs nothing, so that all of such a line lies on its last day, whatever was there before.
    """
    metered = [line for line in lines if line.is_metered and line.subscription_id]
    metered.sort(key=lambda line: line.subscription_id)  # a subscription is loaded for one part of them
    if not metered:
        return {}
    rows = await session.scalars(select(MeterRow).where(in_array(MeterRow.id, {line.meter_id for line in metered})))
    meters = {row.id: meter_of(row) for row in rows}
    days = await collect((_count_of_days(line, meters, zone, wanted) for line in metered), owner_of_reports(session))
    if sum(days) > MOST_DAYS_MEASURED:
        raise ValidationFailed.of(
            "start_time", "the time holds more usage than can be laid on days at once; ask for less"
        )
    through: dict[str, list[UsageThrough]] = {}
    for part in _in_parts(metered, days):
        planned = await _planned(session, part, meters, zone, wanted)
        asked = [(usage, usage.spreads()) for usage in planned]
        ranges = list({part: None for _, spreads in asked for spread in spreads for part in spread})
        answers = await measure_usage(session, ranges, meters) if ranges else {}
        through |= {usage.line.id: _through(usage, spreads, answers, prices) for usage, spreads in asked}
    return through


def _in_parts(lines: Sequence[RevenueLine], days: Sequence[int]) -> Iterator[list[RevenueLine]]:
    """The lines in parts that are worked out before others have their turn."""
    part: list[RevenueLine] = []
    left = DAYS_AT_ONCE
    for line, count in zip(lines, days, strict=True):
        if part and count > left:
            yield part
            part, left = [], DAYS_AT_ONCE
        part.append(line)
        left -= count
    if part:
        yield part


def _through(
    usage: _LineUsage, spreads: Sequence[Spread], answers: Answers, prices: Mapping[str, RatedPrice]
) -> list[UsageThrough]:
    total, points = ZERO, []
    price = prices.get(usage.line.price_id)
    for (day, _), spread in zip(usage.days, spreads, strict=True):
        value = value_of(usage.meter, spread, answers)
        total = EXACT.add(total, value) if usage.adds_up else value
        cost = None
        if usage.meter.aggregation.bucket_size is not None and price is not None:
            cost = price_values(price, [bucket.value for bucket in buckets_of(usage.meter, spread, answers)])
        points.append(UsageThrough(day, total, cost))
    return points


async def _planned(
    session: AsyncSession,
    lines: Sequence[RevenueLine],
    meters: Mapping[str, Meter],
    zone: ZoneInfo,
    wanted: WantedDays | None,
) -> list[_LineUsage]:
    loaded = await load(session, sorted({line.subscription_id for line in lines}))
    members = {member.id: member for snapshot in loaded for member in (*snapshot.grouped, snapshot)}
    planned = []
    for line in lines:
        member, meter = members.get(line.subscription_id), meters.get(line.meter_id)
        item = None if member is None else member.item(line.item_id)
        if member is None or item is None or meter is None:
            continue
        window = _window(line)
        raw = plan(member, MeteredCharge(item, window, window), meter, None).raw
        planned.append(_LineUsage(line, meter, raw, tuple(_days(window, zone, _edges(line, wanted)))))
    return planned


def _window(line: RevenueLine) -> Period:
    assert line.period_start is not None
    assert line.period_end is not None
    return Period(line.period_start, line.period_end)


def _edges(line: RevenueLine, wanted: WantedDays | None) -> Sequence[date] | None:
    """The days with whose beginning something is asked of a line, in order; None: every day matters."""
    return None if wanted is None or line.id in wanted.in_full else wanted.in_order


def _count_of_days(line: RevenueLine, meters: Mapping[str, Meter], zone: ZoneInfo, wanted: WantedDays | None) -> int:
    """How many of a line are measured."""
    if line.meter_id not in meters:
        return 0
    window = _window(line)
    first, last = to_local(window.start, zone).date(), to_local(window.end - _INSTANT, zone).date()
    edges = _edges(line, wanted)
    if edges is None:
        return (last - first).days + 1
    return bisect_right(edges, last) - bisect_right(edges, first) + 1


def _days(window: Period, zone: ZoneInfo, edges: Sequence[date] | None) -> Iterator[tuple[date, datetime]]:
    """The days that a window touches, each with the instant at which it, or the window, ends; of them those before an
    edge and the last, if edges are given."""
    first, last = to_local(window.start, zone).date(), to_local(window.end - _INSTANT, zone).date()
    if edges is None:
        days: Iterable[date] = (date.fromordinal(day) for day in range(first.toordinal(), last.toordinal()))
    else:
        days = (edge - _DAY for edge in edges[bisect_right(edges, first) : bisect_right(edges, last)])
    for day in days:
        yield day, first_instant_at(datetime.combine(day + _DAY, time()), zone)
    yield last, window.end


def _cut(spread: Spread, start: datetime | None, end: datetime) -> Spread:
    """What of a spread lies in `[start, end)`; a level that is measured from its start keeps its history."""
    parts: list[UsageRange] = []
    for part in spread:
        since = part.start if start is None else max(part.start, start)
        until = min(part.end, end)
        if since < until:
            more = tuple(replace(stretch, end=min(stretch.end, end)) for stretch in part.more if stretch.start < end)
            parts.append(replace(part, start=since, end=until, more=more))
    return tuple(parts)
