"""Changing the line items of a living subscription: added, given other terms or quantities, ended.

Rule: docs/rules/subscriptions.md#line-items
Rule: docs/rules/subscriptions.md#modifications
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.billing import BillingPeriod
from farthing.catalogue.prices import versions
from farthing.catalogue.prices.tables import Price
from farthing.core.enums import PriceType, Status
from farthing.core.errors import InvalidOperation, ValidationFailed, VersionConflict
from farthing.rating.pricing.quantity import below_minimum
from farthing.storage.queries.rows import find, lock_row, unique
from farthing.subscriptions.changes.events import record_change
from farthing.subscriptions.enums import ProrationBehavior, SubscriptionStatus, SubscriptionType
from farthing.subscriptions.item_changes import ItemAction, ItemChange, closing
from farthing.subscriptions.line_items.add import extra_item, mixes_periods
from farthing.subscriptions.line_items.rows import commit_item, meters_of, successor
from farthing.subscriptions.outcome import Outcome
from farthing.subscriptions.schemas.requests import (
    CreateSubscriptionLineItemRequest,
    DeleteSubscriptionLineItemRequest,
    UpdateSubscriptionLineItemRequest,
)
from farthing.subscriptions.snapshot.loading import load_one
from farthing.subscriptions.snapshot.values import LineItemSnapshot, SubscriptionSnapshot
from farthing.subscriptions.states import require, require_status
from farthing.subscriptions.tables import Subscription, SubscriptionLineItem

_CHANGEABLE = (
    SubscriptionStatus.ACTIVE,
    SubscriptionStatus.TRIALING,
    SubscriptionStatus.INCOMPLETE,
    SubscriptionStatus.DRAFT,
)
PREVIEW_CREATED = "(preview-created)"


@dataclass(frozen=True, slots=True)
class QuantityWanted:
    """Another quantity for one line item from `at` on; None is now."""

    item_id: str
    quantity: Decimal
    at: datetime | None = None


async def add(
    session: AsyncSession, subscription_id: str, request: CreateSubscriptionLineItemRequest, now: datetime
) -> tuple[SubscriptionLineItem, Outcome]:
    """Add a line item, from now on unless the request says when.

    Raises NotFound, ValidationFailed, InvalidOperation.
    """
    subscription = await lock_row(session, Subscription, subscription_id)
    _demand_changeable(subscription, "add a line item to")
    draft = subscription.subscription_status is SubscriptionStatus.DRAFT
    item = await extra_item(session, subscription, request, now, begin=None if draft else now)
    proration = request.proration_behavior or ProrationBehavior.NONE
    await record_change(session, subscription)
    made = (await load_one(session, subscription.id)).item(item.id)
    assert made is not None, "it was just written"
    change = ItemChange(ItemAction.ADD, item.start_date, after=made)
    return item, Outcome(subscription, changes=(change,), proration=proration, at=item.start_date)


async def update(
    session: AsyncSession,
    item_id: str,
    request: UpdateSubscriptionLineItemRequest,
    now: datetime,
    *,
    quantity: Decimal | None = None,
) -> tuple[SubscriptionLineItem, Outcome]:
    """Change metadata in place, or terms by a new version, which may have another `quantity`; the version that stands
    then.

    Raises NotFound, ValidationFailed, InvalidOperation; VersionConflict when somebody else succeeded it first.
    """
    subscription, item = await _held(session, item_id)
    pricing = request.pricing
    if not pricing.changes_money and not request.commits:
        if request.metadata is not None:
            item.meta = request.metadata
        await record_change(session, subscription)
        return item, Outcome(subscription)
    _demand_changeable(subscription, "change a line item of")
    at = request.effective_from or max(now, item.start_date)
    _demand_newest(item, at, await _successor_of(session, item))
    _demand_open(subscription, item, at, "effective_from")
    before = (await load_one(session, subscription.id)).item(item.id)
    price = await find(session, Price, item.price_id)
    version = successor(item, at)
    if request.metadata is not None:
        version.meta = request.metadata
    if quantity is not None:
        _demand_countable(item.price_type is PriceType.USAGE, price.min_quantity, quantity, "quantity")
        version.quantity = quantity
    if pricing.changes_money:
        price = await versions.override(session, price, subscription.id, pricing, at)
        price.display_name = item.display_name
        version.price_id = price.id
    await _succeed(session, version)
    if request.commitment is not None:
        await commit_item(session, subscription, version, request.commitment, await meters_of(session, [price]), now)
    await record_change(session, subscription)
    after = (await load_one(session, subscription.id)).item(version.id)
    change = ItemChange(ItemAction.REPRICE, at, before, after)
    proration = request.proration_behavior or ProrationBehavior.NONE
    return version, Outcome(subscription, changes=(change,), proration=proration, at=at)


async def end(
    session: AsyncSession, item_id: str, request: DeleteSubscriptionLineItemRequest, now: datetime
) -> tuple[SubscriptionLineItem, Outcome]:
    """End a line item. One that has an end may only end earlier.

    Raises NotFound, ValidationFailed, InvalidOperation.
    """
    subscription, item = await _held(session, item_id)
    _demand_changeable(subscription, "end a line item of")
    if item.billing_period is BillingPeriod.ONETIME:
        raise InvalidOperation("A line item that is charged once cannot be ended", {"line_item_id": item.id})
    at = request.effective_from or max(now, item.start_date)
    if at < item.start_date:
        raise ValidationFailed.of("effective_from", "must not be before the start of the line item")
    _demand_newest(item, at, await _successor_of(session, item))
    if item.end_date is not None and at >= item.end_date:
        raise InvalidOperation("The line item ends no later already", {"line_item_id": item.id})
    if at < subscription.current_period_start:
        raise ValidationFailed.of("effective_from", "must not be before the current period, which begins what is open")
    proration = request.proration_behavior or ProrationBehavior.NONE
    before = await load_one(session, subscription.id)
    item.end_date = at
    await record_change(session, subscription)
    return item, Outcome(subscription, changes=closing(before, at, {item.id}), proration=proration, at=at)


async def change_quantities(
    session: AsyncSession, subscription_id: str, wanted: Sequence[QuantityWanted], now: datetime
) -> Outcome:
    """Give fixed line items other quantities, each by a new version. Raises as `planned_quantities` does."""
    subscription = await lock_row(session, Subscription, subscription_id)
    planned = planned_quantities(await load_one(session, subscription.id), wanted, now)
    made: dict[str, ItemChange] = {}
    for change in planned:
        before, after = change.before, change.after
        if before is None or after is None:
            raise ValueError("a quantity has a before and an after")
        item = await lock_row(session, SubscriptionLineItem, before.id)
        version = successor(item, change.at)
        version.quantity = after.quantity
        await _succeed(session, version)
        made[version.id] = change
    if made:
        await record_change(session, subscription)
    return Outcome(
        subscription,
        changes=tuple(
            replace(change, after=replace(change.after, id=id)) if change.after else change
            for id, change in made.items()  # noqa: A001 (a row's id)
        ),
        proration=ProrationBehavior.CREATE_PRORATIONS,
        at=max((change.at for change in planned), default=now),
    )


def planned_quantities(
    snapshot: SubscriptionSnapshot, wanted: Sequence[QuantityWanted], now: datetime
) -> tuple[ItemChange, ...]:
    """The changes of line items that new quantities mean; an equal quantity means none. Pure.

    Raises InvalidOperation unless the subscription is active, ValidationFailed for an item that is not a fixed one of
    the subscription, a moment outside the open period or the item, or a quantity below the price's minimum.
    """
    require_status(snapshot.id, snapshot.status, SubscriptionStatus.ACTIVE, to="change quantities of")
    changes = []
    seen: set[str] = set()
    for index, quantity in enumerate(wanted):
        field = f"line_items[{index}]"
        item = snapshot.item(quantity.item_id)
        if item is None or item.is_usage:
            raise ValidationFailed.of(f"{field}.id", "is not a fixed line item of the subscription")
        if item.id in seen:
            raise ValidationFailed.of(f"{field}.id", "is named twice")
        seen.add(item.id)
        at = quantity.at or max(now, item.start)
        _demand_newest(item, at, {other.replaces_id: other.id for other in snapshot.items})
        if not snapshot.current.contains(at):
            raise ValidationFailed.of(f"{field}.effective_date", "must lie in the current period")
        if at < item.start or (item.end is not None and at >= item.end):
            raise ValidationFailed.of(f"{field}.effective_date", "must lie in the life of the line item")
        _demand_countable(item.is_usage, item.min_quantity, quantity.quantity, f"{field}.quantity")
        if quantity.quantity == item.quantity:
            continue
        changes.append(quantity_change(item, quantity.quantity, at))
    return tuple(changes)


def quantity_change(item: LineItemSnapshot, quantity: Decimal, at: datetime) -> ItemChange:
    """One item with another quantity from `at` on."""
    after = item.succeeded(PREVIEW_CREATED, at, quantity=quantity)
    return ItemChange(ItemAction.QUANTITY, at, item, after)


def _demand_countable(is_usage: bool, minimum: Decimal | None, quantity: Decimal, field: str) -> None:
    """Refuse a quantity that the price cannot be charged for. Raises ValidationFailed."""
    if is_usage:
        raise ValidationFailed.of(field, "of usage is metered")
    if below_minimum(quantity, minimum):
        raise ValidationFailed.of(field, f"must be at least {minimum}")


def _demand_newest(item: LineItemSnapshot | SubscriptionLineItem, at: datetime, successors: Mapping[Any, str]) -> None:
    """Refuse a change of a version that another has succeeded by then: the caller has not seen it. Raises
    VersionConflict."""
    ends = item.end if isinstance(item, LineItemSnapshot) else item.end_date
    if ends is not None and at >= ends and item.id in successors:
        raise VersionConflict(
            "The line item has been changed meanwhile",
            {"line_item_id": item.id, "successor_id": successors[item.id]},
        )


async def _successor_of(session: AsyncSession, item: SubscriptionLineItem) -> dict[str, str]:
    """The id of the version that succeeded a locked item, by the item's; empty when none did."""
    table = SubscriptionLineItem
    found = await session.scalar(select(table.id).where(table.replaces_id == item.id, table.status == Status.PUBLISHED))
    return {} if found is None else {item.id: found}


async def _held(session: AsyncSession, item_id: str) -> tuple[Subscription, SubscriptionLineItem]:
    """A line item with its subscription, both locked, the subscription first."""
    found = await find(session, SubscriptionLineItem, item_id)
    subscription = await lock_row(session, Subscription, found.subscription_id)
    return subscription, await lock_row(session, SubscriptionLineItem, item_id)


def _demand_changeable(subscription: Subscription, what: str) -> None:
    require(subscription, *_CHANGEABLE, to=what)
    if subscription.subscription_type is SubscriptionType.INHERITED:
        raise InvalidOperation("An inherited subscription has no line items", {"subscription_id": subscription.id})


def _demand_open(subscription: Subscription, item: SubscriptionLineItem, at: datetime, field: str) -> None:
    if item.status is not Status.PUBLISHED:
        raise InvalidOperation("The line item is not in use", {"line_item_id": item.id})
    if at < item.start_date:
        raise ValidationFailed.of(field, "must not be before the start of the line item")
    if at < subscription.current_period_start:
        raise ValidationFailed.of(field, "must not be before the current period: what is invoiced stays")
    if item.end_date is not None and at >= item.end_date:
        raise InvalidOperation("The line item has ended by then", {"line_item_id": item.id})


async def _succeed(session: AsyncSession, version: SubscriptionLineItem) -> None:
    """Write a new version; two of one item at once cannot both be written."""
    async with unique(
        session, uq_subscription_line_items_successor=VersionConflict("The line item has been changed by somebody else")
    ):
        session.add(version)


async def require_uniform(session: AsyncSession, subscription: Subscription, proration: ProrationBehavior) -> None:
    """Refuse a proration over mixed billing periods. Raises InvalidOperation.

    Rule: docs/rules/proration.md#mixed-billing-periods
    """
    if proration is ProrationBehavior.CREATE_PRORATIONS and await mixes_periods(session, subscription):
        raise InvalidOperation(
            "Proration is not possible with mixed billing periods", {"subscription_id": subscription.id}
        )
