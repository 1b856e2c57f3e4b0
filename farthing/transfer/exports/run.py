"""Running an export: rows are read from one snapshot into a file, and the file is put at its place.

Rule: docs/rules/imports-and-exports.md#how-an-export-runs
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.period import Period
from farthing.core.clock import Clock
from farthing.core.enums import Status
from farthing.core.errors import FarthingError
from farthing.payments.tables import Connection
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.storage.queries.rows import find
from farthing.storage.scope import Scope
from farthing.transfer.enums import ExportCompression, ExportEntity, ExportFormat, TaskStatus
from farthing.transfer.exports.places import ExportPlace, PlaceFailed, place_of
from farthing.transfer.exports.selections.balances import select_balances
from farthing.transfer.exports.selections.credits import select_debits, select_topups
from farthing.transfer.exports.selections.events import select_events
from farthing.transfer.exports.selections.invoices import select_invoices
from farthing.transfer.exports.selections.revenue import select_revenue
from farthing.transfer.exports.selections.selection import ExportRequest, ExportSelection, MetadataColumn
from farthing.transfer.exports.selections.usage import select_usage
from farthing.transfer.exports.sink import ExportSink
from farthing.transfer.schedules.lifecycle import config_of
from farthing.transfer.schemas import ExportJobConfig
from farthing.transfer.tables import ScheduledTask, Task
from farthing.transfer.tasks.lifecycle import TaskProgress, TaskRun, end_attempt, lock_attempt, record_progress

ROWS_BETWEEN_PROGRESS = 20_000

SELECTIONS: Mapping[ExportEntity, Callable[[AsyncSession, ExportRequest], ExportSelection]] = {
    ExportEntity.EVENTS: select_events,
    ExportEntity.INVOICE: select_invoices,
    ExportEntity.CREDIT_TOPUPS: select_topups,
    ExportEntity.WALLET_DEBITS: select_debits,
    ExportEntity.CREDIT_USAGE: select_balances,
    ExportEntity.USAGE_ANALYTICS: select_usage,
    ExportEntity.REVENUE_FACTS: select_revenue,
}


@dataclass(frozen=True, slots=True)
class ExportContext:
    """Where an export runs: the deployment, whose books, and what time it is there."""

    database: Database
    settings: Settings
    scope: Scope
    clock: Clock


@dataclass(frozen=True, slots=True)
class ExportTarget:
    """The file to write, and how."""

    path: Path
    format: ExportFormat
    compression: ExportCompression


async def run_export(context: ExportContext, run: TaskRun) -> None:
    """Run an attempt to its end. Raises Superseded."""
    try:
        schedule, place = await _place(context, run.task)
        with TemporaryDirectory(prefix="farthing-export-") as folder:
            target = _target(Path(folder) / "file", config_of(schedule))
            rows = await _write(context, run, schedule, target)
            async with context.database.transaction(context.scope) as session:
                await lock_attempt(session, run)  # one that was cancelled leaves what is there alone
            key = key_of(schedule, _window(run.task))
            location = await place.put(key, target.path)
            size = target.path.stat().st_size
    except (PlaceFailed, FarthingError) as error:
        await _end(context, run, TaskStatus.FAILED, getattr(error, "message", str(error)))
        return
    await _end(
        context,
        run,
        TaskStatus.COMPLETED,
        None,
        file_url=location,
        location=key,
        file_name=key.rsplit("/", 1)[-1],
        total_records=rows,
        processed_records=rows,
        successful_records=rows,
        bytes_total=size,
        bytes_done=size,
    )


async def write_export(
    context: ExportContext,
    entity: ExportEntity,
    request: ExportRequest,
    target: ExportTarget,
    report: Callable[[int], None] = lambda rows: None,
) -> int:
    """Write the file of an export from one snapshot; how many rows it has. `report` is called as they come."""
    async with context.database.transaction(context.scope, clock=context.clock, read_only=True) as session:
        selection = SELECTIONS[entity](session, request)
        sink = ExportSink(target.path, selection.columns, target.format, target.compression)
        with sink:
            async for rows in selection.portions:
                await asyncio.to_thread(sink.write, rows)
                report(sink.rows)
    return sink.rows


async def _write(context: ExportContext, run: TaskRun, schedule: ScheduledTask, target: ExportTarget) -> int:
    """The same for a task, whose progress is written now and then, and which may be cancelled meanwhile."""
    config = config_of(schedule)
    metadata = [
        MetadataColumn(field.entity_type.value, field.field_key, field.column_name or field.field_key)
        for field in config.export_metadata_fields or ()
    ]
    request = ExportRequest(_window(run.task), context.clock.now(), metadata)
    counted = _Counted(context, run)
    try:
        return await write_export(context, schedule.entity_type, request, target, counted.report)
    finally:
        await counted.settle()


class _Counted:
    """Writes progress beside an export, and stops the export when its attempt must not go on."""

    def __init__(self, context: ExportContext, run: TaskRun) -> None:
        self._context = context
        self._run = run
        self._written = 0
        self._writing: asyncio.Task[None] | None = None

    def report(self, rows: int) -> None:
        """Take note of the rows so far. Raises Superseded."""
        if self._writing is not None and self._writing.done():
            self._writing.result()
            self._writing = None
        if self._writing is None and rows - self._written >= ROWS_BETWEEN_PROGRESS:
            self._written = rows
            self._writing = asyncio.create_task(self._record(rows), name="progress of an export")

    async def settle(self) -> None:
        """Wait for what is being written."""
        if self._writing is not None:
            await asyncio.wait({self._writing})
            self._writing.exception()

    async def _record(self, rows: int) -> None:
        async with self._context.database.transaction(self._context.scope) as session:
            await record_progress(session, self._run, TaskProgress(successful=rows))


async def _place(context: ExportContext, task: Task) -> tuple[ScheduledTask, ExportPlace]:
    async with context.database.transaction(context.scope, read_only=True) as session:
        assert task.scheduled_task_id is not None, "exports belong to a scheduled task"
        schedule = await find(session, ScheduledTask, task.scheduled_task_id)
        connection = await find(session, Connection, schedule.connection_id)
    if connection.status is not Status.PUBLISHED:
        raise PlaceFailed("its connection was deleted")
    return schedule, place_of(connection, config_of(schedule), context.settings, context.scope)


def _target(path: Path, config: ExportJobConfig) -> ExportTarget:
    return ExportTarget(path, config.format, config.compression or ExportCompression.NONE)


def _window(task: Task) -> Period:
    assert task.window_start is not None
    assert task.window_end is not None
    return Period(task.window_start, task.window_end)


def key_of(schedule: ScheduledTask, window: Period) -> str:
    """The key of an export: the same for the same window, so that a repeat replaces it."""
    config = config_of(schedule)
    entity = schedule.entity_type.value
    name = f"{entity}-{_moment(window.start)}-{_moment(window.end)}.{config.format.value}"
    packed = ".gz" if config.compression is ExportCompression.GZIP else ""
    return "/".join([*([config.key_prefix] if config.key_prefix else []), entity, name + packed])


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%y%m%d%H%M%S")


async def _end(context: ExportContext, run: TaskRun, status: TaskStatus, reason: str | None, **values: object) -> None:
    async with context.database.transaction(context.scope, clock=context.clock) as session:
        await end_attempt(session, run, status, reason, context.clock.now(), **values)
