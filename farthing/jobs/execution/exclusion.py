"""At most one run of a name at a time in the whole deployment, whatever becomes of the processes.

The guard is a session lock of PostgreSQL on a connection of its own: it ends with the process that holds it, at once
and however that ends. The queue's own locks are rows, which outlive their process.

A process that is frozen keeps its sessions. Whoever takes its jobs up ends these sessions first (`end_sessions_of`);
when the process wakes up, its run finds its lock gone, and is cancelled before it does anything else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import InvalidOperation
from farthing.storage.connections.liveness import KEEPALIVES
from farthing.storage.postgres import Database

log = structlog.get_logger(__name__)

_KEY_SPACE = 0x4A6F6273
"""The first half of every lock's key; the second is a hash of the name."""
_WAIT = "5s"
"""A run that is about to end, or whose process is just being ended, is worth waiting for."""
_WORKER = " worker "


class AlreadyRunning(InvalidOperation):
    """Somebody else runs this now."""


class LockLost(RuntimeError):
    """The session that guarded a run has ended; somebody else may run it by now."""


@asynccontextmanager
async def exclusively(database: Database, name: str, worker_id: int | None) -> AsyncIterator[None]:
    """Run what is inside while nobody else runs `name`. Raises AlreadyRunning, and LockLost when the lock was lost.

    `worker_id` is the queue's number of the worker at work, None for a person at the command line.
    """
    holder = asyncio.current_task()
    assert holder is not None
    watch: asyncio.Task[None] | None = None
    try:
        async with await _connect(database, worker_id) as connection:
            await _lock(connection, name)
            watch = asyncio.create_task(_cancel_when_lost(connection, holder), name=f"lock of {name}")
            try:
                yield
            finally:
                if not watch.done():
                    watch.cancel()
                    await asyncio.wait({watch})
    except asyncio.CancelledError:
        if watch is None or not watch.done() or watch.cancelled():
            raise
        holder.uncancel()
        raise LockLost(name) from None


async def _connect(database: Database, worker_id: int | None) -> psycopg.AsyncConnection[Any]:
    by = "by hand" if worker_id is None else f"{_WORKER.strip()} {worker_id}"
    return await psycopg.AsyncConnection.connect(
        database.url,
        autocommit=True,
        connect_timeout=10,
        application_name=f"{database.application_name} {by}",
        **KEEPALIVES,
    )


async def _lock(connection: psycopg.AsyncConnection[Any], name: str) -> None:
    # the session is idle for as long as the run takes, which a server may have a limit for
    await connection.execute("SELECT set_config('idle_session_timeout', '0', false)")
    await connection.execute("SELECT set_config('lock_timeout', %s, false)", (_WAIT,))
    try:
        await connection.execute("SELECT pg_advisory_lock(%s, hashtext(%s))", (_KEY_SPACE, name))
    except psycopg.errors.LockNotAvailable as error:
        raise AlreadyRunning(f"{name} is running already") from error


async def _cancel_when_lost(connection: psycopg.AsyncConnection[Any], holder: asyncio.Task[Any]) -> None:
    try:
        async for _ in connection.notifies():  # none is listened for: this ends when the connection does
            pass
    except psycopg.Error as error:
        log.error("job.lock_lost", error=str(error).strip())  # noqa: TRY400 (the stack says nothing)
    holder.cancel()


_HELD = """
    SELECT locks.objid::bigint, activity.pid, activity.application_name
    FROM pg_locks AS locks JOIN pg_stat_activity AS activity ON activity.pid = locks.pid
    WHERE locks.locktype = 'advisory' AND locks.granted AND locks.classid::bigint = %(key_space)s
      AND locks.objsubid = 2 AND locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


async def running(session: AsyncSession, names: Collection[str]) -> set[str]:
    """Those of `names` that somebody runs now."""
    connection = await session.connection()
    rows = await connection.exec_driver_sql(
        f"SELECT name FROM unnest(%(names)s::text[]) AS name "
        f"WHERE hashtext(name)::bigint & 4294967295 IN (SELECT held.objid FROM ({_HELD}) AS held)",
        {"names": list(names), "key_space": _KEY_SPACE},
    )
    return {name for (name,) in rows}


async def end_sessions_of(session: AsyncSession, name: str, stale_seconds: float, own: str) -> int:
    """End every session of the process that runs `name` if its worker gave no sign of life; how many were ended.

    A run by hand, or by a worker that lives, is left alone, and so is the process that asks: `own` is how its
    connections are called.
    """
    connection = await session.connection()
    rows = await connection.exec_driver_sql(
        f"""
        WITH dead AS (
            SELECT split_part(held.application_name, '{_WORKER}', 1) AS process
            FROM ({_HELD}) AS held
            WHERE held.objid = hashtext(%(name)s)::bigint & 4294967295
              AND held.application_name LIKE '%%{_WORKER}%%'
              AND split_part(held.application_name, '{_WORKER}', 1) <> %(own)s
              AND NOT EXISTS (
                SELECT 1 FROM procrastinate_workers AS alive
                WHERE alive.id::text = split_part(held.application_name, '{_WORKER}', 2)
                  AND alive.last_heartbeat > now() - make_interval(secs => %(stale)s))
        )
        SELECT pg_terminate_backend(activity.pid, 5000)
        FROM pg_stat_activity AS activity JOIN dead ON split_part(activity.application_name, '{_WORKER}', 1) = process
        WHERE activity.usename = current_user AND activity.datname = current_database()
        """,
        {"name": name, "key_space": _KEY_SPACE, "stale": stale_seconds, "own": own},
    )
    return len(rows.all())
