"""How a task comes to be, is begun, moves on and ends. Whoever changes one locks its row first.

Rule: docs/rules/imports-and-exports.md#how-far-a-task-is
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.enums import Status
from farthing.core.errors import InvalidOperation, ValidationFailed
from farthing.storage.postgres import scope_of
from farthing.storage.queries.rows import lock_row, set_changed
from farthing.transfer.enums import TASK_STATES, TaskStatus
from farthing.transfer.files import UPLOAD_KEPT
from farthing.transfer.tables import StoredFile, Task, TaskProblem
from farthing.transfer.tasks.problems import RowProblem

MOST_SUMMARIZED = 100
LONGEST_REASON = 500
PROBLEMS_KEPT = timedelta(days=90)
CANCELLED = "cancelled"
ENDED = (TaskStatus.COMPLETED, TaskStatus.FAILED)


class Superseded(Exception):
    """The task was cancelled, or another attempt of it was begun: this one must not write any more."""


@dataclass(frozen=True, slots=True)
class TaskRun:
    """The attempt at a task that somebody runs, and how far the ones before it came."""

    task: Task
    attempt: int

    @property
    def id(self) -> str:
        return self.task.id


@dataclass(frozen=True, slots=True)
class TaskProgress:
    """How many records are done in all, and how much of the file is read."""

    successful: int = 0
    failed: int = 0
    bytes_done: int = 0

    @property
    def processed(self) -> int:
        return self.successful + self.failed

    def plus(self, successful: int, failed: int, bytes_done: int) -> TaskProgress:
        """The progress after some more records."""
        return replace(
            self, successful=self.successful + successful, failed=self.failed + failed, bytes_done=bytes_done
        )


async def begin_attempt(session: AsyncSession, task_id: str, now: datetime) -> TaskRun | None:
    """Begin the next attempt at a task; None if there is nothing to do any more."""
    task = await lock_row(session, Task, task_id)
    if task.task_status in ENDED or task.status is not Status.PUBLISHED:
        task.is_queued = False
        return None
    task.task_status = TaskStatus.PROCESSING
    task.started_at = task.started_at or now
    task.attempt += 1
    await session.flush()
    return TaskRun(task, task.attempt)


async def lock_attempt(session: AsyncSession, run: TaskRun) -> Task:
    """The task, locked, for the attempt that runs. Raises Superseded."""
    task = await lock_row(session, Task, run.id)
    if task.attempt != run.attempt or task.task_status is not TaskStatus.PROCESSING:
        raise Superseded(run.id)
    return task


async def record_progress(
    session: AsyncSession, run: TaskRun, progress: TaskProgress, problems: Sequence[RowProblem] = ()
) -> None:
    """Write how far the attempt is, in the transaction that did it. Raises Superseded."""
    task = await lock_attempt(session, run)
    set_changed(
        task,
        successful_records=progress.successful,
        failed_records=progress.failed,
        processed_records=progress.processed,
        bytes_done=progress.bytes_done,
    )
    await _store_problems(session, run.id, problems)


async def _store_problems(session: AsyncSession, task_id: str, problems: Sequence[RowProblem]) -> None:
    if not problems:
        return
    places: dict[int, int] = {}
    rows = []
    for problem in problems:
        places[problem.row] = places.get(problem.row, -1) + 1
        rows.append(
            {
                "environment_id": scope_of(session).environment_id,
                "task_id": task_id,
                "row_number": problem.row,
                "place": places[problem.row],
                "line_number": problem.line,
                "column_name": problem.column[:LONGEST_REASON].replace("\x00", ""),
                "reason": problem.reason[:LONGEST_REASON].replace("\x00", ""),
            }
        )
    # a chunk may be done again after a crash
    await session.execute(insert(TaskProblem).on_conflict_do_nothing(), rows)


async def end_attempt(
    session: AsyncSession, run: TaskRun, status: TaskStatus, reason: str | None, now: datetime, **values: Any
) -> None:
    """Complete a task, or fail it for `reason`. Raises Superseded."""
    task = await lock_attempt(session, run)
    task.is_queued = False
    for name, value in values.items():
        setattr(task, name, value)
    await _end(session, task, status, await _summary(session, task, reason), now)


async def _end(session: AsyncSession, task: Task, status: TaskStatus, summary: str | None, now: datetime) -> None:
    task.task_status, task.error_summary = status, summary
    if status is TaskStatus.COMPLETED:
        task.completed_at, task.failed_at = now, None
        if task.total_records is None:
            task.total_records = task.processed_records
        await _let_file_expire(session, task)
    else:
        task.failed_at = now


async def _let_file_expire(session: AsyncSession, task: Task) -> None:
    if task.stored_file_id is not None:
        file = await session.get(StoredFile, task.stored_file_id)
        if file is not None:
            file.expires_at = file.created_at + UPLOAD_KEPT


async def _summary(session: AsyncSession, task: Task, reason: str | None) -> str | None:
    """What went wrong in all: the reason, then the first rows that failed, then how many there are."""
    lines = [reason] if reason else []
    if task.failed_records:
        problems = (
            await session.scalars(
                select(TaskProblem)
                .where(TaskProblem.task_id == task.id)
                .order_by(TaskProblem.row_number, TaskProblem.place)
                .limit(MOST_SUMMARIZED)
            )
        ).all()
        lines += [
            f"row {problem.row_number}: {problem.column_name + ' ' if problem.column_name else ''}{problem.reason}"
            for problem in problems
        ]
        lines.append(f"{task.failed_records} rows failed")
    return "\n".join(lines) or None


async def set_status(session: AsyncSession, task_id: str, status: TaskStatus, now: datetime) -> Task:
    """Set a task's status by hand, which runs nothing. Raises ValidationFailed for a move that is not allowed."""
    task = await lock_row(session, Task, task_id)
    try:
        TASK_STATES.check(task.task_status, status, task_id=task_id)
    except InvalidOperation as error:
        raise ValidationFailed(error.message, {"task_status": error.message, **error.details}) from error
    task.is_queued = False
    if status is TaskStatus.PROCESSING:
        task.task_status, task.failed_at = status, None
        task.started_at = task.started_at or now
    else:
        await _end(session, task, status, task.error_summary, now)
    return task


async def cancel(session: AsyncSession, task_id: str, now: datetime) -> Task:
    """Stop a task; what it did stays. Raises InvalidOperation for one that has ended."""
    task = await lock_row(session, Task, task_id)
    if task.task_status in ENDED:
        raise InvalidOperation(
            f"The task is {task.task_status.value} and cannot be cancelled", {"current_status": task.task_status.value}
        )
    task.is_queued = False
    await _end(session, task, TaskStatus.FAILED, CANCELLED, now)
    return task


async def retry(session: AsyncSession, task_id: str) -> Task:
    """Let a worker go on with a task that failed, after the last rows that it did. Raises InvalidOperation."""
    task = await lock_row(session, Task, task_id)
    if task.task_status is not TaskStatus.FAILED:
        raise InvalidOperation(
            f"The task is {task.task_status.value}; only a failed one can be tried again",
            {"current_status": task.task_status.value},
        )
    if task.fingerprint is not None:
        raise InvalidOperation(
            "The file of this import is on the machine that began it; run the same `farthing import` there again",
            {"task_id": task_id},
        )
    task.task_status, task.failed_at, task.error_summary = TaskStatus.PROCESSING, None, None
    task.is_queued = True
    return task


async def forget_old_problems(session: AsyncSession, now: datetime) -> int:
    """Delete what is known of the rows of old imports; of how many. A batch."""
    ended = (
        select(Task.id)
        .where(Task.created_at < now - PROBLEMS_KEPT, Task.task_status.in_(ENDED))
        .where(select(TaskProblem.task_id).where(TaskProblem.task_id == Task.id).exists())
        .order_by(Task.created_at)
        .limit(100)
    )
    ids = (await session.scalars(ended)).all()
    if ids:
        await session.execute(delete(TaskProblem).where(TaskProblem.task_id.in_(ids)))
    return len(ids)


def checked_metadata(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """Free metadata of a task, within limits. Raises ValidationFailed."""
    entries = dict(metadata or {})
    if len(entries) > 50:
        raise ValidationFailed.of("metadata", "must have at most 50 keys")
    return entries
