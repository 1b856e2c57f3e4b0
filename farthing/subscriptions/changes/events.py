"""Events of subscriptions, with their payloads."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.encoding.wire import as_wire
from farthing.storage.record.outbox import record_event
from farthing.subscriptions.changes.tables import SubscriptionSchedule
from farthing.subscriptions.tables import Subscription, SubscriptionPhase

_SNAPSHOT_FIELDS = (
    "id",
    "customer_id",
    "plan_id",
    "lookup_key",
    "subscription_status",
    "currency",
    "start_date",
    "end_date",
    "current_period_start",
    "current_period_end",
    "cancelled_at",
    "cancel_at",
    "cancel_at_period_end",
    "trial_start",
    "trial_end",
    "billing_cadence",
    "billing_period",
    "billing_period_count",
    "pause_status",
    "subscription_type",
    "parent_subscription_id",
)


def event_snapshot(subscription: Subscription) -> dict[str, Any]:
    """A subscription as events carry it, without what is empty.

    Rule: docs/rules/recorded-events.md#subscription-events
    """
    snapshot = {name: as_wire(getattr(subscription, name)) for name in _SNAPSHOT_FIELDS}
    return {name: value for name, value in snapshot.items() if value not in (None, "")} | {
        "metadata": dict(subscription.meta)
    }


async def record_subscription_event(session: AsyncSession, subscription: Subscription, *events: str) -> None:
    """Record events, such as `updated` and `cancelled`, about a subscription as it now stands, in this order."""
    for event in events:
        await record_event(
            session,
            f"subscription.{event}",
            "subscription",
            subscription.id,
            {"subscription": event_snapshot(subscription)},
        )


async def record_schedule_event(
    session: AsyncSession, subscription: Subscription, schedule: SubscriptionSchedule
) -> None:
    """Record, as an update of the subscription, what became of something that was scheduled for it."""
    names = ("id", "schedule_type", "schedule_status", "scheduled_at", "error_message")
    snapshot = {"status" if name == "schedule_status" else name: as_wire(getattr(schedule, name)) for name in names}
    payload = {"subscription": event_snapshot(subscription), "schedule": snapshot}
    await record_event(session, "subscription.updated", "subscription", subscription.id, payload)


async def record_phase_event(session: AsyncSession, phase: SubscriptionPhase) -> None:
    """Record that a phase was made."""
    snapshot = {name: as_wire(getattr(phase, name)) for name in ("id", "subscription_id", "start_date", "end_date")}
    payload = {name: value for name, value in snapshot.items() if value is not None}
    await record_event(session, "subscription.phase.created", "subscription_phase", phase.id, {"phase": payload})


async def record_change(session: AsyncSession, subscription: Subscription, *events: str) -> None:
    """Count a change of a locked subscription, write it, and record `updated` before anything more special."""
    subscription.version += 1
    await session.flush()
    await record_subscription_event(session, subscription, "updated", *events)
