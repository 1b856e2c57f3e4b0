"""What may follow what.

Rule: docs/rules/subscriptions.md#states
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from farthing.core.errors import InvalidOperation
from farthing.subscriptions.enums import AddonStatus, PauseStatus, ScheduleStatus, SubscriptionStatus
from farthing.subscriptions.tables import AddonAssociation, Subscription, SubscriptionPause, SubscriptionSchedule

_S = SubscriptionStatus

TRANSITIONS: Mapping[SubscriptionStatus, frozenset[SubscriptionStatus]] = MappingProxyType(
    {
        _S.DRAFT: frozenset({_S.ACTIVE, _S.INCOMPLETE, _S.TRIALING}),
        _S.TRIALING: frozenset({_S.INCOMPLETE, _S.ACTIVE, _S.CANCELLED}),
        _S.INCOMPLETE: frozenset({_S.ACTIVE, _S.CANCELLED}),
        _S.ACTIVE: frozenset({_S.PAUSED, _S.CANCELLED}),
        _S.PAUSED: frozenset({_S.ACTIVE, _S.CANCELLED}),
        _S.CANCELLED: frozenset(),
    }
)

PAUSE_TRANSITIONS: Mapping[PauseStatus, frozenset[PauseStatus]] = MappingProxyType(
    {
        PauseStatus.SCHEDULED: frozenset({PauseStatus.ACTIVE, PauseStatus.CANCELLED}),
        PauseStatus.ACTIVE: frozenset({PauseStatus.COMPLETED, PauseStatus.CANCELLED}),
    }
)

SCHEDULE_TRANSITIONS: Mapping[ScheduleStatus, frozenset[ScheduleStatus]] = MappingProxyType(
    {
        ScheduleStatus.PENDING: frozenset(
            {ScheduleStatus.EXECUTING, ScheduleStatus.EXECUTED, ScheduleStatus.CANCELLED, ScheduleStatus.FAILED}
        ),
        ScheduleStatus.EXECUTING: frozenset({ScheduleStatus.PENDING, ScheduleStatus.EXECUTED, ScheduleStatus.FAILED}),
    }
)

ADDON_TRANSITIONS: Mapping[AddonStatus, frozenset[AddonStatus]] = MappingProxyType(
    {
        AddonStatus.PENDING: frozenset({AddonStatus.ACTIVE, AddonStatus.CANCELLED}),
        AddonStatus.ACTIVE: frozenset({AddonStatus.CANCELLED}),
    }
)

LIVE = frozenset({_S.ACTIVE, _S.TRIALING, _S.INCOMPLETE, _S.PAUSED})
"""Bought and not over: drafts are not bought yet."""


def move(subscription: Subscription, to: SubscriptionStatus) -> None:
    """Give a locked subscription another status. Raises InvalidOperation when it may not follow the present one."""
    now = subscription.subscription_status
    if to not in TRANSITIONS[now]:
        raise InvalidOperation(
            f"A subscription that is {now.value} cannot become {to.value}",
            {"subscription_id": subscription.id, "subscription_status": now.value, "requested_status": to.value},
        )
    subscription.subscription_status = to


def move_pause(pause: SubscriptionPause, to: PauseStatus) -> None:
    """Give a pause another status. Raises InvalidOperation."""
    now = pause.pause_status
    if to not in PAUSE_TRANSITIONS.get(now, frozenset()):
        raise InvalidOperation(f"A pause that is {now.value} cannot become {to.value}", {"pause_id": pause.id})
    pause.pause_status = to


def move_schedule(schedule: SubscriptionSchedule, to: ScheduleStatus) -> None:
    """Give a schedule another status. Raises InvalidOperation."""
    now = schedule.schedule_status
    if to not in SCHEDULE_TRANSITIONS.get(now, frozenset()):
        raise InvalidOperation(
            f"A schedule that is {now.value} cannot become {to.value}",
            {"schedule_id": schedule.id, "status": now.value},
        )
    schedule.schedule_status = to


def move_addon(association: AddonAssociation, to: AddonStatus) -> None:
    """Give an addon association another status. Raises InvalidOperation."""
    now = association.addon_status
    if to not in ADDON_TRANSITIONS.get(now, frozenset()):
        raise InvalidOperation(
            f"An addon that is {now.value} cannot become {to.value}",
            {"addon_association_id": association.id, "addon_status": now.value},
        )
    association.addon_status = to


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
