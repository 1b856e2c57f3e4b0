"""Writing the rows of a chunk: events through the ingest's own append, the rest one by one in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol

import psycopg
from psycopg.rows import TupleRow
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import Clock
from farthing.core.errors import FarthingError, NotFound
from farthing.events.ingest.arrivals import Arrival
from farthing.events.ingest.meters import MeterMemory
from farthing.events.ingest.sequence import settle_in
from farthing.events.ingest.store import append
from farthing.events.usage.event_store import EventStore
from farthing.storage.connections.liveness import KEEPALIVES
from farthing.storage.postgres import Database
from farthing.storage.scope import Scope
from farthing.transfer.imports.files.columns import BadCell, ColumnSet, problems_of
from farthing.transfer.imports.files.rows import SourceRow
from farthing.transfer.imports.kinds.events import EventRows
from farthing.transfer.tasks.lifecycle import TaskProgress, TaskRun, record_progress
from farthing.transfer.tasks.problems import RowProblem

_OUT_OF_RANGE = "a value is out of the range that can be stored"
_CONFLICT = "conflicts with what is stored"


class RowWriter(Protocol):
    """Writes a row through the life cycle of its kind."""

    columns: ColumnSet

    async def write(self, session: AsyncSession, row: SourceRow) -> None: ...


class ChunkWriter(Protocol):
    """Writes a chunk and how far the import is then; the progress after it. Raises Superseded."""

    rows_each: int

    async def write(self, rows: Sequence[SourceRow], progress: TaskProgress, bytes_done: int) -> TaskProgress: ...


class EntityChunks:
    """Chunks of customers, prices or features: the rows and the progress are one transaction.

    In a dry run the rows are written and undone, so that each is judged as it would be.
    """

    rows_each = 200

    def __init__(self, database: Database, scope: Scope, clock: Clock, run: TaskRun, writer: RowWriter) -> None:
        self._database = database
        self._scope = scope
        self._clock = clock
        self._run = run
        self._writer = writer

    async def write(self, rows: Sequence[SourceRow], progress: TaskProgress, bytes_done: int) -> TaskProgress:
        """As above."""
        async with self._database.session(self._scope, clock=self._clock) as session:
            problems = [problem for row in rows for problem in await self._problems(session, row)]
            failed = len({problem.row for problem in problems})
            after = progress.plus(len(rows) - failed, failed, bytes_done)
            if self._run.task.dry_run:
                await session.rollback()
            await record_progress(session, self._run, after, problems)
            await session.commit()
        return after

    async def _problems(self, session: AsyncSession, row: SourceRow) -> Sequence[RowProblem]:
        if row.problems:
            return row.problems
        try:
            async with session.begin_nested():
                await self._writer.write(session, row)
        except BadCell as error:
            return [row.problem(error.column, error.reason)]
        except NotFound as error:
            return [row.problem(row.column_of(error.details.values()), error.message)]
        except FarthingError as error:
            if error.status >= 500:
                raise
            return problems_of(row, error.details, error.message)
        except DBAPIError as error:
            if isinstance(error.orig, psycopg.DataError):
                return [row.problem("", _OUT_OF_RANGE)]
            if isinstance(error, IntegrityError):
                return [row.problem("", _CONFLICT)]
            raise
        return ()


class EventChunks:
    """Chunks of events. They are appended first and counted then: appending the same again changes nothing."""

    rows_each = 5000

    def __init__(self, database: Database, scope: Scope, run: TaskRun, rows: EventRows) -> None:
        self._database = database
        self._scope = scope
        self._run = run
        self._rows = rows
        self._memory = MeterMemory()
        self._connection: psycopg.AsyncConnection[TupleRow] | None = None

    async def __aenter__(self) -> EventChunks:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._connection is not None:
            await self._connection.close()

    async def write(self, rows: Sequence[SourceRow], progress: TaskProgress, bytes_done: int) -> TaskProgress:
        """As above."""
        arrivals, problems = await asyncio.to_thread(self._rows.arrivals, rows)
        if arrivals and not self._run.task.dry_run:
            wrong = {problem.row for problem in problems}
            problems += await self._append([row for row in rows if row.number not in wrong], arrivals)
        failed = len({problem.row for problem in problems})
        after = progress.plus(len(rows) - failed, failed, bytes_done)
        async with self._database.transaction(self._scope) as session:
            await record_progress(session, self._run, after, problems)
        return after

    async def _append(self, rows: Sequence[SourceRow], arrivals: Sequence[Arrival]) -> list[RowProblem]:
        """Append the events of rows; a chunk that the database refuses is halved until the event to blame is alone."""
        connection = await self._connected()
        try:
            store = self._database.ports.part(EventStore)
            await append(connection, self._scope, arrivals, self._memory, store.append_measured)
        except psycopg.DataError:
            if len(rows) == 1:
                return [rows[0].problem("", _OUT_OF_RANGE)]
        else:
            return []
        middle = len(rows) // 2
        first = await self._append(rows[:middle], arrivals[:middle])
        return first + await self._append(rows[middle:], arrivals[middle:])

    async def _connected(self) -> psycopg.AsyncConnection[TupleRow]:
        if self._connection is None or self._connection.broken:
            connection = await psycopg.AsyncConnection.connect(
                self._database.url,
                autocommit=True,
                connect_timeout=10,
                application_name=f"{self._database.application_name} import",
                **KEEPALIVES,
            )
            await settle_in(connection)
            self._connection = connection
        return self._connection
