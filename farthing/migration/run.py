"""A run: kind by kind, page by page, each page with the notes of what became of it in one transaction.

Rule: docs/rules/migration.md#how-a-run-goes
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

import psycopg
import structlog
from sqlalchemy import exists, select
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.plans.tables import Plan
from farthing.catalogue.products.tables import Feature
from farthing.core.clock import Clock
from farthing.core.errors import FarthingError, InvalidOperation, ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.credits.ledger.tables import Wallet
from farthing.customers.tables import Customer
from farthing.identity.settings.catalogue import EmailConfig
from farthing.identity.settings.current import read
from farthing.invoices.tables import Invoice
from farthing.migration.copying.events import EVENTS, copy_events
from farthing.migration.copying.kinds import RecordKind, kinds, label_of
from farthing.migration.copying.target import LeftOut, MigrationTarget, finished_ids, record_outcome
from farthing.migration.source.api import NotOffered, SourceApi
from farthing.migration.source.fields import SourceRecord
from farthing.migration.tables import SOURCE_ID_LENGTH, Migration, RecordOutcome
from farthing.storage.postgres import Database, real_clock_of
from farthing.storage.queries.rows import violated
from farthing.storage.scope import Scope
from farthing.subscriptions.tables import Subscription

AT_ONCE = 8
"""Records that are completed at a time by asking the source."""
EVERYTHING = "*"
"""What stands for all records of a kind that the source does not offer."""

_MADE_BY_PEOPLE = (Customer, Feature, Plan, Subscription, Invoice, Wallet)

_UNREADABLE = (TypeError, AttributeError, LookupError, ValueError, ArithmeticError, AssertionError)
"""What a record raises that is of another shape than the API says, such as a text where there should be a list."""

log = structlog.get_logger(__name__)

Progress = Callable[[str, int], None]
"""Told the name of a kind and how many records of it were just dealt with."""


@dataclass(slots=True)
class MigrationRun:
    """One run into one environment. A dry one does everything in one transaction, which it undoes."""

    database: Database
    scope: Scope
    clock: Clock
    source: SourceApi
    progress: Progress
    dry: bool = False
    known: dict[tuple[str, str], str] = field(default_factory=dict)
    _held: AsyncSession | None = None

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """The run from its beginning to its end. Raises InvalidOperation for an environment with books of its own."""
        if not self.dry:
            await self._begin()
            yield
            return
        async with self.database.session(self.scope, clock=self.clock) as session:
            await _require_free(session, self.source.url)
            self._held = session
            try:
                yield
            finally:
                await session.rollback()

    async def copy_all(self) -> None:
        """Copy what was not copied yet. Raises SourceFailed."""
        for kind in kinds():
            try:
                async for page in kind.read(self.source):
                    await self._copy_page(kind, page)
            except NotOffered as missing:
                async with self.transaction() as session:
                    problem = f"the source does not offer {missing}"
                    await record_outcome(
                        session, kind.name, EVERYTHING, RecordOutcome.LEFT_OUT, label="all", problems=[problem]
                    )

    async def copy_events(self, since: datetime) -> int:
        """Copy the events since a moment; how many. A dry run copies none, because events are stored at once."""
        refused: list[tuple[SourceRecord, str]] = []
        copied = await copy_events(
            self.database,
            self.scope,
            self.source,
            since,
            self.clock.now(),
            lambda record, why: refused.append((record, why)),
            lambda count: self.progress(EVENTS, count),
        )
        async with self.transaction() as session:
            for record, why in refused:
                event_id = str(record.get("id", ""))
                label = str(record.get("event_name", ""))
                await record_outcome(session, EVENTS, event_id, RecordOutcome.FAILED, label=label, problems=[why])
        return copied

    async def complete(self) -> None:
        """Note that the run came to its end."""
        async with self.transaction() as session:
            migration = await session.scalar(select(Migration))
            if migration is not None:
                migration.completed_at = real_clock_of(session).now()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """A transaction of its own; in a dry run a part of the one that is undone."""
        if self._held is not None:
            async with self._held.begin_nested():
                yield self._held
            return
        async with self.database.transaction(self.scope, clock=self.clock) as session:
            yield session

    async def _begin(self) -> None:
        async with self.database.transaction(self.scope) as session:
            if await _require_free(session, self.source.url) is None:
                now = real_clock_of(session).now()
                session.add(Migration(id=new_id(Kind.TASK), source_url=self.source.url, started_at=now))

    async def _copy_page(self, kind: RecordKind, page: Sequence[SourceRecord]) -> None:
        named = {str(record["id"]): record for record in page if record.get("id")}
        async with self.transaction() as session:
            for source_id in [source_id for source_id in named if not _can_be_kept(source_id)]:
                problems = [f"its id is longer than {SOURCE_ID_LENGTH} characters, or holds a NUL character"]
                label = label_of(named.pop(source_id))
                await record_outcome(
                    session, kind.name, source_id, RecordOutcome.FAILED, label=label, problems=problems
                )
            finished = await finished_ids(session, kind.name, named)
        waiting = [record for source_id, record in named.items() if source_id not in finished]
        whole, gone = await self._completed(kind, waiting)
        async with self.transaction() as session:
            for record in whole:
                await self._copy(session, kind, record)
            for record, missing in gone:
                problems = [f"the source does not offer {missing}"]
                await record_outcome(
                    session,
                    kind.name,
                    str(record["id"]),
                    RecordOutcome.FAILED,
                    label=label_of(record),
                    problems=problems,
                )
        self.progress(kind.name, len(page))

    async def _completed(
        self, kind: RecordKind, records: Sequence[SourceRecord]
    ) -> tuple[list[SourceRecord], list[tuple[SourceRecord, str]]]:
        """Records with all that the source says of them, and those that it has no more. Raises SourceFailed."""
        turns = asyncio.Semaphore(AT_ONCE)
        gone: list[tuple[SourceRecord, str]] = []

        async def completed(record: SourceRecord) -> SourceRecord | None:
            async with turns:
                try:
                    return await kind.complete(self.source, record)
                except NotOffered as missing:
                    gone.append((record, str(missing)))
                    return None
                except _UNREADABLE as error:
                    gone.append((record, f"{record['id']} as the API writes it ({type(error).__name__})"))
                    return None

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(completed(record)) for record in records]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        return [whole for task in tasks if (whole := task.result()) is not None], gone

    async def _copy(self, session: AsyncSession, kind: RecordKind, record: SourceRecord) -> None:
        """Copy a record, or note why it was not."""
        target = MigrationTarget(session, self.clock.now(), self.known)
        source_id, label = str(record["id"]), label_of(record)
        try:
            async with session.begin_nested():
                target_id = await kind.copy(target, record)
        except LeftOut as reason:
            await record_outcome(
                session, kind.name, source_id, RecordOutcome.LEFT_OUT, label=label, problems=[str(reason)]
            )
            return
        except (FarthingError, DBAPIError, *_UNREADABLE) as error:
            problems = [_reason(error)]
            await record_outcome(session, kind.name, source_id, RecordOutcome.FAILED, label=label, problems=problems)
            return
        outcome = RecordOutcome.CARRIED_IN_PART if target.problems else RecordOutcome.CARRIED
        await record_outcome(
            session, kind.name, source_id, outcome, target_id=target_id, label=label, problems=target.problems
        )
        for part_kind, part_id, part_target in target.parts:
            if (part_kind, part_id) != (kind.name, source_id):
                await record_outcome(session, part_kind, part_id, RecordOutcome.CARRIED, target_id=part_target)


async def _require_free(session: AsyncSession, source_url: str) -> Migration | None:
    """The migration that is going on. Raises InvalidOperation for an environment that has other books, or mails."""
    migration = await session.scalar(select(Migration))
    if migration is not None and migration.source_url != source_url:
        raise InvalidOperation(f"The environment is being filled from {migration.source_url}", {"url": source_url})
    if migration is None:
        for table in _MADE_BY_PEOPLE:
            if await session.scalar(select(exists(select(table.id)))):
                raise InvalidOperation(
                    f"The environment is not empty: it has a {table.label.lower()}; make a new one to migrate into"
                )
    if (await read(session, EmailConfig)).enabled:
        raise InvalidOperation(
            "The environment sends mails to customers (email_config); switch that off until all is copied and compared"
        )
    return migration


def _can_be_kept(source_id: str) -> bool:
    return len(source_id) <= SOURCE_ID_LENGTH and "\x00" not in source_id


def _reason(error: Exception) -> str:
    """Why a record was not copied. Raises what is no record's fault."""
    if isinstance(error, _UNREADABLE):
        log.warning("migration.unreadable", exc_info=error)
        return f"it is not written as the API writes it ({type(error).__name__})"
    if isinstance(error, FarthingError):
        if error.status >= 500:
            raise error
        named = error.details if isinstance(error, ValidationFailed) else {}
        return "; ".join(f"{field_name} {why}" for field_name, why in named.items()) or error.message
    if isinstance(error, IntegrityError):
        return f"it conflicts with what was copied already ({violated(error)})"
    if isinstance(error, DBAPIError) and isinstance(error.orig, psycopg.DataError):
        return "a value is out of the range that can be stored"
    raise error
