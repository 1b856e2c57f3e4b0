"""Usage queries in ClickHouse's language: the second dialect of `usage_statement`.

A statement answers many questions of one shape. Rows of `meter_usage` are narrowed by everything that its sort key can,
and joined to the table of questions, each once for each external id under which its customers' events came.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.period import Period
from farthing.core.money import EXACT
from farthing.events.groupings import CUSTOMER, PROPERTY, SOURCE
from farthing.events.stores.clickhouse.client import ClickHouse
from farthing.events.stores.clickhouse.moments import at_millisecond, first_millisecond_from
from farthing.events.stores.clickhouse.queries.conditions import WhereClause, property_conditions
from farthing.events.stores.clickhouse.queries.windows import window_of
from farthing.events.usage.event_store import Asked
from farthing.events.usage.ownership import END_OF_ARRIVALS, Ownership
from farthing.events.usage.usage_statement import StatementShape, UsageQuery, owned, stretches_of
from farthing.metering.meter import AggregationType
from farthing.storage.postgres import scope_of

MOST_PAIRS = 5_000
"""Questions times external ids of one statement, unless a single question has more."""
EVENTS_AT_ONCE = 20_000
_MICROSECONDS = Decimal(1000)
"""In a millisecond."""

_MEASURES = {
    AggregationType.COUNT: (),
    AggregationType.SUM: ("sum(u.quantity)",),
    AggregationType.SUM_WITH_MULTIPLIER: ("sum(u.quantity)",),
    AggregationType.AVG: ("sum(u.quantity)",),
    AggregationType.MAX: ("max(u.quantity)",),
    AggregationType.LATEST: ("argMax(u.quantity, (u.timestamp, u.sequence))",),
    AggregationType.COUNT_UNIQUE: ("uniqExact(u.key)",),
    AggregationType.WEIGHTED_SUM: ("sum(u.quantity)", "sum(u.moment)"),
}


@dataclass(frozen=True, slots=True)
class _Pair:
    """A question for one external id; None is everybody's."""

    number: int
    meter_id: str
    customer: str | None
    since: int
    until: int
    arrived_since: int
    arrived_until: int


async def read_usage(
    clickhouse: ClickHouse,
    session: AsyncSession,
    shape: StatementShape,
    asked: Asked,
    ownership: Ownership,
    span: Period | None,
    most: int | None,
) -> Sequence[Sequence[Any]]:
    environment = scope_of(session).environment_id
    groups = [_dimension(name, number) for number, name in enumerate(shape.group_by)]
    if shape.windows is not None:
        assert span is not None, "windows are cut for a span"
        groups.append(window_of("u.timestamp", shape.windows, span))
    if shape.keyed:
        groups.append("u.key")
    names = {f"group_{number}": name.removeprefix(PROPERTY) for number, name in enumerate(shape.group_by)}
    found: list[Sequence[Any]] = []
    for some in _portions(asked, shape, ownership):
        source, where = _source(clickhouse, environment, shape, some)
        aliases = [f"g{number}" for number in range(len(groups))]
        columns = [f"{group} AS {alias}" for group, alias in zip(groups, aliases, strict=True)]
        statement = (
            f"SELECT {', '.join(['asked.number', *columns, 'count()', *_MEASURES[shape.how]])} {source} "
            f"GROUP BY {', '.join(['asked.number', *aliases])}"
        )
        if most is not None:
            statement += f" LIMIT {max(most - len(found), 0)}"
        found += await clickhouse.rows(statement, {**where.parameters, **names})
    place = 1 + len(shape.group_by)
    return [_answered(row, shape, place) for row in found]


def _answered(row: Sequence[Any], shape: StatementShape, place: int) -> Sequence[Any]:
    """A row as PostgreSQL would answer it: windows by their start, weighted sums in microseconds."""
    values = list(row)
    if shape.windows is not None:
        values[place] = at_millisecond(values[place])
    if shape.how is AggregationType.WEIGHTED_SUM:
        values[-1] = EXACT.multiply(values[-1], _MICROSECONDS)
    return values


async def find_usage_span(
    clickhouse: ClickHouse, session: AsyncSession, shape: StatementShape, asked: Asked, ownership: Ownership
) -> tuple[datetime | None, datetime | None]:
    first: datetime | None = None
    last: datetime | None = None
    for some in _portions(asked, shape, ownership):
        source, where = _source(clickhouse, scope_of(session).environment_id, shape, some)
        ((count, earliest, latest),) = await clickhouse.rows(
            f"SELECT count(), min(u.timestamp), max(u.timestamp) {source}", where.parameters
        )
        if count:
            earliest, latest = at_millisecond(earliest), at_millisecond(latest)
            first = earliest if first is None else min(first, earliest)
            last = latest if last is None else max(last, latest)
    return first, last


async def stream_usage(
    clickhouse: ClickHouse, session: AsyncSession, asked: Asked, ownership: Ownership, bounded: bool
) -> AsyncIterator[Sequence[Any]]:
    """Each question is asked by itself, in portions that begin after the last row of the one before."""
    shape = StatementShape(AggregationType.SUM, False, None, (), (), None, False, bounded)
    for question in asked:
        pairs = list(_pairs([question], shape, ownership))
        if not pairs:
            continue
        source, where = _source(clickhouse, scope_of(session).environment_id, shape, pairs)
        after: dict[str, Any] = {}
        while True:
            further = " AND (u.timestamp, u.sequence) > (%(after)s, %(after_sequence)s)" if after else ""
            rows = await clickhouse.rows(
                f"SELECT asked.number, u.timestamp, u.quantity, u.key, u.sequence {source}{further} "
                f"ORDER BY u.timestamp, u.sequence LIMIT {EVENTS_AT_ONCE}",
                {**where.parameters, **after},
            )
            for number, moment, quantity, key, _ in rows:
                yield number, at_millisecond(moment), quantity, key
            if len(rows) < EVENTS_AT_ONCE:
                break
            after = {"after": rows[-1][1], "after_sequence": rows[-1][4]}


def _dimension(name: str, number: int) -> str:
    if name == CUSTOMER:
        return "u.external_customer_id"
    if name == SOURCE:
        return "e.source"
    return f"if(mapContains(e.texts, %(group_{number})s), e.texts[%(group_{number})s], NULL)"


def _source(
    clickhouse: ClickHouse, environment: str, shape: StatementShape, pairs: Sequence[tuple[_Pair, str]]
) -> tuple[str, WhereClause]:
    """FROM and WHERE: rows `u` with the question `asked` that each answers, and the event `e` where it is asked for."""
    where = WhereClause(environment)
    where.parameters |= _columns([pair for pair, _ in pairs])
    where.parameters |= {
        "meters": tuple(sorted({pair.meter_id for pair, _ in pairs})),
        "first": str(min(pair.since for pair, _ in pairs)),
        "last": str(max(pair.until for pair, _ in pairs)),
    }
    narrowed = "environment_id = %(environment)s AND timestamp >= %(first)s AND timestamp < %(last)s"
    same = "u.meter_id = asked.meter_id"
    if not shape.everyone:
        where.parameters["customers"] = tuple(sorted({pair.customer or "" for pair, _ in pairs}))
        narrowed += " AND external_customer_id IN %(customers)s"
        same += " AND u.external_customer_id = asked.customer"
    conditions = ["u.timestamp >= asked.since", "u.timestamp < asked.until"]
    if shape.bounded:
        arrival = "ifNull(u.owner_sequence, u.sequence)"
        conditions += [f"{arrival} >= asked.arrived_since", f"{arrival} < asked.arrived_until"]
    joined = ""
    if shape.sources is not None or shape.properties or any(name != CUSTOMER for name in shape.group_by):
        where.parameters["event_names"] = tuple(sorted({name for _, name in pairs}))
        joined = (
            "INNER JOIN (SELECT external_customer_id, timestamp, id, sequence, source, texts "
            f"FROM {clickhouse.database}.events FINAL WHERE {narrowed} AND event_name IN %(event_names)s) AS e "
            "ON e.external_customer_id = u.external_customer_id AND e.timestamp = u.timestamp AND e.id = u.id "
            "AND e.sequence = u.sequence"
        )
    about_events = WhereClause(environment)
    if shape.sources is not None:
        about_events.add("e.source IN %(sources)s", sources=tuple(sorted(shape.sources)))
    property_conditions(about_events, "e.texts", shape.properties)
    where.parameters |= about_events.parameters
    conditions += about_events.texts[1:]
    text = (
        "FROM (SELECT meter_id, external_customer_id, timestamp, id, quantity, moment, key, sequence, owner_sequence "
        f"FROM {clickhouse.database}.meter_usage FINAL WHERE {narrowed} AND meter_id IN %(meters)s) AS u "
        f"INNER JOIN ({_QUESTIONS}) AS asked ON {same} {joined} WHERE {' AND '.join(conditions)}"
    )
    return text, where


_ARRAYS = (
    ("number", "Int64"),
    ("meter_id", "String"),
    ("customer", "String"),
    ("since", "Int64"),
    ("until", "Int64"),
    ("arrived_since", "Int64"),
    ("arrived_until", "Int64"),
)
_QUESTIONS = (
    f"SELECT {', '.join(f'question.{place} AS {name}' for place, (name, _) in enumerate(_ARRAYS, 1))} FROM "
    "(SELECT arrayJoin(arrayZip("
    + ", ".join(f"CAST(%(asked_{name})s, 'Array({kind})')" for name, kind in _ARRAYS)
    + ")) AS question)"
)


def _columns(pairs: Sequence[_Pair]) -> dict[str, list[str]]:
    """The questions by column; numbers as texts, because literals of several widths have no type in common."""
    return {
        f"asked_{name}": ["" if (value := getattr(pair, name)) is None else str(value) for pair in pairs]
        for name, _ in _ARRAYS
    }


def _portions(asked: Asked, shape: StatementShape, ownership: Ownership) -> Iterator[Sequence[tuple[_Pair, str]]]:
    """The pairs of whole questions, as many at a time as a statement takes."""
    portion: list[tuple[_Pair, str]] = []
    for question in asked:
        pairs = list(_pairs([question], shape, ownership))
        if portion and len(portion) + len(pairs) > MOST_PAIRS:
            yield portion
            portion = []
        portion += pairs
    if portion:
        yield portion


def _pairs(
    asked: Sequence[tuple[int, UsageQuery]], shape: StatementShape, ownership: Ownership
) -> Iterator[tuple[_Pair, str]]:
    """Each question once for each external id, with the name of the events that it is about."""
    for number, query in asked:
        for customers, start, end in stretches_of(query):
            for part in [None] if shape.everyone else owned(customers, ownership):
                yield (
                    _Pair(
                        number,
                        query.meter.id,
                        part.external_id if part else None,
                        first_millisecond_from(start),
                        first_millisecond_from(end),
                        part.since if part else 0,
                        END_OF_ARRIVALS if part is None else part.until_or_end,
                    ),
                    query.meter.event_name,
                )
