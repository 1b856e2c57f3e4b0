"""Addons on a subscription: attached, activated by a checkout, detached.

Rule: docs/rules/subscriptions.md#addons
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.billing import period_containing
from farthing.calendar.period import Period
from farthing.catalogue.entitlements.enums import EntitlementOwner
from farthing.catalogue.entitlements.lifecycle import entitlements_of
from farthing.catalogue.enums import PriceEntityType
from farthing.catalogue.owners import lock_for_use
from farthing.catalogue.plans.tables import Addon
from farthing.catalogue.products.enums import FeatureType
from farthing.core.enums import Status
from farthing.core.errors import AlreadyExists, InvalidOperation, ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.storage.postgres import ports_of
from farthing.storage.queries.rows import find, lock_row, unique
from farthing.subscriptions.changes.events import record_change
from farthing.subscriptions.dates import open_period, recurrence
from farthing.subscriptions.enums import (
    AddonCadence,
    AddonStatus,
    LineItemOwner,
    ProrationBehavior,
    SubscriptionStatus,
    SubscriptionType,
)
from farthing.subscriptions.item_changes import ItemAction, ItemChange, closing
from farthing.subscriptions.line_items.rows import ItemOrigin, commit_item, line_item, meters_of, overridden, prices_of
from farthing.subscriptions.outcome import Outcome
from farthing.subscriptions.ports import SubscriptionPorts
from farthing.subscriptions.schemas.requests import AddAddonToSubscriptionRequest, RemoveAddonRequest
from farthing.subscriptions.snapshot.entitlements import go_together
from farthing.subscriptions.snapshot.loading import entitled, load_one
from farthing.subscriptions.snapshot.values import SubscriptionSnapshot
from farthing.subscriptions.states import move_addon, require
from farthing.subscriptions.tables import AddonAssociation, Subscription, SubscriptionLineItem

MOST_SHOWN = 1000


async def add(
    session: AsyncSession,
    subscription_id: str,
    request: AddAddonToSubscriptionRequest,
    now: datetime,
    *,
    awaiting_payment: bool = False,
) -> tuple[AddonAssociation, Outcome]:
    """Attach an addon to a subscription that is active, trialing or a draft, and say which items it added.

    `awaiting_payment`: nothing is applied yet; `settle_pending` decides. Raises NotFound, ValidationFailed,
    InvalidOperation, AlreadyExists while another attachment waits for its payment.
    """
    subscription = await lock_row(session, Subscription, subscription_id)
    require(
        subscription,
        SubscriptionStatus.ACTIVE,
        SubscriptionStatus.TRIALING,
        SubscriptionStatus.DRAFT,
        to="attach an addon to",
    )
    if subscription.subscription_type is SubscriptionType.INHERITED:
        raise InvalidOperation("An inherited subscription has no addons", {"subscription_id": subscription.id})
    draft = subscription.subscription_status is SubscriptionStatus.DRAFT
    begin = subscription.start_date if draft else now
    association, items = await attach(
        session, subscription, request, now, begin=begin, awaiting_payment=awaiting_payment
    )
    await record_change(session, subscription)
    snapshot = await load_one(session, subscription.id)
    return association, Outcome(
        subscription,
        changes=_added(snapshot, items),
        proration=association.proration_behavior,
        at=max([item.start_date for item in items], default=association.start_date),
    )


def _added(snapshot: SubscriptionSnapshot, items: list[SubscriptionLineItem]) -> tuple[ItemChange, ...]:
    made = [snapshot.item(item.id) for item in items]
    return tuple(ItemChange(ItemAction.ADD, item.start, after=item) for item in made if item is not None)


async def attach(
    session: AsyncSession,
    subscription: Subscription,
    request: AddAddonToSubscriptionRequest,
    now: datetime,
    *,
    begin: datetime,
    awaiting_payment: bool = False,
    carried: bool = False,
) -> tuple[AddonAssociation, list[SubscriptionLineItem]]:
    """Attach an addon to a locked or new subscription, from `begin` unless it says when; with its line items.

    `carried`: it continues an attachment, whose credit grants go on by themselves.
    """
    addon = await lock_for_use(session, Addon, request.addon_id)
    await _require_same_terms(session, subscription, addon)
    start = max(request.start_date or begin, subscription.start_date)
    cadence = request.cadence or AddonCadence.RECURRING
    end = subscription.end_date
    if end is not None and start >= end:
        raise ValidationFailed.of("start_date", "must be before the end of the subscription")
    if cadence is AddonCadence.ONETIME:
        last = period_of(subscription, start).end
        end = last if end is None else min(last, end)
    association = AddonAssociation(
        id=new_id(Kind.ADDON_ASSOCIATION),
        subscription_id=subscription.id,
        addon_id=addon.id,
        addon_status=AddonStatus.PENDING if awaiting_payment else AddonStatus.ACTIVE,
        cadence=cadence,
        proration_behavior=request.proration_behavior or ProrationBehavior.NONE,
        start_date=start,
        end_date=end,
        meta=dict(request.metadata or {}),
    )
    async with unique(
        session,
        uq_addon_associations_pending=AlreadyExists(
            "Another addon waits for its payment", {"subscription_id": subscription.id}
        ),
    ):
        session.add(association)
    origin = ItemOrigin(LineItemOwner.ADDON, addon.id, addon.name, association_id=association.id)
    items = await _charge(session, subscription, request, association, origin, now)
    await session.flush()
    if not awaiting_payment and not carried:
        grants = ports_of(session, SubscriptionPorts).credit_grants
        await grants.give_for_addon(session, subscription, association, now)
    return association, items


async def _charge(
    session: AsyncSession,
    subscription: Subscription,
    request: AddAddonToSubscriptionRequest,
    association: AddonAssociation,
    origin: ItemOrigin,
    now: datetime,
) -> list[SubscriptionLineItem]:
    """The line items of an attachment: the addon's prices, as the request overrides them, with its commitments."""
    start, end = association.start_date, association.end_date
    prices = await prices_of(session, PriceEntityType.ADDON, association.addon_id, subscription, start)
    if not prices:
        raise ValidationFailed.of("addon_id", f"the addon has no price in {subscription.currency}")
    meters = await meters_of(session, prices)
    by_price: dict[str, SubscriptionLineItem] = {}
    items = []
    for price, charged, given in await overridden(session, subscription, prices, request.override_line_items, start):
        item = line_item(subscription, charged, origin, meters, start=start, end=end, given=given)
        if association.addon_status is AddonStatus.PENDING:
            item.status = Status.ARCHIVED
        session.add(item)
        items.append(item)
        by_price[price.id] = item
    for price_id, config in (request.line_item_commitments or {}).items():
        if price_id not in by_price:
            raise ValidationFailed.of("line_item_commitments", f"'{price_id}' is not a price of the addon")
        await commit_item(session, subscription, by_price[price_id], config, meters, now)
    return items


def period_of(subscription: Subscription, at: datetime) -> Period:
    """The billing period that holds `at`, which is not before the open one; an addon for one period ends with it."""
    current = open_period(subscription)
    return current if current.contains(at) else period_containing(at, current, recurrence(subscription))


async def _require_same_terms(session: AsyncSession, subscription: Subscription, addon: Addon) -> None:
    """A metered feature may not be entitled with two reset periods, nor with grants that do not go together. Raises
    ValidationFailed."""
    brought = (await entitlements_of(session, EntitlementOwner.ADDON, [addon.id]))[addon.id]
    metered = [entitlement for entitlement in brought if entitlement.feature_type is FeatureType.METERED]
    if not metered:
        return
    present = (await load_one(session, subscription.id)).entitled
    for entitlement in metered:
        for other in present:
            if other.feature_id != entitlement.feature_id:
                continue
            if other.usage_reset_period is not entitlement.usage_reset_period:
                reason = "includes a feature that the subscription has with another usage reset period"
                raise ValidationFailed.listing({"addon_id": reason}, feature_id=entitlement.feature_id)
            if not go_together(other, entitled(entitlement, other.meter_id)):
                reason = "includes a feature that the subscription has with grants of another measure, mode or duration"
                raise ValidationFailed.listing({"addon_id": reason}, feature_id=entitlement.feature_id)


async def settle_pending(session: AsyncSession, association_id: str, *, paid: bool, now: datetime) -> Outcome:
    """Apply an attachment whose checkout was paid, and say which items it added, or drop one whose checkout was not.

    Raises InvalidOperation for one that waits no more, or whose subscription does not go on.
    """
    found = await find(session, AddonAssociation, association_id)
    subscription = await lock_row(session, Subscription, found.subscription_id)
    association = await lock_row(session, AddonAssociation, association_id)
    items = (
        await session.scalars(
            select(SubscriptionLineItem).where(SubscriptionLineItem.addon_association_id == association.id)
        )
    ).all()
    if paid:
        require(subscription, SubscriptionStatus.ACTIVE, SubscriptionStatus.TRIALING, to="attach an addon to")
        move_addon(association, AddonStatus.ACTIVE)
        for item in items:
            item.status = Status.PUBLISHED
        grants = ports_of(session, SubscriptionPorts).credit_grants
        await grants.give_for_addon(session, subscription, association, now)
    else:
        move_addon(association, AddonStatus.CANCELLED)
        association.cancelled_at = now
        association.status = Status.ARCHIVED
    await record_change(session, subscription)
    if not paid:
        return Outcome(subscription)
    snapshot = await load_one(session, subscription.id)
    return Outcome(
        subscription,
        changes=_added(snapshot, list(items)),
        proration=association.proration_behavior,
        at=max([item.start_date for item in items], default=association.start_date),
    )


async def remove(session: AsyncSession, request: RemoveAddonRequest, now: datetime) -> tuple[AddonAssociation, Outcome]:
    """Detach an addon at `effective_date`, by default at the end of the open period.

    Raises NotFound, InvalidOperation when it is pending or ending already, ValidationFailed for a date outside the
    open period.
    """
    found = await find(session, AddonAssociation, request.addon_association_id)
    subscription = await lock_row(session, Subscription, found.subscription_id)
    association = await lock_row(session, AddonAssociation, found.id)
    if association.addon_status is not AddonStatus.ACTIVE or association.cancelled_at is not None:
        raise InvalidOperation(
            "The addon is not active or is ending already",
            {"addon_association_id": association.id, "addon_status": association.addon_status.value},
        )
    at = request.effective_date or subscription.current_period_end
    if not subscription.current_period_start <= at <= subscription.current_period_end:
        raise ValidationFailed.of("effective_date", "must lie in the current period")
    before = await load_one(session, subscription.id)
    ended = await end(session, association, at, now, request.reason or "")
    await record_change(session, subscription)
    return association, Outcome(
        subscription,
        changes=closing(before, at, {item.id for item in ended}),
        proration=request.proration_behavior or ProrationBehavior.NONE,
        at=at,
    )


async def end(
    session: AsyncSession, association: AddonAssociation, at: datetime, now: datetime, reason: str
) -> list[SubscriptionLineItem]:
    """End a locked association and its items at `at`; the items whose end moved."""
    at = max(at, association.start_date)
    association.end_date = at if association.end_date is None else min(at, association.end_date)
    association.cancelled_at = now
    association.cancellation_reason = reason
    if at <= now:
        move_addon(association, AddonStatus.CANCELLED)
    items = await session.scalars(
        select(SubscriptionLineItem).where(
            SubscriptionLineItem.addon_association_id == association.id,
            SubscriptionLineItem.status == Status.PUBLISHED,
        )
    )
    ended = []
    for item in items:
        if item.end_date is None or item.end_date > at:
            item.end_date = max(at, item.start_date)
            ended.append(item)
    grants = ports_of(session, SubscriptionPorts).credit_grants
    await grants.end(session, association.subscription_id, at, association.id)
    return ended


async def associations_of(session: AsyncSession, subscription_id: str, now: datetime) -> list[AddonAssociation]:
    """The associations in force at `now` or to come, pending ones aside; earliest first. Raises NotFound."""
    await find(session, Subscription, subscription_id)
    table = AddonAssociation
    rows = await session.scalars(
        select(table)
        .where(
            table.subscription_id == subscription_id,
            table.status == Status.PUBLISHED,
            table.addon_status == AddonStatus.ACTIVE,
            table.end_date.is_(None) | (table.end_date > now),
        )
        .order_by(table.start_date, table.id)
        .limit(MOST_SHOWN)
    )
    return list(rows)
