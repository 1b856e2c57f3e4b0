"""The engine and its sessions: one transaction, one scope, one clock.

A session stamps what every row shares (scope, authorship, times) when it flushes, so that no caller can forget.
Hot reads go through `read_once`, which costs a single round trip.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import replace
from datetime import datetime
from functools import cache, lru_cache
from secrets import token_hex
from typing import Any, TypeVar

import msgspec
import psycopg
from psycopg import sql
from psycopg.rows import TupleRow
from sqlalchemy import ColumnDefault, event
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session, SessionTransaction
from sqlalchemy.orm.unitofwork import UOWTransaction
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection
from sqlalchemy.util import await_only

from farthing.core.clock import Clock, SystemClock
from farthing.core.composition import Composition
from farthing.core.origin import Actor, current_origin
from farthing.storage.connections.arrays import write_arrays_at_once
from farthing.storage.connections.failures import is_cut
from farthing.storage.connections.hot_reads import HOT_READS, HotReads, NoHotConnection, Prepared, rows_in_transaction
from farthing.storage.connections.liveness import KEEPALIVES, was_cut
from farthing.storage.connections.messages import Statement, send_together
from farthing.storage.connections.shares import MOST_WAITING_PER_TENANT, WAIT_SECONDS, Shares, TenantActivity
from farthing.storage.connections.timeouts import OF_BACKGROUND_WORK, Timeouts
from farthing.storage.scope import Scope
from farthing.storage.tables import Base, OfTenant, Scoped, Tracked

Part = TypeVar("Part")

LONG_READS_PER_TENANT = 2
"""Of requests whose route says that they take long."""
LARGE_BODIES_PER_TENANT = 2
"""Of requests with a body of megabytes: the next is read while one is stored."""
OLDEST_SERVER = 15
_BEGUN_BY_SESSION = "begun_by_session"
"""Option of connections whose transactions a session begins; see `_confine`."""
_READ_ONLY = "read_only"
_DRIVER = "driver"
"""Where a session's `info` holds the driver's connection of its transaction, as long as that lasts."""
_BEGINS_LATER = "begins_later"
_LAST = "last_statements"
"""Where the `info` of a connection holds what is sent with its COMMIT."""
ORIGIN = "origin"
"""Where a session's `info` holds who causes what it does."""
_LIMITS = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
OVERFLOW = 10
"""Connections beyond the pool's size that are opened under load, and closed again."""
POOL_WAIT_SECONDS = 10


class UnsafeDatabase(RuntimeError):
    """The database cannot be used as it is; the message says why and what to do."""


class Database:
    """One PostgreSQL, its pool of connections, and the sessions on it.

    As it is made it serves background work, which waits long. `for_requests` gives the same pool with the short limits
    and the tenants' shares that requests live by. `ports` holds what each package is given from above; a session hands
    a package its part (`ports_of`).
    """

    def __init__(
        self,
        url: str,
        ports: Composition,
        pool_size: int = 20,
        clock: Clock | None = None,
        *,
        overflow: int = OVERFLOW,
        hot_reads: int = HOT_READS,
        timeouts: Timeouts = OF_BACKGROUND_WORK,
    ) -> None:
        self.url = url
        self.ports = ports
        self.clock = clock or SystemClock()
        self.timeouts = timeouts
        self.abreast: Shares | None = None
        """Whose turn it is to be worked on at all, while several tenants ask."""
        self.shares: Shares | None = None
        """Whose turn it is at the pool; None for background work, which is never turned away."""
        self.long_reads: Shares | None = None
        """Whose turn it is to ask what takes long, such as a report."""
        self.large_bodies: Shares | None = None
        """Whose turn it is to have a body of megabytes read and stored."""
        self._hot_shares: Shares | None = None
        self.activity: TenantActivity | None = None
        """Which tenants' requests there are; None for background work."""
        self._connections = pool_size + overflow
        self._hot_connections = hot_reads
        self.application_name = f"farthing {os.getpid()} {token_hex(4)}"
        """What the server shows beside each connection of this pool, and of no other, with the process it is in."""
        self.engine: AsyncEngine = create_async_engine(
            dialect_url(url),
            pool_size=pool_size,
            max_overflow=overflow,
            pool_timeout=POOL_WAIT_SECONDS,
            hide_parameters=True,  # what customers are called, and password hashes, are nothing for a log
            pool_use_lifo=True,  # the connection that was used last has its statements prepared, and its tables at hand
            isolation_level="AUTOCOMMIT",  # of the driver, which would begin in a round trip of its own
            connect_args={"application_name": self.application_name, "connect_timeout": 10, **KEEPALIVES},
            json_serializer=_json,
            json_deserializer=msgspec.json.decode,
        )
        event.listen(self.engine.sync_engine, "connect", _write_arrays_at_once)
        event.listen(self.engine.sync_engine, "checkout", _replace_if_cut)
        event.listen(self.engine.sync_engine, "begin", _begin)
        event.listen(self.engine.sync_engine, "commit", _commit_with_last)
        self._of_sessions = self.engine.execution_options(**{_BEGUN_BY_SESSION: True})
        self._reads = HotReads(url, hot_reads)

    def for_requests(
        self, timeouts: Timeouts, tenant_connections: int = 0, wait_seconds: float = WAIT_SECONDS
    ) -> Database:
        """The same pool for requests: `timeouts` for each transaction, and for each tenant a share of the connections.

        `tenant_connections` is the most that one tenant's requests hold at once; 0 is a third. All tenants together
        hold two thirds: what is left is for second connections of a request, for verifying keys, and for duties. A
        request waits for its turn for `wait_seconds` at most. Of what takes long, a tenant has few at a time: each
        keeps a backend of the database busy, and a part of the one thread that answers everybody.
        """
        slots, hot_slots = self._connections * 2 // 3, self._hot_connections
        requests = copy(self)
        requests.timeouts = timeouts
        requests.activity = TenantActivity()
        requests.abreast = Shares(
            MOST_WAITING_PER_TENANT,
            MOST_WAITING_PER_TENANT,
            wait_seconds=wait_seconds,
            refusal="Other requests of this tenant are being answered; please try again",
            activity=requests.activity,
        )
        requests.shares = Shares(slots, tenant_connections or self._connections // 3, wait_seconds=wait_seconds)
        requests.long_reads = Shares(
            slots,
            LONG_READS_PER_TENANT,
            wait_seconds=wait_seconds,
            refusal="Other reports of this tenant are being computed; please try again",
        )
        requests.large_bodies = Shares(
            slots,
            LARGE_BODIES_PER_TENANT,
            wait_seconds=wait_seconds,
            refusal="Other large requests of this tenant are being stored; please try again",
            activity=requests.activity,
        )
        requests._hot_shares = Shares(hot_slots, (hot_slots + 1) // 2, wait_seconds=wait_seconds)
        return requests

    def in_background(self, timeouts: Timeouts = OF_BACKGROUND_WORK) -> Database:
        """The same pool for work that nobody waits for: long limits, and no turns to wait for."""
        background = copy(self)
        background.timeouts = timeouts
        background.shares = background.long_reads = background.large_bodies = background._hot_shares = None
        background.abreast = background.activity = None
        return background

    def session(self, scope: Scope, *, clock: Clock | None = None, read_only: bool = False) -> AsyncSession:
        """A session of `scope`; read-only ones see a single snapshot and are refused every write by the database."""
        info = {
            _READ_ONLY: read_only,
            "scope": scope,
            "clock": clock or self.clock,
            "real_clock": self.clock,
            "timeouts": self.timeouts,
            "ports": self.ports,
            ORIGIN: current_origin(),
        }
        return AsyncSession(self._of_sessions, expire_on_commit=False, info=info)

    async def connect(self) -> AsyncConnection:
        """A connection for sessions to be bound to, one after the other; between them it is in no transaction."""
        return await self._of_sessions.connect()

    @asynccontextmanager
    async def turn(self, tenant_id: str) -> AsyncIterator[None]:
        """A tenant's turn at the pool, for the length of the block; background work has no need of one."""
        if self.shares is None:
            yield
            return
        async with self.shares.held(tenant_id):
            yield

    @asynccontextmanager
    async def transaction(
        self, scope: Scope, *, clock: Clock | None = None, read_only: bool = False
    ) -> AsyncIterator[AsyncSession]:
        """A session whose work is committed at the end, or undone by an exception."""
        async with (
            self.turn(scope.tenant_id),
            self.session(scope, clock=clock, read_only=read_only) as session,
            session.begin(),
        ):
            yield session

    async def read_once(self, scope: Scope, statement: Prepared, *arguments: Any) -> list[TupleRow]:
        """Rows of one prepared SELECT under `scope`, for a single round trip; see `reads`.

        While the connections for that cannot be had, the statement runs like any other.
        """
        try:
            if self._hot_shares is None:
                return await self._reads.rows(scope, statement, *arguments)
            async with self._hot_shares.held(scope.tenant_id):
                return await self._reads.rows(scope, statement, *arguments)
        except (NoHotConnection, psycopg.Error) as error:
            if not (isinstance(error, NoHotConnection) or is_cut(error)):
                raise
            # a read that was cut can be made again
            async with self.transaction(scope, read_only=True) as session:
                raw = await (await session.connection()).get_raw_connection()
                return await rows_in_transaction(raw.driver_connection, statement, *arguments)  # type: ignore[arg-type]

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


def _write_arrays_at_once(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    write_arrays_at_once(connection.driver_connection)


def _replace_if_cut(connection: DBAPIConnection, _record: ConnectionPoolEntry, _fairy: PoolProxiedConnection) -> None:
    """Before a pooled connection is used: one that was cut while idle is replaced, and nobody notices."""
    if was_cut(connection.driver_connection):
        raise DisconnectionError("the connection was cut while it was idle")


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


async def driver_connection(session: AsyncSession) -> psycopg.AsyncConnection[TupleRow]:
    """The connection of the session's transaction, for what is quicker in the driver's own words."""
    if _DRIVER not in session.info or session.sync_session.in_nested_transaction():
        await session.connection()  # begins, and sets the savepoint that waits for a first statement
    connection: psycopg.AsyncConnection[TupleRow] = session.info[_DRIVER]
    return connection


async def ask_together(session: AsyncSession, statements: Sequence[Statement]) -> list[list[TupleRow]]:
    """The rows of statements in the driver's own words, sent as one message in the session's transaction.

    Where that has not begun, it begins with the same message. What the session has changed is not flushed before.
    Raises the error that SQLAlchemy would of the first that fails, and then none after it was carried out.
    """
    beginning: Sequence[Statement] = ()
    if _DRIVER not in session.info and not session.sync_session.in_nested_transaction():
        session.info[_BEGINS_LATER] = True
        try:
            await session.connection()
        finally:
            session.info.pop(_BEGINS_LATER, None)
        beginning = _beginning_statements(session.sync_session)
    try:
        rows = await send_together(await driver_connection(session), [*beginning, *statements])
    except psycopg.Error as error:
        if is_cut(error):
            await (await session.connection()).invalidate(error)
        raise _wrapped(error, statements[0].sql) from error
    return rows[len(beginning) :]


def send_with_commit(connection: Connection, statement: Statement) -> None:
    """Let a statement be the last of the connection's transaction, sent with its COMMIT as one message."""
    connection.info[_LAST] = [*connection.info.get(_LAST, ()), statement]


def _commit_with_last(connection: Connection) -> None:
    """Commit what has last statements; the driver then finds no transaction that it would have to commit."""
    last = connection.info.pop(_LAST, None)
    if not last:
        return
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.AsyncConnection)
    try:
        await_only(send_together(driver, [*last, Statement("COMMIT")]))
    except psycopg.Error as error:
        if is_cut(error):
            connection.invalidate(error)
        else:
            await_only(driver.rollback())  # SQLAlchemy takes the transaction for ended, as it is after a COMMIT alone
        raise _wrapped(error, "COMMIT") from error
    except BaseException as error:  # whoever asked has gone: nobody knows how far it came
        connection.invalidate(error)
        raise


def _wrapped(error: psycopg.Error, statement: str) -> BaseException:
    """An error of the driver as SQLAlchemy raises those of its statements."""
    return DBAPIError.instance(
        statement, None, error, psycopg.Error, hide_parameters=True, connection_invalidated=is_cut(error)
    )


def act_as(session: AsyncSession, actor: Actor) -> None:
    """Say who causes what the session does, where that shows only in the middle of it."""
    session.info[ORIGIN] = replace(session.info[ORIGIN], actor=actor)


def ports_of(session: AsyncSession, kind: type[Part]) -> Part:
    """What a package is given from above, by the class in which its `ports.py` declares it."""
    ports: Composition = session.info["ports"]
    return ports.part(kind)


def _begin(connection: Connection) -> None:
    """Begin what no session begins."""
    options = connection.get_execution_options()
    if not options.get(_BEGUN_BY_SESSION) and options.get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql("BEGIN")


@event.listens_for(Session, "after_begin")
def _confine(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    """Begin a session's transaction and fix its scope and limits, all in one message."""
    if transaction.nested:
        return
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.AsyncConnection)
    session.info[_DRIVER] = driver
    connection.info.pop(_LAST, None)  # of a transaction that was undone
    if session.info.pop(_BEGINS_LATER, False):
        return
    scope: Scope = session.info["scope"]
    message = _beginning(scope.tenant_id, scope.environment_id, session.info["timeouts"], session.info[_READ_ONLY])
    # several statements cannot be prepared, and the driver would prepare what comes often
    prepares, driver.prepare_threshold = driver.prepare_threshold, None
    try:
        connection.exec_driver_sql(message)
    finally:
        driver.prepare_threshold = prepares


@event.listens_for(Session, "after_transaction_end")
def _forget_driver(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        session.info.pop(_DRIVER, None)


def _beginning_statements(session: Session) -> Sequence[Statement]:
    """The same as `_beginning`, for what is sent together with other statements."""
    scope: Scope = session.info["scope"]
    timeouts: Timeouts = session.info["timeouts"]
    return (
        _BEGIN_READING if session.info[_READ_ONLY] else _BEGIN_WRITING,
        Statement(_CONFINE, (scope.tenant_id, scope.environment_id, *timeouts.in_milliseconds())),
    )


_BEGIN_WRITING, _BEGIN_READING = Statement("BEGIN"), Statement("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
_SETTINGS = ("farthing.tenant_id", "farthing.environment_id", *_LIMITS)
_CONFINE = "SELECT " + ", ".join(
    f"set_config('{name}', ${place}, true)" for place, name in enumerate(_SETTINGS, start=1)
)


@lru_cache(maxsize=10_000)
def _beginning(tenant_id: str, environment_id: str, timeouts: Timeouts, read_only: bool) -> str:
    settings = dict(zip(_SETTINGS, (tenant_id, environment_id, *timeouts.in_milliseconds()), strict=True))
    mode = " ISOLATION LEVEL REPEATABLE READ READ ONLY" if read_only else ""
    set_all = sql.SQL(", ").join(
        sql.SQL("set_config({}, {}, true)").format(name, value) for name, value in settings.items()
    )
    message = sql.SQL(f"BEGIN{mode}; SELECT {{}}").format(set_all).as_string()
    return message.replace("%", "%%")  # for the driver a percent sign begins a parameter


@event.listens_for(Session, "before_flush")
def _stamp(session: Session, _context: UOWTransaction, _instances: object) -> None:
    scope: Scope = session.info["scope"]
    clock: Clock = session.info["clock"]
    now = clock.now()
    for row in session.new:
        set_audit_fields(row, scope, now)
    for row in session.dirty:
        if isinstance(row, Tracked) and session.is_modified(row):
            row.updated_at = now
            row.updated_by = scope.user_id


def set_audit_fields(row: object, scope: Scope, now: datetime) -> None:
    """Fill in what every new row has: whose it is, who wrote it and when. What it brings itself stays."""
    # as defaults: straight into what the row holds
    held = row.__dict__
    if isinstance(row, Scoped):
        held["tenant_id"] = held.get("tenant_id") or scope.tenant_id
        held["environment_id"] = held.get("environment_id") or scope.environment_id
    elif isinstance(row, OfTenant):
        held["tenant_id"] = held.get("tenant_id") or scope.tenant_id
    if isinstance(row, Tracked):
        # a row may bring its own times, as imports do
        held["created_at"] = held.get("created_at") or now
        held["updated_at"] = held.get("updated_at") or now
        held["created_by"] = held.get("created_by") or scope.user_id
        held["updated_by"] = held.get("updated_by") or scope.user_id


def add_new(session: AsyncSession, rows: Iterable[Base]) -> None:
    """Add new rows, whole at once rather than when they are flushed, so that they can be shown before."""
    for row in rows:
        apply_defaults(session, row)
        session.add(row)


def apply_defaults(session: AsyncSession, row: Base) -> None:
    """Give a new row its defaults, and what every new row has."""
    held = row.__dict__
    # straight into what the row holds, which is what will be stored: nobody need be told that it changed
    for name, default in _defaults(type(row)):
        if held.get(name) is None:
            held[name] = default(None) if callable(default) else default
    set_audit_fields(row, scope_of(session), clock_of(session).now())


@cache
def _defaults(table: type[Base]) -> tuple[tuple[str, Any], ...]:
    """The attributes that a new row of `table` has by default, and their values or what makes them."""
    columns = ((attribute.key, attribute.columns[0]) for attribute in table.__mapper__.column_attrs)
    return tuple((name, column.default.arg) for name, column in columns if isinstance(column.default, ColumnDefault))
