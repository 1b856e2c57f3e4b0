"""What a usage query must answer, said as plainly as Python can: the semantic reference of every event store.

Works on a list of events in the order in which they were accepted. Slow and obviously right; the queries that serve
requests are tested against it.
Rule: docs/rules/metering.md#aggregations
Rule: docs/rules/metering.md#bucketed-meters
Rule: docs/rules/metering.md#weighted-sum
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

from farthing.calendar.period import Period, elapsed_share
from farthing.core.money import ZERO, exact_sum, round_to
from farthing.metering.event import UsageEvent, same_content
from farthing.metering.filters import Conditions, matches
from farthing.metering.meter import AggregationType, Meter, ResetUsage
from farthing.metering.quantity import FRACTION_DIGITS, MeasuredQuantity, quantity_of

# The window that holds an instant; zone, size and anchor are the caller's choice.
WindowOf = Callable[[datetime], Period]

BEGINNING = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which of a meter's events are asked for: `[start, end)`, possibly empty, and what narrows it.

    `customers` are external ids and `sources` event sources; None means all of them, an empty set means none.
    """

    start: datetime
    end: datetime
    customers: frozenset[str] | None = None
    sources: frozenset[str] | None = None
    properties: Conditions = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """One value over a whole selection and the number of events in it."""

    value: Decimal
    event_count: int


@dataclass(frozen=True, slots=True)
class Point:
    """The value of one window that has events; `start` is the window's own, even when the range begins later."""

    start: datetime
    value: Decimal
    event_count: int


@dataclass(frozen=True, slots=True)
class BucketValue:
    """The value of one group in one bucket; the group is empty unless the meter groups."""

    start: datetime
    group: str
    value: Decimal
    event_count: int


@dataclass(frozen=True, slots=True)
class _MeasuredEvent:
    timestamp: datetime
    measured: MeasuredQuantity


def live(events: Iterable[UsageEvent]) -> list[UsageEvent]:
    """The versions that count, in the order of their acceptance.

    Of the events with one id only the last accepted counts, whatever changed; sending the same content again changes
    nothing, not even the order.
    Rule: docs/rules/metering.md#identity-of-an-event
    """
    found: dict[str, UsageEvent] = {}
    for event in events:
        earlier = found.get(event.id)
        if earlier is not None and same_content(earlier, event):
            continue
        found.pop(event.id, None)
        found[event.id] = event
    return list(found.values())


def aggregate(meter: Meter, events: Iterable[UsageEvent], asked: Selection, bucket_of: WindowOf | None = None) -> Usage:
    """The meter's value over the selection, never below 0. Bucketed meters need `bucket_of`.

    WEIGHTED_SUM is the mean level over `[start, end)` by elapsed time, divided once and rounded to 15 digits; it starts
    from 0, or with reset NEVER from the sum of all earlier changes.
    """
    rows = _rows(meter, events, asked)
    within = _between(rows, asked.start, asked.end)
    if meter.aggregation.bucket_size:
        return Usage(exact_sum([bucket.value for bucket in _buckets(meter, within, bucket_of)]), len(within))
    if meter.aggregation.type is AggregationType.WEIGHTED_SUM:
        return Usage(_mean_level(_level_before(meter, rows, asked.start), within, asked.start, asked.end), len(within))
    return Usage(_folded(meter.aggregation.type, within), len(within))


def since_beginning(
    meter: Meter, events: Iterable[UsageEvent], asked: Selection, bucket_of: WindowOf | None = None
) -> Usage:
    """What a meter query answers as its value: with reset NEVER, one aggregation over all events before `end`.

    WEIGHTED_SUM keeps to its range, since carrying the level over is all that NEVER means to it. Charges never use
    this.
    Rule: docs/rules/metering.md#reset-of-usage
    """
    carries = meter.reset_usage is ResetUsage.NEVER and meter.aggregation.type is not AggregationType.WEIGHTED_SUM
    return aggregate(meter, events, dataclasses.replace(asked, start=BEGINNING) if carries else asked, bucket_of)


def buckets(meter: Meter, events: Iterable[UsageEvent], asked: Selection, bucket_of: WindowOf) -> list[BucketValue]:
    """The values of a bucketed meter, by bucket, then group; buckets without events are left out."""
    return _buckets(meter, _between(_rows(meter, events, asked), asked.start, asked.end), bucket_of)


def points(
    meter: Meter,
    events: Iterable[UsageEvent],
    asked: Selection,
    window_of: WindowOf,
    bucket_of: WindowOf | None = None,
) -> list[Point]:
    """The series over windows, each aggregated on its own; windows without events are left out.

    Of a bucketed meter a point is rolled up from the buckets that start in its window: added for SUM, the largest for
    MAX, where a bucket's groups are added first. Of WEIGHTED_SUM a point is the mean level within the part of its
    window that lies in the range, starting from the level at the beginning of that part.
    """
    rows = _rows(meter, events, asked)
    within = _between(rows, asked.start, asked.end)
    if meter.aggregation.bucket_size:
        return _rolled_up(meter, _buckets(meter, within, bucket_of), window_of)
    series: list[Point] = []
    for window, members in _by_window(within, window_of).items():
        if meter.aggregation.type is AggregationType.WEIGHTED_SUM:
            start, end = max(window.start, asked.start), min(window.end, asked.end)
            earlier = _between(within, asked.start, start)
            level = exact_sum([_level_before(meter, rows, asked.start), *(row.measured.quantity for row in earlier)])
            value = _mean_level(level, members, start, end)
        else:
            value = _folded(meter.aggregation.type, members)
        series.append(Point(window.start, value, len(members)))
    return series


def _rows(meter: Meter, events: Iterable[UsageEvent], asked: Selection) -> list[_MeasuredEvent]:
    """The meter's rows for the customers and filters asked for, of all times, in order of acceptance."""
    rows: list[_MeasuredEvent] = []
    for event in live(events):
        if asked.customers is not None and event.external_customer_id not in asked.customers:
            continue
        if asked.sources is not None and event.source not in asked.sources:
            continue
        measured = quantity_of(meter, event) if matches(asked.properties, event.properties) else None
        if measured is not None:
            rows.append(_MeasuredEvent(event.timestamp, measured))
    return rows


def _between(rows: Iterable[_MeasuredEvent], start: datetime, end: datetime) -> list[_MeasuredEvent]:
    return [row for row in rows if start <= row.timestamp < end]


def _folded(how: AggregationType, rows: Sequence[_MeasuredEvent]) -> Decimal:
    """One value of one set of rows, for every type but WEIGHTED_SUM; 0 for none."""
    if not rows:
        return ZERO
    quantities = [row.measured.quantity for row in rows]
    match how:
        case AggregationType.COUNT:
            return Decimal(len(rows))
        case AggregationType.COUNT_UNIQUE:
            return Decimal(len({row.measured.key for row in rows}))
        case AggregationType.SUM | AggregationType.SUM_WITH_MULTIPLIER:
            return exact_sum(quantities)
        case AggregationType.AVG:
            return round_to(Fraction(exact_sum(quantities)) / len(quantities), FRACTION_DIGITS)
        case AggregationType.MAX:
            return max(quantities)
        case AggregationType.LATEST:
            # rows come in order of acceptance, so of one millisecond the last one accepted stays
            last = rows[0]
            for row in rows:
                if row.timestamp >= last.timestamp:
                    last = row
            return last.measured.quantity
        case AggregationType.WEIGHTED_SUM:
            raise ValueError("a level needs the range it is averaged over")


def _level_before(meter: Meter, rows: Iterable[_MeasuredEvent], start: datetime) -> Decimal:
    """The level a range begins with: 0, or with reset NEVER the sum of all earlier changes, at least 0."""
    if meter.reset_usage is not ResetUsage.NEVER:
        return ZERO
    return max(exact_sum([row.measured.quantity for row in rows if row.timestamp < start]), ZERO)


def _mean_level(level: Decimal, rows: Iterable[_MeasuredEvent], start: datetime, end: datetime) -> Decimal:
    """Time average over `[start, end)` of a level that the rows change; at least 0, and 0 over no time at all."""
    if start >= end:
        return ZERO
    total = Fraction(level)
    for row in rows:
        total += Fraction(row.measured.quantity) * elapsed_share(end - row.timestamp, end - start)
    return max(round_to(total, FRACTION_DIGITS), ZERO)


def _by_window(rows: Iterable[_MeasuredEvent], window_of: WindowOf) -> Mapping[Period, list[_MeasuredEvent]]:
    found: dict[Period, list[_MeasuredEvent]] = {}
    for row in rows:
        found.setdefault(window_of(row.timestamp), []).append(row)
    return dict(sorted(found.items()))


def _buckets(meter: Meter, rows: Iterable[_MeasuredEvent], bucket_of: WindowOf | None) -> list[BucketValue]:
    if bucket_of is None or meter.aggregation.bucket_size is None:
        raise ValueError("buckets need a bucketed meter and a function that cuts them")
    values: list[BucketValue] = []
    for bucket, members in _by_window(rows, bucket_of).items():
        for group in sorted({row.measured.key for row in members}):
            ours = [row for row in members if row.measured.key == group]
            values.append(BucketValue(bucket.start, group, _folded(meter.aggregation.type, ours), len(ours)))
    return values


def _rolled_up(meter: Meter, values: Iterable[BucketValue], window_of: WindowOf) -> list[Point]:
    windows: dict[datetime, dict[datetime, list[BucketValue]]] = {}
    for bucket in values:
        windows.setdefault(window_of(bucket.start).start, {}).setdefault(bucket.start, []).append(bucket)
    series: list[Point] = []
    for start, cut in windows.items():
        totals = [exact_sum([bucket.value for bucket in groups]) for groups in cut.values()]
        value = max(totals) if meter.aggregation.type is AggregationType.MAX else exact_sum(totals)
        series.append(Point(start, value, sum(bucket.event_count for groups in cut.values() for bucket in groups)))
    return series
