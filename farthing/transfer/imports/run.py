"""Running an import: the file is brought here, read, and written chunk by chunk, each beside how far it is.

Rule: docs/rules/imports-and-exports.md#how-an-import-runs
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import structlog
from sqlalchemy.exc import DBAPIError

from farthing.core.caller import RequestTerms
from farthing.core.clock import Clock
from farthing.core.errors import NotFound, TooManyRequests, ValidationFailed
from farthing.core.origin import ChangeSource, acting_as, duty_actor
from farthing.events.ingest.incoming import AcceptedTimes
from farthing.identity.settings import current
from farthing.identity.settings.catalogue import RequestConfig
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.storage.scope import Scope
from farthing.transfer import files
from farthing.transfer.enums import TaskEntity, TaskStatus
from farthing.transfer.imports.files.columns import ColumnSet
from farthing.transfer.imports.files.fetching import fetch
from farthing.transfer.imports.files.reading import ImportFile
from farthing.transfer.imports.files.rows import SourceRow, UnreadableFile
from farthing.transfer.imports.kinds import customers, events, features, prices
from farthing.transfer.imports.writing import ChunkWriter, EntityChunks, EventChunks, RowWriter
from farthing.transfer.tables import Task
from farthing.transfer.tasks.lifecycle import TaskProgress, TaskRun, end_attempt, lock_attempt

log = structlog.get_logger(__name__)

ACTOR = "import"
MOST_FAILED_ROWS = 1000
"""An import with so many wrong rows is the wrong file."""
MOST_NAMED_ROWS = 1_000_000
"""Where a dry run stops."""
RETRY_SECONDS = (5.0, 10.0, 20.0)

COLUMNS = {
    TaskEntity.EVENTS: events.COLUMNS,
    TaskEntity.CUSTOMERS: customers.COLUMNS,
    TaskEntity.FEATURES: features.COLUMNS,
    TaskEntity.PRICES: prices.COLUMNS,
}

ReportProgress = Callable[[TaskProgress, int], None]
"""Called with the progress and the size of the file, after each chunk."""


@dataclass(frozen=True, slots=True)
class ImportContext:
    """Where an import runs: the deployment, whose books, and what time it is there."""

    database: Database
    settings: Settings
    scope: Scope
    clock: Clock
    report: ReportProgress
    retry_seconds: Sequence[float] = RETRY_SECONDS


async def run_import(context: ImportContext, run: TaskRun, path: Path | None = None) -> None:
    """Run an attempt to its end; `path` is the file where it is on this machine. Raises Superseded."""
    with acting_as(duty_actor(ACTOR, owner_id=run.task.created_by), ChangeSource.IMPORT):
        try:
            if path is not None:
                await _import_file(context, run, path)
            else:
                with TemporaryDirectory(prefix="farthing-import-") as folder:
                    await _import_file(context, run, await _brought(context, run, Path(folder) / "file"))
        except UnreadableFile as error:
            await _end(context, run, TaskStatus.FAILED, f"The file {error}")
        except NotFound as error:
            await _end(context, run, TaskStatus.FAILED, error.message)


async def _brought(context: ImportContext, run: TaskRun, path: Path) -> Path:
    """The file of an import on this machine. Raises NotFound for one that is gone."""
    if run.task.stored_file_id is None:
        raise NotFound("The file of this import is not kept", {"task_id": run.id})
    await files.write_to(context.database, context.scope, run.task.stored_file_id, path)
    return path


async def fetch_file(context: ImportContext, run: TaskRun) -> bool:
    """Fetch the file of an import and keep it, so that a later attempt reads the same. Raises Superseded.

    False where there is none to be had: then the attempt has ended.
    """
    name = run.task.file_name or run.task.file_url.rsplit("/", 1)[-1].partition("?")[0]
    with acting_as(duty_actor(ACTOR, owner_id=run.task.created_by), ChangeSource.IMPORT):
        arriving = fetch(run.task.file_url, allow_private=context.settings.transfer_allow_private)
        now = context.database.clock.now()
        try:
            file_id, _ = await files.receive_file(context.database, context.scope, name, arriving, now)
        except (UnreadableFile, TooManyRequests, ValidationFailed) as error:
            reason = f"The file {error}" if isinstance(error, UnreadableFile) else error.message
            await _end(context, run, TaskStatus.FAILED, reason)
            return False
        async with context.database.transaction(context.scope) as session:
            task = await lock_attempt(session, run)
            await files.use_upload(session, file_id, task.id)
            task.stored_file_id = run.task.stored_file_id = file_id
    return True


async def _import_file(context: ImportContext, run: TaskRun, path: Path) -> None:
    task = run.task
    file = await asyncio.to_thread(ImportFile, path, task.file_type, _columns_of(task))
    try:
        async with context.database.transaction(context.scope) as session:
            (await lock_attempt(session, run)).bytes_total = file.size
        async with _writer(context, run) as writer:
            await _write_chunks(context, run, file, writer)
    finally:
        file.close()


async def _write_chunks(context: ImportContext, run: TaskRun, file: ImportFile, writer: ChunkWriter) -> None:
    task = run.task
    progress = TaskProgress(task.successful_records, task.failed_records, task.bytes_done)
    most_failed = progress.failed + (MOST_NAMED_ROWS if task.dry_run else MOST_FAILED_ROWS)
    chunks = file.chunks(writer.rows_each, progress.processed)
    try:
        async for chunk in chunks:
            if chunk.rows:
                progress = await _written(context, writer, chunk.rows, progress, chunk.bytes_done)
                context.report(progress, file.size)
            if chunk.broken is not None:
                await _end(context, run, TaskStatus.FAILED, f"The file {chunk.broken}")
                return
            if progress.failed >= most_failed:
                await _end(context, run, TaskStatus.FAILED, "Stopped, because too many rows failed")
                return
    finally:
        await chunks.aclose()
    if progress.processed and not progress.successful:
        await _end(context, run, TaskStatus.FAILED, "Every row failed")
    else:
        await _end(context, run, TaskStatus.COMPLETED, None)


async def _written(
    context: ImportContext, writer: ChunkWriter, rows: Sequence[SourceRow], progress: TaskProgress, bytes_done: int
) -> TaskProgress:
    """Write a chunk; what fails for a reason that passes is tried again after a while."""
    for seconds in context.retry_seconds:
        try:
            return await writer.write(rows, progress, bytes_done)
        except (DBAPIError, psycopg.Error) as error:
            log.warning("import.chunk_failed", error=type(error).__name__, retry_seconds=seconds)
            await asyncio.sleep(seconds)
    return await writer.write(rows, progress, bytes_done)


async def _end(context: ImportContext, run: TaskRun, status: TaskStatus, reason: str | None) -> None:
    async with context.database.transaction(context.scope, clock=context.clock) as session:
        await end_attempt(session, run, status, reason, context.clock.now())


@asynccontextmanager
async def _writer(context: ImportContext, run: TaskRun) -> AsyncIterator[ChunkWriter]:
    if run.task.entity_type is not TaskEntity.EVENTS:
        writer = _row_writer(context, run.task)
        yield EntityChunks(context.database, context.scope, context.clock, run, writer)
        return
    async with context.database.transaction(context.scope, read_only=True) as session:
        config = await current.read(session, RequestConfig)
    terms = RequestTerms(config.refuse_unknown_fields, config.earliest_event_time, config.event_years_ahead)
    asked_at = run.task.created_at
    rows = events.EventRows(run.id, asked_at, AcceptedTimes.at(context.clock.now(), terms))
    async with EventChunks(context.database, context.scope, run, rows) as chunks:
        yield chunks


def _row_writer(context: ImportContext, task: Task) -> RowWriter:
    if task.entity_type is TaskEntity.CUSTOMERS:
        return customers.CustomerImporter(strict_ids=context.settings.strict_external_ids)
    if task.entity_type is TaskEntity.FEATURES:
        return features.FeatureImporter()
    return prices.PriceImporter(context.clock.now())


def _columns_of(task: Task) -> ColumnSet:
    return COLUMNS[task.entity_type]
