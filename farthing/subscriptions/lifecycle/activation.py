"""How a subscription goes live: a draft is activated, a trial ends, an opening invoice is paid."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.billing import BillingCycle, BillingPeriod, calendar_anchor, next_billing_date
from farthing.calendar.period import Period
from farthing.catalogue.discounts.tables import CouponAssociation
from farthing.catalogue.entitlements.enums import EntitlementOwner
from farthing.catalogue.entitlements.tables import Entitlement
from farthing.catalogue.prices.tables import Price
from farthing.core.enums import Status
from farthing.core.errors import InvalidOperation, ValidationFailed
from farthing.storage.postgres import clock_of, ports_of
from farthing.storage.queries.rows import lock_row
from farthing.subscriptions.addons.lifecycle import period_of
from farthing.subscriptions.attachments import count_periods, prorate_entitlements
from farthing.subscriptions.changes.events import record_change, record_subscription_event
from farthing.subscriptions.dates import effective_end, open_at, recurrence
from farthing.subscriptions.enums import (
    AddonCadence,
    InvoiceTrigger,
    LineItemOwner,
    PaymentBehavior,
    SubscriptionStatus,
    SubscriptionType,
)
from farthing.subscriptions.lifecycle import hierarchy
from farthing.subscriptions.lifecycle.creation import open_or_wait, opening_status, require_payable_start
from farthing.subscriptions.outcome import Billable, Outcome
from farthing.subscriptions.ports import SubscriptionPorts
from farthing.subscriptions.states import move, require
from farthing.subscriptions.tables import AddonAssociation, Subscription, SubscriptionLineItem


async def activate(session: AsyncSession, subscription_id: str, start: datetime, now: datetime) -> Outcome:
    """Let a draft begin at `start`: its dates, and those of all that belongs to it, move along.

    Raises NotFound, and InvalidOperation unless it is a draft.
    Rule: docs/rules/subscriptions.md#activation
    """
    subscription = await lock_row(session, Subscription, subscription_id)
    require(subscription, SubscriptionStatus.DRAFT, to="activate")
    if subscription.checkout_session_id is not None:
        raise InvalidOperation(
            "The subscription waits for its checkout, which activates it when it is paid",
            {"subscription_id": subscription.id, "checkout_session_id": subscription.checkout_session_id},
        )
    start = start.replace(microsecond=start.microsecond // 1000 * 1000)
    require_payable_start(subscription.payment_behavior, start, now)
    moved = start - subscription.start_date
    subscription.start_date = start
    if subscription.end_date is not None:
        subscription.end_date += moved
    if subscription.billing_cycle is BillingCycle.CALENDAR:
        zone = ZoneInfo(subscription.timezone)
        subscription.billing_anchor = calendar_anchor(start, subscription.billing_period, zone)
    else:
        subscription.billing_anchor += moved
    trial = None
    if subscription.trial_start is not None and subscription.trial_end is not None:
        trial = Period(start, start + (subscription.trial_end - subscription.trial_start))
        subscription.trial_start, subscription.trial_end = trial.start, trial.end
    period = Period(start, next_billing_date(start, recurrence(subscription), subscription.end_date))
    open_at(subscription, trial or period)
    await _move_parts(session, subscription, moved)
    for child in await hierarchy.children_of(session, subscription.id):
        child.start_date += moved
        if child.end_date is not None:
            child.end_date += moved
        child.billing_anchor = subscription.billing_anchor
        open_at(child, trial or period)
        await _move_parts(session, child, moved)
    if trial is None:
        await _prorate_family(session, subscription, period)
    move(subscription, opening_status(subscription.payment_behavior, trial, None))
    await hierarchy.mirror(session, subscription)
    await _apply_grants(session, subscription, now)
    await record_change(session, subscription)
    if subscription.subscription_status is not SubscriptionStatus.INCOMPLETE:
        await record_subscription_event(session, subscription, "activated")
    return open_or_wait(subscription, now)


async def _move_parts(session: AsyncSession, subscription: Subscription, by: timedelta) -> None:
    """Line items, addons, coupons and entitlements of a draft move with its start.

    What is attached for one period ends with the period that its start has moved into.
    """
    addons = (
        await session.scalars(
            select(AddonAssociation).where(
                AddonAssociation.subscription_id == subscription.id, AddonAssociation.status == Status.PUBLISHED
            )
        )
    ).all()
    ends: dict[str | None, datetime] = {}
    for addon in addons:
        addon.start_date += by
        if addon.cadence is AddonCadence.ONETIME:
            last = period_of(subscription, addon.start_date).end
            addon.end_date = ends[addon.id] = min(last, subscription.end_date or last)
        elif addon.end_date is not None:
            addon.end_date += by
    await _move_items(session, subscription, by, ends)
    coupons = (
        await session.scalars(select(CouponAssociation).where(CouponAssociation.subscription_id == subscription.id))
    ).all()
    own = await session.scalars(
        select(Entitlement).where(
            Entitlement.entity_type == EntitlementOwner.SUBSCRIPTION,
            Entitlement.entity_id == subscription.id,
            Entitlement.status == Status.PUBLISHED,
        )
    )
    for dated in (*coupons, *own):
        if isinstance(dated, Entitlement) and dated.parent_entitlement_id is not None and dated.end_date is not None:
            # scaled to the first period that was; the one that is gets its own
            dated.status = Status.ARCHIVED
            continue
        if dated.start_date is not None:
            dated.start_date += by
        if dated.end_date is not None:
            dated.end_date += by
        if isinstance(dated, CouponAssociation) and dated.cut_at is not None:
            dated.cut_at += by
    await ports_of(session, SubscriptionPorts).credit_grants.move(session, subscription, by)
    await session.flush()
    for coupon in coupons:
        if coupon.counted_from is not None:
            await count_periods(session, subscription, coupon)


async def _move_items(
    session: AsyncSession, subscription: Subscription, by: timedelta, ends: Mapping[str | None, datetime]
) -> None:
    """Line items move, those of the plan no further back than their prices began; `ends` of addons for one period."""
    item = SubscriptionLineItem
    pairs = await session.execute(
        select(item, Price.start_date)
        .join(Price, Price.id == item.price_id)
        .where(item.subscription_id == subscription.id, item.status == Status.PUBLISHED)
    )
    for row, price_start in pairs:
        before = row.start_date
        if row.entity_type is LineItemOwner.PLAN and row.subscription_phase_id is None:
            row.start_date = max(subscription.start_date, price_start)
        else:
            row.start_date = row.start_date + by
        if row.counted_from is not None:
            row.counted_from += row.start_date - before
        if row.addon_association_id in ends and row.billing_period is not BillingPeriod.ONETIME:
            row.end_date = max(row.start_date, ends[row.addon_association_id])
        elif row.end_date is not None:
            row.end_date = max(row.start_date, row.end_date + (row.start_date - before))


async def _prorate_family(session: AsyncSession, subscription: Subscription, first: Period) -> None:
    """Scale what is included in a first, shorter period: for the subscription and its grouped children."""
    children: list[Subscription] = []
    if subscription.subscription_type is SubscriptionType.PARENT:
        children = await hierarchy.children_of(session, subscription.id, SubscriptionType.GROUPED_INVOICING)
    for member in (subscription, *children):
        await prorate_entitlements(session, member, first)


async def paid_for(session: AsyncSession, subscription_id: str, *, paid: bool) -> Subscription:
    """Take the result of an activating invoice: an incomplete subscription that was paid for becomes active.

    `paid` is true too for an invoice of nothing. Anything but incomplete stays as it is. Raises InvalidOperation when
    the payment failed and the subscription must not exist without it, so that its creation is undone.
    """
    subscription = await lock_row(session, Subscription, subscription_id)
    if subscription.subscription_status is not SubscriptionStatus.INCOMPLETE:
        return subscription
    if not paid:
        opens = subscription.trial_end is None  # a trial that ends has existed without being paid
        if subscription.payment_behavior is PaymentBehavior.ERROR_IF_INCOMPLETE and opens:
            raise InvalidOperation("payment failed", {"subscription_id": subscription.id})
        return subscription
    move(subscription, SubscriptionStatus.ACTIVE)
    await hierarchy.mirror(session, subscription)
    await _apply_grants(session, subscription, clock_of(session).now())
    await record_change(session, subscription, "activated")
    return subscription


async def _apply_grants(session: AsyncSession, subscription: Subscription, now: datetime) -> None:
    """Apply the credit grants that waited for a subscription, and its grouped children, to become active."""
    family = [subscription]
    if subscription.subscription_type is SubscriptionType.PARENT:
        family += await hierarchy.children_of(session, subscription.id, SubscriptionType.GROUPED_INVOICING)
    for member in family:
        if member.subscription_status in {SubscriptionStatus.ACTIVE, SubscriptionStatus.TRIALING}:
            await ports_of(session, SubscriptionPorts).credit_grants.apply_due(session, member, now)


async def end_trial(session: AsyncSession, subscription: Subscription, at: datetime) -> Billable:
    """End the trial of a locked subscription at `at`: the first paid period begins there.

    Anniversaries are anchored anew; a calendar's boundaries stay.
    Rule: docs/rules/subscriptions.md#trials
    """
    require(subscription, SubscriptionStatus.TRIALING, to="end the trial of")
    subscription.trial_end = at
    if subscription.billing_cycle is BillingCycle.ANNIVERSARY:
        subscription.billing_anchor = at
    else:
        zone = ZoneInfo(subscription.timezone)
        subscription.billing_anchor = calendar_anchor(at, subscription.billing_period, zone)
    period = Period(at, next_billing_date(at, recurrence(subscription), effective_end(subscription)))
    open_at(subscription, period)
    await _prorate_family(session, subscription, period)
    move(subscription, SubscriptionStatus.INCOMPLETE)
    activating = subscription.payment_behavior is not PaymentBehavior.DEFAULT_ACTIVE
    if not activating:
        move(subscription, SubscriptionStatus.ACTIVE)
    await hierarchy.mirror(session, subscription)
    await record_change(session, subscription, *([] if activating else ["activated"]))
    return Billable(subscription.id, InvoiceTrigger.TRIAL_END, period, activating=activating)


async def change_trial_end(
    session: AsyncSession, subscription_id: str, new_end: datetime | None, now: datetime
) -> Outcome:
    """End a trial now (`new_end` None), or move its end to a time to come. Raises NotFound, InvalidOperation,
    ValidationFailed."""
    subscription = await lock_row(session, Subscription, subscription_id)
    require(subscription, SubscriptionStatus.TRIALING, to="change the trial of")
    if new_end is None:
        assert subscription.trial_start is not None, "a trialing subscription has a trial"
        if now <= subscription.trial_start:
            raise InvalidOperation("The trial has not begun", {"subscription_id": subscription.id})
        return Outcome(subscription, (await end_trial(session, subscription, now),))
    if new_end <= now:
        raise ValidationFailed.of("new_trial_end", "must be in the future")
    if new_end <= subscription.current_period_start:
        raise ValidationFailed.of("new_trial_end", "must be after the start of the trial")
    if subscription.end_date is not None and new_end > subscription.end_date:
        raise ValidationFailed.of("new_trial_end", "must not be after the end of the subscription")
    subscription.trial_end = subscription.current_period_end = new_end
    await hierarchy.mirror(session, subscription)
    await record_change(session, subscription)
    return Outcome(subscription)
