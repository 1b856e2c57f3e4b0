"""What subscriptions charge for usage, as analytics and the debugger of events ask. Importing this registers it.

One item per version of a usage line item, with the life that the line and its subscription leave it. Pauses and the
free quantities of entitlements belong to invoices and are not looked at here.
Rule: docs/rules/metering.md#usage-with-cost
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from farthing.calendar.period import Period
from farthing.calendar.windows import anchor_day
from farthing.calendar.zones import UTC
from farthing.catalogue.answers.schemas import AddonResponse, PlanResponse
from farthing.catalogue.discounts.attaching import AttachedCoupon, attached_during
from farthing.catalogue.discounts.enums import CouponCadence
from farthing.catalogue.plans.tables import Addon, Plan
from farthing.catalogue.prices.tables import Price
from farthing.core.enums import PriceType, Status
from farthing.core.money import EXACT, ZERO, plain
from farthing.customers.tables import Customer
from farthing.events.charged_items import ChargedItem
from farthing.rating.totals.discounts import CouponType
from farthing.storage.queries.listing import by_id
from farthing.subscriptions.dates import effective_end
from farthing.subscriptions.enums import CommitmentType, LineItemOwner, SubscriptionStatus, SubscriptionType
from farthing.subscriptions.reads.answers import item_answers
from farthing.subscriptions.snapshot.line_items import item_snapshot, time_buckets_of
from farthing.subscriptions.tables import Subscription, SubscriptionLineItem

CHARGING = (
    SubscriptionStatus.ACTIVE,
    SubscriptionStatus.TRIALING,
    SubscriptionStatus.PAUSED,
    SubscriptionStatus.CANCELLED,
)
AT_ONCE = 500
"""Subscriptions whose items are held in memory together when all of an environment are asked for."""

_HUNDRED = Decimal(100)


@dataclass(frozen=True, slots=True)
class _Charging:
    """A subscription, and the ids of the customers whose usage it charges."""

    row: Subscription
    customers: frozenset[str]


async def items_of_customers(
    session: AsyncSession, customers: Collection[str], start: datetime, end: datetime, include_children: bool
) -> Sequence[ChargedItem]:
    """Usage items that charge these customers (by id) in `[start, end)`, by subscription start, then id.

    A subscription of theirs charges its owner and, with `include_children`, the children that inherit from it. Items
    of a parent that pays for one of them are then found too; they charge that child's usage alone, so that nobody
    sees what the parent's other children used.
    """
    if start >= end:
        return []
    table = Subscription
    if not customers:
        return []
    found = await session.scalars(select(table).where(_charges(start, end), table.customer_id.in_(customers)))
    rows = {row.id: row for row in found}
    counted: dict[str, set[str]] = {row.id: {row.customer_id} for row in rows.values()}
    if include_children:
        for parent_id, child in await _children(session, table.parent_subscription_id.in_(rows), start, end):
            counted[parent_id].add(child)
        paid_for: dict[str, set[str]] = defaultdict(set)
        for parent_id, child in await _children(session, table.customer_id.in_(customers), start, end):
            if parent_id not in rows:
                paid_for[parent_id].add(child)
        if paid_for:
            parents = await session.scalars(select(table).where(_charges(start, end), table.id.in_(paid_for)))
            rows |= {row.id: row for row in parents}
            counted |= paid_for
    return await _items(session, [_Charging(row, frozenset(counted[row.id])) for row in rows.values()], start, end)


async def all_items(session: AsyncSession, start: datetime, end: datetime) -> AsyncIterator[list[ChargedItem]]:
    """The usage items of the whole environment that charge in `[start, end)`, each with all its customers, in
    portions."""
    table = Subscription
    reached = ""
    while start < end:
        query = select(table).where(_charges(start, end), table.id > reached).order_by(table.id).limit(AT_ONCE)
        rows = {row.id: row for row in await session.scalars(query)}
        if not rows:
            return
        reached = max(rows)
        counted = {row.id: {row.customer_id} for row in rows.values()}
        for parent_id, child in await _children(session, table.parent_subscription_id.in_(rows), start, end):
            counted[parent_id].add(child)
        charging = [_Charging(row, frozenset(counted[row.id])) for row in rows.values()]
        yield await _items(session, charging, start, end)


async def children_of(session: AsyncSession, customer: str, start: datetime, end: datetime) -> frozenset[str]:
    """Ids of the customers whose subscriptions inherit from one of `customer`'s (its id)."""
    parents = select(Subscription.id).where(Subscription.customer_id == customer, _charges(start, end))
    found = await _children(session, Subscription.parent_subscription_id.in_(parents), start, end)
    return frozenset(child for _, child in found)


async def zone_of_customer(session: AsyncSession, customer_id: str, start: datetime, end: datetime) -> str:
    """The zone in which invoices cut this customer's usage in `[start, end)`: its first subscription's, else its own.

    What an inherited subscription uses stands on its parent's invoices.
    """
    table, parent = Subscription, aliased(Subscription)
    charging = await session.scalar(
        select(func.coalesce(parent.timezone, table.timezone))
        .select_from(table)
        .outerjoin(
            parent,
            and_(
                parent.id == table.parent_subscription_id,
                table.subscription_type == SubscriptionType.INHERITED,
            ),
        )
        .where(table.customer_id == customer_id, _charges(start, end))
        .order_by(table.start_date, table.id)
        .limit(1)
    )
    own = select(Customer.timezone).where(Customer.id == customer_id)
    return charging or (await session.scalar(own)) or ""


def _charges(start: datetime, end: datetime) -> ColumnElement[bool]:
    """Of a status that charges, and alive at some time in `[start, end)`."""
    table = Subscription
    return and_(
        table.status == Status.PUBLISHED,
        table.subscription_status.in_(CHARGING),
        table.start_date < end,
        or_(table.end_date.is_(None), table.end_date > start),
    )


async def _children(
    session: AsyncSession, which: ColumnElement[bool], start: datetime, end: datetime
) -> list[tuple[str, str]]:
    """The parent's id and the customer's id of inherited subscriptions that count in `[start, end)`."""
    table = Subscription
    found = await session.execute(
        select(table.parent_subscription_id, table.customer_id).where(
            which,
            table.subscription_type == SubscriptionType.INHERITED,
            table.status == Status.PUBLISHED,
            table.start_date < end,
            or_(table.end_date.is_(None), table.end_date > start),
        )
    )
    return [(parent_id or "", customer_id) for parent_id, customer_id in found]


async def _items(
    session: AsyncSession, charging: Sequence[_Charging], start: datetime, end: datetime
) -> list[ChargedItem]:
    by_subscription = {charging_subscription.row.id: charging_subscription for charging_subscription in charging}
    item = SubscriptionLineItem
    query = (
        select(item, Price)
        .join(Price, Price.id == item.price_id)
        .where(
            item.subscription_id.in_(by_subscription),
            item.status == Status.PUBLISHED,
            item.price_type == PriceType.USAGE,
            item.start_date < end,
            or_(item.end_date.is_(None), item.end_date > start),
        )
    )
    pairs = [(row, price) for row, price in (await session.execute(query))]
    if not pairs:
        return []
    rows = [row for row, _ in pairs]
    buckets = {bucket.price_id for row in rows for bucket in time_buckets_of(row)}
    bucket_prices: dict[str, Price] = {}
    if buckets:
        bucket_prices = by_id((await session.scalars(select(Price).where(Price.id.in_(buckets)))).all())
    coupons = await attached_during(session, {row.subscription_id for row in rows}, Period(start, end))
    answers = await _answers(session, rows)
    pairs.sort(
        key=lambda pair: (
            by_subscription[pair[0].subscription_id].row.start_date,
            pair[0].subscription_id,
            pair[0].start_date,
            pair[0].id,
        )
    )
    return [
        _item(
            by_subscription[row.subscription_id],
            row,
            price,
            bucket_prices,
            _percent_off(row, coupons.get(row.subscription_id, ())),
            answers[row.id],
        )
        for row, price in pairs
    ]


def _item(
    charging: _Charging,
    row: SubscriptionLineItem,
    price: Price,
    bucket_prices: dict[str, Price],
    percent_off: Decimal,
    answers: Mapping[str, Any],
) -> ChargedItem:
    subscription = charging.row
    line = item_snapshot(row, price, bucket_prices)
    zone = UTC if line.buckets else ZoneInfo(subscription.timezone)  # time-of-day terms are hours of the UTC day
    is_addon, is_plan = row.entity_type is LineItemOwner.ADDON, row.entity_type is LineItemOwner.PLAN
    return ChargedItem(
        id=row.id,
        subscription_id=subscription.id,
        price=price,
        customers=charging.customers,
        start=max(row.start_date, subscription.start_date),
        end=_end(subscription, row),
        is_active=subscription.subscription_status in {SubscriptionStatus.ACTIVE, SubscriptionStatus.TRIALING},
        customer_id=subscription.customer_id,
        zone=zone,
        month_day=anchor_day(subscription.billing_anchor, zone),
        plan_id=row.entity_id if is_plan else subscription.plan_id if not is_addon else "",
        addon_id=row.entity_id if is_addon else "",
        percent_off=percent_off,
        commitment=line.commitment.terms if line.commitment else None,
        is_windowed=row.commitment_windowed,
        time_buckets=line.buckets,
        commitment_terms=_commitment_terms(row),
        answers=answers,
    )


def _end(subscription: Subscription, row: SubscriptionLineItem) -> datetime | None:
    """When it ceases to charge: its own end or the subscription's, whichever is first."""
    over = effective_end(subscription)
    if over is None and subscription.subscription_status is SubscriptionStatus.CANCELLED:
        over = subscription.cancelled_at
    return min((at for at in (row.end_date, over) if at is not None), default=None)


def _commitment_terms(row: SubscriptionLineItem) -> dict[str, Any]:
    if row.commitment_type is None:
        return {}
    is_amount = row.commitment_type is CommitmentType.AMOUNT
    value = row.commitment_amount if is_amount else row.commitment_quantity
    assert value is not None, "the database promises one"
    return {
        "type": row.commitment_type.value,
        "amount" if is_amount else "quantity": plain(value),
        "duration": row.commitment_duration,
        "overage_factor": plain(row.commitment_overage_factor or Decimal(1)),
        "true_up_enabled": row.commitment_true_up_enabled,
    }


def _percent_off(row: SubscriptionLineItem, coupons: Iterable[AttachedCoupon]) -> Decimal:
    """What lasting percentage coupons take of a line, 0 to 100: each of what those before it left."""
    left = _HUNDRED
    for coupon in coupons:
        mine = coupon.association.subscription_line_item_id in {None, row.id}
        lasting = coupon.coupon.cadence in {CouponCadence.FOREVER, CouponCadence.REPEATED}
        if mine and lasting and coupon.coupon.type is CouponType.PERCENTAGE:
            share_left = EXACT.subtract(_HUNDRED, coupon.coupon.percentage_off or ZERO)
            left = EXACT.divide(EXACT.multiply(left, share_left), _HUNDRED)
    return EXACT.subtract(_HUNDRED, left)


async def _answers(session: AsyncSession, rows: Sequence[SubscriptionLineItem]) -> dict[str, dict[str, Any]]:
    """Each line item, and the plan or addon that brought it, as they travel."""
    brought: dict[LineItemOwner, set[str]] = defaultdict(set)
    for row in rows:
        brought[row.entity_type].add(row.entity_id)
    plans = (await session.scalars(select(Plan).where(Plan.id.in_(brought[LineItemOwner.PLAN])))).all()
    addons = (await session.scalars(select(Addon).where(Addon.id.in_(brought[LineItemOwner.ADDON])))).all()
    owners: dict[tuple[LineItemOwner, str], Any] = {
        **{(LineItemOwner.PLAN, plan.id): PlanResponse.of(plan) for plan in plans},
        **{(LineItemOwner.ADDON, addon.id): AddonResponse.of(addon) for addon in addons},
    }
    found: dict[str, dict[str, Any]] = {}
    for row, answer in zip(rows, await item_answers(session, rows, set()), strict=True):
        found[row.id] = {"subscription_line_item": msgspec.to_builtins(answer)}
        owner = owners.get((row.entity_type, row.entity_id))
        if owner is not None:
            found[row.id][row.entity_type.value] = owner
    return found
