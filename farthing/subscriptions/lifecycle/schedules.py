"""What shall happen to a subscription later: made, listed, cancelled, marked as done or failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.billing import next_billing_date
from farthing.core.clock import instant
from farthing.core.enums import Status
from farthing.core.errors import FarthingError, InvalidOperation, NotFound, ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.storage.documents import Document, encode
from farthing.storage.queries.listing import ListQuery, select_page
from farthing.storage.queries.rows import find, lock_row, unique
from farthing.subscriptions.changes.events import record_change, record_schedule_event
from farthing.subscriptions.changes.planned_terms import PlannedEnd, instant_kept, planned_end
from farthing.subscriptions.changes.tables import SubscriptionSchedule
from farthing.subscriptions.dates import recurrence
from farthing.subscriptions.enums import ScheduleStatus, ScheduleType
from farthing.subscriptions.lifecycle import hierarchy
from farthing.subscriptions.states import move_schedule
from farthing.subscriptions.tables import Subscription

OF_CANCELLATION = frozenset({"cancellation_type", "cancellation_reason", "effective_date"})
"""The metadata that a cancellation writes on its subscription."""


async def plan(
    session: AsyncSession,
    subscription: Subscription,
    type: ScheduleType,
    at: datetime,
    terms: Document,
    metadata: Mapping[str, str] | None = None,
) -> SubscriptionSchedule:
    """Schedule something for a locked subscription. Raises InvalidOperation when one of its kind waits already."""
    schedule = SubscriptionSchedule(
        id=new_id(Kind.SUBSCRIPTION_SCHEDULE),
        subscription_id=subscription.id,
        schedule_type=type,
        scheduled_at=at,
        configuration=encode(terms),
        meta=dict(metadata or {}),
    )
    async with unique(
        session,
        uq_subscription_schedules_pending=InvalidOperation(
            f"A {type.value} is scheduled for the subscription already", {"subscription_id": subscription.id}
        ),
    ):
        session.add(schedule)
    return schedule


async def pending(
    session: AsyncSession, subscription_id: str, type: ScheduleType | None = None
) -> list[SubscriptionSchedule]:
    """What waits for a subscription, soonest first, locked."""
    table = SubscriptionSchedule
    query = select(table).where(
        table.subscription_id == subscription_id,
        table.schedule_status == ScheduleStatus.PENDING,
        table.status == Status.PUBLISHED,
    )
    if type is not None:
        query = query.where(table.schedule_type == type)
    query = query.order_by(table.scheduled_at, table.id).with_for_update()
    return list((await session.scalars(query.execution_options(populate_existing=True))).all())


async def drop_pending(session: AsyncSession, subscription_id: str, now: datetime) -> list[SubscriptionSchedule]:
    """Cancel all that waits, without undoing anything else."""
    dropped = await pending(session, subscription_id)
    for schedule in dropped:
        move_schedule(schedule, ScheduleStatus.CANCELLED)
        schedule.cancelled_at = now
    await session.flush()
    return dropped


def mark_executed(schedule: SubscriptionSchedule, result: Mapping[str, Any], now: datetime) -> None:
    """Mark a schedule as done."""
    move_schedule(schedule, ScheduleStatus.EXECUTED)
    schedule.executed_at = now
    schedule.execution_result = dict(result)


async def fail(session: AsyncSession, subscription: Subscription, schedule: SubscriptionSchedule, message: str) -> None:
    """Mark what could not be done as failed, and record an event.

    A refusal is final: the boundary it waited for passes in the same transaction, and a rule does not change its mind.
    What no rule refused, a crash say, undoes the whole advance instead, and is tried again with it.
    """
    schedule.attempts += 1
    schedule.error_message = message
    move_schedule(schedule, ScheduleStatus.FAILED)
    await record_schedule_event(session, subscription, schedule)


def reason_of(error: FarthingError) -> str:
    """A refusal in one line, with the fields it names."""
    named = error.details if isinstance(error, ValidationFailed) else {}
    return "; ".join(f"{field} {why}" for field, why in named.items()) or error.message


async def cancel(session: AsyncSession, schedule_id: str, now: datetime) -> SubscriptionSchedule:
    """Cancel what waits, before its time; a cancellation gives back what it had changed.

    Raises NotFound, InvalidOperation when it is done, cancelled or due already.
    """
    found = await find(session, SubscriptionSchedule, schedule_id)
    subscription = await lock_row(session, Subscription, found.subscription_id)
    schedule = await lock_row(session, SubscriptionSchedule, schedule_id)
    if schedule.schedule_status is not ScheduleStatus.PENDING or schedule.scheduled_at <= now:
        raise InvalidOperation(
            "The schedule can no longer be cancelled",
            {
                "schedule_id": schedule.id,
                "status": schedule.schedule_status.value,
                "scheduled_at": instant(schedule.scheduled_at),
            },
        )
    if schedule.schedule_type is ScheduleType.CANCELLATION:
        await call_off(session, subscription, now)
    else:
        move_schedule(schedule, ScheduleStatus.CANCELLED)
        schedule.cancelled_at = now
    await record_change(session, subscription)
    return schedule


async def call_off(session: AsyncSession, subscription: Subscription, now: datetime) -> bool:
    """Let a locked subscription live on as if it had never been told to end, and its children with it.

    The one way in which a cancellation to come is taken back, whoever asks: its schedule is cancelled, and what
    scheduling it had changed is given back. False when there was none.
    """
    waiting = await pending(session, subscription.id, ScheduleType.CANCELLATION)
    for schedule in waiting:
        move_schedule(schedule, ScheduleStatus.CANCELLED)
        schedule.cancelled_at = now
        restore(subscription, planned_end(schedule.configuration))
    found = bool(waiting) or subscription.cancel_at is not None
    if not waiting and found:
        # told to end without a schedule, as subscriptions once could be
        if subscription.end_date == subscription.cancel_at:
            subscription.end_date = None
        subscription.cancel_at = subscription.cancelled_at = subscription.end_proration_behavior = None
        subscription.cancel_at_period_end = False
    if found:
        subscription.meta = {key: value for key, value in subscription.meta.items() if key not in OF_CANCELLATION}
        await session.flush()
        await hierarchy.mirror(session, subscription)
    return found


async def cancel_by(
    session: AsyncSession,
    schedule_id: str | None,
    subscription_id: str | None,
    type: ScheduleType | None,
    now: datetime,
) -> SubscriptionSchedule:
    """Cancel the schedule with this id, or the one of this kind that waits for a subscription."""
    if schedule_id:
        return await cancel(session, schedule_id, now)
    if not subscription_id or type is None:
        raise ValidationFailed.of("schedule_id", "or subscription_id and schedule_type are required")
    await find(session, Subscription, subscription_id)
    table = SubscriptionSchedule
    found = await session.scalar(
        select(table.id)
        .where(
            table.subscription_id == subscription_id,
            table.schedule_type == type,
            table.schedule_status == ScheduleStatus.PENDING,
            table.status == Status.PUBLISHED,
        )
        .limit(1)
    )
    if found is None:
        raise NotFound(f"No {type.value} is scheduled for the subscription", {"subscription_id": subscription_id})
    return await cancel(session, found, now)


def restore(subscription: Subscription, planned: PlannedEnd) -> None:
    """Undo what scheduling a cancellation did to a locked subscription.

    The period that was open then may have rolled since; one that the end to come has cut short gets its own end back.
    """
    ends = subscription.cancel_at
    subscription.cancel_at_period_end = planned.original_cancel_at_period_end
    subscription.cancel_at = instant_kept(planned.original_cancel_at)
    subscription.end_date = instant_kept(planned.original_end_date)
    period_end = instant_kept(planned.original_current_period_end)
    if period_end is not None and period_end > subscription.current_period_start:
        subscription.current_period_end = period_end
    elif period_end is not None and subscription.current_period_end == ends:
        subscription.current_period_end = next_billing_date(
            subscription.full_period_start, recurrence(subscription), subscription.end_date
        )
    subscription.cancelled_at = subscription.end_proration_behavior = None


SEARCHABLE = (
    "id",
    "subscription_id",
    "schedule_type",
    "schedule_status",
    "scheduled_at",
    "executed_at",
    "cancelled_at",
    "created_at",
    "updated_at",
)


async def search(
    session: AsyncSession,
    query: ListQuery,
    *,
    subscription_ids: Sequence[str] = (),
    type: ScheduleType | None = None,
    status: ScheduleStatus | None = None,
) -> tuple[list[SubscriptionSchedule], int]:
    """One page of schedules, and how many there are."""
    table = SubscriptionSchedule
    statement = select(table)
    if subscription_ids:
        statement = statement.where(table.subscription_id.in_(subscription_ids))
    if type is not None:
        statement = statement.where(table.schedule_type == type)
    if status is not None:
        statement = statement.where(table.schedule_status == status)
    return await select_page(session, table, query, SEARCHABLE, statement)
