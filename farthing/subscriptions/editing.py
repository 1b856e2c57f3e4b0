"""The limited update of a subscription. Rule: subscriptions, "update"."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import InvalidOperation, ValidationFailed
from farthing.storage.rows import find, locked
from farthing.subscriptions import cancellation, hierarchy, schedules
from farthing.subscriptions.requests import UpdateSubscriptionRequest
from farthing.subscriptions.states import TRANSITIONS, move_schedule
from farthing.subscriptions.tables import Subscription
from farthing.subscriptions.telling import changed
from farthing.subscriptions.words import ScheduleStatus, ScheduleType, SubscriptionStatus, SubscriptionType


async def update(
    session: AsyncSession, subscription_id: str, request: UpdateSubscriptionRequest, now: datetime
) -> Subscription:
    """Change what the request names; absent keeps. Raises NotFound, ValidationFailed, InvalidOperation.

    A status that is named must be the present one or may follow it, and only CANCELLED moves anything here: the
    others have operations of their own.
    """
    parent_id = request.parent_subscription_id
    if parent_id:
        await locked(session, Subscription, min(parent_id, subscription_id))
    subscription = await locked(session, Subscription, subscription_id)
    if request.cancel_at is not None:
        if request.cancel_at <= subscription.current_period_start:
            raise ValidationFailed.of("cancel_at", "must be after the start of the current period")
        subscription.cancel_at = subscription.end_date = request.cancel_at
    if request.cancel_at_period_end is not None:
        await _end_with_period(session, subscription, request, now)
    if parent_id is not None:
        await _move_below(session, subscription, parent_id)
    wanted = request.status
    if wanted is not None and wanted is not subscription.subscription_status:
        _demand_following(subscription, wanted)
        await cancellation.cancel_now(session, subscription, now, now)
        return subscription
    await hierarchy.mirror(session, subscription)
    await changed(session, subscription)
    return subscription


async def _end_with_period(
    session: AsyncSession, subscription: Subscription, request: UpdateSubscriptionRequest, now: datetime
) -> None:
    """Let it end with its open period, or call that off, with the schedule that waits for it."""
    if request.cancel_at_period_end:
        subscription.cancel_at = subscription.cancel_at or subscription.current_period_end
    elif subscription.cancel_at_period_end:
        waiting = await schedules.pending(session, subscription.id, ScheduleType.CANCELLATION)
        for schedule in waiting:
            move_schedule(schedule, ScheduleStatus.CANCELLED)
            schedule.cancelled_at = now
            schedules.restore(subscription, schedule.configuration)
        if not waiting and request.cancel_at is None:
            subscription.cancel_at = subscription.cancelled_at = None
    subscription.cancel_at_period_end = bool(request.cancel_at_period_end)


def _demand_following(subscription: Subscription, wanted: SubscriptionStatus) -> None:
    now = subscription.subscription_status
    if wanted not in TRANSITIONS[now] or wanted is not SubscriptionStatus.CANCELLED:
        raise InvalidOperation(
            f"A subscription that is {now.value} cannot be set to {wanted.value}",
            {"subscription_id": subscription.id, "subscription_status": now.value, "requested_status": wanted.value},
        )


async def _move_below(session: AsyncSession, subscription: Subscription, parent_id: str) -> None:
    if subscription.subscription_type is not SubscriptionType.STANDALONE:
        raise InvalidOperation(
            f"Only a standalone subscription can be given a parent, not a {subscription.subscription_type.value} one",
            {"subscription_id": subscription.id},
        )
    if not parent_id:
        subscription.parent_subscription_id = None
        return
    if parent_id == subscription.id:
        raise ValidationFailed.of("parent_subscription_id", "a subscription cannot be its own parent")
    parent = await find(session, Subscription, parent_id)
    if parent.subscription_status is not SubscriptionStatus.ACTIVE:
        raise InvalidOperation(
            f"The parent must be active, not {parent.subscription_status.value}", {"subscription_id": parent.id}
        )
    subscription.parent_subscription_id = parent.id
