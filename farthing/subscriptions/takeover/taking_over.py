"""Storing a subscription that another system has billed so far, and what belongs to it.

Rule: docs/rules/subscriptions.md#taken-over
"""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.billing import BillingPeriod
from farthing.calendar.period import Period
from farthing.catalogue.enums import PriceEntityType
from farthing.catalogue.owners import lock_for_use
from farthing.catalogue.plans.tables import Addon, Plan
from farthing.catalogue.prices.tables import Price
from farthing.core.enums import PriceType, Status
from farthing.core.errors import ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.customers import lookup
from farthing.storage.queries.rows import find
from farthing.subscriptions.changes.events import record_phase_event, record_subscription_event
from farthing.subscriptions.changes.tables import SubscriptionPause
from farthing.subscriptions.dates import open_at
from farthing.subscriptions.enums import LineItemOwner, PauseStatus, SubscriptionStatus
from farthing.subscriptions.line_items.price_sync import target_sequence
from farthing.subscriptions.line_items.rows import ItemOrigin, commit_item, line_item, meters_of
from farthing.subscriptions.states import move
from farthing.subscriptions.tables import AddonAssociation, Subscription, SubscriptionLineItem, SubscriptionPhase
from farthing.subscriptions.takeover.requests import (
    TakenOverAddon,
    TakenOverLineItem,
    TakenOverPause,
    TakenOverPhase,
    TakenOverSubscription,
)

_OTHERWISE = {"metadata", "timezone", "overage_factor", "lookup_key", "gateway_payment_method_id", "pause"}
_PERIOD = {"current_period_start", "current_period_end"}


async def take_over_subscription(session: AsyncSession, terms: TakenOverSubscription) -> Subscription:
    """Store a subscription whose periods before the open one were invoiced elsewhere; nothing of it is billed now.

    It has no line items yet: they, and the rest of what belongs to it, follow by the functions below. Raises NotFound,
    InvalidOperation for an archived plan, ValidationFailed.
    """
    for customer_id in sorted({terms.customer_id, terms.invoicing_customer_id or terms.customer_id}):
        await lookup.lock_for_use(session, customer_id)
    customer = await lookup.lock_for_use(session, terms.customer_id)
    plan = await lock_for_use(session, Plan, terms.plan_id)
    columns = {
        name: getattr(terms, name) for name in terms.__struct_fields__ if name not in _OTHERWISE and name not in _PERIOD
    }
    subscription = Subscription(
        id=new_id(Kind.SUBSCRIPTION),
        timezone=terms.timezone or customer.timezone,
        overage_factor=terms.overage_factor or Decimal(1),
        lookup_key=terms.lookup_key or "",
        gateway_payment_method_id=terms.gateway_payment_method_id or "",
        meta=dict(terms.metadata or {}),
        billed_from=terms.current_period_start if terms.was_billed else None,
        # the plan's prices are on it already, as far as the other system has put them there
        synced_price_sequence=await target_sequence(session, plan.id),
        **columns,
    )
    open_at(subscription, Period(terms.current_period_start, terms.current_period_end))
    if subscription.subscription_status is SubscriptionStatus.PAUSED:
        subscription.subscription_status = SubscriptionStatus.ACTIVE  # until its pause is there
    session.add(subscription)
    await session.flush()
    if terms.pause is not None:
        await _pause(session, subscription, terms.pause)
    draft = subscription.subscription_status is SubscriptionStatus.DRAFT
    await record_subscription_event(session, subscription, "draft.created" if draft else "created")
    return subscription


async def take_over_line_item(
    session: AsyncSession, subscription: Subscription, terms: TakenOverLineItem
) -> SubscriptionLineItem:
    """Store a line item as it stands. Raises NotFound, ValidationFailed for a price that does not fit."""
    price = await find(session, Price, terms.price_id)
    if price.entity_type is PriceEntityType.SUBSCRIPTION and price.entity_id != subscription.id:
        raise ValidationFailed.of("price_id", "belongs to another subscription")
    owner_id = terms.entity_id or (subscription.plan_id if terms.entity_type is LineItemOwner.PLAN else subscription.id)
    origin = ItemOrigin(
        terms.entity_type,
        owner_id,
        terms.plan_display_name or "",
        association_id=terms.addon_association_id,
        phase_id=terms.subscription_phase_id,
    )
    meters = await meters_of(session, [price])
    item = line_item(
        subscription,
        price,
        origin,
        meters,
        start=terms.start_date or subscription.start_date,
        end=terms.end_date,
        given=terms.quantity,
        display_name=terms.display_name,
        metadata=terms.metadata,
    )
    if price.type is PriceType.FIXED:
        item.quantity = terms.quantity
    if terms.start_date is not None and price.billing_period is not BillingPeriod.ONETIME:
        item.start_date = terms.start_date
        item.end_date = terms.end_date
    session.add(item)
    commitment = terms.promise.commitment
    if commitment is not None:
        await commit_item(session, subscription, item, commitment, meters, item.start_date)
    await session.flush()
    return item


async def take_over_phase(
    session: AsyncSession, subscription: Subscription, terms: TakenOverPhase
) -> SubscriptionPhase:
    """Store a phase as it stands."""
    phase = SubscriptionPhase(
        id=new_id(Kind.SUBSCRIPTION_PHASE),
        subscription_id=subscription.id,
        start_date=terms.start_date,
        end_date=terms.end_date,
        meta=dict(terms.metadata or {}),
    )
    session.add(phase)
    await session.flush()
    await record_phase_event(session, phase)
    return phase


async def _pause(session: AsyncSession, subscription: Subscription, terms: TakenOverPause) -> None:
    """Store the pause that a subscription is in, or that awaits it."""
    begun = terms.pause_status is PauseStatus.ACTIVE
    pause = SubscriptionPause(
        id=new_id(Kind.SUBSCRIPTION_PAUSE),
        subscription_id=subscription.id,
        pause_status=terms.pause_status,
        pause_mode=terms.pause_mode,
        resume_mode=terms.resume_mode,
        pause_start=terms.pause_start,
        pause_end=terms.pause_end,
        original_period_start=terms.original_period_start or subscription.current_period_start,
        original_period_end=terms.original_period_end or subscription.current_period_end,
        original_billing_anchor=subscription.billing_anchor,
        reason=terms.reason or "",
        meta=dict(terms.metadata or {}),
    )
    session.add(pause)
    await session.flush()
    subscription.active_pause_id = pause.id
    subscription.pause_status = pause.pause_status
    subscription.pause_due_at = pause.pause_end if begun else pause.pause_start
    if begun:
        move(subscription, SubscriptionStatus.PAUSED)
    await session.flush()


async def take_over_addon(session: AsyncSession, subscription: Subscription, terms: TakenOverAddon) -> AddonAssociation:
    """Store an addon as it is attached; its line items are taken over like all others. Raises NotFound."""
    addon = await lock_for_use(session, Addon, terms.addon_id)
    association = AddonAssociation(
        id=new_id(Kind.ADDON_ASSOCIATION),
        subscription_id=subscription.id,
        addon_id=addon.id,
        addon_status=terms.addon_status,
        cadence=terms.cadence,
        proration_behavior=terms.proration_behavior,
        start_date=terms.start_date or subscription.start_date,
        end_date=terms.end_date,
        cancelled_at=terms.cancelled_at,
        meta=dict(terms.metadata or {}),
        status=Status.PUBLISHED,
    )
    session.add(association)
    await session.flush()
    return association
