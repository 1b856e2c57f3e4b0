"""Changing the plan in place (v2): the subscription keeps its id, anchor and period.

Rule: docs/rules/subscriptions.md#in-place
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.billing import BillingPeriod
from farthing.catalogue.entitlements.enums import EntitlementOwner
from farthing.catalogue.entitlements.tables import Entitlement
from farthing.catalogue.enums import PriceEntityType
from farthing.catalogue.owners import lock_for_use
from farthing.catalogue.plans.tables import Plan
from farthing.catalogue.prices.rated import rated
from farthing.catalogue.prices.tables import Price
from farthing.core.enums import PriceType, Status
from farthing.core.errors import InvalidOperation, ValidationFailed
from farthing.storage.postgres import ports_of
from farthing.storage.queries.rows import find, lock_row
from farthing.subscriptions.addons import lifecycle
from farthing.subscriptions.changes.events import record_change
from farthing.subscriptions.changes.planned_terms import PlannedChangeInPlace, RequestedQuantity
from farthing.subscriptions.enums import (
    AddonPolicy,
    AddonStatus,
    ChangeType,
    LineItemOwner,
    ProrationBehavior,
    ScheduleType,
    SubscriptionStatus,
    SubscriptionType,
)
from farthing.subscriptions.item_changes import ItemAction, ItemChange
from farthing.subscriptions.lifecycle import schedules
from farthing.subscriptions.line_items.rows import ItemOrigin, line_item, meters_of, prices_of
from farthing.subscriptions.outcome import Outcome
from farthing.subscriptions.plan_change.quantities import (
    CarriedQuantities,
    SeatFee,
    carry_quantities,
    change_type_of,
    monthly_total,
)
from farthing.subscriptions.ports import SubscriptionPorts
from farthing.subscriptions.snapshot.line_items import item_snapshot
from farthing.subscriptions.snapshot.loading import load_one
from farthing.subscriptions.snapshot.values import LineItemSnapshot, SubscriptionSnapshot, mixes_periods
from farthing.subscriptions.states import require_status
from farthing.subscriptions.tables import AddonAssociation, Subscription, SubscriptionLineItem


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """What a plan change comes to: `carried` items are re-pointed to the target's price, the others close and open.

    `dropped` are the addon associations that end with it.
    """

    change_type: ChangeType
    carried: tuple[tuple[LineItemSnapshot, LineItemSnapshot], ...]
    closing: tuple[LineItemSnapshot, ...]
    opening: tuple[LineItemSnapshot, ...]
    dropped: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    def changes(self, at: datetime) -> tuple[ItemChange, ...]:
        """The same as changes of line items."""
        return (
            *(ItemChange(ItemAction.REPRICE, at, was, becomes, carried=True) for was, becomes in self.carried),
            *(ItemChange(ItemAction.REMOVE, at, before=item) for item in self.closing),
            *(ItemChange(ItemAction.ADD, at, after=item) for item in self.opening),
        )


def require_changeable(
    snapshot: SubscriptionSnapshot, target_plan_id: str, proration: ProrationBehavior, *, paused: bool, phased: bool
) -> None:
    """Refuse a plan change whose preconditions fail. Raises InvalidOperation."""
    require_status(
        snapshot.id, snapshot.status, SubscriptionStatus.ACTIVE, SubscriptionStatus.TRIALING, to="change the plan of"
    )
    refusal = None
    if target_plan_id == snapshot.plan_id:
        refusal = "The subscription is on this plan already"
    elif paused:
        refusal = "The subscription is to be paused"
    elif snapshot.type is not SubscriptionType.STANDALONE:
        refusal = f"Cannot change the plan of a {snapshot.type.value} subscription"
    elif snapshot.cancel_at is not None:
        refusal = "The subscription is to be cancelled"
    elif phased:
        refusal = "Cannot change the plan of a subscription with phases"
    elif proration is ProrationBehavior.CREATE_PRORATIONS and mixes_periods(
        [item for item in snapshot.items if item.end is None], snapshot.recurrence
    ):
        refusal = "Proration is not possible with mixed billing periods"
    if refusal is not None:
        raise InvalidOperation(refusal, {"subscription_id": snapshot.id, "subscription_status": snapshot.status.value})


def planned_change(
    snapshot: SubscriptionSnapshot,
    target: Sequence[LineItemSnapshot],
    at: datetime,
    default: AddonPolicy = AddonPolicy.CARRY,
    overrides: Mapping[str, AddonPolicy] | None = None,
    requested: Collection[str] = (),
) -> PlannedChange:
    """Pair the plan items open at `at` with those of the target plan that bill identically. Pure.

    `target` are the items the new plan would bring, from `at` on. Unmatched present items close, unmatched target
    items open; dropped addons close too. An item whose target's quantity was `requested` (price ids) is carried only
    with that quantity. The change's type compares recurring fees brought to a month, addons apart.
    """
    present = plan_items(snapshot, at)
    left = [item for item in target if not item.is_onetime]
    carried, closing = [], []
    for item in present:
        match = next((other for other in left if _bills_alike(item, other, requested)), None)
        if match is None:
            closing.append(item)
        else:
            left.remove(match)
            repointed = replace(
                item,
                price_id=match.price_id,
                price=match.price,
                entity_id=match.entity_id,
                plan_display_name=match.plan_display_name,
            )
            carried.append((item, repointed))
    opening = [*left, *(item for item in target if item.is_onetime)]
    kind = change_type_of(_monthly(closing), _monthly(opening))
    dropped = [
        addon.association_id
        for addon in snapshot.addons
        if addon.status is AddonStatus.ACTIVE
        and (addon.end is None or addon.end > at)
        and (overrides or {}).get(addon.association_id, default) is AddonPolicy.DROP
    ]
    closing += [
        item
        for item in snapshot.items
        if item.addon_association_id in dropped and item.start <= at and (item.end is None or item.end > at)
    ]
    return PlannedChange(kind, tuple(carried), tuple(closing), tuple(opening), tuple(dropped))


def _bills_alike(item: LineItemSnapshot, other: LineItemSnapshot, requested: Collection[str]) -> bool:
    if other.price_id in requested and item.quantity != other.quantity:
        return False
    return all(
        getattr(item, name) == getattr(other, name)
        for name in ("price_type", "price", "billing_period", "billing_period_count", "cadence", "meter_id", "currency")
    )


def _monthly(items: Iterable[LineItemSnapshot]) -> Fraction:
    """What recurring fees come to in a month; usage and what is charged once count nothing."""
    return monthly_total(
        (item.price, item.quantity, item.billing_period, item.billing_period_count)
        for item in items
        if not item.is_usage and not item.is_onetime
    )


async def carried_quantities(
    session: AsyncSession,
    snapshot: SubscriptionSnapshot,
    target: Sequence[Price],
    at: datetime,
    requested: Sequence[RequestedQuantity] = (),
) -> CarriedQuantities:
    """The quantities that the prices of a target plan begin with, from those of the plan's items open at `at`."""
    open_fees = [item for item in plan_items(snapshot, at) if not item.is_usage and not item.is_onetime]
    keys = await session.execute(
        select(Price.id, Price.lookup_key).where(Price.id.in_([item.price_id for item in open_fees]))
    )
    lookup_keys = dict(keys.all())
    present = [
        SeatFee(
            item.price_id,
            lookup_keys.get(item.price_id, ""),
            item.display_name if item.display_name != item.plan_display_name else "",
            item.price.model,
            item.quantity,
        )
        for item in open_fees
    ]
    fees = [
        SeatFee(price.id, price.lookup_key, price.display_name, rated(price).model, price.min_quantity or Decimal(1))
        for price in target
        if price.type is PriceType.FIXED and price.billing_period is not BillingPeriod.ONETIME
    ]
    return carry_quantities(present, fees, requested)


def plan_items(snapshot: SubscriptionSnapshot, at: datetime) -> list[LineItemSnapshot]:
    """The plan's items that are open at `at`."""
    return [
        item
        for item in snapshot.items
        if item.entity_type is LineItemOwner.PLAN and item.start <= at and (item.end is None or item.end > at)
    ]


async def target_items(
    session: AsyncSession,
    subscription: Subscription,
    snapshot: SubscriptionSnapshot,
    plan: Plan,
    at: datetime,
    requested: Sequence[RequestedQuantity] = (),
) -> tuple[list[SubscriptionLineItem], list[LineItemSnapshot], CarriedQuantities]:
    """The items that `plan` would bring from `at` on, as rows not in the session and as values, with the quantities
    that are carried over to them.

    Raises ValidationFailed when it brings none.
    """
    prices = await prices_of(session, PriceEntityType.PLAN, plan.id, subscription, at)
    if not prices:
        raise ValidationFailed.of(
            "target_plan_id",
            f"the plan has no price in {subscription.currency} for "
            f"{subscription.billing_period_count} {subscription.billing_period.value}",
        )
    meters = await meters_of(session, prices)
    origin = ItemOrigin(LineItemOwner.PLAN, plan.id, plan.name)
    carried = await carried_quantities(session, snapshot, prices, at, requested)
    rows = [
        line_item(
            subscription,
            price,
            origin,
            meters,
            start=at,
            end=subscription.end_date,
            given=carried.by_price.get(price.id),
        )
        for price in prices
    ]
    return rows, [item_snapshot(row, price, {}) for row, price in zip(rows, prices, strict=True)], carried


async def change_plan(
    session: AsyncSession,
    subscription_id: str,
    target_plan_id: str,
    proration: ProrationBehavior,
    at: datetime,
    now: datetime,
    default: AddonPolicy = AddonPolicy.CARRY,
    overrides: Mapping[str, AddonPolicy] | None = None,
    metadata: Mapping[str, str] | None = None,
    requested: Sequence[RequestedQuantity] = (),
) -> tuple[PlannedChange, Outcome]:
    """Change the plan in place at `at`. Raises NotFound, InvalidOperation, ValidationFailed.

    The outcome's changes are settled on one invoice or credit; none are while trialing.
    """
    plan = await lock_for_use(session, Plan, target_plan_id)
    subscription = await lock_row(session, Subscription, subscription_id)
    snapshot = await load_one(session, subscription_id)
    phased = any(item.phase_id is not None for item in snapshot.items)
    require_changeable(snapshot, plan.id, proration, paused=subscription.active_pause_id is not None, phased=phased)
    rows, target, carried = await target_items(session, subscription, snapshot, plan, at, requested)
    planned = planned_change(snapshot, target, at, default, overrides, carried.requested)
    planned = replace(planned, warnings=carried.warnings)
    former_plan_id = subscription.plan_id
    await _apply(session, subscription, plan, planned, rows, at, now)
    prorates = proration is ProrationBehavior.CREATE_PRORATIONS
    grants = ports_of(session, SubscriptionPorts).credit_grants
    await grants.change_plan(session, subscription, former_plan_id, at, now, prorates)
    if metadata:
        subscription.meta = {**subscription.meta, **metadata}
    await record_change(session, subscription, "plan_changed")
    trialing = snapshot.status is SubscriptionStatus.TRIALING
    return planned, Outcome(
        subscription,
        changes=planned.changes(at),
        proration=ProrationBehavior.NONE if trialing else proration,
        at=at,
    )


async def _apply(
    session: AsyncSession,
    subscription: Subscription,
    plan: Plan,
    planned: PlannedChange,
    rows: Sequence[SubscriptionLineItem],
    at: datetime,
    now: datetime,
) -> None:
    for was, becomes in planned.carried:
        item = await lock_row(session, SubscriptionLineItem, was.id)
        item.price_id, item.entity_id = becomes.price_id, becomes.entity_id
        item.plan_display_name = becomes.plan_display_name
    for closed in planned.closing:
        item = await lock_row(session, SubscriptionLineItem, closed.id)
        item.end_date = at
    opened = {item.id for item in planned.opening}
    session.add_all(row for row in rows if row.id in opened)
    for association_id in planned.dropped:
        association = await lock_row(session, AddonAssociation, association_id)
        await lifecycle.end(session, association, at, now, "plan change")
    # what stood in for an entitlement of the former plan stands for nothing in the new one
    await session.execute(
        update(Entitlement)
        .where(
            Entitlement.entity_type == EntitlementOwner.SUBSCRIPTION,
            Entitlement.entity_id == subscription.id,
            Entitlement.parent_entitlement_id.is_not(None),
            Entitlement.status == Status.PUBLISHED,
        )
        .values(status=Status.ARCHIVED)
    )
    subscription.plan_id = plan.id
    subscription.synced_price_sequence = max(
        [price.sequence for price in await prices_of(session, PriceEntityType.PLAN, plan.id, subscription, at)]
    )


async def schedule_change(
    session: AsyncSession,
    subscription_id: str,
    target_plan_id: str,
    planned: PlannedChangeInPlace,
    now: datetime,
    *,
    supersede: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> tuple[Subscription, str, list[str]]:
    """Let the plan change at the end of the open period: the subscription, the schedule's id, and those superseded.

    Raises InvalidOperation when a plan change or a cancellation waits already, unless a plan change may be superseded.
    """
    plan = await lock_for_use(session, Plan, target_plan_id)
    subscription = await lock_row(session, Subscription, subscription_id)
    snapshot = await load_one(session, subscription_id)
    require_status(snapshot.id, snapshot.status, SubscriptionStatus.ACTIVE, to="schedule a plan change of")
    phased = any(item.phase_id is not None for item in snapshot.items)
    require_changeable(
        snapshot, plan.id, ProrationBehavior.NONE, paused=subscription.active_pause_id is not None, phased=phased
    )
    dropped = []
    if supersede:
        for waiting in await schedules.pending(session, subscription.id, ScheduleType.PLAN_CHANGE):
            await schedules.cancel(session, waiting.id, now)
            dropped.append(waiting.id)
    schedule = await schedules.plan(
        session, subscription, ScheduleType.PLAN_CHANGE, subscription.current_period_end, planned, metadata
    )
    await record_change(session, subscription)
    return subscription, schedule.id, dropped


async def planned_for(
    session: AsyncSession,
    subscription_id: str,
    target_plan_id: str,
    proration: ProrationBehavior,
    at: datetime,
    default: AddonPolicy = AddonPolicy.CARRY,
    overrides: Mapping[str, AddonPolicy] | None = None,
    requested: Sequence[RequestedQuantity] = (),
) -> tuple[SubscriptionSnapshot, PlannedChange]:
    """What `change_plan` would come to; writes nothing, so it may be asked in a read-only session."""
    plan = await find(session, Plan, target_plan_id)
    subscription = await find(session, Subscription, subscription_id)
    snapshot = await load_one(session, subscription_id)
    phased = any(item.phase_id is not None for item in snapshot.items)
    require_changeable(snapshot, plan.id, proration, paused=subscription.active_pause_id is not None, phased=phased)
    _, target, carried = await target_items(session, subscription, snapshot, plan, at, requested)
    planned = planned_change(snapshot, target, at, default, overrides, carried.requested)
    return snapshot, replace(planned, warnings=carried.warnings)
