"""What a plan change that replaces a subscription takes along: addons, items beside the plan's, coupons, taxes, and
credit grants that are not the plan's.

All that is not the plan's is carried, as it was agreed.
Rule: docs/rules/subscriptions.md#by-replacement
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.billing import BillingPeriod
from farthing.catalogue.discounts.tables import CouponAssociation
from farthing.catalogue.enums import PriceEntityType
from farthing.catalogue.fx import rates
from farthing.catalogue.prices import versions
from farthing.catalogue.prices.schemas import PricingChange
from farthing.catalogue.prices.tables import Price
from farthing.catalogue.taxes import associations
from farthing.catalogue.taxes.enums import TaxEntityType
from farthing.core.enums import Status
from farthing.core.ids import Kind, new_id
from farthing.storage.postgres import ports_of
from farthing.subscriptions.addons import lifecycle
from farthing.subscriptions.attachments import count_periods
from farthing.subscriptions.enums import AddonCadence, AddonStatus, LineItemOwner
from farthing.subscriptions.line_items.add import require_consistent
from farthing.subscriptions.line_items.rows import ItemOrigin, line_item, meters_of
from farthing.subscriptions.ports import CarriedGrant, SubscriptionPorts
from farthing.subscriptions.schemas.requests import AddAddonToSubscriptionRequest
from farthing.subscriptions.snapshot import loading
from farthing.subscriptions.snapshot.service_periods import periods_begun
from farthing.subscriptions.tables import AddonAssociation, Subscription, SubscriptionLineItem

_COMMITMENT = (
    "commitment_type",
    "commitment_amount",
    "commitment_quantity",
    "commitment_overage_factor",
    "commitment_true_up_enabled",
    "commitment_windowed",
    "commitment_duration",
    "commitment_time_buckets",
)


@dataclass(frozen=True, slots=True)
class Carried:
    """One line item with its price, and when it was to end before anything ended it; None is open."""

    item: SubscriptionLineItem
    price: Price
    end: datetime | None


@dataclass(frozen=True, slots=True)
class CarriedAddon:
    """One addon, and when and why it was to end before anything ended it; None is open."""

    association: AddonAssociation
    end: datetime | None
    cancelled_at: datetime | None
    reason: str


@dataclass(frozen=True, slots=True)
class Belongings:
    """What a subscription has besides its plan's items."""

    extras: tuple[Carried, ...]
    addons: tuple[CarriedAddon, ...]
    of_addons: tuple[Carried, ...]
    grants: tuple[CarriedGrant, ...]


async def belongings(session: AsyncSession, former: Subscription, at: datetime) -> Belongings:
    """What is to be carried at `at`, read before the subscription is ended.

    An end that is the subscription's own counts as none: the successor has that end itself. What was charged once, and
    addons for one period, have been had.
    """
    item = SubscriptionLineItem
    pairs = await session.execute(
        select(item, Price)
        .join(Price, Price.id == item.price_id)
        .where(
            item.subscription_id == former.id,
            item.status == Status.PUBLISHED,
            item.entity_type != LineItemOwner.PLAN,
            or_(item.end_date.is_(None), item.end_date > at),
            or_(item.billing_period != BillingPeriod.ONETIME, item.start_date > at),
        )
        .order_by(item.start_date, item.id)
    )
    carried = [Carried(row, price, _own_end(row.end_date, former)) for row, price in pairs]
    table = AddonAssociation
    rows = await session.scalars(
        select(table)
        .where(
            table.subscription_id == former.id,
            table.status == Status.PUBLISHED,
            table.addon_status == AddonStatus.ACTIVE,
            table.cadence == AddonCadence.RECURRING,
            or_(table.end_date.is_(None), table.end_date > at),
        )
        .order_by(table.start_date, table.id)
    )
    return Belongings(
        tuple(carried_item for carried_item in carried if carried_item.item.entity_type is LineItemOwner.SUBSCRIPTION),
        tuple(
            CarriedAddon(row, _own_end(row.end_date, former), row.cancelled_at, row.cancellation_reason) for row in rows
        ),
        tuple(carried_item for carried_item in carried if carried_item.item.entity_type is LineItemOwner.ADDON),
        tuple(await ports_of(session, SubscriptionPorts).credit_grants.find_carried(session, former)),
    )


def _own_end(end: datetime | None, former: Subscription) -> datetime | None:
    return None if end == former.end_date else end


async def carry(
    session: AsyncSession, had: Belongings, former: Subscription, fresh: Subscription, at: datetime, now: datetime
) -> None:
    """Give the successor what its predecessor had. Raises ValidationFailed for what does not fit its rhythm."""
    heirs: dict[str, str] = {}
    continued: dict[str, str] = {}
    for carried_item in had.extras:
        price = await _price_for(session, carried_item.price, fresh, at)
        start = max(carried_item.item.start_date, at)
        origin = ItemOrigin(LineItemOwner.SUBSCRIPTION, fresh.id, "")
        meters = await meters_of(session, [price])
        item = line_item(fresh, price, origin, meters, start=start, end=carried_item.end or fresh.end_date)
        _resemble(item, carried_item.item)
        session.add(item)
        heirs[carried_item.item.id] = item.id
    for addon in had.addons:
        association, end = addon.association, addon.end
        asked = AddAddonToSubscriptionRequest(addon_id=association.addon_id, metadata=dict(association.meta))
        begin = max(association.start_date, at)
        made, items = await lifecycle.attach(session, fresh, asked, now, begin=begin, carried=True)
        continued[association.id] = made.id
        if end is not None:
            made.end_date, made.cancelled_at, made.cancellation_reason = end, addon.cancelled_at, addon.reason
        theirs = [
            carried_item for carried_item in had.of_addons if carried_item.item.addon_association_id == association.id
        ]
        for item in items:
            await _inherit(session, item, theirs, fresh, at, heirs)
            if end is not None and (item.end_date is None or item.end_date > end):
                item.end_date = max(end, item.start_date)
    await session.flush()
    await ports_of(session, SubscriptionPorts).credit_grants.carry(session, had.grants, fresh, continued)
    await require_consistent(session, fresh)
    taxed, untaxed = ((TaxEntityType.SUBSCRIPTION, subscription.id) for subscription in (former, fresh))
    await associations.inherit(session, taxed, untaxed, None, now)
    await _carry_coupons(session, former, fresh, at, heirs)
    await rates.carry_to_successor(session, former.id, fresh.id)


async def _inherit(
    session: AsyncSession,
    item: SubscriptionLineItem,
    theirs: Sequence[Carried],
    fresh: Subscription,
    at: datetime,
    heirs: dict[str, str],
) -> None:
    """Give an addon's new item the price, quantity and commitment that the old one of the same price had."""
    for carried_item in theirs:
        if versions.root_of(carried_item.price) == item.price_id or carried_item.price.id == item.price_id:
            item.price_id = (await _price_for(session, carried_item.price, fresh, at)).id
            _resemble(item, carried_item.item)
            heirs[carried_item.item.id] = item.id


async def _price_for(session: AsyncSession, price: Price, fresh: Subscription, at: datetime) -> Price:
    """The price itself, or for one of the former subscription alone the same for the successor alone."""
    if price.entity_type is not PriceEntityType.SUBSCRIPTION:
        return price
    made = await versions.override(session, price, fresh.id, PricingChange(), at)
    made.display_name = price.display_name
    return made


def _resemble(item: SubscriptionLineItem, former: SubscriptionLineItem) -> None:
    item.quantity, item.display_name, item.meta = former.quantity, former.display_name, dict(former.meta)
    for name in _COMMITMENT:
        setattr(item, name, getattr(former, name))


async def _carry_coupons(
    session: AsyncSession, former: Subscription, fresh: Subscription, at: datetime, heirs: dict[str, str]
) -> None:
    """Coupons of the whole subscription and of items that were carried go on, without being redeemed again.

    What they have used up stays used up: one for a number of periods goes on for those that are left.
    """
    table = CouponAssociation
    rows = (
        await session.scalars(
            select(table)
            .where(
                table.subscription_id == former.id,
                table.status == Status.PUBLISHED,
                or_(table.subscription_line_item_id.is_(None), table.subscription_line_item_id.in_(heirs)),
                or_(table.cut_at.is_(None), table.cut_at > at),
            )
            .order_by(table.created_at, table.id)
        )
    ).all()
    snapshot = await loading.load_one(session, former.id) if any(row.counted_from for row in rows) else None
    for row in rows:
        made = CouponAssociation(
            id=new_id(Kind.COUPON_ASSOCIATION),
            coupon_id=row.coupon_id,
            subscription_id=fresh.id,
            subscription_line_item_id=heirs.get(row.subscription_line_item_id or ""),
            start_date=max(at, row.start_date),
            end_date=row.end_date if row.end_date is None else max(row.end_date, at, row.start_date),
            cut_at=row.cut_at,
            continues_id=row.id,
            meta=dict(row.meta),
        )
        session.add(made)
        if snapshot is not None and row.counted_from is not None:
            item = snapshot.item(row.subscription_line_item_id or "")
            made.periods_used = row.periods_used + periods_begun(snapshot, item, row.counted_from, at)
            await session.flush()
            await count_periods(session, fresh, made)
        row.end_date = row.cut_at = max(at, row.start_date)
    await session.flush()
