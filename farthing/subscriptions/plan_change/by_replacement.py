"""Changing the plan by replacement (v1): the old subscription ends, a new one begins.

Rule: docs/rules/subscriptions.md#by-replacement
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.billing import BillingCycle, BillingPeriod
from farthing.catalogue.enums import PriceEntityType
from farthing.catalogue.prices.rated import rated
from farthing.catalogue.prices.tables import Price
from farthing.core.enums import PriceType, Status
from farthing.core.errors import InvalidOperation, ValidationFailed
from farthing.customers import lookup
from farthing.customers.tables import Customer
from farthing.rating.pricing.quantity import default_quantity
from farthing.storage.queries.rows import find, lock_row
from farthing.subscriptions.changes.events import record_change, record_subscription_event
from farthing.subscriptions.changes.planned_terms import PlannedReplacement, RequestedQuantity
from farthing.subscriptions.enums import (
    ChangeType,
    InvoiceTrigger,
    ProrationBehavior,
    ScheduleType,
    SubscriptionStatus,
    SubscriptionType,
)
from farthing.subscriptions.lifecycle import cancellation, creation, hierarchy, schedules
from farthing.subscriptions.line_items.add import mixes_periods
from farthing.subscriptions.outcome import Billable, Outcome
from farthing.subscriptions.plan_change import carry_over
from farthing.subscriptions.plan_change.in_place import carried_quantities, plan_items
from farthing.subscriptions.plan_change.quantities import CarriedQuantities, change_type_of, monthly_total
from farthing.subscriptions.schemas.requests import (
    CreateSubscriptionRequest,
    OverrideLineItemRequest,
    SubscriptionInheritanceConfig,
)
from farthing.subscriptions.snapshot.loading import load_one
from farthing.subscriptions.snapshot.values import SubscriptionSnapshot
from farthing.subscriptions.states import require
from farthing.subscriptions.tables import Subscription


@dataclass(frozen=True, slots=True)
class Target:
    """What the new subscription shall be."""

    plan_id: str
    billing_period: BillingPeriod
    billing_period_count: int = 1
    billing_cycle: BillingCycle = BillingCycle.ANNIVERSARY
    proration: ProrationBehavior = ProrationBehavior.NONE
    metadata: Mapping[str, str] | None = None
    line_items: Sequence[RequestedQuantity] = ()


@dataclass(frozen=True, slots=True)
class Replacement:
    """What a replacing plan change came to.

    `former.changes` are the unused advance fees of the old subscription: their credit reduces the fixed lines of the
    new one's opening invoice in order, and what is left goes to the wallet. `former.billables` bill what the old one
    owes; `new.billables` open the new one, because of an update.
    """

    change_type: ChangeType
    before: SubscriptionSnapshot
    """The old one, before it was ended."""
    former: Outcome
    new: Outcome
    called_off: datetime | None = None
    """When the old one was to be cancelled, which went with it."""
    quantities: CarriedQuantities | None = None
    released: tuple[str, ...] = ()
    """The grouped children that are invoiced by themselves again."""


async def compare(
    session: AsyncSession, snapshot: SubscriptionSnapshot, target: Target, at: datetime
) -> tuple[ChangeType, CarriedQuantities]:
    """Whether the target plan is dearer, by what recurring fees come to in a month; and which quantities go along."""
    prices = await _target_prices(session, snapshot, target, at)
    carried = await carried_quantities(session, snapshot, prices, at, target.line_items)
    before = monthly_total(
        (item.price, item.quantity, item.billing_period, item.billing_period_count)
        for item in plan_items(snapshot, at)
        if not item.is_usage and not item.is_onetime
    )
    after = monthly_total(
        (
            rated(price),
            default_quantity(price.type, carried.by_price.get(price.id), price.min_quantity),
            price.billing_period,
            price.billing_period_count,
        )
        for price in prices
        if price.type is PriceType.FIXED
    )
    return change_type_of(before, after), carried


async def _target_prices(
    session: AsyncSession, snapshot: SubscriptionSnapshot, target: Target, at: datetime
) -> list[Price]:
    """The recurring prices that a subscription on the target would be charged."""
    rows = await session.scalars(
        select(Price)
        .where(
            Price.entity_type == PriceEntityType.PLAN,
            Price.entity_id == target.plan_id,
            Price.currency == snapshot.currency,
            Price.billing_period == target.billing_period,
            Price.billing_period_count == target.billing_period_count,
            Price.status == Status.PUBLISHED,
            or_(Price.end_date.is_(None), Price.end_date > at),
        )
        .order_by(Price.sequence)
    )
    return list(rows)


async def require_replaceable(session: AsyncSession, subscription: Subscription, target: Target) -> None:
    """Refuse a change whose preconditions fail. Raises InvalidOperation."""
    require(subscription, SubscriptionStatus.ACTIVE, SubscriptionStatus.TRIALING, to="change the plan of")
    if subscription.plan_id == target.plan_id:
        raise InvalidOperation("The subscription is on this plan already", {"plan_id": target.plan_id})
    if subscription.active_pause_id is not None:
        raise InvalidOperation("The subscription is to be paused", {"subscription_id": subscription.id})
    if subscription.subscription_type in {SubscriptionType.INHERITED, SubscriptionType.GROUPED_INVOICING}:
        raise InvalidOperation(
            f"Cannot change the plan of a {subscription.subscription_type.value} subscription",
            {"subscription_id": subscription.id},
        )
    if target.proration is ProrationBehavior.CREATE_PRORATIONS and await mixes_periods(session, subscription):
        raise InvalidOperation(
            "Proration is not possible with mixed billing periods", {"subscription_id": subscription.id}
        )


async def replace_plan(
    session: AsyncSession, subscription_id: str, target: Target, now: datetime, *, at: datetime | None = None
) -> Replacement:
    """End a subscription at `at`, by default now, and begin one on the target plan that carries over all the rest.

    Raises NotFound, InvalidOperation, ValidationFailed.
    """
    at = at or now
    found = await find(session, Subscription, subscription_id)
    await lookup.lock_for_use(session, found.customer_id)
    subscription = await lock_row(session, Subscription, subscription_id)
    await require_replaceable(session, subscription, target)
    called_off = subscription.cancel_at
    await schedules.call_off(session, subscription, now)
    if at < subscription.current_period_start:
        raise ValidationFailed.of("proration_date", "must not be before the current period: what is invoiced stays")
    before = await load_one(session, subscription.id)
    change_type, quantities = await compare(session, before, target, at)
    body = await _continued(session, subscription, target, at, quantities)
    had = await carry_over.belongings(session, subscription, at)
    children = await hierarchy.children_of(session, subscription.id)
    former_type = subscription.subscription_type
    if children:
        # the children outlive the old parent: its cancellation must not reach them
        subscription.subscription_type = SubscriptionType.STANDALONE
        await session.flush()
    former = await cancellation.cancel_now(
        session,
        subscription,
        at,
        now,
        reason="plan change",
        proration=target.proration,
        bill=subscription.subscription_status is not SubscriptionStatus.TRIALING,
    )
    made = await creation.create(session, body, now, carried=True)
    fresh = made.subscription
    await carry_over.carry(session, had, subscription, fresh, at, now)
    released = [child for child in children if _goes_its_own_way(child, at)]
    for child in released:
        hierarchy.release(child)
        await record_change(session, child)
    if len(released) < len(children):
        fresh.subscription_type = former_type
    await record_subscription_event(session, fresh, "plan_changed")
    opening = tuple(
        Billable(
            billable.subscription_id, InvoiceTrigger.UPDATE, billable.period, billable.at_once, billable.activating
        )
        for billable in made.billables
    )
    return Replacement(
        change_type,
        before,
        former,
        Outcome(fresh, opening, at=at),
        called_off,
        quantities,
        tuple(child.id for child in released),
    )


async def hand_over_children(session: AsyncSession, replacement: Replacement, now: datetime) -> None:
    """Let the children of the old subscription, whose last invoice has their charges, go on under the new one."""
    old, fresh = replacement.former.subscription, replacement.new.subscription
    for child in await hierarchy.children_of(session, old.id):
        if child.subscription_type is SubscriptionType.INHERITED:
            hierarchy.leave_behind(session, child, fresh.start_date, now)
        child.parent_subscription_id = fresh.id
        await record_change(session, child)
    await hierarchy.mirror(session, fresh)


def _goes_its_own_way(child: Subscription, at: datetime) -> bool:
    """Whether a child stands alone when its parent is replaced: one with charges of its own, in the middle of a period
    that it has paid for and used something in."""
    return child.subscription_type is SubscriptionType.GROUPED_INVOICING and child.current_period_start < at


async def _continued(
    session: AsyncSession,
    subscription: Subscription,
    target: Target,
    at: datetime,
    quantities: CarriedQuantities,
) -> CreateSubscriptionRequest:
    """A request for the new subscription with everything of the old one that is not its plan."""
    payer = None
    if subscription.invoicing_customer_id is not None:
        payer = (await find(session, Customer, subscription.invoicing_customer_id)).external_id
    metadata = {name: value for name, value in subscription.meta.items() if name not in schedules.OF_CANCELLATION}
    return CreateSubscriptionRequest(
        plan_id=target.plan_id,
        customer_id=subscription.customer_id,
        currency=subscription.currency,
        billing_period=target.billing_period,
        billing_period_count=target.billing_period_count,
        billing_cycle=target.billing_cycle,
        lookup_key=subscription.lookup_key,
        metadata={**metadata, **(target.metadata or {})},
        start_date=at,
        end_date=subscription.end_date,
        trial_period_days=0,
        payment_behavior=subscription.payment_behavior,
        collection_method=subscription.collection_method.value,
        gateway_payment_method_id=subscription.gateway_payment_method_id,
        payment_terms=subscription.payment_terms,
        proration_behavior=subscription.proration_behavior,
        commitment_amount=subscription.commitment_amount,
        commitment_duration=subscription.commitment_duration,
        overage_factor=subscription.overage_factor,
        enable_true_up=subscription.enable_true_up,
        auto_invoice_threshold=subscription.auto_invoice_threshold,
        override_line_items=[
            OverrideLineItemRequest(price_id=price_id, quantity=quantity)
            for price_id, quantity in quantities.by_price.items()
        ],
        tax_rate_overrides=[],  # it is taxed as before, and not as its customer is by now
        inheritance=SubscriptionInheritanceConfig(invoicing_customer_external_id=payer) if payer else None,
    )


async def schedule_replacement(
    session: AsyncSession, subscription_id: str, target: Target, planned: PlannedReplacement
) -> tuple[Subscription, str]:
    """Let the replacement happen at the end of the open period; the subscription and the schedule's id."""
    subscription = await lock_row(session, Subscription, subscription_id)
    await require_replaceable(session, subscription, target)
    require(subscription, SubscriptionStatus.ACTIVE, to="schedule a plan change of")
    if subscription.cancel_at is not None:
        raise InvalidOperation("The subscription is to be cancelled", {"subscription_id": subscription.id})
    schedule = await schedules.plan(
        session, subscription, ScheduleType.PLAN_CHANGE, subscription.current_period_end, planned
    )
    await record_change(session, subscription)
    return subscription, schedule.id


def target_of(planned: PlannedReplacement) -> Target:
    """What a planned replacement shall come to."""
    return Target(
        plan_id=planned.target_plan_id,
        billing_period=planned.billing_period,
        billing_period_count=planned.billing_period_count,
        billing_cycle=planned.billing_cycle,
        proration=planned.proration_behavior,
        metadata=planned.change_metadata,
        line_items=planned.line_items,
    )
