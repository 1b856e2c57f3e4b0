"""Workflows as they are shown: one page of all kinds of work, newest first.

Rule: docs/rules/conventions.md#workflows
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import instant
from farthing.core.enums import Status
from farthing.jobs.workflows.schemas import WorkflowExecutionFilter, WorkflowExecutionResponse
from farthing.jobs.workflows.sources import WorkflowStatus, every_workflow
from farthing.storage.queries.search import SortBy, apply_conditions, column_named

SEARCHABLE = (
    "workflow_id",
    "run_id",
    "workflow_type",
    "task_queue",
    "status",
    "entity",
    "entity_id",
    "start_time",
    "close_time",
    "created_by",
)
_EXACT = {
    "workflow_id": "workflow_id",
    "workflow_type": "workflow_type",
    "workflow_status": "status",
    "task_queue": "task_queue",
    "entity": "entity",
    "entity_id": "entity_id",
}


@dataclass(frozen=True, slots=True)
class WorkflowExecution:
    """One piece of work in the background; `close_time` is None while it runs."""

    workflow_id: str
    run_id: str
    workflow_type: str
    task_queue: str
    status: WorkflowStatus
    entity: str
    entity_id: str
    start_time: datetime
    close_time: datetime | None
    error: str
    created_by: str

    def duration(self, now: datetime) -> timedelta:
        """How long it took, or has taken until now."""
        return max((self.close_time or now) - self.start_time, timedelta(0))


async def select_workflows(
    session: AsyncSession, query: WorkflowExecutionFilter
) -> tuple[list[WorkflowExecution], int]:
    """One page, and how many there are."""
    work = every_workflow()
    columns: dict[str, Any] = {name: work.c[name] for name in SEARCHABLE}
    statement = select(work)
    for field, name in _EXACT.items():
        wanted = getattr(query, field)
        if wanted is not None:
            statement = statement.where(work.c[name] == wanted)
    if query.start_time is not None:
        statement = statement.where(work.c.start_time >= query.start_time)
    if query.end_time is not None:
        statement = statement.where(work.c.start_time <= query.end_time)
    if query.status not in {None, Status.PUBLISHED}:
        return [], 0  # no work is archived or deleted
    statement = apply_conditions(statement, query.filters or [], columns)
    total = (await session.execute(select(func.count()).select_from(statement.subquery()))).scalar_one()
    for level in _levels(query):
        key = column_named(level.field, columns)
        statement = statement.order_by((key.asc() if level.direction == "asc" else key.desc()).nulls_last())
    statement = statement.order_by(work.c.workflow_id.desc())
    rows = await session.execute(statement.limit(query.page_size).offset(query.skip))
    return [_execution(row) for row in rows], total


def _levels(query: WorkflowExecutionFilter) -> Sequence[SortBy]:
    direction = query.order or "desc"
    if isinstance(query.sort, str):
        return [SortBy(field=query.sort, direction=direction)]
    return query.sort or [SortBy(field="start_time", direction=direction)]


def _execution(row: Any) -> WorkflowExecution:
    return WorkflowExecution(
        workflow_id=row.workflow_id,
        run_id=row.run_id,
        workflow_type=row.workflow_type,
        task_queue=row.task_queue,
        status=WorkflowStatus(row.status),
        entity=row.entity,
        entity_id=row.entity_id,
        start_time=row.start_time,
        close_time=row.close_time,
        error=row.error or "",
        created_by=row.created_by or "",
    )


def answer_of(work: WorkflowExecution, now: datetime) -> WorkflowExecutionResponse:
    """A piece of work for the wire."""
    took = work.duration(now)
    return WorkflowExecutionResponse(
        workflow_id=work.workflow_id,
        run_id=work.run_id,
        workflow_type=work.workflow_type,
        task_queue=work.task_queue,
        status=work.status,
        entity=work.entity,
        entity_id=work.entity_id,
        start_time=instant(work.start_time),
        close_time=None if work.close_time is None else instant(work.close_time),
        duration_ms=took // timedelta(milliseconds=1),
        total_duration=in_words(took),
        created_by=work.created_by or None,
        error=work.error or None,
    )


def in_words(took: timedelta) -> str:
    """A length of time such as `850ms`, `23s`, `1m23s` or `2h0m5s`."""
    if took < timedelta(seconds=1):
        return f"{took // timedelta(milliseconds=1)}ms"
    minutes, seconds = divmod(took // timedelta(seconds=1), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}s"
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
