"""How a subscription ends: at once, at the end of its period, or on a date.

Rule: docs/rules/subscriptions.md#cancellation
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.period import Period
from farthing.calendar.recurring import shift_for_pause
from farthing.core.clock import instant
from farthing.core.encoding.wire import METADATA_VALUE_LENGTH, Moment, Request
from farthing.core.enums import Status
from farthing.core.errors import InvalidOperation, ValidationFailed
from farthing.storage.postgres import ports_of
from farthing.storage.queries.rows import lock_row
from farthing.subscriptions.addons import lifecycle
from farthing.subscriptions.changes.events import record_change
from farthing.subscriptions.changes.planned_terms import PlannedEnd
from farthing.subscriptions.changes.tables import SubscriptionPause
from farthing.subscriptions.dates import open_period, recurrence
from farthing.subscriptions.enums import (
    AddonStatus,
    CancelInvoicePolicy,
    CancellationType,
    InvoiceTrigger,
    PauseStatus,
    ProrationBehavior,
    ScheduleType,
    SubscriptionStatus,
    SubscriptionType,
)
from farthing.subscriptions.item_changes import closing
from farthing.subscriptions.lifecycle import hierarchy, schedules
from farthing.subscriptions.line_items.add import mixes_periods
from farthing.subscriptions.outcome import Billable, Outcome
from farthing.subscriptions.ports import SubscriptionPorts
from farthing.subscriptions.snapshot.loading import load_one
from farthing.subscriptions.states import LIVE, move, move_pause, require
from farthing.subscriptions.tables import AddonAssociation, Subscription, SubscriptionLineItem


class CancelSubscriptionRequest(Request):
    """How to cancel; the invoice policy is read in both spellings, the right one first."""

    cancellation_type: CancellationType
    proration_behavior: ProrationBehavior | None = None
    cancel_immediately_invoice_policy: CancelInvoicePolicy | None = None
    cancel_immediately_inovice_policy: CancelInvoicePolicy | None = None
    cancel_at: Moment | None = None
    reason: str | None = None

    @property
    def policy(self) -> CancelInvoicePolicy:
        given = self.cancel_immediately_invoice_policy or self.cancel_immediately_inovice_policy
        return given or CancelInvoicePolicy.SKIP


@dataclass(frozen=True, slots=True)
class Cancellation:
    """What a cancellation came to. `at` is when the subscription ends; `now_over` whether it has ended."""

    outcome: Outcome
    type: CancellationType
    at: datetime
    now_over: bool
    reason: str


def effective_date(
    subscription: Subscription, type: CancellationType, cancel_at: datetime | None, now: datetime
) -> datetime:
    """When a cancellation asked for at `now` takes effect. Raises ValidationFailed."""
    if type is CancellationType.END_OF_PERIOD:
        return subscription.current_period_end
    if type is CancellationType.SCHEDULED_DATE and cancel_at is None:
        raise ValidationFailed.of("cancel_at", "is required for scheduled_date")
    if cancel_at is None:
        return now
    require_before_end(subscription, cancel_at)
    if type is CancellationType.IMMEDIATE and cancel_at > now:
        raise ValidationFailed.of("cancel_at", "must not be in the future for immediate")
    if cancel_at <= subscription.current_period_start:
        raise ValidationFailed.of("cancel_at", "must be after the start of the current period")
    return cancel_at


def require_before_end(subscription: Subscription, cancel_at: datetime) -> None:
    """Refuse a cancellation that would make a subscription live longer than it is to. Raises ValidationFailed."""
    if subscription.end_date is not None and cancel_at > subscription.end_date:
        raise ValidationFailed.of("cancel_at", f"must not be after its end, {instant(subscription.end_date)}")


async def cancel(
    session: AsyncSession, subscription_id: str, request: CancelSubscriptionRequest, now: datetime
) -> Cancellation:
    """Cancel a subscription, or schedule that. Raises NotFound, InvalidOperation, ValidationFailed."""
    subscription = await lock_row(session, Subscription, subscription_id)
    await require_cancellable(session, subscription, request)
    at = effective_date(subscription, request.cancellation_type, request.cancel_at, now)
    reason = request.reason or ""
    if request.cancellation_type is CancellationType.IMMEDIATE:
        await schedules.call_off(session, subscription, now)
    subscription.meta = {
        **subscription.meta,
        "cancellation_type": request.cancellation_type.value,
        "cancellation_reason": reason[:METADATA_VALUE_LENGTH],
        "effective_date": instant(at),
    }
    if request.cancellation_type is CancellationType.IMMEDIATE:
        outcome = await cancel_now(
            session,
            subscription,
            at,
            now,
            reason=reason,
            proration=request.proration_behavior or ProrationBehavior.NONE,
            bill=request.policy is CancelInvoicePolicy.GENERATE_INVOICE,
        )
        return Cancellation(outcome, request.cancellation_type, at, True, reason)
    await _schedule(session, subscription, request, at, now)
    return Cancellation(Outcome(subscription, at=at), request.cancellation_type, at, False, reason)


async def require_cancellable(
    session: AsyncSession, subscription: Subscription, request: CancelSubscriptionRequest
) -> None:
    """Refuse what cannot be cancelled so. Raises InvalidOperation."""
    live = [SubscriptionStatus.ACTIVE, SubscriptionStatus.TRIALING]
    if request.cancellation_type is CancellationType.IMMEDIATE:
        live += [SubscriptionStatus.INCOMPLETE, SubscriptionStatus.PAUSED]
    require(subscription, *live, to="cancel")
    if subscription.subscription_type is SubscriptionType.INHERITED:
        raise InvalidOperation("An inherited subscription ends with its parent", {"subscription_id": subscription.id})
    deferred = request.cancellation_type is not CancellationType.IMMEDIATE
    if deferred and subscription.cancel_at is not None:
        raise InvalidOperation(
            "The subscription is to be cancelled already",
            {"subscription_id": subscription.id, "cancel_at": instant(subscription.cancel_at)},
        )
    prorated = request.proration_behavior is ProrationBehavior.CREATE_PRORATIONS
    if prorated and await mixes_periods(session, subscription):
        raise InvalidOperation(
            "Proration is not possible with mixed billing periods", {"subscription_id": subscription.id}
        )


async def cancel_now(
    session: AsyncSession,
    subscription: Subscription,
    at: datetime,
    now: datetime,
    *,
    reason: str = "",
    proration: ProrationBehavior = ProrationBehavior.NONE,
    bill: bool = False,
) -> Outcome:
    """End a locked subscription at `at`. Nothing is billed or credited while it is trialing.

    An end that was scheduled before is called off first, so that what is credited is measured against the period that
    was paid for and not against what the schedule had left of it.
    """
    await schedules.call_off(session, subscription, now)
    before = await load_one(session, subscription.id)
    trialing = subscription.subscription_status is SubscriptionStatus.TRIALING
    await schedules.drop_pending(session, subscription.id, now)
    period = subscription.current_period_start, subscription.current_period_end
    full_start = subscription.full_period_start
    subscription.cancel_at_period_end = False
    subscription.cancel_at = at
    subscription.end_proration_behavior = proration
    await finish(session, subscription, at, now, reason)
    billables: tuple[Billable, ...] = ()
    # what a grouped child still owes is on the next invoice of its family
    alone = subscription.subscription_type is not SubscriptionType.GROUPED_INVOICING
    if bill and alone and not trialing and at > period[0]:
        cut = full_start if full_start != period[0] else None
        billables = (Billable(subscription.id, InvoiceTrigger.FINAL, Period(period[0], at), full_start=cut),)
    return Outcome(
        subscription,
        billables,
        changes=() if trialing else closing(before, at),
        proration=ProrationBehavior.NONE if trialing else proration,
        at=at,
    )


async def finish(
    session: AsyncSession, subscription: Subscription, at: datetime, now: datetime, reason: str = ""
) -> None:
    """Make a locked subscription cancelled as of `at`, with its items, addons, pause and children."""
    subscription.end_date = max(at, subscription.start_date)
    subscription.cancelled_at = now
    subscription.opens_at = None
    if subscription.active_pause_id is not None:
        pause = await lock_row(session, SubscriptionPause, subscription.active_pause_id)
        begun = pause.pause_status is PauseStatus.ACTIVE
        move_pause(pause, PauseStatus.COMPLETED if begun else PauseStatus.CANCELLED)
        if begun:
            pause.resumed_at = max(at, pause.pause_start)
            _, subscription.billing_anchor = shift_for_pause(
                open_period(subscription),
                recurrence(subscription),
                subscription.billing_cycle,
                pause.pause_start,
                pause.resumed_at,
            )
        subscription.pause_status, subscription.active_pause_id, subscription.pause_due_at = (
            PauseStatus.NONE,
            None,
            None,
        )
    move(subscription, SubscriptionStatus.CANCELLED)
    item = SubscriptionLineItem
    for row in await session.scalars(
        select(item).where(
            item.subscription_id == subscription.id,
            item.status == Status.PUBLISHED,
            item.end_date.is_(None) | (item.end_date > at),
        )
    ):
        row.end_date = max(at, row.start_date)
    for association in await session.scalars(
        select(AddonAssociation).where(
            AddonAssociation.subscription_id == subscription.id,
            AddonAssociation.status == Status.PUBLISHED,
            AddonAssociation.addon_status == AddonStatus.ACTIVE,
        )
    ):
        await lifecycle.end(session, association, min(at, now), now, reason)
    await ports_of(session, SubscriptionPorts).credit_grants.end(session, subscription.id, at, None)
    await hierarchy.mirror(session, subscription)
    await record_change(session, subscription, "cancelled")


async def _schedule(
    session: AsyncSession, subscription: Subscription, request: CancelSubscriptionRequest, at: datetime, now: datetime
) -> None:
    await schedules.drop_pending(session, subscription.id, now)
    await plan_end(
        session,
        subscription,
        request.cancellation_type,
        at,
        request.reason or "",
        request.proration_behavior or ProrationBehavior.NONE,
    )
    subscription.cancel_at = at
    subscription.cancel_at_period_end = True
    subscription.end_proration_behavior = request.proration_behavior or ProrationBehavior.NONE
    subscription.cancelled_at = now
    if request.cancellation_type is CancellationType.SCHEDULED_DATE:
        subscription.end_date = at
        subscription.current_period_end = min(subscription.current_period_end, at)
    await hierarchy.mirror(session, subscription)
    await record_change(session, subscription)


async def plan_end(
    session: AsyncSession,
    subscription: Subscription,
    type: CancellationType,
    at: datetime,
    reason: str = "",
    proration: ProrationBehavior = ProrationBehavior.NONE,
) -> None:
    """Schedule the end of a locked subscription, with what calling it off must give back."""
    await schedules.plan(
        session,
        subscription,
        ScheduleType.CANCELLATION,
        at,
        PlannedEnd(
            cancellation_type=type,
            reason=reason,
            proration_behavior=proration,
            original_cancel_at_period_end=subscription.cancel_at_period_end,
            original_cancel_at=_text(subscription.cancel_at),
            original_end_date=_text(subscription.end_date),
            original_current_period_end=_text(subscription.current_period_end),
        ),
    )


async def uncancel(session: AsyncSession, subscription_id: str, now: datetime) -> Subscription:
    """Take back a cancellation that is still to come: the subscription, as it was before.

    Raises NotFound; InvalidOperation when it is over, follows its parent, is not to be cancelled, or was to end by now.
    """
    subscription = await lock_row(session, Subscription, subscription_id)
    require(subscription, *LIVE, to="take back the cancellation of")
    if subscription.subscription_type is SubscriptionType.INHERITED:
        raise InvalidOperation("An inherited subscription ends with its parent", {"subscription_id": subscription.id})
    at = subscription.cancel_at
    if at is None:
        raise InvalidOperation("The subscription is not to be cancelled", {"subscription_id": subscription.id})
    if at <= now:
        raise InvalidOperation(
            "The cancellation has taken effect", {"subscription_id": subscription.id, "cancel_at": instant(at)}
        )
    await schedules.call_off(session, subscription, now)
    await record_change(session, subscription)
    return subscription


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else instant(moment)
