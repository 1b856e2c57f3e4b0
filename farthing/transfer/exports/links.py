"""Addresses under which the file of an export opens without credentials, for half an hour.

Rule: docs/rules/imports-and-exports.md#downloads
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import InvalidOperation, NotFound, ValidationFailed
from farthing.identity.credentials.links import LinkPurpose, link_token
from farthing.payments.tables import Connection
from farthing.settings import Settings
from farthing.storage.queries.rows import find
from farthing.storage.scope import Scope
from farthing.transfer.enums import TaskStatus, TaskType
from farthing.transfer.exports.places import ExportPlace, PlaceFailed, place_of
from farthing.transfer.schedules.lifecycle import config_of
from farthing.transfer.tables import ScheduledTask, Task

EXPORTED_FILE = LinkPurpose("exported file", timedelta(minutes=30))


async def download_link(session: AsyncSession, settings: Settings, scope: Scope, task_id: str, now: datetime) -> str:
    """An address of a task's file. `now` is real time.

    Raises NotFound where there is no file, ValidationFailed where its place cannot be asked.
    """
    task, place = await place_of_file(session, settings, scope, task_id)
    try:
        link = await place.link(task.location)
    except PlaceFailed as error:
        raise ValidationFailed(f"The file's place cannot be asked: {error}", {"location": str(error)}) from error
    if link is not None:
        return link
    token = link_token(EXPORTED_FILE, scope, task_id, settings.master_key(), now)
    return f"{settings.base_url}/v1/tasks/files/{token}"


async def place_of_file(
    session: AsyncSession, settings: Settings, scope: Scope, task_id: str
) -> tuple[Task, ExportPlace]:
    """A task that has a file, and where that is. Raises NotFound, ValidationFailed."""
    task = await find(session, Task, task_id)
    if task.task_type is not TaskType.EXPORT:
        raise NotFound("The task is an import, and has no file to download", {"task_id": task_id})
    if task.task_status is not TaskStatus.COMPLETED or not task.location or task.scheduled_task_id is None:
        raise NotFound(f"The export is {task.task_status.value}, and has no file yet", {"task_id": task_id})
    schedule = await find(session, ScheduledTask, task.scheduled_task_id)
    connection = await find(session, Connection, schedule.connection_id)
    try:
        return task, place_of(connection, config_of(schedule), settings, scope)
    except InvalidOperation as error:
        raise ValidationFailed(error.message, {"location": error.message}) from error
