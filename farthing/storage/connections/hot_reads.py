"""Hot reads: one prepared SELECT under a scope, begun, confined, run and ended in a single round trip.

An ordinary session costs a round trip each for BEGIN, the scope, the statement and COMMIT, and five times the CPU of
the statement itself. Here the four travel together as one message; the statement is prepared and planned once per
connection, for any arguments and by index. The scope is transaction-local as everywhere, and one statement is one
snapshot.

Where these connections cannot be had, `NoHotConnection` says so at once, and the caller takes an ordinary session.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from farthing.core.event_loop.slices import pause
from farthing.storage.connections.liveness import KEEPALIVES, was_cut
from farthing.storage.scope import Scope

HOT_READS = 10
MOST_PREPARED = 100
"""How many statements a connection remembers: lists have one for each combination of conditions."""
_WAIT_SECONDS = 1.0
_OPEN_SECONDS = 2.0
_TRY_AGAIN_SECONDS = 5.0
_ROWS_AT_ONCE = 100
SETTINGS = (
    "SET statement_timeout = '30s'; SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; "
    "SET max_parallel_workers_per_gather = 0; SET TimeZone = 'UTC'; SET DateStyle = 'ISO'"
)
"""Of each of these connections: what a read may take at most, that it is planned once, and times as JSON has them.

Left to itself PostgreSQL weighs one plan for any arguments against plans for those at hand. Where a few customers have
most of what is unpaid, their share makes the plan for any customer look dear, and every read of every other is planned
anew, for several times what it costs to run. Each of these statements finds its rows by an index that begins with what
it is asked for, so the plan for any is right for all. One that was made while a table had a page would still read that
table whole until its statistics change; therefore none does. And none has processes that help it: the same share makes
the plan for any customer look worth starting some, which takes many times as long as the read.
"""
_BEGIN = (
    "BEGIN READ ONLY; "
    "SELECT set_config('farthing.tenant_id', %s, true), set_config('farthing.environment_id', %s, true); "
)

Connection = psycopg.AsyncConnection[TupleRow]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A SELECT with parameters $1, $2, ... of the given PostgreSQL types, under a name unique in the program."""

    name: str
    types: tuple[str, ...]
    sql: str

    @property
    def execute(self) -> str:
        arguments = ", ".join(f"%s::{kind}" for kind in self.types)
        return f"{_BEGIN}EXECUTE {self.name}{f'({arguments})' if arguments else ''}; COMMIT"

    @property
    def prepare(self) -> str:
        types = f"({', '.join(self.types)})" if self.types else ""
        return f"PREPARE {self.name}{types} AS {self.sql}"


class NoHotConnection(Exception):
    """None of these connections can be had now; nothing was asked."""


class HotReads:
    """A small pool of its own, opened at first use, of connections that remember what they have prepared."""

    def __init__(self, url: str, largest: int = HOT_READS) -> None:
        self._url = url
        self._largest = largest
        self._closed_until = float("-inf")
        self._pool: AsyncConnectionPool[Connection] | None = None
        self._opening = asyncio.Lock()
        self._prepared: WeakKeyDictionary[Connection, set[str]] = WeakKeyDictionary()

    async def rows(self, scope: Scope, statement: Prepared, *arguments: Any) -> list[TupleRow]:
        """The rows of `statement` as `scope` sees them. Raises NoHotConnection."""
        async with self._connection() as connection:
            await self._prepare(connection, statement)
            cursor = psycopg.AsyncClientCursor(connection)
            await cursor.execute(statement.execute, (scope.tenant_id, scope.environment_id, *arguments))
            cursor.nextset()  # past BEGIN
            cursor.nextset()  # past the scope
            return await _all_rows(cursor)

    async def _prepare(self, connection: Connection, statement: Prepared) -> None:
        known = self._prepared.setdefault(connection, set())
        if statement.name not in known:
            if len(known) >= MOST_PREPARED:
                await connection.execute("DEALLOCATE ALL")
                known.clear()
            await connection.execute(statement.prepare)
            known.add(statement.name)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        pool = self._pool or await self._open()
        try:
            connection = await pool.getconn()
        except PoolTimeout as error:
            raise NoHotConnection from error
        try:
            if was_cut(connection):
                await connection.close()
                raise NoHotConnection
            yield connection
        finally:
            # an aborted transaction is rolled back, and a broken connection replaced, on its return
            await pool.putconn(connection)

    async def _open(self) -> AsyncConnectionPool[Connection]:
        """The pool with its first connection; after a failure it is not tried again for some seconds."""
        if time.monotonic() < self._closed_until:
            raise NoHotConnection
        async with self._opening:
            if self._pool is not None:
                return self._pool
            if time.monotonic() < self._closed_until:  # whoever waited for one that failed
                raise NoHotConnection
            pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
                self._url,
                min_size=1,
                max_size=self._largest,
                timeout=_WAIT_SECONDS,
                kwargs={"autocommit": True, "application_name": "farthing reads", **KEEPALIVES},
                configure=configure,
                open=False,
            )
            try:
                await pool.open(wait=True, timeout=_OPEN_SECONDS)
            except PoolTimeout as error:
                self._closed_until = time.monotonic() + _TRY_AGAIN_SECONDS
                await pool.close()
                raise NoHotConnection from error
            self._pool = pool
            return pool

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.close()


async def configure(connection: Connection) -> None:
    """Give a connection the settings of hot reads."""
    await connection.execute(SETTINGS)


async def rows_in_transaction(connection: Connection, statement: Prepared, *arguments: Any) -> list[TupleRow]:
    """The same rows in a transaction that has its scope already, without preparing anything."""
    cursor = psycopg.AsyncRawCursor(connection)
    # as on connections for hot reads: statements may write times as text
    await cursor.execute("SELECT set_config('TimeZone', 'UTC', true), set_config('DateStyle', 'ISO', true)")
    await cursor.execute(statement.sql, arguments)
    return await _all_rows(cursor)


async def _all_rows(cursor: psycopg.AsyncCursor[TupleRow]) -> list[TupleRow]:
    """The rows of a result; of many, others are answered in between, because each takes 10 µs to be made."""
    rows = few = await cursor.fetchmany(_ROWS_AT_ONCE)
    while len(few) == _ROWS_AT_ONCE:
        await pause()
        few = await cursor.fetchmany(_ROWS_AT_ONCE)
        rows += few
    return rows
