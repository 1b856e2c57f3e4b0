"""Usage, as everybody asks for it: one value, a value per group, a series, or the values of a meter's buckets.

Every endpoint and every invoice goes through these functions. What they must answer is said by `metering.model`.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.period import Period
from farthing.calendar.windows import WindowSize, window_containing
from farthing.core.clock import shifted
from farthing.core.event_loop.slices import collect
from farthing.core.money import ZERO, exact_sum, round_to
from farthing.events.usage.cuts import Windows, cut
from farthing.events.usage.event_store import store_of
from farthing.events.usage.ownership import Ownership, owned_by_external_ids, owned_by_ids
from farthing.events.usage.usage_statement import (
    MeasuredRows,
    StatementShape,
    UsageQuery,
    in_windows,
    owned,
    parameters_of,
    statement,
)
from farthing.metering.meter import AggregationType, ResetUsage
from farthing.metering.model import BEGINNING, BucketValue, Point, Usage
from farthing.metering.quantity import FRACTION_DIGITS
from farthing.storage.postgres import scope_of

LONG_RANGE = timedelta(days=400)
"""Beyond it, windows are cut for the time that has events only."""

Group = tuple[str | None, ...]
"""One value per dimension of `group_by`; None where an event has no such property."""

NOTHING = Usage(ZERO, 0)


class TooManyRows(Exception):
    """A question is answered by more rows than whoever asks takes."""


async def usage_of(
    session: AsyncSession, queries: Sequence[UsageQuery], measured: MeasuredRows | None = None
) -> list[Usage]:
    """The value of each query over its range, in their order: the form for invoice runs.

    Queries of one aggregation and one narrowing are one statement, however many.
    """
    asked = list(enumerate(queries))
    found = await _folded(session, [(number, query) for number, query in asked if not query.buckets], measured)
    bucketed = await _bucket_rows(session, [(number, query) for number, query in asked if query.buckets], measured)
    return [
        _sum_of(bucketed.get((number, ()), ())) if query.buckets else found.get((number, ()), NOTHING)
        for number, query in asked
    ]


async def buckets_of(
    session: AsyncSession, queries: Sequence[UsageQuery], measured: MeasuredRows | None = None
) -> list[list[BucketValue]]:
    """The bucket values of each query of a bucketed meter, by time, then group; empty buckets are left out."""
    found = await _bucket_rows(session, list(enumerate(queries)), measured)
    return [found.get((number, ()), []) for number in range(len(queries))]


async def usage(session: AsyncSession, query: UsageQuery, measured: MeasuredRows | None = None) -> Usage:
    """The value of one query over its range."""
    return (await usage_of(session, [query], measured))[0]


async def since_beginning(session: AsyncSession, query: UsageQuery) -> Usage:
    """What a meter query answers as its value: with reset NEVER, one aggregation over all events before `end`.

    Charges never use this.
    Rule: docs/rules/metering.md#reset-of-usage
    """
    meter = query.meter
    carries = meter.reset_usage is ResetUsage.NEVER and meter.aggregation.type is not AggregationType.WEIGHTED_SUM
    return await usage(session, dataclasses.replace(query, start=BEGINNING) if carries else query)


def owner_of_usage(session: AsyncSession) -> str:
    """The owner of slices (`farthing.core.event_loop.slices`) of what is computed of a tenant's usage."""
    return f"usage of {scope_of(session).tenant_id}"


async def grouped_of(
    session: AsyncSession, queries: Sequence[UsageQuery], *, most: int | None = None
) -> list[dict[Group, Usage]]:
    """For each query the value of each group of its `group_by` that has events or a level, over the whole range.

    Raises TooManyRows where there are more than `most` groups, or buckets of groups.
    """
    asked = list(enumerate(queries))
    found = await _folded(session, [(number, query) for number, query in asked if not query.buckets], most=most)
    bucketed = await _bucket_rows(session, [(number, query) for number, query in asked if query.buckets], most=most)
    answers: list[dict[Group, Usage]] = [{} for _ in queries]
    for (number, group), group_usage in found.items():
        answers[number][group] = group_usage
    for (number, group), values in bucketed.items():
        answers[number][group] = _sum_of(values)
    return answers


async def grouped_buckets_of(
    session: AsyncSession,
    queries: Sequence[UsageQuery],
    measured: MeasuredRows | None = None,
    *,
    most: int | None = None,
) -> list[dict[Group, list[BucketValue]]]:
    """For each query the bucket values of each group of `group_by` that has events, by time, then the meter's group.

    Raises TooManyRows where there are more than `most`.
    """
    answers: list[dict[Group, list[BucketValue]]] = [{} for _ in queries]
    for (number, group), values in (await _bucket_rows(session, list(enumerate(queries)), measured, most=most)).items():
        answers[number][group] = values
    return answers


async def series_of(
    session: AsyncSession,
    queries: Sequence[UsageQuery],
    size: WindowSize,
    measured: MeasuredRows | None = None,
    *,
    most: int | None = None,
) -> list[dict[Group, list[Point]]]:
    """For each query the points of each group that has events; windows without events are left out.

    A point is named by its window's own start even when the range begins later. Points of a bucketed meter are rolled
    up from the buckets that start in the window: added for SUM, the largest for MAX. Raises TooManyRows where there are
    more than `most`.
    """
    asked = list(enumerate(queries))
    plain = [(number, query) for number, query in asked if not query.buckets]
    answers: list[dict[Group, list[Point]]] = [{} for _ in queries]
    levels = await _levels(session, plain, most)
    found: dict[tuple[int, Group], list[_UsageRow]] = defaultdict(list)
    for row in sorted(await _rows(session, plain, size, measured=measured, most=most), key=lambda row: row.window):
        found[row.number, row.group].append(row)
    for (number, group), rows in found.items():
        query = queries[number]
        answers[number][group] = _points(query, rows, levels.get((number, group), ZERO), query.windows(size))
    bucketed = [(number, query) for number, query in asked if query.buckets]
    for (number, group), values in (await _bucket_rows(session, bucketed, measured, most=most)).items():
        answers[number][group] = rolled_up(queries[number], values, queries[number].windows(size))
    return answers


async def series(
    session: AsyncSession, query: UsageQuery, size: WindowSize, measured: MeasuredRows | None = None
) -> list[Point]:
    """The points of one query that is not grouped."""
    return (await series_of(session, [query], size, measured))[0].get((), [])


def rolled_up(query: UsageQuery, values: Iterable[BucketValue], how: Windows) -> list[Point]:
    """Points made of buckets; a bucket's groups are added first."""
    starts: dict[datetime, datetime] = {}
    windows: dict[datetime, dict[datetime, list[BucketValue]]] = {}
    for bucket in values:
        if bucket.start not in starts:
            starts[bucket.start] = window_containing(bucket.start, how.size, how.zone, how.month_day).start
        windows.setdefault(starts[bucket.start], {}).setdefault(bucket.start, []).append(bucket)
    points: list[Point] = []
    for start, cut_values in windows.items():
        totals = [exact_sum([bucket.value for bucket in groups]) for groups in cut_values.values()]
        value = max(totals) if query.meter.aggregation.type is AggregationType.MAX else exact_sum(totals)
        points.append(
            Point(start, value, sum(bucket.event_count for groups in cut_values.values() for bucket in groups))
        )
    return points


@dataclass(slots=True)
class _UsageRow:
    number: int
    group: Group
    window: datetime
    key: str
    events: int
    measures: Sequence[Any]
    query: UsageQuery


_Asked = Sequence[tuple[int, UsageQuery]]
_NO_WINDOW = BEGINNING


async def _rows(
    session: AsyncSession,
    asked: _Asked,
    size: WindowSize | None = None,
    *,
    by_bucket: bool = False,
    measured: MeasuredRows | None = None,
    most: int | None = None,
) -> list[_UsageRow]:
    """What the statements answer: one statement per shape among the questions.

    Rows are cut into windows of `size`, or into each meter's own buckets. Raises TooManyRows when there are more than
    `most`, of which no more than one row too many is read.
    """
    ownership = await ownership_of(session, [query for _, query in asked])
    by_shape: dict[StatementShape, list[tuple[int, UsageQuery]]] = defaultdict(list)
    for number, query in asked:
        if query.start < query.end and query.customers != frozenset() and query.sources != frozenset():
            windows = query.buckets if by_bucket else query.windows(size) if size else None
            whose = ownership[query.customers_are_ids]
            by_shape[_shape(query, windows, whose, keyed=by_bucket)].append((number, query))
    found: list[_UsageRow] = []
    for shape, some in by_shape.items():
        span = None
        whose = ownership[shape.customers_are_ids]
        if shape.windows is not None:
            span = await _span(session, shape, some, whose, measured)
            if span is None:
                continue
        queries = dict(some)
        if measured is None:
            at_most = None if most is None else most + 1 - len(found)
            result = await store_of(session).usage.read(session, shape, some, whose, span, at_most)
        else:
            result = await _read_measured(session, shape, some, whose, span, measured)
        read = _usage_rows(result, shape, queries, has_window=span is not None, has_key=by_bucket)
        found += await collect(read, owner_of_usage(session))
        if most is not None and len(found) > most:
            raise TooManyRows
    return found


def _usage_rows(
    result: Iterable[Sequence[Any]],
    shape: StatementShape,
    queries: Mapping[int, UsageQuery],
    *,
    has_window: bool,
    has_key: bool,
) -> Iterator[_UsageRow]:
    for number, *columns in result:
        values = iter(columns)
        group = tuple(next(values) for _ in shape.group_by)
        window = next(values) if has_window else _NO_WINDOW
        key = next(values) if has_key else ""
        yield _UsageRow(number, group, window, key, next(values), list(values), queries[number])


async def _read_measured(
    session: AsyncSession,
    shape: StatementShape,
    asked: _Asked,
    ownership: Ownership,
    span: Period | None,
    measured: MeasuredRows,
) -> Sequence[Sequence[Any]]:
    """The same of rows that no store holds, which PostgreSQL adds up wherever events are stored."""
    how = None if shape.windows is None or span is None else cut(shape.windows, span)
    parameters = parameters_of(scope_of(session).environment_id, asked, ownership)
    result = await session.execute(statement(shape, how, measured), parameters)
    return in_windows(result.all(), shape, how)


async def _bucket_rows(
    session: AsyncSession, asked: _Asked, measured: MeasuredRows | None = None, *, most: int | None = None
) -> dict[tuple[int, Group], list[BucketValue]]:
    found: dict[tuple[int, Group], list[BucketValue]] = defaultdict(list)
    for row in await _rows(session, asked, by_bucket=True, measured=measured, most=most):
        value = max(Decimal(row.measures[0]), ZERO)
        found[row.number, row.group].append(BucketValue(row.window, row.key, value, row.events))
    for values in found.values():
        values.sort(key=lambda bucket: (bucket.start, bucket.group))
    return dict(found)


async def ownership_of(session: AsyncSession, queries: Iterable[UsageQuery]) -> dict[bool, Ownership]:
    """What belongs to the customers of these queries: those named by their ids (True) and by external ids (False)."""
    named: dict[bool, set[str]] = {True: set(), False: set()}
    for query in queries:
        named[query.customers_are_ids] |= query.customers or frozenset()
        for stretch in query.more:
            named[query.customers_are_ids] |= stretch.customers
    return {
        True: await owned_by_ids(session, named[True]) if named[True] else {},
        False: await owned_by_external_ids(session, named[False]) if named[False] else {},
    }


def _shape(query: UsageQuery, windows: Windows | None, ownership: Ownership, *, keyed: bool) -> StatementShape:
    customers = frozenset().union(query.customers or (), *(stretch.customers for stretch in query.more))
    return StatementShape(
        query.meter.aggregation.type,
        query.customers is None,
        query.sources,
        query.properties,
        query.group_by,
        windows,
        keyed,
        bounded=any(part.is_bounded for part in owned(customers, ownership)),
        customers_are_ids=query.customers_are_ids,
    )


async def _span(
    session: AsyncSession,
    shape: StatementShape,
    asked: _Asked,
    ownership: Ownership,
    measured: MeasuredRows | None,
) -> Period | None:
    """A span that holds every row of the questions; None when there is none. Long ranges are narrowed to it."""
    start, end = min(query.start for _, query in asked), max(query.end for _, query in asked)
    if end - start <= LONG_RANGE:
        return Period(start, end)
    first: datetime | None
    last: datetime | None
    if measured is not None:
        first, last = min(measured.timestamps, default=None), max(measured.timestamps, default=None)
    else:
        first, last = await store_of(session).usage.find_span(session, shape, asked, ownership)
    if first is None or last is None:
        return None
    return Period(max(start, first), min(end, shifted(last, timedelta(milliseconds=1))))


async def _folded(
    session: AsyncSession, asked: _Asked, measured: MeasuredRows | None = None, *, most: int | None = None
) -> Mapping[tuple[int, Group], Usage]:
    """The value of each question and group."""
    levels = await _levels(session, asked, most)
    found: dict[tuple[int, Group], Usage] = {}
    for row in await _rows(session, asked, measured=measured, most=most):
        level = levels.pop((row.number, row.group), ZERO)
        found[row.number, row.group] = Usage(_value(row, row.query.start, row.query.end, level), row.events)
    queries = dict(asked)
    for (number, group), level in levels.items():
        # a level that nothing changed: it stands all through the range
        found[number, group] = Usage(level if queries[number].start < queries[number].end else ZERO, 0)
    return found


async def _levels(session: AsyncSession, asked: _Asked, most: int | None) -> dict[tuple[int, Group], Decimal]:
    """The level at which each WEIGHTED_SUM begins: the sum of earlier changes, at least 0; all of them with reset
    NEVER, else those since the query says."""
    earlier = []
    for number, query in asked:
        since = BEGINNING if query.meter.reset_usage is ResetUsage.NEVER else query.level_since
        if query.meter.aggregation.type is AggregationType.WEIGHTED_SUM and since is not None:
            earlier.append((number, dataclasses.replace(query, start=since, end=query.start)))
    return {(row.number, row.group): max(row.measures[0], ZERO) for row in await _rows(session, earlier, most=most)}


def _value(row: _UsageRow, start: datetime, end: datetime, level: Decimal) -> Decimal:
    """One value of one row, at least 0; `start` and `end` matter to WEIGHTED_SUM, which begins from `level`."""
    match row.query.meter.aggregation.type:
        case AggregationType.COUNT:
            return Decimal(row.events)
        case AggregationType.AVG:
            return max(round_to(Fraction(row.measures[0]) / row.events, FRACTION_DIGITS), ZERO)
        case AggregationType.WEIGHTED_SUM:
            total, moment = Fraction(row.measures[0]), Fraction(row.measures[1])
            whole = _microseconds(end) - _microseconds(start)
            held = Fraction(level) + (total * _microseconds(end) - moment) / whole
            return max(round_to(held, FRACTION_DIGITS), ZERO)
        case _:
            return max(Decimal(row.measures[0]), ZERO)


def _points(query: UsageQuery, rows: Sequence[_UsageRow], level: Decimal, how: Windows) -> list[Point]:
    points: list[Point] = []
    for row in rows:
        window = window_containing(row.window, how.size, how.zone, how.month_day)
        value = _value(row, max(window.start, query.start), min(window.end, query.end), level)
        if query.meter.aggregation.type is AggregationType.WEIGHTED_SUM:
            level = exact_sum([level, row.measures[0]])
        points.append(Point(row.window, value, row.events))
    return points


def _sum_of(values: Sequence[BucketValue]) -> Usage:
    return Usage(exact_sum([bucket.value for bucket in values]), sum(bucket.event_count for bucket in values))


_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_MICROSECOND = timedelta(microseconds=1)


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND
