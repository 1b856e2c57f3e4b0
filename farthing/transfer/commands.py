"""The commands `farthing import` and `farthing export`: the same as tasks do, with a file of this machine."""

from __future__ import annotations

import asyncio
import hashlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.period import Period
from farthing.core.clock import Clock, FixedClock
from farthing.core.errors import AlreadyExists, ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.identity.tables import Environment
from farthing.reporting.commands import find_environment
from farthing.settings import Settings
from farthing.storage.postgres import Database, add_new
from farthing.storage.queries.rows import find, unique
from farthing.storage.scope import Scope
from farthing.transfer.enums import (
    ExportCompression,
    ExportEntity,
    ExportFormat,
    FileType,
    ImportEntity,
    TaskEntity,
    TaskStatus,
    TaskType,
)
from farthing.transfer.exports.run import ExportContext, ExportTarget, write_export
from farthing.transfer.exports.selections.selection import ExportRequest
from farthing.transfer.imports.run import ImportContext, run_import
from farthing.transfer.tables import Task
from farthing.transfer.tasks.lifecycle import Superseded, TaskProgress, TaskRun, begin_attempt
from farthing.transfer.tasks.problems import list_problems

PROBLEMS_SHOWN = 20
_BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
_JSON_ENDINGS = (".json", ".jsonl", ".ndjson", ".json.gz", ".jsonl.gz", ".ndjson.gz")


@dataclass(frozen=True, slots=True)
class RequestedImport:
    """What was typed: which file holds what, whose books are meant, and whether it is only tried."""

    entity: ImportEntity
    file: Path
    environment: str | None
    dry_run: bool

    @property
    def file_type(self) -> FileType:
        return FileType.JSON if self.file.name.lower().endswith(_JSON_ENDINGS) else FileType.CSV


@dataclass(frozen=True, slots=True)
class RequestedExport:
    """What was typed: what to export, into which file, of which window and of whose books."""

    entity: ExportEntity
    file: Path
    since: datetime | None
    until: datetime | None
    environment: str | None

    @property
    def format(self) -> ExportFormat:
        is_parquet = self.file.name.lower().removesuffix(".gz").endswith(".parquet")
        return ExportFormat.PARQUET if is_parquet else ExportFormat.CSV

    @property
    def compression(self) -> ExportCompression:
        return ExportCompression.GZIP if self.file.name.lower().endswith(".gz") else ExportCompression.NONE


async def import_file(settings: Settings, database: Database, console: Console, requested: RequestedImport) -> int:
    """Import a file and print what became of it; the exit status: 0 only if every row is right.

    The same file again goes on where an import of it was interrupted. Raises NotFound, ValidationFailed.
    """
    if not requested.file.is_file():
        raise ValidationFailed.of("file", f"there is no file {requested.file}")
    environment = await find_environment(database, requested.environment)
    scope, clock = _place(database, environment)
    fingerprint = await asyncio.to_thread(_fingerprint, requested.file)
    run, goes_on = await _begun(database, scope, clock, requested, fingerprint)
    if goes_on:
        console.print(f"An import of this file was interrupted after row {run.task.processed_records}; it goes on.")
    with _progress(console) as progress:
        bar = progress.add_task("import", rows=0, total=requested.file.stat().st_size)

        def report(done: TaskProgress, size: int) -> None:
            progress.update(bar, total=size, completed=done.bytes_done, rows=done.processed)

        context = ImportContext(database, settings, scope, clock, report)
        try:
            await run_import(context, run, requested.file)
        except Superseded:
            console.print("The import was cancelled, or is run by somebody else now.")
            return 1
    async with database.transaction(scope, read_only=True) as session:
        return await _print_outcome(session, console, run.id)


async def _begun(
    database: Database, scope: Scope, clock: Clock, requested: RequestedImport, fingerprint: str
) -> tuple[TaskRun, bool]:
    """An attempt at the import of the file, and whether one was interrupted before."""
    async with database.transaction(scope, clock=clock) as session:
        task = None if requested.dry_run else await _interrupted(session, requested, fingerprint)
        goes_on = task is not None
        if task is None:
            task = Task(
                id=new_id(Kind.TASK),
                task_type=TaskType.IMPORT,
                entity_type=TaskEntity(requested.entity.value),
                file_type=requested.file_type,
                file_name=requested.file.name[:255],
                fingerprint=fingerprint,
                dry_run=requested.dry_run,
            )
            taken = AlreadyExists("An import of this file was begun just now; run the command again to go on with it")
            async with unique(session, uq_tasks_fingerprint=taken):
                add_new(session, [task])
        elif task.task_status is TaskStatus.FAILED:
            task.task_status, task.failed_at, task.error_summary = TaskStatus.PROCESSING, None, None
        await session.flush()
        run = await begin_attempt(session, task.id, clock.now())
        assert run is not None, "it has not ended"
        return run, goes_on


async def _interrupted(session: AsyncSession, requested: RequestedImport, fingerprint: str) -> Task | None:
    """The import of the same file that is not completed, locked."""
    task: Task | None = await session.scalar(
        select(Task)
        .where(
            Task.fingerprint == fingerprint,
            Task.entity_type == TaskEntity(requested.entity.value),
            Task.task_status != TaskStatus.COMPLETED,
            ~Task.dry_run,
        )
        .with_for_update()
    )
    return task


async def _print_outcome(session: AsyncSession, console: Console, task_id: str) -> int:
    task = await find(session, Task, task_id)
    problems, total = await list_problems(session, task_id, PROBLEMS_SHOWN)
    for problem in problems:
        column = f" {problem.column_name}" if problem.column_name else ""
        console.print(f"row {problem.row_number} (line {problem.line_number}){column}: {problem.reason}", markup=False)
    if total > len(problems):
        console.print(f"... and {total - len(problems)} more: GET /v1/tasks/{task_id}/problems/csv has all of them")
    done = "would be imported" if task.dry_run else "imported"
    console.print(f"{task.successful_records} rows {done}, {task.failed_records} failed ({task_id})")
    if task.task_status is TaskStatus.FAILED:
        console.print((task.error_summary or "failed").partition("\n")[0], markup=False)
    return 0 if task.task_status is TaskStatus.COMPLETED and not task.failed_records else 1


async def export_file(settings: Settings, database: Database, console: Console, requested: RequestedExport) -> int:
    """Write an export to a file, which appears when it is whole. Raises NotFound, ValidationFailed."""
    environment = await find_environment(database, requested.environment)
    scope, clock = _place(database, environment)
    since, until = requested.since or _BEGINNING, requested.until or clock.now()
    if until <= since:
        raise ValidationFailed.of("until", "must be after since")
    draft = requested.file.with_name(f".{requested.file.name}.{os.getpid()}.part")
    target = ExportTarget(draft, requested.format, requested.compression)
    request = ExportRequest(Period(since, until), clock.now())
    try:
        with _progress(console) as progress:
            bar = progress.add_task("export", rows=0, total=None)
            context = ExportContext(database, settings, scope, clock)
            rows = await write_export(
                context, requested.entity, request, target, lambda count: progress.update(bar, rows=count)
            )
        draft.replace(requested.file)
    except OSError as error:
        raise ValidationFailed.of("file", f"{requested.file} cannot be written: {error.strerror}") from error
    finally:
        draft.unlink(missing_ok=True)
    console.print(f"{rows} rows in {requested.file}", markup=False)
    return 0


def _place(database: Database, environment: Environment) -> tuple[Scope, Clock]:
    frozen = environment.frozen_time
    clock = database.clock if frozen is None else FixedClock(frozen)
    return Scope(environment.tenant_id, environment.id), clock


def _fingerprint(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _progress(console: Console) -> Progress:
    columns = (BarColumn(), TextColumn("{task.fields[rows]} rows"), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)
