"""One SELECT for each kind of work, all of the same shape."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    ColumnElement,
    DateTime,
    Select,
    String,
    Subquery,
    case,
    cast,
    column,
    func,
    literal,
    null,
    select,
    table,
    union_all,
)

from farthing.billing.tables import ClockAdvance
from farthing.events.tables import MeterBackfill
from farthing.jobs import cloning
from farthing.jobs.tables import JobRun
from farthing.notifications.email.tables import Email, EmailState
from farthing.notifications.webhooks.tables import DeliveryState, WebhookDelivery


class WorkflowStatus(StrEnum):
    """The states that clients know."""

    RUNNING = "Running"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELED = "Canceled"
    TERMINATED = "Terminated"
    CONTINUED_AS_NEW = "ContinuedAsNew"
    TIMED_OUT = "TimedOut"


class WorkflowType(StrEnum):
    """What is done."""

    EMAIL = "EmailDeliveryWorkflow"
    WEBHOOK = "WebhookDeliveryWorkflow"
    BACKFILL = "MeterBackfillWorkflow"
    CLOCK = "TestClockAdvanceWorkflow"
    CLONE = "EnvironmentCloneWorkflow"


_EMAIL_STATUS = {
    EmailState.QUEUED: WorkflowStatus.RUNNING,
    EmailState.SENT: WorkflowStatus.COMPLETED,
    EmailState.FAILED: WorkflowStatus.CANCELED,
    EmailState.PARKED: WorkflowStatus.FAILED,
}
_DELIVERY_STATUS = MappingProxyType({"pending": WorkflowStatus.RUNNING, "delivered": WorkflowStatus.COMPLETED})
_queue = table("procrastinate_jobs", column("task_name"), column("args"))


def every_workflow() -> Subquery:
    """All work of the session's environment, one row each."""
    return union_all(_emails(), _deliveries(), _backfills(), _clock_moves(), _clones()).subquery("workflows")


def _row(
    kind: WorkflowType,
    queue: str,
    workflow_id: Any,
    status: Any,
    entity: str,
    entity_id: Any,
    started: Any,
    closed: Any,
    error: Any,
    created_by: Any = None,
) -> Select[Any]:
    columns: list[ColumnElement[Any]] = [
        cast(workflow_id, String).label("workflow_id"),
        cast(workflow_id, String).label("run_id"),
        literal(kind.value, String).label("workflow_type"),
        literal(queue, String).label("task_queue"),
        cast(status, String).label("status"),
        literal(entity, String).label("entity"),
        cast(entity_id, String).label("entity_id"),
        cast(started, DateTime(timezone=True)).label("start_time"),
        cast(closed, DateTime(timezone=True)).label("close_time"),
        cast(error, String).label("error"),
        cast(null() if created_by is None else created_by, String).label("created_by"),
    ]
    return select(*columns)


def _by_value(state: Any, known: Mapping[Any, WorkflowStatus]) -> ColumnElement[str]:
    """The status of a state; a state that is not named is a failure."""
    return case(
        *((state == value, literal(status.value, String)) for value, status in known.items()),
        else_=literal(WorkflowStatus.FAILED.value, String),
    )


def _when(finished: Any, error: Any) -> ColumnElement[str]:
    return case(
        (error != "", literal(WorkflowStatus.FAILED.value, String)),
        (finished.is_not(None), literal(WorkflowStatus.COMPLETED.value, String)),
        else_=literal(WorkflowStatus.RUNNING.value, String),
    )


def _emails() -> Select[Any]:
    status = _by_value(Email.state, _EMAIL_STATUS)
    return _row(
        WorkflowType.EMAIL,
        "email",
        Email.id,
        status,
        "customer",
        Email.customer_id,
        Email.created_at,
        Email.finished_at,
        Email.reason,
    )


def _deliveries() -> Select[Any]:
    known = {DeliveryState(value): status for value, status in _DELIVERY_STATUS.items()}
    return _row(
        WorkflowType.WEBHOOK,
        "webhooks",
        WebhookDelivery.id,
        _by_value(WebhookDelivery.state, known),
        "system_event",
        WebhookDelivery.event_id,
        WebhookDelivery.created_at,
        WebhookDelivery.finished_at,
        WebhookDelivery.reason,
    )


def _backfills() -> Select[Any]:
    return _row(
        WorkflowType.BACKFILL,
        "backfills",
        MeterBackfill.id,
        _when(MeterBackfill.finished_at, literal("", String)),
        "meter",
        MeterBackfill.id,
        MeterBackfill.requested_at,
        MeterBackfill.finished_at,
        null(),
    )


def _clock_moves() -> Select[Any]:
    return _row(
        WorkflowType.CLOCK,
        "clock",
        ClockAdvance.id,
        _when(ClockAdvance.finished_at, ClockAdvance.error),
        "environment",
        ClockAdvance.environment_id,
        ClockAdvance.created_at,
        ClockAdvance.finished_at,
        ClockAdvance.error,
        ClockAdvance.created_by,
    )


def _clones() -> Select[Any]:
    """Copies into the environment or out of it; the journal is everybody's, and what is asked for names whose it is."""
    args = _queue.c.args
    target, own = args.op("->>")("target_id"), func.current_setting("farthing.environment_id", True)
    return (
        _row(
            WorkflowType.CLONE,
            cloning.QUEUE,
            JobRun.id,
            _when(JobRun.finished_at, func.coalesce(JobRun.error, "")),
            "environment",
            target,
            JobRun.started_at,
            JobRun.finished_at,
            JobRun.error,
            args.op("->>")("user_id"),
        )
        .select_from(JobRun)
        .join(_queue, args.op("->>")("run_id") == JobRun.id)
        .where(
            _queue.c.task_name == cloning.TASK,
            JobRun.name == cloning.TASK,
            (target == own) | (args.op("->>")("source_id") == own),
        )
    )
