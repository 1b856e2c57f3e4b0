"""Pausing and resuming.

Rule: docs/rules/subscriptions.md#pauses
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.period import Period
from farthing.calendar.recurring import shift_for_pause
from farthing.core.clock import instant
from farthing.core.encoding.wire import BadField, Moment, Request, checked_metadata
from farthing.core.errors import InvalidOperation, ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.storage.documents import encode
from farthing.storage.queries.rows import find, lock_row
from farthing.subscriptions.changes.events import record_change
from farthing.subscriptions.changes.planned_terms import instant_kept, planned_end
from farthing.subscriptions.changes.tables import SubscriptionPause
from farthing.subscriptions.dates import open_period, recurrence
from farthing.subscriptions.enums import (
    PauseMode,
    PauseStatus,
    ProrationBehavior,
    ResumeMode,
    ScheduleType,
    SubscriptionStatus,
    SubscriptionType,
)
from farthing.subscriptions.lifecycle import hierarchy, schedules
from farthing.subscriptions.states import move, move_pause, require
from farthing.subscriptions.tables import Subscription


class PauseSubscriptionRequest(Request):
    """When to pause, and until when; without an end it waits to be resumed."""

    pause_mode: PauseMode = PauseMode.IMMEDIATE
    pause_start: Moment | None = None
    pause_end: Moment | None = None
    pause_days: Annotated[int, Meta(ge=1, le=3650)] | None = None
    reason: Annotated[str, Meta(max_length=255)] | None = None
    proration_behavior: ProrationBehavior | None = None
    dry_run: bool = False
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.metadata = checked_metadata(self.metadata)
        if self.pause_end is not None and self.pause_days is not None:
            raise BadField("pause_days", "cannot be combined with pause_end")
        if self.pause_mode is PauseMode.SCHEDULED and self.pause_start is None:
            raise BadField("pause_start", "is required for scheduled")


class ResumeSubscriptionRequest(Request):
    """How to resume."""

    resume_mode: ResumeMode = ResumeMode.IMMEDIATE
    proration_behavior: ProrationBehavior | None = None
    dry_run: bool = False
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.metadata = checked_metadata(self.metadata)


@dataclass(frozen=True, slots=True)
class Impact:
    """What a pause does to the open period; `adjusted` None while nobody knows when it ends."""

    original: Period
    adjusted: Period | None
    paused: timedelta | None


async def pause(
    session: AsyncSession, subscription_id: str, request: PauseSubscriptionRequest, now: datetime
) -> tuple[Subscription, SubscriptionPause, Impact]:
    """Pause an active subscription now, or schedule that. With `dry_run` nothing is written.

    Raises NotFound, InvalidOperation, ValidationFailed.
    """
    read = find if request.dry_run else lock_row
    subscription = await read(session, Subscription, subscription_id)
    require(subscription, SubscriptionStatus.ACTIVE, to="pause")
    _demand_own_pauses(subscription)
    if subscription.active_pause_id is not None:
        raise InvalidOperation("A pause is scheduled already", {"pause_id": subscription.active_pause_id})
    start = _start(subscription, request, now)
    if subscription.opens_at is not None and start <= subscription.opens_at:
        raise InvalidOperation(
            "A subscription cannot be paused before it has started",
            {"subscription_id": subscription.id, "start_date": instant(subscription.start_date)},
        )
    end = request.pause_end
    if request.pause_days is not None:
        end = start + timedelta(days=request.pause_days)
    if end is not None and end <= max(start, now):
        raise ValidationFailed.of("pause_end", "must be after the start of the pause and in the future")
    at_once = start <= now
    made = SubscriptionPause(
        id=new_id(Kind.SUBSCRIPTION_PAUSE),
        subscription_id=subscription.id,
        pause_status=PauseStatus.ACTIVE if at_once else PauseStatus.SCHEDULED,
        pause_mode=request.pause_mode,
        resume_mode=None if end is None else ResumeMode.AUTO,
        pause_start=start,
        pause_end=end,
        original_period_start=subscription.current_period_start,
        original_period_end=subscription.current_period_end,
        original_billing_anchor=subscription.billing_anchor,
        reason=request.reason or "",
        meta=dict(request.metadata or {}),
    )
    impact = impact_of(subscription, start, end)
    if request.dry_run:
        return subscription, made, impact
    session.add(made)
    await session.flush()
    subscription.active_pause_id = made.id
    subscription.pause_status = made.pause_status
    subscription.pause_due_at = end if at_once else start
    if at_once:
        move(subscription, SubscriptionStatus.PAUSED)
    await hierarchy.mirror(session, subscription)
    await record_change(session, subscription, *(["paused"] if at_once else []))
    return subscription, made, impact


def _demand_own_pauses(subscription: Subscription) -> None:
    if subscription.subscription_type in {SubscriptionType.INHERITED, SubscriptionType.GROUPED_INVOICING}:
        raise InvalidOperation(
            f"A subscription that is {subscription.subscription_type.value} pauses and resumes with its parent",
            {"subscription_id": subscription.id, "parent_subscription_id": subscription.parent_subscription_id},
        )


def _start(subscription: Subscription, request: PauseSubscriptionRequest, now: datetime) -> datetime:
    if request.pause_mode is PauseMode.PERIOD_END:
        return subscription.current_period_end
    if request.pause_mode is PauseMode.IMMEDIATE or request.pause_start is None:
        return now
    if request.pause_start <= now:
        raise ValidationFailed.of("pause_start", "must be in the future")
    return request.pause_start


def impact_of(subscription: Subscription, start: datetime, end: datetime | None) -> Impact:
    """What a pause from `start` to `end` does to the open period."""
    original = open_period(subscription)
    if end is None:
        return Impact(original, None, None)
    adjusted, _ = shift_for_pause(original, recurrence(subscription), subscription.billing_cycle, start, end)
    return Impact(original, adjusted, max(end - start, timedelta(0)))


async def begin(session: AsyncSession, subscription: Subscription) -> None:
    """Begin the scheduled pause of a locked, active subscription."""
    made = await lock_row(session, SubscriptionPause, subscription.active_pause_id or "")
    move_pause(made, PauseStatus.ACTIVE)
    made.original_period_start = subscription.current_period_start
    made.original_period_end = subscription.current_period_end
    made.original_billing_anchor = subscription.billing_anchor
    move(subscription, SubscriptionStatus.PAUSED)
    subscription.pause_status = PauseStatus.ACTIVE
    subscription.pause_due_at = made.pause_end
    await hierarchy.mirror(session, subscription)
    await record_change(session, subscription, "paused")


async def resume(
    session: AsyncSession, subscription_id: str, request: ResumeSubscriptionRequest, now: datetime
) -> tuple[Subscription, SubscriptionPause, Impact]:
    """Resume a paused subscription; a pause that has not begun is cancelled. With `dry_run` nothing is written.

    Raises NotFound, InvalidOperation when it is not paused.
    """
    read = find if request.dry_run else lock_row
    subscription = await read(session, Subscription, subscription_id)
    if subscription.active_pause_id is None:
        require(subscription, SubscriptionStatus.PAUSED, to="resume")
        raise InvalidOperation("The subscription has no pause to end", {"subscription_id": subscription.id})
    _demand_own_pauses(subscription)
    made = await find(session, SubscriptionPause, subscription.active_pause_id)
    impact = impact_of(subscription, made.pause_start, max(now, made.pause_start))
    if not request.dry_run:
        made.meta = {**made.meta, **(request.metadata or {})}
        made.resume_mode = request.resume_mode
        await end(session, subscription, now)
    return subscription, made, impact


async def end(session: AsyncSession, subscription: Subscription, at: datetime) -> None:
    """End the pause of a locked subscription at `at`: the open period, and an anniversary's anchor, move by its length.

    A scheduled pause is cancelled and moves nothing.
    """
    made = await lock_row(session, SubscriptionPause, subscription.active_pause_id or "")
    begun = made.pause_status is PauseStatus.ACTIVE
    at = max(at, made.pause_start)
    period, anchor = shift_for_pause(
        open_period(subscription), recurrence(subscription), subscription.billing_cycle, made.pause_start, at
    )
    if begun:
        await _shift_schedules(session, subscription, period.end)
    move_pause(made, PauseStatus.COMPLETED if begun else PauseStatus.CANCELLED)
    subscription.pause_status = PauseStatus.NONE
    subscription.active_pause_id = subscription.pause_due_at = None
    if begun:
        made.resumed_at = at
        subscription.billing_anchor = anchor
        ends = min(period.end, subscription.end_date or period.end)
        if subscription.cancel_at_period_end and subscription.cancel_at is not None:
            subscription.cancel_at = max(subscription.cancel_at, ends)
        subscription.current_period_end = ends
        move(subscription, SubscriptionStatus.ACTIVE)
    await hierarchy.mirror(session, subscription)
    await record_change(session, subscription, *(["resumed"] if begun else []))


async def _shift_schedules(session: AsyncSession, subscription: Subscription, new_end: datetime) -> None:
    """What waits for the end of the open period waits for it where the pause has moved it."""
    old_end = subscription.current_period_end
    for schedule in await schedules.pending(session, subscription.id):
        at_end = schedule.scheduled_at == old_end
        if at_end and (subscription.end_date is None or old_end < subscription.end_date):
            schedule.scheduled_at = new_end
        if schedule.schedule_type is not ScheduleType.CANCELLATION:
            continue
        planned = planned_end(schedule.configuration)
        period_end = instant_kept(planned.original_current_period_end)
        if period_end is not None:
            moved = instant(period_end + (new_end - old_end))
            schedule.configuration = encode(replace(planned, original_current_period_end=moved))
