"""Addresses under which the file of an export opens without credentials, for half an hour.

Rule: docs/rules/imports-and-exports.md#downloads
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import jwt
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import InvalidOperation, NotFound, PermissionDenied, ValidationFailed
from farthing.identity.credentials.keys import derived_key
from farthing.identity.credentials.master_key import signed_claims
from farthing.payments.tables import Connection
from farthing.settings import Settings
from farthing.storage.queries.rows import find
from farthing.storage.scope import Scope
from farthing.transfer.enums import TaskStatus, TaskType
from farthing.transfer.exports.places import ExportPlace, PlaceFailed, place_of
from farthing.transfer.schedules.lifecycle import config_of
from farthing.transfer.tables import ScheduledTask, Task

LINK_LIFE = timedelta(minutes=30)
_PURPOSE = "exported file"
_ALGORITHM = "HS256"


@dataclass(frozen=True, slots=True)
class LinkedFile:
    """Which task's file a link opens, and whose that is."""

    scope: Scope
    task_id: str


async def download_link(session: AsyncSession, settings: Settings, scope: Scope, task_id: str, now: datetime) -> str:
    """An address of a task's file. `now` is real time.

    Raises NotFound where there is no file, ValidationFailed where its place cannot be asked.
    """
    task, place = await place_of_file(session, settings, scope, task_id)
    try:
        link = await place.link(task.location)
    except PlaceFailed as error:
        raise ValidationFailed(f"The file's place cannot be asked: {error}", {"location": str(error)}) from error
    return link or _own_link(settings, scope, task_id, now)


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


def _own_link(settings: Settings, scope: Scope, task_id: str, now: datetime) -> str:
    claims = {
        "typ": _PURPOSE,
        "tenant_id": scope.tenant_id,
        "environment_id": scope.environment_id,
        "task_id": task_id,
        "exp": int((now + LINK_LIFE).timestamp()),
    }
    token = jwt.encode(claims, derived_key(settings.master_key(), _PURPOSE), _ALGORITHM)
    return f"{settings.base_url}/v1/tasks/files/{token}"


def opened(token: str, master_keys: Sequence[str], now: datetime) -> LinkedFile:
    """What a link's token opens. Raises PermissionDenied for one that is forged or out of date."""
    try:
        claims = signed_claims(
            token,
            master_keys,
            _PURPOSE,
            algorithms=[_ALGORITHM],
            options={"require": ["exp"], "verify_exp": False},  # time is the caller's to tell
        )
    except jwt.InvalidTokenError as error:
        raise PermissionDenied("This link is not valid") from error
    if claims.get("typ") != _PURPOSE or claims["exp"] <= now.timestamp():
        raise PermissionDenied("This link is not valid any more")
    return LinkedFile(Scope(claims["tenant_id"], claims["environment_id"]), claims["task_id"])
