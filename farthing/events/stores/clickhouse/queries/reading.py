"""Stored events, one by one: found by their ids, listed, counted, streamed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.period import Period
from farthing.events.ingest.arrivals import stored_event
from farthing.events.stores.clickhouse.client import ClickHouse
from farthing.events.stores.clickhouse.moments import at_microsecond, at_millisecond, microseconds, milliseconds
from farthing.events.stores.clickhouse.queries.conditions import WhereClause, belongs, selected
from farthing.events.stores.clickhouse.queries.windows import window_of
from farthing.events.stores.clickhouse.records import StoredVersion, row_of
from farthing.events.usage.cuts import Windows
from farthing.events.usage.event_store import EventOrder, EventQuantity, EventRow, EventSelection
from farthing.events.usage.ownership import OwnedEvents
from farthing.storage.postgres import scope_of

IDS_AT_ONCE = 2_000
ROWS_AT_ONCE = 20_000
_COLUMNS = (
    "id, event_name, external_customer_id, timestamp, properties, source, customer_id, ingested_at, sequence, "
    "owner_sequence, sent_by"
)


async def find_stored(clickhouse: ClickHouse, environment: str, ids: Collection[str]) -> dict[str, StoredVersion]:
    """The stored versions of those of these ids that are stored."""
    found: dict[str, StoredVersion] = {}
    wanted = sorted(ids)
    for first in range(0, len(wanted), IDS_AT_ONCE):
        places = await clickhouse.rows(
            f"SELECT id, event_name, external_customer_id, timestamp FROM {clickhouse.database}.event_ids FINAL "
            "WHERE environment_id = %(environment)s AND id IN %(ids)s",
            {"environment": environment, "ids": wanted[first : first + IDS_AT_ONCE]},
        )
        if places:
            found |= await find_places(clickhouse, environment, {tuple(place) for place in places})
    return found


async def find_places(
    clickhouse: ClickHouse, environment: str, places: set[tuple[Any, ...]]
) -> dict[str, StoredVersion]:
    """The events that stand at these places: (id, name, external id, millisecond)."""
    ids, names, customers, moments = (sorted(set(column)) for column in zip(*places, strict=True))
    rows = await clickhouse.rows(
        f"SELECT {_COLUMNS} FROM {clickhouse.database}.events FINAL WHERE environment_id = %(environment)s "
        "AND event_name IN %(names)s AND external_customer_id IN %(customers)s AND timestamp IN %(moments)s "
        "AND timestamp >= %(first)s AND timestamp <= %(last)s AND id IN %(ids)s",
        {
            "environment": environment,
            "names": names,
            "customers": customers,
            "moments": moments,
            "first": moments[0],
            "last": moments[-1],
            "ids": ids,
        },
    )
    # each condition by itself lets pass what stands at a mixture of several places
    return {row[0]: _version(row) for row in rows if tuple(row[:4]) in places}


def _version(row: Sequence[Any]) -> StoredVersion:
    event_id, name, customer, moment, properties, source, customer_id, ingested_at, sequence, owner, sent_by = row
    event = stored_event(event_id, name, customer, at_millisecond(moment), properties, source, customer_id)
    return StoredVersion(event, at_microsecond(ingested_at), sequence, owner, sent_by)


def _row(row: Sequence[Any], environment: str) -> EventRow:
    event_id, name, customer, moment, properties, source, customer_id, ingested_at, sequence, owner, _ = row
    return EventRow(
        event_id, customer, customer_id, name, at_millisecond(moment), source, properties, environment,
        at_microsecond(ingested_at), sequence, sequence if owner is None else owner,
    )  # fmt: skip


async def select_events(
    clickhouse: ClickHouse, session: AsyncSession, selection: EventSelection, order: EventOrder
) -> Sequence[EventRow]:
    environment = scope_of(session).environment_id
    where = selected(environment, selection)
    key, direction = "event_name" if order.by_name else "timestamp", "ASC" if order.ascending else "DESC"
    rows = await clickhouse.rows(
        f"SELECT {_COLUMNS} FROM {clickhouse.database}.events FINAL WHERE {where.text} "
        f"ORDER BY {key} {direction}, id {direction} LIMIT {order.limit} OFFSET {order.offset}",
        where.parameters,
    )
    return [_row(row, environment) for row in rows]


async def count_events(clickhouse: ClickHouse, session: AsyncSession, selection: EventSelection) -> int:
    return await _count(clickhouse, selected(scope_of(session).environment_id, selection))


async def count_ingested(clickhouse: ClickHouse, session: AsyncSession, since: datetime, until: datetime) -> int:
    where = selected(scope_of(session).environment_id, EventSelection())
    where.add("ingested_at >= %(came_since)s AND ingested_at < %(came_until)s")
    where.parameters |= {"came_since": microseconds(since), "came_until": microseconds(until)}
    return await _count(clickhouse, where)


async def count_beyond(clickhouse: ClickHouse, session: AsyncSession, event_id: str) -> int:
    rows = await clickhouse.rows(
        f"SELECT count() FROM {clickhouse.database}.event_ids FINAL "
        "WHERE environment_id = %(environment)s AND id > %(reached)s",
        {"environment": scope_of(session).environment_id, "reached": event_id},
    )
    return int(rows[0][0])


async def count_in_windows(
    clickhouse: ClickHouse, session: AsyncSession, how: Windows, span: Period
) -> Sequence[tuple[datetime, int]]:
    where = selected(scope_of(session).environment_id, EventSelection(start=span.start, end=span.end))
    window = window_of("timestamp", how, span)
    rows = await clickhouse.rows(
        f"SELECT {window} AS start, count() FROM {clickhouse.database}.events FINAL WHERE {where.text} "
        "GROUP BY start ORDER BY start",
        where.parameters,
    )
    return [(at_millisecond(start), count) for start, count in rows]


async def find_span(
    clickhouse: ClickHouse, session: AsyncSession, selection: EventSelection
) -> tuple[datetime | None, datetime | None]:
    where = selected(scope_of(session).environment_id, selection)
    ((count, first, last),) = await clickhouse.rows(
        f"SELECT count(), min(timestamp), max(timestamp) FROM {clickhouse.database}.events FINAL WHERE {where.text}",
        where.parameters,
    )
    return (at_millisecond(first), at_millisecond(last)) if count else (None, None)


async def find_events(clickhouse: ClickHouse, session: AsyncSession, ids: Collection[str]) -> Sequence[EventRow]:
    environment = scope_of(session).environment_id
    return [row_of(stored, environment) for stored in (await find_stored(clickhouse, environment, ids)).values()]


async def find_quantities(
    clickhouse: ClickHouse, session: AsyncSession, rows: Sequence[EventRow], meter_ids: Collection[str]
) -> Sequence[EventQuantity]:
    if not rows or not meter_ids:
        return []
    moments = [milliseconds(row.timestamp) for row in rows]
    found = await clickhouse.rows(
        f"SELECT id, meter_id, quantity, key, external_customer_id, timestamp FROM {clickhouse.database}.meter_usage "
        "FINAL WHERE environment_id = %(environment)s AND meter_id IN %(meters)s "
        "AND external_customer_id IN %(customers)s AND timestamp >= %(first)s AND timestamp <= %(last)s "
        "AND id IN %(ids)s",
        {
            "environment": scope_of(session).environment_id,
            "meters": sorted(meter_ids),
            "customers": sorted({row.external_customer_id for row in rows}),
            "first": min(moments),
            "last": max(moments),
            "ids": sorted({row.id for row in rows}),
        },
    )
    places = {(row.id, row.external_customer_id, milliseconds(row.timestamp)) for row in rows}
    return [
        EventQuantity(event_id, meter_id, quantity, key)
        for event_id, meter_id, quantity, key, *place in found
        if (event_id, *place) in places
    ]


async def stream_events(
    clickhouse: ClickHouse,
    session: AsyncSession,
    selection: EventSelection,
    owned: Collection[OwnedEvents] | None,
    names: Collection[str] | None,
) -> AsyncIterator[Sequence[EventRow]]:
    """Portions in the order of time and id; each is a statement of its own, which begins after the last row."""
    environment = scope_of(session).environment_id
    where = selected(environment, selection)
    if names is not None:
        where.add("event_name IN %(names)s", names=sorted(names))
    if owned is not None:
        belongs(where, owned)
    if (names is not None and not names) or (owned is not None and not owned):
        return
    after: Mapping[str, Any] = {}
    while True:
        further = " AND (timestamp, id) > (%(after)s, %(after_id)s) AND timestamp >= %(after)s" if after else ""
        rows = await clickhouse.rows(
            f"SELECT {_COLUMNS} FROM {clickhouse.database}.events FINAL WHERE {where.text}{further} "
            f"ORDER BY timestamp, id LIMIT {ROWS_AT_ONCE}",
            {**where.parameters, **after},
        )
        if rows:
            yield [_row(row, environment) for row in rows]
        if len(rows) < ROWS_AT_ONCE:
            return
        after = {"after": rows[-1][3], "after_id": rows[-1][0]}


async def _count(clickhouse: ClickHouse, where: WhereClause) -> int:
    rows = await clickhouse.rows(
        f"SELECT count() FROM {clickhouse.database}.events FINAL WHERE {where.text}", where.parameters
    )
    return int(rows[0][0])
