"""What may follow what.

Rule: docs/rules/subscriptions.md#states
"""

from __future__ import annotations

from farthing.core.errors import InvalidOperation
from farthing.core.states import StateMachine
from farthing.subscriptions.changes.tables import SubscriptionPause, SubscriptionSchedule
from farthing.subscriptions.enums import AddonStatus, PauseStatus, ScheduleStatus, SubscriptionStatus
from farthing.subscriptions.tables import AddonAssociation, Subscription

_S = SubscriptionStatus

SUBSCRIPTION = StateMachine(
    "subscription",
    {
        _S.DRAFT: (_S.ACTIVE, _S.INCOMPLETE, _S.TRIALING),
        _S.TRIALING: (_S.INCOMPLETE, _S.ACTIVE, _S.CANCELLED),
        _S.INCOMPLETE: (_S.ACTIVE, _S.CANCELLED),
        _S.ACTIVE: (_S.PAUSED, _S.CANCELLED),
        _S.PAUSED: (_S.ACTIVE, _S.CANCELLED),
    },
)

PAUSE = StateMachine(
    "pause",
    {
        PauseStatus.SCHEDULED: (PauseStatus.ACTIVE, PauseStatus.CANCELLED),
        PauseStatus.ACTIVE: (PauseStatus.COMPLETED, PauseStatus.CANCELLED),
    },
)

SCHEDULE = StateMachine(
    "schedule",
    {
        ScheduleStatus.PENDING: (
            ScheduleStatus.EXECUTING,
            ScheduleStatus.EXECUTED,
            ScheduleStatus.CANCELLED,
            ScheduleStatus.FAILED,
        ),
        ScheduleStatus.EXECUTING: (ScheduleStatus.PENDING, ScheduleStatus.EXECUTED, ScheduleStatus.FAILED),
    },
)

ADDON = StateMachine(
    "addon",
    {
        AddonStatus.PENDING: (AddonStatus.ACTIVE, AddonStatus.CANCELLED),
        AddonStatus.ACTIVE: (AddonStatus.CANCELLED,),
    },
)

LIVE = frozenset({_S.ACTIVE, _S.TRIALING, _S.INCOMPLETE, _S.PAUSED})
"""Bought and not over: drafts are not bought yet."""


def move(subscription: Subscription, to: SubscriptionStatus) -> None:
    """Give a locked subscription another status. Raises InvalidOperation when it may not follow the present one."""
    now = subscription.subscription_status
    subscription.subscription_status = SUBSCRIPTION.check(
        now, to, subscription_id=subscription.id, subscription_status=now.value
    )


def move_pause(pause: SubscriptionPause, to: PauseStatus) -> None:
    """Give a pause another status. Raises InvalidOperation."""
    pause.pause_status = PAUSE.check(pause.pause_status, to, pause_id=pause.id)


def move_schedule(schedule: SubscriptionSchedule, to: ScheduleStatus) -> None:
    """Give a schedule another status. Raises InvalidOperation."""
    schedule.schedule_status = SCHEDULE.check(schedule.schedule_status, to, schedule_id=schedule.id)


def move_addon(association: AddonAssociation, to: AddonStatus) -> None:
    """Give an addon association another status. Raises InvalidOperation."""
    association.addon_status = ADDON.check(association.addon_status, to, addon_association_id=association.id)


def require(subscription: Subscription, *allowed: SubscriptionStatus, to: str) -> None:
    """Raise InvalidOperation unless the subscription stands in one of `allowed`; `to` says what was asked."""
    require_status(subscription.id, subscription.subscription_status, *allowed, to=to)


def require_status(subscription_id: str, now: SubscriptionStatus, *allowed: SubscriptionStatus, to: str) -> None:
    """The same of a subscription that is known by its id and status alone."""
    if now not in allowed:
        raise InvalidOperation(
            f"Cannot {to} a subscription that is {now.value}",
            {
                "subscription_id": subscription_id,
                "subscription_status": now.value,
                "allowed_statuses": [status.value for status in allowed],
            },
        )
