"""The one builder of usage queries: from what is asked to a SELECT.

A statement answers any number of questions of one shape. Each pair of a question and one of its customers is an index
range scan of its own, aggregated at once; the outer SELECT adds a question's customers together. Rows come from the
covering index of `meter_usage` alone, unless something about the event itself is asked.
Rule: docs/rules/metering.md#weighted-sum
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Integer,
    Numeric,
    Select,
    Text,
    and_,
    bindparam,
    case,
    cast,
    distinct,
    extract,
    func,
    literal,
    literal_column,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY, BIGINT, array

from farthing.calendar.windows import WindowSize
from farthing.calendar.zones import UTC
from farthing.events.groupings import CUSTOMER, PROPERTY, SOURCE
from farthing.events.tables import MeterUsage, StoredEvent
from farthing.events.usage.cuts import INSTANT, WindowExpression, Windows
from farthing.events.usage.ownership import END_OF_ARRIVALS, OwnedEvents, Ownership
from farthing.events.usage.stretch import Stretch
from farthing.metering.filters import Conditions
from farthing.metering.meter import AggregationType, Meter


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """What is asked of one meter's rows: whose, when (`[start, end)`, possibly empty), and what narrows or splits it.

    `customers` are external ids, or ids of customers if `customers_are_ids`; None means the whole environment, and
    none at all means nothing. `group_by` names `source`, `external_customer_id` or `properties.<name>`. Windows and
    buckets have their edges on the wall of `zone`; months begin on `month_day` (1 to 31, clamped). `more` stretches,
    apart from the first and from one another, count with it as one; not for WEIGHTED_SUM. A level that is not carried
    over for ever begins at 0, or with what has changed it between `level_since` and `start`.
    """

    meter: Meter
    start: datetime
    end: datetime
    customers: frozenset[str] | None
    sources: frozenset[str] | None = None
    properties: Conditions = ()
    group_by: tuple[str, ...] = ()
    zone: ZoneInfo = UTC
    month_day: int = 1
    more: tuple[Stretch, ...] = ()
    level_since: datetime | None = None
    customers_are_ids: bool = False

    def windows(self, size: WindowSize) -> Windows:
        """Windows of `size` on this query's wall."""
        return Windows(size, self.zone, self.month_day)

    @property
    def buckets(self) -> Windows | None:
        """The buckets of a meter that has them."""
        size = self.meter.aggregation.bucket_size
        return None if size is None else self.windows(size)


@dataclass(frozen=True, slots=True)
class MeasuredRows:
    """Rows that no table holds: quantities of an ad-hoc meter, measured from stored events when it was asked."""

    timestamps: Sequence[datetime]
    sequences: Sequence[int]
    quantities: Sequence[Decimal]
    keys: Sequence[str]


@dataclass(frozen=True, slots=True)
class StatementShape:
    """What the questions of one statement share."""

    how: AggregationType
    everyone: bool
    sources: frozenset[str] | None
    properties: Conditions
    group_by: tuple[str, ...]
    windows: Windows | None
    keyed: bool
    """Whether a row's key separates values, as in the buckets of a meter."""
    bounded: bool = False
    """Whether an external id asked for changed hands, so that arrival decides whose its events are."""
    customers_are_ids: bool = False


_USAGE = MeterUsage.__table__
_EVENTS = StoredEvent.__table__


@lru_cache(maxsize=256)
def plain_statement(shape: StatementShape) -> Select[Any]:
    """The `statement` of a shape without windows, which is made once: that costs more than asking it does."""
    assert shape.windows is None, "windows are those of a span"
    return statement(shape)


def statement(
    shape: StatementShape, cut: WindowExpression | None = None, measured: MeasuredRows | None = None
) -> Select[Any]:
    """Rows `(number of the question, *group, [window], [key], event count, *measures)`, for all questions that
    `parameters_of` hands over.

    Window and key are there if the shape has them. Measures, by type: none for COUNT; the sum for SUM, AVG and
    SUM_WITH_MULTIPLIER; the largest for MAX; the last for LATEST; the number of keys for COUNT_UNIQUE; for
    WEIGHTED_SUM the sum, and the sum of each change times its microseconds since 1970. A question or group without
    events has no row.
    """
    pairs = _pairs()
    rows: FromClause = _USAGE if measured is None else _arrays(measured)
    joined, event = rows, rows
    within = [rows.c.timestamp >= pairs.c.since, rows.c.timestamp < pairs.c.until]
    if measured is None:
        within += [rows.c.environment_id == _ENVIRONMENT, rows.c.meter_id == pairs.c.meter_id]
        if not shape.everyone:
            within.append(rows.c.external_customer_id == pairs.c.customer)
        if shape.bounded:
            within += _arrived_within(rows, pairs)
        if shape.sources is not None or shape.properties or any(dimension != CUSTOMER for dimension in shape.group_by):
            event = _event_of(rows)
            joined = rows.join(event, true())
    if shape.sources is not None:
        within.append(event.c.source.in_(sorted(shape.sources)))
    for key, values in shape.properties:
        within.append(canonical(event.c.properties, key).in_(sorted(values)))
    groups = [_dimension(rows, event, dimension).label(f"group_{n}") for n, dimension in enumerate(shape.group_by)]
    if cut is not None:
        groups.append(cut.name_of(rows.c.timestamp).label("cut"))
    if shape.keyed:
        groups.append(rows.c.key.label("bucket_key"))
    unique = [rows.c.key] if shape.how is AggregationType.COUNT_UNIQUE else []
    measures: list[ColumnElement[Any]]
    if shape.how is AggregationType.LATEST and not groups and joined is _USAGE and not shape.everyone:
        measures = [_last_by_index(pairs, bounded=shape.bounded).label("last")]
    else:
        measures = _measures(shape.how, rows)
    per_customer = (
        select(*groups, *unique, func.count().label("events"), *measures)
        .select_from(joined)
        .where(and_(*within))
        # by the names of the result's columns: an expression repeated would have parameters of its own
        .group_by(*(literal_column(group.name) for group in groups), *unique)
        .lateral("per_customer")
    )
    outer = [per_customer.c[group.name] for group in groups]
    return (
        select(pairs.c.number, *outer, cast(func.sum(per_customer.c.events), BIGINT), *_folds(shape.how, per_customer))
        .select_from(pairs.join(per_customer, true()))
        .where(per_customer.c.events > 0)
        .group_by(pairs.c.number, *outer)
    )


def in_windows(
    rows: Sequence[Sequence[Any]], shape: StatementShape, cut: WindowExpression | None
) -> Sequence[Sequence[Any]]:
    """Rows of a statement with the start of each window in the place of its name."""
    if cut is None:
        return rows
    place = 1 + len(shape.group_by)
    return [(*row[:place], cut.start_of(row[place]), *row[place + 1 :]) for row in rows]


def _measures(how: AggregationType, rows: FromClause) -> list[ColumnElement[Any]]:
    """What is kept of one customer's rows."""
    quantity: ColumnElement[Any] = rows.c.quantity
    match how:
        case AggregationType.COUNT | AggregationType.COUNT_UNIQUE:
            return []
        case AggregationType.SUM | AggregationType.SUM_WITH_MULTIPLIER | AggregationType.AVG:
            return [func.sum(quantity).label("total")]
        case AggregationType.MAX:
            return [func.max(quantity).label("largest")]
        case AggregationType.LATEST:
            return [func.max(_ordered(rows)).label("last")]
        case AggregationType.WEIGHTED_SUM:
            return [
                func.sum(quantity).label("total"),
                func.sum(quantity * _microseconds(rows.c.timestamp)).label("moment"),
            ]


def _ordered(rows: FromClause) -> ColumnElement[Any]:
    """A row as an array whose order is that of time, then of acceptance; the quantity comes last."""
    last = array([_microseconds(rows.c.timestamp), cast(rows.c.sequence, Numeric), rows.c.quantity])
    return cast(last, ARRAY(Numeric))


def _last_by_index(pairs: FromClause, *, bounded: bool) -> ColumnElement[Any]:
    """One customer's last row: the end of an index range, where no other row need be compared."""
    rows = _USAGE.alias("latest")
    within = [
        rows.c.environment_id == _ENVIRONMENT,
        rows.c.meter_id == pairs.c.meter_id,
        rows.c.timestamp >= pairs.c.since,
        rows.c.timestamp < pairs.c.until,
        rows.c.external_customer_id == pairs.c.customer,
    ]
    if bounded:
        within += _arrived_within(rows, pairs)
    last = select(_ordered(rows)).where(*within).order_by(rows.c.timestamp.desc(), rows.c.sequence.desc()).limit(1)
    return last.correlate(pairs).scalar_subquery()


def _folds(how: AggregationType, per_customer: FromClause) -> list[ColumnElement[Any]]:
    """How customers are added together."""
    match how:
        case AggregationType.COUNT:
            return []
        case AggregationType.COUNT_UNIQUE:
            return [func.count(distinct(per_customer.c.key))]
        case AggregationType.SUM | AggregationType.SUM_WITH_MULTIPLIER | AggregationType.AVG:
            return [func.sum(per_customer.c.total)]
        case AggregationType.MAX:
            return [func.max(per_customer.c.largest)]
        case AggregationType.LATEST:
            return [func.max(per_customer.c.last, type_=ARRAY(Numeric))[3]]
        case AggregationType.WEIGHTED_SUM:
            return [func.sum(per_customer.c.total), func.sum(per_customer.c.moment)]


def _microseconds(timestamp: ColumnElement[datetime]) -> ColumnElement[Decimal]:
    """Exact microseconds since 1970: `extract` gives a numeric."""
    return cast(extract("epoch", timestamp), Numeric) * 1_000_000


def bounds(shape: StatementShape) -> Select[Any]:
    """The first and last timestamp of all questions' rows, whatever else narrows them."""
    pairs = _pairs()
    within = [
        _USAGE.c.environment_id == _ENVIRONMENT,
        _USAGE.c.meter_id == pairs.c.meter_id,
        _USAGE.c.timestamp >= pairs.c.since,
        _USAGE.c.timestamp < pairs.c.until,
    ]
    if not shape.everyone:
        within.append(_USAGE.c.external_customer_id == pairs.c.customer)
    if shape.bounded:
        within += _arrived_within(_USAGE, pairs)
    inner = (
        select(func.min(_USAGE.c.timestamp).label("first"), func.max(_USAGE.c.timestamp).label("last"))
        .where(and_(*within))
        .lateral("bound")
    )
    return select(func.min(inner.c.first), func.max(inner.c.last)).select_from(pairs.join(inner, true()))


def canonical(properties: ColumnElement[Any], key: str) -> ColumnElement[str]:
    """SQL for the canonical text of a property; NULL where there is none. The twin of `canonical_text`."""
    value = properties.op("->", return_type=properties.type)(literal(key, Text))
    written = properties.op("->>", return_type=Text())(literal(key, Text))
    kind = func.jsonb_typeof(value)
    return case(
        (kind.in_(["string", "boolean"]), written),
        (kind == "number", cast(func.trim_scale(cast(written, Numeric)), Text)),
        else_=None,
    )


def arrival_of(rows: FromClause) -> ColumnElement[int]:
    """The number that decides whose a row is: that of its event's first arrival."""
    return func.coalesce(rows.c.owner_sequence, rows.c.sequence)


def _arrived_within(rows: FromClause, pairs: FromClause) -> list[ColumnElement[bool]]:
    arrival = arrival_of(rows)
    return [arrival >= pairs.c.arrived_since, arrival < pairs.c.arrived_until]


def owned(customers: frozenset[str] | None, ownership: Ownership) -> list[OwnedEvents]:
    """What belongs to these customers, each part once."""
    parts = [part for customer in customers or () for part in ownership[customer]]
    return parts if len(parts) < 2 else sorted(set(parts), key=lambda part: (part.external_id, part.since))


_ENVIRONMENT = bindparam("environment", type_=Text)
_PAIRS: dict[str, Any] = {
    "number": Integer,
    "meter_id": Text,
    "customer": Text,
    "since": INSTANT,
    "until": INSTANT,
    "arrived_since": BIGINT,
    "arrived_until": BIGINT,
}


def _pairs() -> FromClause:
    """A table of questions, each once for each external id under which its customers' events came: the parameters of
    that name, as arrays."""
    columns = (cast(bindparam(f"asked_{name}"), ARRAY(kind)) for name, kind in _PAIRS.items())
    return func.unnest(*columns).table_valued(*_PAIRS, name="asked").render_derived()


def parameters_of(environment_id: str, asked: Sequence[tuple[int, UsageQuery]], ownership: Ownership) -> dict[str, Any]:
    """The parameters by which a statement of their shape answers these questions."""
    numbers: list[int] = []
    meters: list[str] = []
    customers: list[str | None] = []
    since: list[datetime] = []
    until: list[datetime] = []
    arrived_since: list[int] = []
    arrived_until: list[int] = []
    for number, query in asked:
        for some, start, end in stretches_of(query):
            for part in [None] if query.customers is None else owned(some, ownership):
                numbers.append(number)
                meters.append(query.meter.id)
                customers.append(part.external_id if part else None)
                since.append(start)
                until.append(end)
                arrived_since.append(part.since if part else 0)
                arrived_until.append(END_OF_ARRIVALS if part is None else part.until_or_end)
    columns = (numbers, meters, customers, since, until, arrived_since, arrived_until)
    return {"environment": environment_id} | {
        f"asked_{name}": column for name, column in zip(_PAIRS, columns, strict=True)
    }


def stretches_of(query: UsageQuery) -> Iterator[tuple[frozenset[str] | None, datetime, datetime]]:
    """Whose usage and when: the stretches that count as one."""
    yield query.customers, query.start, query.end
    for stretch in query.more:
        yield stretch.customers, stretch.start, stretch.end


def _arrays(measured: MeasuredRows) -> FromClause:
    return (
        func.unnest(
            cast(list(measured.timestamps), ARRAY(INSTANT)),
            cast(list(measured.sequences), ARRAY(BIGINT)),
            cast(list(measured.quantities), ARRAY(Numeric)),
            cast(list(measured.keys), ARRAY(Text)),
        )
        .table_valued("timestamp", "sequence", "quantity", "key", name="measured")
        .render_derived()
    )


def _event_of(rows: FromClause) -> FromClause:
    """The event of each row, found through its index whatever the planner believes (OFFSET 0 keeps its hands off)."""
    return (
        select(_EVENTS.c.source, _EVENTS.c.properties)
        .where(
            _EVENTS.c.environment_id == _ENVIRONMENT,
            _EVENTS.c.external_customer_id == rows.c.external_customer_id,
            _EVENTS.c.timestamp == rows.c.timestamp,
            _EVENTS.c.sequence == rows.c.sequence,
        )
        .offset(0)
        .lateral("event")
    )


def _dimension(rows: FromClause, event: FromClause, name: str) -> ColumnElement[Any]:
    if name == CUSTOMER:
        return rows.c.external_customer_id
    if name == SOURCE:
        return event.c.source
    return canonical(event.c.properties, name.removeprefix(PROPERTY))


def events_statement(*, bounded: bool) -> Select[Any]:
    """Rows `(number of the question, timestamp, quantity, key)`, each question's in time order.

    `bounded`: whether an external id asked for changed hands. Customers must be named.
    """
    pairs = _pairs()
    within = [
        _USAGE.c.environment_id == _ENVIRONMENT,
        _USAGE.c.meter_id == pairs.c.meter_id,
        _USAGE.c.external_customer_id == pairs.c.customer,
        _USAGE.c.timestamp >= pairs.c.since,
        _USAGE.c.timestamp < pairs.c.until,
    ]
    if bounded:
        within += _arrived_within(_USAGE, pairs)
    event = (
        select(_USAGE.c.timestamp, _USAGE.c.sequence, _USAGE.c.quantity, _USAGE.c.key).where(*within).lateral("event")
    )
    return (
        select(pairs.c.number, event.c.timestamp, event.c.quantity, event.c.key)
        .select_from(pairs.join(event, true()))
        .order_by(pairs.c.number, event.c.timestamp, event.c.sequence)
    )
