"""Moving a deployment's events from PostgreSQL to ClickHouse, or back, while nothing else runs.

The copy goes through environments, and in each through events by id and through usage by its key, in batches that may
be repeated: what was interrupted goes on where it stopped. Nothing may be stored meanwhile: a row in PostgreSQL keeps
every process from starting until the move has ended or was given up, and every append reads it, so that a process that
was overlooked (cut off from the database, say, when the move began) accepts nothing. At the end counts and sums of both
stores are compared, per environment, event name or meter, and day, while PostgreSQL lets nobody write; only if nothing
differs does the new store hold the events, and the former one is emptied in the same transaction.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import FIRST_INSTANT, LAST_INSTANT
from farthing.events.ingest.contents import read
from farthing.events.stores.clickhouse.client import ClickHouse
from farthing.events.stores.clickhouse.moments import (
    at_microsecond,
    at_millisecond,
    microseconds,
    milliseconds,
)
from farthing.events.stores.clickhouse.records import EventTableRow, IdTableRow, text_of_properties, usage_record
from farthing.events.stores.clickhouse.schema import BY_NAME, EVENTS, IDS, STORE, TABLES, USAGE, local_name
from farthing.events.stores.clickhouse.store import clickhouse_store
from farthing.events.stores.place import (
    ONE_AT_A_TIME,
    StoresDiffer,
    make_tables,
    scopes_of,
    set_place,
    take,
    token_of,
)
from farthing.events.stores.postgres import POSTGRES
from farthing.events.tables import HERE, MOVING, EventStorePlace
from farthing.events.usage.event_store import EventStore
from farthing.storage.postgres import Database, UnsafeDatabase, scope_of
from farthing.storage.scope import SYSTEM, Scope

BATCH = 5_000

Report = Callable[[int], None]
"""Is told of each batch how many rows it had."""

_OTHERS = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'farthing%' "
    "AND application_name <> :own AND pid <> pg_backend_pid()"
)
_PATIENTLY = text(
    "SELECT set_config('lock_timeout', '60s', true), set_config('idle_in_transaction_session_timeout', '0', true)"
)
_STAND_STILL = text("LOCK TABLE events, meter_usage IN SHARE MODE")
_EVENTS = text(
    """
    SELECT id, event_name, external_customer_id, timestamp, customer_id, source, properties::text AS properties,
        ingested_at, sequence, owner_sequence, sent_by
    FROM events WHERE environment_id = :environment AND id > :id ORDER BY id LIMIT :batch
    """
)
# usage of a level outlives its event, and then has no id
_USAGE = text(
    """
    SELECT u.meter_id, u.external_customer_id, u.timestamp, u.sequence, u.owner_sequence, u.quantity, u.key,
        u.quantity_error, e.id
    FROM meter_usage AS u
    LEFT JOIN events AS e ON e.environment_id = u.environment_id AND e.external_customer_id = u.external_customer_id
        AND e.timestamp = u.timestamp AND e.sequence = u.sequence
    WHERE u.environment_id = :environment AND (u.meter_id, u.external_customer_id, u.timestamp, u.sequence)
        > (:meter_id, :customer, CAST(:timestamp AS timestamptz), :sequence)
    ORDER BY u.meter_id, u.external_customer_id, u.timestamp, u.sequence LIMIT :batch
    """
)
_EVENTS_BY_DAY = text(
    "SELECT event_name, date_trunc('day', timestamp, 'UTC') AS day, count(*), 0 FROM events "
    "WHERE environment_id = :environment GROUP BY 1, 2"
)
_ADD_EVENT = text(
    """
    INSERT INTO events (environment_id, id, event_name, external_customer_id, timestamp, customer_id, source,
        properties, ingested_at, sequence, owner_sequence, sent_by)
    VALUES (:environment, :id, :event_name, :customer, :timestamp, :customer_id, :source, CAST(:properties AS jsonb),
        :ingested_at, :sequence, :owner_sequence, :sent_by)
    ON CONFLICT (environment_id, id) DO NOTHING
    """
)
_ADD_USAGE = text(
    """
    INSERT INTO meter_usage (environment_id, meter_id, external_customer_id, timestamp, quantity, key, quantity_error,
        sequence, owner_sequence)
    VALUES (:environment, :meter_id, :customer, :timestamp, :quantity, :key, :quantity_error, :sequence,
        :owner_sequence)
    ON CONFLICT (environment_id, meter_id, external_customer_id, timestamp, sequence) DO NOTHING
    """
)
_DAY = 24 * 60 * 60 * 1000


class _Reached(msgspec.Struct, frozen=True):
    """How far a move has come: in this environment, in this table, beyond this key."""

    environment: str = ""
    table: str = EVENTS
    key: list[Any] = []


@dataclass(frozen=True, slots=True)
class _CopiedPage:
    """A batch of a table, copied; and the key of its last row."""

    rows: int
    key: list[Any]


async def move_to_clickhouse(database: Database, clickhouse: ClickHouse, report: Report) -> int:
    """Move all events from PostgreSQL; how many rows. Raises UnsafeDatabase, StoresDiffer, ServiceUnavailable."""
    address = str(clickhouse.address)
    async with _alone(database) as session:
        await make_tables(clickhouse)
        places = {place.id: place for place in await session.scalars(select(EventStorePlace))}
        if HERE in places:
            raise UnsafeDatabase(f"the events are stored in {places[HERE].address} already")
        if MOVING in places and places[MOVING].address != address:
            raise UnsafeDatabase(f"events are being moved to {places[MOVING].address}; end that first, or --give-up")
        if MOVING in places and places[MOVING].token != await token_of(clickhouse):
            raise UnsafeDatabase(f"{address} is not the one that events were being moved to")
        if MOVING not in places:
            await set_place(session, MOVING, (address, await take(clickhouse)))
    async with _standing_still(database):
        pass  # what was being stored when the move began is there
    store = clickhouse_store(clickhouse)
    copied = await _copy(database, report, lambda session, table, key: _to_clickhouse(session, clickhouse, table, key))
    async with _standing_still(database) as session:
        await _compare(database, clickhouse, store)
        token = await session.scalar(select(EventStorePlace.token).where(EventStorePlace.id == MOVING))
        await set_place(session, HERE, (address, token or ""))
        await set_place(session, MOVING, None)
        await session.execute(text("TRUNCATE events, meter_usage"))
    return copied


async def move_to_postgres(database: Database, clickhouse: ClickHouse, report: Report) -> int:
    """Move all events back; how many rows. Raises as `move_to_clickhouse`."""
    address = str(clickhouse.address)
    async with _alone(database) as session:
        places = {place.id: place for place in await session.scalars(select(EventStorePlace))}
        if HERE not in places:
            raise UnsafeDatabase("the events are stored in PostgreSQL already")
        if places[HERE].token != await token_of(clickhouse):
            raise UnsafeDatabase(f"{address} is not where this deployment's events are stored")
        if MOVING not in places:
            await set_place(session, MOVING, ("postgresql", places[HERE].token))
    store = clickhouse_store(clickhouse)
    for scope in await scopes_of(database):
        async with database.transaction(scope) as session:
            await store.finish_writes(session, database.clock.now())
    copied = await _copy(database, report, lambda session, table, key: _to_postgres(session, clickhouse, table, key))
    await _compare(database, clickhouse, store)
    async with database.transaction(SYSTEM) as session:
        await set_place(session, HERE, None)
        await set_place(session, MOVING, None)
    await _empty(clickhouse)
    return copied


async def give_up(database: Database, clickhouse: ClickHouse | None) -> None:
    """Leave the events where they are, and empty the store that they were being moved to. Raises UnsafeDatabase."""
    async with _alone(database) as session:
        places = {place.id: place for place in await session.scalars(select(EventStorePlace))}
        if MOVING not in places:
            raise UnsafeDatabase("no events are being moved")
        if HERE in places:  # they were on their way back
            await session.execute(text("TRUNCATE events, meter_usage"))
        else:
            if clickhouse is None or await token_of(clickhouse) != places[MOVING].token:
                raise UnsafeDatabase(f"name {places[MOVING].address} with --to: what was copied there is removed")
            await _empty(clickhouse)
        await set_place(session, MOVING, None)


async def others_run(session: AsyncSession, database: Database) -> bool:
    """Whether another process of Farthing is connected to this database."""
    return bool(await session.scalar(_OTHERS, {"own": database.application_name}))


@asynccontextmanager
async def _alone(database: Database) -> AsyncIterator[AsyncSession]:
    """A transaction to say where events are, while no other process runs or starts. Raises UnsafeDatabase.

    One that starts reads what is said here under the same lock: either it is connected by now and seen, or reads it.
    """
    async with database.transaction(SYSTEM) as session:
        await session.execute(ONE_AT_A_TIME)
        if await others_run(session, database):
            raise UnsafeDatabase("Farthing is running on this database: stop all its processes while events are moved")
        yield session


@asynccontextmanager
async def _standing_still(database: Database) -> AsyncIterator[AsyncSession]:
    """A transaction during which nobody writes events or usage in PostgreSQL."""
    async with database.transaction(SYSTEM) as session:
        await session.execute(_PATIENTLY)
        await session.execute(_STAND_STILL)
        yield session


async def _copy(database: Database, report: Report, copy: Callable[[AsyncSession, str, list[Any]], Any]) -> int:
    """Copy what is left of every environment, batch by batch; how many rows."""
    async with database.transaction(SYSTEM, read_only=True) as session:
        written = await session.scalar(select(EventStorePlace.reached).where(EventStorePlace.id == MOVING))
    reached = msgspec.json.decode(written, type=_Reached) if written else _Reached()
    copied = 0
    for scope in await scopes_of(database):
        if scope.environment_id < reached.environment:
            continue
        here = reached if scope.environment_id == reached.environment else _Reached(scope.environment_id)
        for table in (EVENTS, USAGE)[(here.table == USAGE) :]:
            key = here.key if table == here.table else []
            async for page in _pages(database, scope, table, key, copy):
                copied += page.rows
                await _keep_reached(database, _Reached(scope.environment_id, table, page.key))
                report(page.rows)
    return copied


async def _pages(
    database: Database,
    scope: Scope,
    table: str,
    key: list[Any],
    copy: Callable[[AsyncSession, str, list[Any]], Any],
) -> AsyncIterator[_CopiedPage]:
    while True:
        async with database.transaction(scope) as session:
            page: _CopiedPage = await copy(session, table, key)
        if not page.rows:
            return
        yield page
        key = page.key


async def _keep_reached(database: Database, reached: _Reached) -> None:
    async with database.transaction(SYSTEM) as session:
        place = await session.get_one(EventStorePlace, MOVING)
        place.reached = msgspec.json.encode(reached).decode()


async def _to_clickhouse(session: AsyncSession, clickhouse: ClickHouse, table: str, key: list[Any]) -> _CopiedPage:
    environment = scope_of(session).environment_id
    if table == EVENTS:
        given = {"environment": environment, "id": key[0] if key else "", "batch": BATCH}
        events = (await session.execute(_EVENTS, given)).all()
        records = [
            EventTableRow(
                environment, row.event_name, row.external_customer_id, milliseconds(row.timestamp), row.id,
                row.customer_id, row.source, row.properties, text_of_properties(read(row.properties)),
                microseconds(row.ingested_at), row.sequence, row.owner_sequence, row.sent_by, row.sequence,
            )
            for row in events
        ]  # fmt: skip
        ids = [
            IdTableRow(environment, row.id, row.event_name, row.external_customer_id, row.timestamp, row.version)
            for row in records
        ]
        await _insert(clickhouse, EVENTS, records)
        await _insert(clickhouse, IDS, ids)
        return _CopiedPage(len(records), [events[-1].id] if events else [])
    meter_id, customer, moment, sequence = key or ["", "", milliseconds(FIRST_INSTANT), 0]
    given = {
        "environment": environment,
        "meter_id": meter_id,
        "customer": customer,
        "timestamp": at_millisecond(moment),
        "sequence": sequence,
        "batch": BATCH,
    }
    rows = (await session.execute(_USAGE, given)).all()
    usage = [
        usage_record(
            environment, row.meter_id, row.external_customer_id, milliseconds(row.timestamp),
            row.id or f"forgotten {row.sequence}", row.quantity, row.key, row.quantity_error, row.sequence,
            row.owner_sequence, row.sequence,
        )
        for row in rows
    ]  # fmt: skip
    await _insert(clickhouse, USAGE, usage)
    if not usage:
        return _CopiedPage(0, [])
    last = usage[-1]
    return _CopiedPage(len(usage), [last.meter_id, last.external_customer_id, last.timestamp, last.sequence])


async def _insert(clickhouse: ClickHouse, table: str, records: Sequence[Any]) -> None:
    if records:
        # a batch that is copied again after an interruption has the same versions: it may be stored twice
        token = f"moved {records[0]} {records[-1]}"[:500]
        await clickhouse.insert(
            table, BY_NAME[table].column_names, [msgspec.structs.astuple(record) for record in records], token
        )


async def _to_postgres(session: AsyncSession, clickhouse: ClickHouse, table: str, key: list[Any]) -> _CopiedPage:
    environment = scope_of(session).environment_id
    leading = "event_name" if table == EVENTS else "meter_id"
    order = f"{leading}, external_customer_id, timestamp, id"
    columns = BY_NAME[table].column_names
    beyond = f" AND ({order}) > (%(leading)s, %(customer)s, %(moment)s, %(id)s)" if key else ""
    given = {"environment": environment} | dict(zip(("leading", "customer", "moment", "id"), key, strict=False))
    found = await clickhouse.rows(
        f"SELECT {', '.join(columns)} FROM {clickhouse.database}.{table} FINAL "
        f"WHERE environment_id = %(environment)s{beyond} ORDER BY {order} LIMIT {BATCH}",
        given,
    )
    rows = [dict(zip(columns, row, strict=True)) for row in found]
    for row in rows:
        row["environment"], row["customer"] = environment, row["external_customer_id"]
        row["moment"], row["timestamp"] = row["timestamp"], at_millisecond(row["timestamp"])
        if table == EVENTS:
            row["ingested_at"] = at_microsecond(row["ingested_at"])
    if not rows:
        return _CopiedPage(0, [])
    await session.execute(_ADD_EVENT if table == EVENTS else _ADD_USAGE, rows)
    last = rows[-1]
    return _CopiedPage(len(rows), [last[leading], last["customer"], last["moment"], last["id"]])


_ByDay = dict[tuple[str, datetime], tuple[int, Any]]


async def _compare(database: Database, clickhouse: ClickHouse, store: EventStore) -> None:
    """Raises StoresDiffer naming the first difference of events by name and day, or of usage by meter and day."""
    for scope in await scopes_of(database):
        async with database.transaction(scope, read_only=True) as session:
            meters = list(await session.scalars(text("SELECT id FROM meters")))
            everything = (meters, FIRST_INSTANT, LAST_INSTANT)
            _require_same(
                scope,
                "usage of meter",
                await POSTGRES.upkeep.totals(session, *everything),
                await store.upkeep.totals(session, *everything),
            )
            here = await session.execute(_EVENTS_BY_DAY, {"environment": scope.environment_id})
            _require_same(
                scope,
                "events named",
                {(name, day): (count, total) for name, day, count, total in here},
                await _events_by_day(clickhouse, scope, EVENTS),
            )
            _require_same(
                scope,
                "ids of events named",
                await _events_by_day(clickhouse, scope, EVENTS),
                await _events_by_day(clickhouse, scope, IDS),
            )


async def _events_by_day(clickhouse: ClickHouse, scope: Scope, table: str) -> _ByDay:
    rows = await clickhouse.rows(
        f"SELECT event_name, timestamp - positiveModulo(timestamp, {_DAY}) AS day, count() "
        f"FROM {clickhouse.database}.{table} FINAL WHERE environment_id = %(environment)s GROUP BY event_name, day",
        {"environment": scope.environment_id},
    )
    return {(name, at_millisecond(day)): (count, 0) for name, day, count in rows}


def _require_same(scope: Scope, what: str, first: _ByDay, second: _ByDay) -> None:
    for name, day in sorted(first.keys() | second.keys()):
        here, there = first.get((name, day), (0, 0)), second.get((name, day), (0, 0))
        if here != there:
            raise StoresDiffer(
                f"{what} {name} on {day:%Y-%m-%d} in {scope.environment_id}: {here[0]} rows, {here[1]} in PostgreSQL; "
                f"{there[0]} rows, {there[1]} in ClickHouse; nothing was switched"
            )


async def _empty(clickhouse: ClickHouse) -> None:
    for table in (*(table.name for table in TABLES), STORE):
        name = local_name(table, clickhouse.address) if table != STORE else f"{clickhouse.database}.{STORE}"
        await clickhouse.command(f"TRUNCATE TABLE {name}")
