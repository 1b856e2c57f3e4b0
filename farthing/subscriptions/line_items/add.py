"""Giving a subscription its line items: those of a plan's prices, those beside them, and those of its phases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.billing import BillingPeriod
from farthing.catalogue.enums import PriceEntityType
from farthing.catalogue.plans.tables import Plan
from farthing.catalogue.prices.tables import Price
from farthing.catalogue.products.tables import MeterRow
from farthing.core.enums import PriceType, Status
from farthing.core.errors import ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.storage.queries.rows import find
from farthing.subscriptions.attachments import attach_coupons
from farthing.subscriptions.changes.events import record_phase_event
from farthing.subscriptions.enums import LineItemOwner, ProrationBehavior
from farthing.subscriptions.line_items.rows import (
    ItemOrigin,
    commit_item,
    line_item,
    meters_of,
    overridden,
    own_price,
    prices_of,
)
from farthing.subscriptions.schemas.requests import (
    CreateSubscriptionLineItemRequest,
    OverrideLineItemRequest,
    SubscriptionTerms,
)
from farthing.subscriptions.tables import Subscription, SubscriptionLineItem, SubscriptionPhase


async def priced_items(
    session: AsyncSession,
    subscription: Subscription,
    prices: Sequence[Price],
    origin: ItemOrigin,
    overrides: Sequence[OverrideLineItemRequest] | None,
    start: datetime,
    end: datetime | None,
    terms: SubscriptionTerms | None,
    now: datetime,
) -> dict[str, SubscriptionLineItem]:
    """Line items of a plan's prices, with their overrides and commitments, by the id of the price they stand for."""
    meters: Mapping[str, MeterRow] = await meters_of(session, prices)
    items: dict[str, SubscriptionLineItem] = {}
    for price, charged, given in await overridden(session, subscription, prices, overrides, start):
        item = line_item(subscription, charged, origin, meters, start=start, end=end, given=given)
        items[price.id] = item
        session.add(item)
    commitments = (terms.line_item_commitments if terms else None) or {}
    for price_id, config in commitments.items():
        if price_id not in items:
            raise ValidationFailed.of("line_item_commitments", f"'{price_id}' is not a price of the plan")
        await commit_item(session, subscription, items[price_id], config, meters, now)
    await session.flush()
    return items


async def extra_item(
    session: AsyncSession,
    subscription: Subscription,
    request: CreateSubscriptionLineItemRequest,
    now: datetime,
    phase: SubscriptionPhase | None = None,
    *,
    begin: datetime | None = None,
) -> SubscriptionLineItem:
    """Add a line item beside those of the plan; one that does not say when starts with the subscription or its phase,
    but not before `begin`. Raises ValidationFailed, NotFound.

    Rule: docs/rules/subscriptions.md#line-items
    """
    named = await _phase_of(session, subscription, request.subscription_phase_id)
    if phase is not None and named is not None and named.id != phase.id:
        raise ValidationFailed.of("subscription_phase_id", "is not the phase that the line item stands in")
    phase = phase or named
    start, end = _span_of(subscription, phase, request, begin)
    price = await _price_of(session, subscription, request, now, start)
    meters = await meters_of(session, [price])
    origin = ItemOrigin(LineItemOwner.SUBSCRIPTION, subscription.id, "", phase_id=phase.id if phase else None)
    item = line_item(
        subscription,
        price,
        origin,
        meters,
        start=start,
        end=end,
        given=request.quantity,
        display_name=request.display_name,
        metadata=request.metadata,
    )
    session.add(item)
    if request.commitment is not None:
        await commit_item(session, subscription, item, request.commitment, meters, now)
    await session.flush()
    return item


def _span_of(
    subscription: Subscription,
    phase: SubscriptionPhase | None,
    request: CreateSubscriptionLineItemRequest,
    begin: datetime | None,
) -> tuple[datetime, datetime | None]:
    """From when to when the line item stands, within its phase or the subscription. Raises ValidationFailed."""
    earliest = phase.start_date if phase else subscription.start_date
    latest = (phase.end_date if phase else None) or subscription.end_date
    whole = "phase" if phase else "subscription"
    start = request.start_date or max(earliest, begin or earliest)
    if start < earliest:
        raise ValidationFailed.of("start_date", f"must not be before the start of the {whole}")
    if latest is not None and start >= latest:
        raise ValidationFailed.of("start_date", f"must be before the end of the {whole}")
    if request.end_date is not None and latest is not None and request.end_date > latest:
        raise ValidationFailed.of("end_date", f"must not be after the end of the {whole}")
    if request.end_date is not None and request.end_date < start:
        raise ValidationFailed.of("end_date", "must not be before start_date")
    return start, request.end_date or latest


async def _price_of(
    session: AsyncSession,
    subscription: Subscription,
    request: CreateSubscriptionLineItemRequest,
    now: datetime,
    start: datetime,
) -> Price:
    """The price that the line item names, or the one it brings. Raises ValidationFailed, NotFound."""
    if request.price_id:
        price = await find(session, Price, request.price_id)
        if price.status is not Status.PUBLISHED:
            raise ValidationFailed.of("price_id", f"price {price.id} is {price.status.value}")
        if price.entity_type is PriceEntityType.SUBSCRIPTION and price.entity_id != subscription.id:
            raise ValidationFailed.of("price_id", "belongs to another subscription")
        if price.entity_type is PriceEntityType.COSTSHEET:
            raise ValidationFailed.of("price_id", "is a cost, not a price")
    else:
        assert request.price is not None, "a line item names a price or brings one"
        price = await own_price(session, subscription, request.price, now, start)
    if request.quantity and price.type is PriceType.USAGE:
        raise ValidationFailed.of("quantity", "of usage is metered")
    return price


async def _phase_of(session: AsyncSession, subscription: Subscription, id: str | None) -> SubscriptionPhase | None:
    """The phase of the subscription with this id. Raises ValidationFailed when it has none such."""
    if not id:
        return None
    table = SubscriptionPhase
    found = await session.scalar(select(table).where(table.id == id, table.subscription_id == subscription.id))
    if found is None:
        raise ValidationFailed.of("subscription_phase_id", "is not a phase of the subscription")
    return found


async def require_consistent(session: AsyncSession, subscription: Subscription) -> None:
    """Refuse proration of a subscription whose items bill in different periods.

    Rule: docs/rules/proration.md#mixed-billing-periods
    """
    if subscription.proration_behavior is ProrationBehavior.CREATE_PRORATIONS and await mixes_periods(
        session, subscription
    ):
        raise ValidationFailed.of("proration_behavior", "create_prorations is not possible with mixed billing periods")


async def mixes_periods(session: AsyncSession, subscription: Subscription) -> bool:
    """Whether open recurring items bill in another period than the subscription's."""
    item = SubscriptionLineItem
    found = await session.scalar(
        select(item.id)
        .where(
            item.subscription_id == subscription.id,
            item.status == Status.PUBLISHED,
            item.billing_period != BillingPeriod.ONETIME,
            (item.billing_period != subscription.billing_period)
            | (item.billing_period_count != subscription.billing_period_count),
            item.end_date.is_(None) | (item.end_date > subscription.current_period_start),
        )
        .limit(1)
    )
    return found is not None


async def make_phases(
    session: AsyncSession,
    subscription: Subscription,
    request: SubscriptionTerms,
    items: Mapping[str, SubscriptionLineItem],
    now: datetime,
) -> None:
    """Phase 0 bounds the items made already; every later phase gets its own copy of the plan's items."""
    if not request.phases:
        return
    plan = await find(session, Plan, subscription.plan_id)
    for index, asked in enumerate(request.phases):
        phase = SubscriptionPhase(
            id=new_id(Kind.SUBSCRIPTION_PHASE),
            subscription_id=subscription.id,
            start_date=asked.start_date,
            end_date=asked.end_date or subscription.end_date,
            meta=dict(asked.metadata or {}),
        )
        session.add(phase)
        await session.flush()
        if index == 0:
            own = dict(items)
            for item in items.values():
                if item.end_date is None or (phase.end_date is not None and item.end_date > phase.end_date):
                    item.end_date = phase.end_date
                item.subscription_phase_id = phase.id
        else:
            prices = await prices_of(session, PriceEntityType.PLAN, plan.id, subscription, asked.start_date)
            origin = ItemOrigin(LineItemOwner.PLAN, plan.id, plan.name, phase_id=phase.id)
            own = await priced_items(
                session,
                subscription,
                prices,
                origin,
                asked.override_line_items,
                phase.start_date,
                phase.end_date,
                None,
                now,
            )
        for extra in asked.line_items or ():
            await extra_item(session, subscription, extra, now, phase)
        await attach_coupons(session, subscription, asked, own, now, phase)
        await record_phase_event(session, phase)
    await session.flush()
