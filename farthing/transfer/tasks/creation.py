"""How an import comes to be, and how tasks are shown."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.caller import WRITE, Caller
from farthing.core.encoding.wire import as_wire
from farthing.core.errors import PermissionDenied, ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.notifications.webhooks.delivery.addresses import url_problem
from farthing.settings import Settings
from farthing.storage.postgres import add_new
from farthing.storage.queries.listing import select_page
from farthing.transfer.enums import FileType, ImportEntity, TaskEntity, TaskStatus, TaskType
from farthing.transfer.files import use_upload
from farthing.transfer.schemas import CreateTaskRequest, TaskQuery, TaskResponse
from farthing.transfer.tables import Task
from farthing.transfer.tasks.lifecycle import checked_metadata

ENTITY_OF: Mapping[ImportEntity, str] = {
    ImportEntity.EVENTS: "event",
    ImportEntity.CUSTOMERS: "customer",
    ImportEntity.PRICES: "price",
    ImportEntity.FEATURES: "feature",
}
"""Whose writing an import needs to be allowed."""
SEARCHABLE = ("id", "task_type", "entity_type", "task_status", "scheduled_task_id", "file_name", "created_at")


def require_may_import(caller: Caller, entity: ImportEntity) -> None:
    """Refuse whoever may not write by hand what would be imported. Raises PermissionDenied."""
    if not caller.may(WRITE, ENTITY_OF[entity]):
        raise PermissionDenied("insufficient permissions")


async def create_import(session: AsyncSession, request: CreateTaskRequest, settings: Settings) -> Task:
    """Queue an import. Raises ValidationFailed for an upload or a URL that cannot be used."""
    task = Task(
        id=new_id(Kind.TASK),
        task_type=TaskType.IMPORT,
        entity_type=TaskEntity(request.entity_type.value),
        file_type=FileType(request.file_type.value),
        file_name=request.file_name or None,
        dry_run=request.dry_run,
        meta=checked_metadata(request.metadata),
        is_queued=True,
    )
    if request.file_url:
        problem = url_problem(request.file_url, allow_private=settings.transfer_allow_private)
        if problem is not None:
            raise ValidationFailed.of("file_url", problem)
        task.file_url = request.file_url
    else:
        upload = await use_upload(session, request.upload_id or "", task.id)
        task.stored_file_id = upload.id
        task.file_name = task.file_name or upload.name or None
    add_new(session, [task])
    await session.flush()
    return task


async def tasks_page(session: AsyncSession, query: TaskQuery) -> tuple[list[Task], int]:
    """One page of tasks, newest first, and how many there are."""
    statement = select(Task)
    for name in ("task_type", "entity_type", "task_status", "scheduled_task_id", "created_by"):
        value = getattr(query, name)
        if value is not None and value != "":
            statement = statement.where(getattr(Task, name) == value)
    return await select_page(session, Task, query, SEARCHABLE, statement)


def progress_of(task: Task) -> int | None:
    """How much of a file is read, in per cent; None while that is not known."""
    if task.task_status is TaskStatus.COMPLETED:
        return 100
    return None if not task.bytes_total else min(100 * task.bytes_done // task.bytes_total, 100)


def task_answer(task: Task) -> TaskResponse:
    """A task as it travels."""
    return TaskResponse.of(
        task,
        progress_percent=progress_of(task),
        start_time=as_wire(task.window_start),
        end_time=as_wire(task.window_end),
    )
