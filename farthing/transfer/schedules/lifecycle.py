"""How a scheduled task comes to be, is switched on and off, run by hand, and archived."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.period import Period
from farthing.core.encoding.decoding import convert
from farthing.core.enums import Status
from farthing.core.errors import ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.payments.tables import Connection, ProviderType
from farthing.storage.postgres import add_new
from farthing.storage.queries.listing import select_page
from farthing.storage.queries.rows import find, lock_row, not_found
from farthing.transfer.enums import ExportFormat, FileType, RunMode, TaskEntity, TaskType
from farthing.transfer.schedules.windows import boundary_before, last_whole_window
from farthing.transfer.schemas import (
    CreateScheduledTaskRequest,
    ExportJobConfig,
    ScheduledTaskQuery,
    ScheduledTaskResponse,
    TriggerForceRunRequest,
)
from farthing.transfer.tables import ScheduledTask, Task

LONGEST_WINDOW = timedelta(days=365)
SEARCHABLE = ("id", "connection_id", "entity_type", "interval", "enabled", "status", "created_at", "updated_at")


async def create(session: AsyncSession, request: CreateScheduledTaskRequest, now: datetime) -> ScheduledTask:
    """Insert a scheduled task; its first window is the one that goes on now.

    Raises NotFound for an unknown connection, ValidationFailed for one where nothing can be exported to.
    """
    connection = await lock_row(session, Connection, request.connection_id)
    if connection.status is not Status.PUBLISHED:
        raise not_found(Connection, request.connection_id)
    _check_place(connection, request.job_config)
    row = ScheduledTask(
        id=new_id(Kind.SCHEDULED_TASK),
        connection_id=connection.id,
        entity_type=request.entity_type,
        interval=request.interval,
        enabled=request.enabled,
        job_config=_stored(request.job_config),
        exported_until=boundary_before(request.interval, now),
    )
    add_new(session, [row])
    await session.flush()
    return row


def _check_place(connection: Connection, config: ExportJobConfig) -> None:
    if connection.provider_type is ProviderType.LOCAL:
        return
    if connection.provider_type is not ProviderType.S3:
        raise ValidationFailed.of(
            "connection_id", f"must be an s3 or a local connection, not {connection.provider_type.value}"
        )
    missing = [name for name in ("bucket", "region") if not getattr(config, name)]
    if missing:
        raise ValidationFailed.listing({f"job_config.{name}": "is required" for name in missing})


async def set_enabled(session: AsyncSession, id: str, *, enabled: bool, now: datetime) -> ScheduledTask:
    """Switch a scheduled task on or off; what ended while it was off is not exported by itself.

    Raises NotFound, and ValidationFailed for an archived one.
    """
    row = await lock_row(session, ScheduledTask, id)
    if row.status is not Status.PUBLISHED:
        raise ValidationFailed.of("id", "names an archived scheduled task, which cannot be changed")
    if row.enabled != enabled:
        row.enabled = enabled
        if enabled:
            row.exported_until = boundary_before(row.interval, now)
        await session.flush()
    return row


async def archive(session: AsyncSession, id: str) -> None:
    """Archive a scheduled task. Raises NotFound, also for one that is archived."""
    row = await lock_row(session, ScheduledTask, id)
    if row.status is not Status.PUBLISHED:
        raise not_found(ScheduledTask, id)
    row.status, row.enabled = Status.ARCHIVED, False


async def force_run(
    session: AsyncSession, id: str, request: TriggerForceRunRequest, now: datetime
) -> tuple[Task, RunMode]:
    """Begin an export by hand, also of a task that is off: of a window, or of the last whole interval.

    Raises NotFound, ValidationFailed.
    """
    row = await find(session, ScheduledTask, id)
    if row.status is not Status.PUBLISHED:
        raise not_found(ScheduledTask, id)
    if request.start_time is None or request.end_time is None:
        window, mode = last_whole_window(row.interval, now), RunMode.AUTOMATIC
    else:
        window, mode = _checked_window(request.start_time, request.end_time, now), RunMode.CUSTOM
    task = new_export(row, window)
    add_new(session, [task])
    await session.flush()
    return task, mode


def _checked_window(start: datetime, end: datetime, now: datetime) -> Period:
    if end <= start:
        raise ValidationFailed.of("end_time", "must be after start_time")
    if end > now:
        raise ValidationFailed.of("end_time", "must not be in the future")
    if end - start > LONGEST_WINDOW:
        raise ValidationFailed.of("end_time", f"must be at most {LONGEST_WINDOW.days} days after start_time")
    return Period(start, end)


def new_export(row: ScheduledTask, window: Period, *, is_automatic: bool = False) -> Task:
    """The task of one run, which a worker is to run."""
    config = config_of(row)
    parquet = config.format is ExportFormat.PARQUET
    return Task(
        id=new_id(Kind.TASK),
        task_type=TaskType.EXPORT,
        entity_type=TaskEntity(row.entity_type.value),
        file_type=FileType.PARQUET if parquet else FileType.CSV,
        scheduled_task_id=row.id,
        window_start=window.start,
        window_end=window.end,
        is_automatic=is_automatic,
        is_queued=True,
    )


def config_of(row: ScheduledTask) -> ExportJobConfig:
    """Where and how a scheduled task writes."""
    return convert(row.job_config, ExportJobConfig)


def schedule_answer(row: ScheduledTask) -> ScheduledTaskResponse:
    """A scheduled task as it travels."""
    return ScheduledTaskResponse.of(row, job_config=config_of(row))


async def schedules_page(session: AsyncSession, query: ScheduledTaskQuery) -> tuple[list[ScheduledTask], int]:
    """One page of scheduled tasks, newest first, and how many there are."""
    statement = select(ScheduledTask)
    for name in ("connection_id", "entity_type", "interval", "enabled"):
        value = getattr(query, name)
        if value is not None and value != "":
            statement = statement.where(getattr(ScheduledTask, name) == value)
    return await select_page(session, ScheduledTask, query, SEARCHABLE, statement)


def _stored(config: ExportJobConfig) -> dict[str, Any]:
    stored: dict[str, Any] = msgspec.to_builtins(config)
    return stored
