"""Writes that PostgreSQL knows of until all their rows are in ClickHouse.

ClickHouse has no transactions over tables and months, so a write is recorded whole in PostgreSQL, in the transaction
that decides it; then its rows are inserted; then it is crossed out, with what others may see only now. Whoever finds a
write recorded while nobody works on it finishes it: its rows have their versions, so that repeating it changes nothing.

One write of an environment at a time: each holds a lock of PostgreSQL, which a process that dies lets go.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
import psycopg
from psycopg.rows import TupleRow
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.events.stores.clickhouse.client import ClickHouse
from farthing.events.stores.clickhouse.records import EventWrite
from farthing.events.stores.clickhouse.schema import BY_NAME, EVENTS, IDS, USAGE, local_name
from farthing.storage.postgres import driver_connection, scope_of

LOCK_SPACE = 7010
_LOCK = f"{LOCK_SPACE}, hashtext(%s)"
_RECORD = "INSERT INTO pending_event_writes (environment_id, sequence, content) VALUES (%s, %s, %b)"
_OPEN = "SELECT content FROM pending_event_writes WHERE environment_id = %s ORDER BY sequence"
_IS_OPEN = "SELECT EXISTS (SELECT FROM pending_event_writes WHERE environment_id = %s)"
_CROSS_OUT = "DELETE FROM pending_event_writes WHERE environment_id = %s AND sequence = %s"
_NOTICE = """
    INSERT INTO usage_notices (environment_id, sequence, arrived_at, external_customer_ids) VALUES (%s, %s, %s, %s)
    ON CONFLICT (environment_id, sequence)
        DO UPDATE SET external_customer_ids = usage_notices.external_customer_ids || EXCLUDED.external_customer_ids
"""
_WITHDRAW = """
    INSERT INTO events_withdrawn (environment_id, external_customer_id, timestamp, sequence)
    SELECT %s, o.customer, o.timestamp, %s FROM unnest(%s::text[], %s::timestamptz[]) AS o (customer, timestamp)
"""

_ERASE = (
    "ALTER TABLE {table} DELETE WHERE environment_id = %(environment)s AND external_customer_id IN %(customers)s "
    "AND version < %(version)s SETTINGS mutations_sync = 2"
)

Connection = psycopg.AsyncConnection[TupleRow]


async def lock_writes(connection: Connection, environment: str) -> None:
    """Wait until nobody writes here, and keep others from it until `unlock_writes`, or until the connection ends."""
    await connection.execute(f"SELECT pg_advisory_lock({_LOCK})", (environment,))


async def unlock_writes(connection: Connection, environment: str) -> None:
    if not connection.broken:
        await connection.execute(f"SELECT pg_advisory_unlock({_LOCK})", (environment,))


async def lock_until_end(session: AsyncSession, clickhouse: ClickHouse) -> Connection:
    """Keep others from writing here until the session's transaction ends; whatever was recorded is finished.

    Answers the connection of that transaction.
    """
    connection, environment = await driver_connection(session), scope_of(session).environment_id
    await connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK})", (environment,))
    await finish_open(connection, clickhouse, environment)
    return connection


async def record(connection: Connection, environment: str, write: EventWrite) -> None:
    """Record a write in the connection's transaction; once that has committed it will be carried out."""
    await connection.execute(_RECORD, (environment, write.sequence, msgspec.msgpack.encode(write)))


async def carry_out(clickhouse: ClickHouse, environment: str, write: EventWrite) -> None:
    """Insert the rows of a recorded write; again, if need be. Raises ServiceUnavailable, DatabaseFailed."""
    for table, rows in ((EVENTS, write.events), (USAGE, write.usage), (IDS, write.ids)):
        token = f"{environment} {write.sequence} {table}"
        columns = BY_NAME[table].column_names
        await clickhouse.insert(table, columns, [msgspec.structs.astuple(row) for row in rows], token)
    if write.erased is not None:
        given = {
            "environment": environment,
            "customers": write.erased.external_ids,
            "version": write.erased.version,
        }
        for table in BY_NAME:
            await clickhouse.command(_ERASE.replace("{table}", local_name(table, clickhouse.address)), given)


async def cross_out(connection: Connection, environment: str, write: EventWrite) -> None:
    """Say, in the connection's transaction, that a write is done, and what follows from it."""
    if write.arrived_at is not None:
        await connection.execute(_NOTICE, (environment, write.sequence, write.arrived_at, write.customers))
    if write.withdrawn:
        customers, moments = map(list, zip(*write.withdrawn, strict=True))
        await connection.execute(_WITHDRAW, (environment, write.sequence, customers, moments))
    await connection.execute(_CROSS_OUT, (environment, write.sequence))


async def finish_open(connection: Connection, clickhouse: ClickHouse, environment: str) -> int:
    """Finish what was recorded and left, in the connection's transaction; how many. Whoever calls holds the lock."""
    writes = await open_writes(connection, environment)
    for write in writes:
        await carry_out(clickhouse, environment, write)
        await cross_out(connection, environment, write)
    return len(writes)


async def open_writes(connection: Connection, environment: str) -> Sequence[EventWrite]:
    """Writes that are recorded and not crossed out, in their order."""
    cursor = await connection.execute(_OPEN, (environment,))
    return [msgspec.msgpack.decode(content, type=EventWrite) for (content,) in await cursor.fetchall()]


async def finish_writes(clickhouse: ClickHouse, session: AsyncSession, _: datetime) -> int:
    """The duty: finish what a process that ended has left; how many writes. Leaves those alone that are underway."""
    connection, environment = await driver_connection(session), scope_of(session).environment_id
    cursor = await connection.execute(_IS_OPEN, (environment,))
    row = await cursor.fetchone()
    if not (row and row[0]):
        return 0
    cursor = await connection.execute(f"SELECT pg_try_advisory_xact_lock({_LOCK})", (environment,))
    row = await cursor.fetchone()
    return await finish_open(connection, clickhouse, environment) if row and row[0] else 0
