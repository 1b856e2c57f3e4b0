"""The engine and its sessions: one transaction, one scope, one clock.

A session stamps what every row shares (scope, authorship, times) when it flushes, so that no caller can forget.
Hot reads go through `read_once`, which costs a single round trip.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from functools import cache
from typing import Any

import msgspec
from psycopg.rows import TupleRow
from sqlalchemy import ColumnDefault, event
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session, SessionTransaction
from sqlalchemy.orm.unitofwork import UOWTransaction

from farthing.core.clock import Clock, SystemClock
from farthing.storage.reads import HotReads, Prepared
from farthing.storage.scope import Scope
from farthing.storage.tables import Base, OfTenant, Scoped, Tracked

OLDEST_SERVER = 15
_SET_SCOPE = "SELECT set_config('farthing.tenant_id', %s, true), set_config('farthing.environment_id', %s, true)"


class UnsafeDatabase(RuntimeError):
    """The database cannot be used as it is; the message says why and what to do."""


class Database:
    """One PostgreSQL, its pool of connections, and the sessions on it."""

    def __init__(self, url: str, pool_size: int = 20, clock: Clock | None = None) -> None:
        self.url = url
        self.clock = clock or SystemClock()
        self.engine: AsyncEngine = create_async_engine(
            dialect_url(url),
            pool_size=pool_size,
            max_overflow=10,
            pool_timeout=10,
            connect_args={"application_name": "farthing", "connect_timeout": 10},
            json_serializer=_json,
            json_deserializer=msgspec.json.decode,
        )
        self._reads = HotReads(url)
        self._snapshots = self.engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def session(self, scope: Scope, *, clock: Clock | None = None, read_only: bool = False) -> AsyncSession:
        """A session of `scope`; read-only ones see a single snapshot and are refused every write by the database."""
        engine = self._snapshots if read_only else self.engine
        info = {"scope": scope, "clock": clock or self.clock, "real_clock": self.clock}
        return AsyncSession(engine, expire_on_commit=False, info=info)

    @asynccontextmanager
    async def transaction(
        self, scope: Scope, *, clock: Clock | None = None, read_only: bool = False
    ) -> AsyncIterator[AsyncSession]:
        """A session whose work is committed at the end, or undone by an exception."""
        async with self.session(scope, clock=clock, read_only=read_only) as session, session.begin():
            yield session

    async def read_once(self, scope: Scope, statement: Prepared, *arguments: Any) -> list[TupleRow]:
        """Rows of one prepared SELECT under `scope`, for a single round trip; see `reads`."""
        return await self._reads.rows(scope, statement, *arguments)

    async def check(self) -> None:
        """Refuse a server too old, or a role that row-level security would not confine. Raises UnsafeDatabase."""
        async with self.engine.connect() as connection:
            found: Any = (
                await connection.exec_driver_sql(
                    "SELECT current_setting('server_version_num')::int / 10000, rolname, rolsuper, rolbypassrls "
                    "FROM pg_roles WHERE rolname = current_user"
                )
            ).one()
        version, role, superuser, bypasses = found
        if version < OLDEST_SERVER:
            raise UnsafeDatabase(f"PostgreSQL {version} is too old; {OLDEST_SERVER} or later is needed")
        if superuser or bypasses:
            raise UnsafeDatabase(
                f"the role '{role}' of FARTHING_DATABASE_URL can bypass row-level security; "
                "connect as one that is neither a superuser nor has BYPASSRLS, and that owns the database"
            )

    async def close(self) -> None:
        await self._reads.close()
        await self.engine.dispose()


def dialect_url(url: str) -> str:
    """`url` for SQLAlchemy on psycopg, whatever PostgreSQL scheme it was written with. Raises ValueError."""
    parsed = make_url(url)
    if parsed.get_backend_name() not in {"postgresql", "postgres"}:
        raise ValueError(f"'{parsed.drivername}' is not PostgreSQL")
    return parsed.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def scope_of(session: AsyncSession) -> Scope:
    """The scope a session was opened with."""
    scope: Scope = session.info["scope"]
    return scope


def clock_of(session: AsyncSession) -> Clock:
    """The clock a session was opened with."""
    clock: Clock = session.info["clock"]
    return clock


def real_clock_of(session: AsyncSession) -> Clock:
    """The clock that goes on while the session's own, a test clock, stands still."""
    clock: Clock = session.info["real_clock"]
    return clock


@event.listens_for(Session, "after_begin")
def _confine(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    if transaction.nested:
        return
    scope: Scope = session.info["scope"]
    connection.exec_driver_sql(_SET_SCOPE, (scope.tenant_id, scope.environment_id))


@event.listens_for(Session, "before_flush")
def _stamp(session: Session, _context: UOWTransaction, _instances: object) -> None:
    scope: Scope = session.info["scope"]
    clock: Clock = session.info["clock"]
    now = clock.now()
    for row in session.new:
        stamp(row, scope, now)
    for row in session.dirty:
        if isinstance(row, Tracked) and session.is_modified(row):
            row.updated_at = now
            row.updated_by = scope.user_id


def stamp(row: object, scope: Scope, now: datetime) -> None:
    """Fill in what every new row has: whose it is, who wrote it and when. What it brings itself stays."""
    if isinstance(row, Scoped):
        row.tenant_id = row.tenant_id or scope.tenant_id
        row.environment_id = row.environment_id or scope.environment_id
    elif isinstance(row, OfTenant):
        row.tenant_id = row.tenant_id or scope.tenant_id
    if isinstance(row, Tracked):
        # a row may bring its own times, as imports do; an unset attribute reads as None
        row.created_at = getattr(row, "created_at", None) or now
        row.updated_at = getattr(row, "updated_at", None) or now
        row.created_by = row.created_by or scope.user_id
        row.updated_by = row.updated_by or scope.user_id


def put(session: AsyncSession, rows: Iterable[Base]) -> None:
    """Add new rows, whole at once rather than when they are flushed, so that they can be shown before."""
    for row in rows:
        fill(session, row)
        session.add(row)


def fill(session: AsyncSession, row: Base) -> None:
    """Give a new row its defaults, and what every new row has."""
    held = row.__dict__
    # straight into what the row holds, which is what will be stored: nobody need be told that it changed
    for name, default in _defaults(type(row)):
        if held.get(name) is None:
            held[name] = default(None) if callable(default) else default
    stamp(row, scope_of(session), clock_of(session).now())


@cache
def _defaults(table: type[Base]) -> tuple[tuple[str, Any], ...]:
    """The attributes that a new row of `table` has by default, and their values or what makes them."""
    columns = ((attribute.key, attribute.columns[0]) for attribute in table.__mapper__.column_attrs)
    return tuple((name, column.default.arg) for name, column in columns if isinstance(column.default, ColumnDefault))
