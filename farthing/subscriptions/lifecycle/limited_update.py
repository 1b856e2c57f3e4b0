"""The limited update of a subscription.

Rule: docs/rules/subscriptions.md#update
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import InvalidOperation, ValidationFailed
from farthing.storage.queries.rows import find, lock_row
from farthing.subscriptions.changes.events import record_change
from farthing.subscriptions.enums import CancellationType, SubscriptionStatus, SubscriptionType
from farthing.subscriptions.lifecycle import cancellation, hierarchy, schedules
from farthing.subscriptions.schemas.requests import UpdateSubscriptionRequest
from farthing.subscriptions.states import LIVE, SUBSCRIPTION, require
from farthing.subscriptions.tables import Subscription


async def update(
    session: AsyncSession, subscription_id: str, request: UpdateSubscriptionRequest, now: datetime
) -> Subscription:
    """Change what the request names; absent keeps. Raises NotFound, ValidationFailed, InvalidOperation.

    A status that is named must be the present one or may follow it, and only CANCELLED moves anything here: the
    others have operations of their own.
    """
    parent_id = request.parent_subscription_id
    if parent_id:
        await lock_row(session, Subscription, min(parent_id, subscription_id))
    subscription = await lock_row(session, Subscription, subscription_id)
    await _move_end(session, subscription, request, now)
    if parent_id is not None:
        await _move_below(session, subscription, parent_id)
    wanted = request.status
    if wanted is not None and wanted is not subscription.subscription_status:
        _demand_following(subscription, wanted)
        await cancellation.cancel_now(session, subscription, now, now)
        return subscription
    await hierarchy.mirror(session, subscription)
    await record_change(session, subscription)
    return subscription


async def _move_end(
    session: AsyncSession, subscription: Subscription, request: UpdateSubscriptionRequest, now: datetime
) -> None:
    """Let it end on a date or with its open period, or call that off; each replaces what was planned before.

    A date is also its `end_date`. The end is scheduled as a cancellation's is, so that taking it back gives back what
    it had changed.
    """
    at, with_period = request.cancel_at, request.cancel_at_period_end
    if at is None and with_period is None:
        return
    if at is None and not with_period:
        await schedules.call_off(session, subscription, now)
        return
    require(subscription, *LIVE, to="set an end for")
    if subscription.subscription_type is SubscriptionType.INHERITED:
        raise InvalidOperation("An inherited subscription ends with its parent", {"subscription_id": subscription.id})
    if at is None and subscription.cancel_at is not None:
        subscription.cancel_at_period_end = True
        return
    was_with_period = subscription.cancel_at_period_end
    await schedules.call_off(session, subscription, now)
    if at is not None and at <= subscription.current_period_start:
        raise ValidationFailed.of("cancel_at", "must be after the start of the current period")
    if at is not None:
        cancellation.require_before_end(subscription, at)
    ends = at or subscription.current_period_end
    kind = CancellationType.END_OF_PERIOD if at is None else CancellationType.SCHEDULED_DATE
    await cancellation.plan_end(session, subscription, kind, ends)
    subscription.cancel_at = ends
    subscription.cancel_at_period_end = was_with_period if with_period is None else with_period
    if at is not None:
        subscription.end_date = at


def _demand_following(subscription: Subscription, wanted: SubscriptionStatus) -> None:
    now = subscription.subscription_status
    if not SUBSCRIPTION.allows(now, wanted) or wanted is not SubscriptionStatus.CANCELLED:
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
