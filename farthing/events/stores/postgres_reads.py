"""Reading events and usage from PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, Text, and_, cast, false, func, or_, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.period import Period
from farthing.events.tables import MeterUsage, StoredEvent
from farthing.events.usage.cuts import Windows, cut
from farthing.events.usage.event_store import (
    Asked,
    EarlierEvents,
    EventOrder,
    EventQuantity,
    EventSelection,
    LateQuestion,
)
from farthing.events.usage.ownership import OwnedEvents, Ownership
from farthing.events.usage.usage_statement import (
    StatementShape,
    arrival_of,
    bounds,
    canonical,
    events_statement,
    in_windows,
    parameters_of,
    plain_statement,
    statement,
)
from farthing.storage.postgres import scope_of

CHUNK = 5_000
"""How many rows of a stream are held at a time."""

_EVENTS = StoredEvent.__table__
_USAGE = MeterUsage.__table__
_ROW = (
    _EVENTS.c.id,
    _EVENTS.c.external_customer_id,
    _EVENTS.c.customer_id,
    _EVENTS.c.event_name,
    _EVENTS.c.timestamp,
    _EVENTS.c.source,
    cast(_EVENTS.c.properties, Text).label("properties"),
    _EVENTS.c.environment_id,
    _EVENTS.c.ingested_at,
    _EVENTS.c.sequence,
    arrival_of(_EVENTS).label("arrival"),
)
"""The columns of a `port.EventRow`, in its order."""

# events of a customer, whatever their name: what no longer counts came late just as what counts now
_ARRIVED = text(
    """
    SELECT DISTINCT asked.line
    FROM unnest(CAST(:lines AS text[]), CAST(:customers AS text[]), CAST(:since AS timestamptz[]),
                CAST(:until AS timestamptz[]), CAST(:marks AS bigint[]))
        AS asked (line, customer, since, until, mark)
    CROSS JOIN LATERAL (
        SELECT external_id FROM external_id_tenures
        WHERE environment_id = :environment AND customer_id = asked.customer
    ) AS tenure
    CROSS JOIN LATERAL (
        SELECT FROM events
        WHERE environment_id = :environment AND external_customer_id = tenure.external_id
            AND timestamp >= asked.since AND timestamp < asked.until AND sequence > asked.mark
        UNION ALL
        SELECT FROM events_withdrawn
        WHERE environment_id = :environment AND external_customer_id = tenure.external_id
            AND timestamp >= asked.since AND timestamp < asked.until AND sequence > asked.mark
        LIMIT 1
    ) AS came
    """
)
_EARLIER = text(
    """
    SELECT asked.customer_id, sum(earlier.events)::bigint AS events
    FROM unnest(CAST(:customers AS text[]), CAST(:external_ids AS text[]), CAST(:until AS timestamptz[]),
                CAST(:arrived_since AS bigint[]), CAST(:arrived_until AS bigint[]))
        AS asked (customer_id, external_id, until, arrived_since, arrived_until)
    CROSS JOIN LATERAL (
        SELECT count(*) AS events FROM events
        WHERE environment_id = :environment AND external_customer_id = asked.external_id
            AND timestamp < asked.until AND coalesce(owner_sequence, sequence) >= asked.arrived_since
            AND coalesce(owner_sequence, sequence) < asked.arrived_until
    ) AS earlier
    GROUP BY asked.customer_id HAVING sum(earlier.events) > 0
    """
)


async def read_usage(
    session: AsyncSession,
    shape: StatementShape,
    asked: Asked,
    ownership: Ownership,
    span: Period | None,
    most: int | None,
) -> Sequence[Sequence[Any]]:
    how = None if shape.windows is None or span is None else cut(shape.windows, span)
    query = plain_statement(shape) if how is None else statement(shape, how)
    if most is not None:
        query = query.limit(most)
    result = await session.execute(query, parameters_of(scope_of(session).environment_id, asked, ownership))
    return in_windows(result.all(), shape, how)


async def find_usage_span(
    session: AsyncSession, shape: StatementShape, asked: Asked, ownership: Ownership
) -> tuple[datetime | None, datetime | None]:
    parameters = parameters_of(scope_of(session).environment_id, asked, ownership)
    first, last = (await session.execute(bounds(shape), parameters)).one()
    return first, last


async def stream_usage(
    session: AsyncSession, asked: Asked, ownership: Ownership, bounded: bool
) -> AsyncIterator[Sequence[Any]]:
    """One statement, whose rows are read as they are wanted."""
    query = events_statement(bounded=bounded).execution_options(yield_per=CHUNK)
    async for row in await session.stream(query, parameters_of(scope_of(session).environment_id, asked, ownership)):
        yield row


async def find_late(session: AsyncSession, questions: Sequence[LateQuestion]) -> set[str]:
    if not questions:
        return set()
    lines, customers, since, until, marks = map(list, zip(*questions, strict=True))
    given = {"lines": lines, "customers": customers, "since": since, "until": until, "marks": marks}
    return set(await session.scalars(_ARRIVED, {"environment": scope_of(session).environment_id, **given}))


async def count_earlier(session: AsyncSession, parts: Sequence[EarlierEvents]) -> dict[str, int]:
    given = {
        "environment": scope_of(session).environment_id,
        "customers": [part.customer_id for part in parts],
        "external_ids": [part.owned.external_id for part in parts],
        "until": [part.until for part in parts],
        "arrived_since": [part.owned.since for part in parts],
        "arrived_until": [part.owned.until_or_end for part in parts],
    }
    return {row.customer_id: row.events for row in await session.execute(_EARLIER, given)}


async def select_events(session: AsyncSession, selection: EventSelection, order: EventOrder) -> Sequence[Any]:
    key: ColumnElement[Any] = _EVENTS.c.event_name if order.by_name else _EVENTS.c.timestamp
    keys = [key.asc(), _EVENTS.c.id.asc()] if order.ascending else [key.desc(), _EVENTS.c.id.desc()]
    query = select(*_ROW).where(*_selected(session, selection)).order_by(*keys).limit(order.limit)
    return (await session.execute(query.offset(order.offset) if order.offset else query)).all()


async def count_events(session: AsyncSession, selection: EventSelection) -> int:
    return await _count(session, _selected(session, selection))


async def count_ingested(session: AsyncSession, since: datetime, until: datetime) -> int:
    at = _EVENTS.c.ingested_at
    return await _count(session, [*_selected(session, EventSelection()), at >= since, at < until])


async def count_beyond(session: AsyncSession, event_id: str) -> int:
    return await _count(session, [*_selected(session, EventSelection()), _EVENTS.c.id > event_id])


async def count_in_windows(session: AsyncSession, how: Windows, span: Period) -> Sequence[tuple[datetime, int]]:
    expression = cut(how, span)
    window = expression.name_of(_EVENTS.c.timestamp).label("window")
    within = _selected(session, EventSelection(start=span.start, end=span.end))
    inner = select(window).where(*within).subquery()
    counted = select(inner.c.window, func.count()).group_by(inner.c.window).order_by(inner.c.window)
    return [(expression.start_of(name), count) for name, count in await session.execute(counted)]


async def find_span(session: AsyncSession, selection: EventSelection) -> tuple[datetime | None, datetime | None]:
    at = _EVENTS.c.timestamp
    query = select(func.min(at), func.max(at)).where(*_selected(session, selection))
    first, last = (await session.execute(query)).one()
    return first, last


async def find_events(session: AsyncSession, ids: Collection[str]) -> Sequence[Any]:
    within = [*_selected(session, EventSelection()), _EVENTS.c.id.in_(ids)]
    return (await session.execute(select(*_ROW).where(*within))).all()


async def find_quantities(
    session: AsyncSession, rows: Sequence[Any], meter_ids: Collection[str]
) -> Sequence[EventQuantity]:
    environment_id = scope_of(session).environment_id
    found = await session.execute(
        select(_EVENTS.c.id, _USAGE.c.meter_id, _USAGE.c.quantity, _USAGE.c.key)
        .join(
            _USAGE,
            and_(
                _USAGE.c.environment_id == _EVENTS.c.environment_id,
                _USAGE.c.external_customer_id == _EVENTS.c.external_customer_id,
                _USAGE.c.timestamp == _EVENTS.c.timestamp,
                _USAGE.c.sequence == _EVENTS.c.sequence,
            ),
        )
        .where(
            _EVENTS.c.environment_id == environment_id,
            _EVENTS.c.id.in_([row.id for row in rows]),
            _USAGE.c.meter_id.in_(sorted(meter_ids)),
        )
    )
    return [EventQuantity(*row) for row in found]


async def stream_events(
    session: AsyncSession,
    selection: EventSelection,
    owned: Collection[OwnedEvents] | None,
    names: Collection[str] | None,
) -> AsyncIterator[Sequence[Any]]:
    query: Select[Any] = select(*_ROW).where(*_selected(session, selection))
    if names is not None:
        query = query.where(_EVENTS.c.event_name.in_(sorted(names)))
    if owned is not None:
        query = query.where(or_(false(), *map(_belongs, owned)))
    result = await session.stream(query.execution_options(yield_per=CHUNK))
    async for rows in result.partitions():
        yield rows


def _selected(session: AsyncSession, selection: EventSelection) -> list[ColumnElement[bool]]:
    matching = [_EVENTS.c.environment_id == scope_of(session).environment_id]
    if selection.start is not None:
        matching.append(_EVENTS.c.timestamp >= selection.start)
    if selection.end is not None:
        matching.append(_EVENTS.c.timestamp < selection.end)
    if selection.until is not None:
        matching.append(_EVENTS.c.timestamp <= selection.until)
    for column, value in (
        (_EVENTS.c.external_customer_id, selection.external_customer_id),
        (_EVENTS.c.event_name, selection.event_name),
        (_EVENTS.c.id, selection.event_id),
        (_EVENTS.c.source, selection.source),
    ):
        if value:
            matching.append(column == value)
    for key, values in selection.properties:
        matching.append(canonical(_EVENTS.c.properties, key).in_(sorted(values)))
    if selection.beyond is not None:
        moment, event_id = selection.beyond
        here, row = tuple_(moment, event_id), tuple_(_EVENTS.c.timestamp, _EVENTS.c.id)
        # the time alone too, which an index can follow
        matching += (
            [row > here, _EVENTS.c.timestamp >= moment]
            if selection.newer
            else [row < here, _EVENTS.c.timestamp <= moment]
        )
    return matching


def _belongs(part: OwnedEvents) -> ColumnElement[bool]:
    """Whether an event is among these."""
    conditions = [_EVENTS.c.external_customer_id == part.external_id]
    if part.since:
        conditions.append(arrival_of(_EVENTS) >= part.since)
    if part.until is not None:
        conditions.append(arrival_of(_EVENTS) < part.until)
    return and_(*conditions)


async def _count(session: AsyncSession, within: Sequence[ColumnElement[bool]]) -> int:
    return (await session.execute(select(func.count()).select_from(_EVENTS).where(*within))).scalar_one()
