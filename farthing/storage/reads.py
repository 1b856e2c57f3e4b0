"""Hot reads: one prepared SELECT under a scope, begun, confined, run and ended in a single round trip.

An ordinary session costs a round trip each for BEGIN, the scope, the statement and COMMIT, and five times the CPU of
the statement itself. Here the four travel together as one message; the statement is prepared once per connection, so
it is not planned again. The scope is transaction-local as everywhere, and one statement is one snapshot.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from farthing.core.errors import ServiceUnavailable
from farthing.storage.scope import Scope

_LARGEST = 10
_WAIT_SECONDS = 10
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
        return f"{_BEGIN}EXECUTE {self.name}({arguments}); COMMIT"

    @property
    def prepare(self) -> str:
        return f"PREPARE {self.name}({', '.join(self.types)}) AS {self.sql}"


class HotReads:
    """A small pool of its own, opened at first use, of connections that remember what they have prepared."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool: AsyncConnectionPool[Connection] | None = None
        self._opening = asyncio.Lock()
        self._prepared: WeakKeyDictionary[Connection, set[str]] = WeakKeyDictionary()

    async def rows(self, scope: Scope, statement: Prepared, *arguments: Any) -> list[TupleRow]:
        """The rows of `statement` as `scope` sees them."""
        async with self._connection() as connection:
            known = self._prepared.setdefault(connection, set())
            if statement.name not in known:
                await connection.execute(statement.prepare)
                known.add(statement.name)
            cursor = psycopg.AsyncClientCursor(connection)
            await cursor.execute(statement.execute, (scope.tenant_id, scope.environment_id, *arguments))
            cursor.nextset()  # past BEGIN
            cursor.nextset()  # past the scope
            return await cursor.fetchall()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        if self._pool is None:
            await self._open()
        assert self._pool is not None
        try:
            connection = await self._pool.getconn()
        except PoolTimeout as error:
            raise ServiceUnavailable("All database connections are in use; please try again") from error
        try:
            yield connection
        finally:
            # an aborted transaction is rolled back, and a broken connection replaced, on its return
            await self._pool.putconn(connection)

    async def _open(self) -> None:
        async with self._opening:
            if self._pool is None:
                pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
                    self._url,
                    min_size=1,
                    max_size=_LARGEST,
                    timeout=_WAIT_SECONDS,
                    kwargs={"autocommit": True, "application_name": "farthing"},
                    open=False,
                )
                await pool.open()
                self._pool = pool

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.close()
