"""Bringing the line items of attached addons in line with the prices of their addon.

The rule is that of `price_sync`, for each attachment in place of each subscription. An attachment has no marker: what
it was charged by is read from its line items.
Rule: docs/rules/pricing.md#synchronising-line-items
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.billing import BillingPeriod
from farthing.catalogue.enums import PriceEntityType
from farthing.catalogue.plans.tables import Addon
from farthing.catalogue.prices.tables import Price
from farthing.core.enums import PriceType, Status
from farthing.storage.queries.rows import find
from farthing.subscriptions.enums import AddonStatus, LineItemOwner
from farthing.subscriptions.line_items.price_sync import (
    PAGE,
    NewLines,
    SyncCounts,
    end_terminated,
    lock_page,
    prices_up_to,
)
from farthing.subscriptions.line_items.rows import ItemOrigin, fits, meters_of
from farthing.subscriptions.tables import AddonAssociation, Subscription, SubscriptionLineItem


async def sync_page(
    session: AsyncSession, addon_id: str, target: int, *, after: str = "", limit: int = PAGE
) -> SyncCounts:
    """Synchronise the next subscriptions that have the addon attached and active, by id, with its prices to `target`.

    Commit each page. Fixed prices create no lines; lines of terminated ones always end. Running a page twice changes
    nothing.
    """
    addon = await find(session, Addon, addon_id)
    attached = Subscription.id.in_(select(AddonAssociation.subscription_id).where(*_active(addon_id)))
    rows = await lock_page(session, [attached], after, limit)
    counts = SyncCounts(last_id=rows[-1].id if len(rows) == limit else None)
    if not rows:
        return counts
    # read under the locks of their subscriptions: whoever attaches or detaches takes those first
    associations = await _associations(session, addon_id, [row.id for row in rows])
    ids = [association.id for each in associations.values() for association in each]
    items = await _items(session, ids)
    overridden = await _overridden(session, items)
    prices = await prices_up_to(session, PriceEntityType.ADDON, addon_id, target)
    by_id = {price.id: price for price in prices}
    lines = NewLines(await meters_of(session, prices), {"added_by": "addon_sync_api", "sync_version": str(target)})
    for subscription in rows:
        made = ended = 0
        for association in associations[subscription.id]:
            own = items[association.id]
            held = {item.price_id for item in own}
            instead = overridden.get(association.id, set())
            missing = [price for price in prices if _missing(price, subscription, held, instead)]
            origin = ItemOrigin(LineItemOwner.ADDON, addon.id, addon.name, association_id=association.id)
            end = association.end_date or subscription.end_date
            made += lines.add(session, subscription, missing, origin, association.start_date, end)
            ended += end_terminated(subscription, own, by_id)
        await counts.count(session, subscription, made, ended)
    await session.flush()
    return counts


def _active(addon_id: str) -> tuple[ColumnElement[bool], ...]:
    return (
        AddonAssociation.addon_id == addon_id,
        AddonAssociation.status == Status.PUBLISHED,
        AddonAssociation.addon_status == AddonStatus.ACTIVE,
    )


def _missing(price: Price, subscription: Subscription, held: set[str], overridden: set[str | None]) -> bool:
    """Whether the attachment should have a line of this price and has none: an override wins."""
    return (
        price.type is PriceType.USAGE
        and price.currency == subscription.currency
        and price.billing_period is not BillingPeriod.ONETIME
        and fits(price.billing_period, price.billing_period_count, subscription)
        and price.id not in held
        and not {price.id, price.parent_price_id} & overridden
    )


async def _associations(
    session: AsyncSession, addon_id: str, subscription_ids: Sequence[str]
) -> dict[str, list[AddonAssociation]]:
    """The active attachments of the addon to each subscription, earliest first."""
    found: dict[str, list[AddonAssociation]] = defaultdict(list)
    for row in await session.scalars(
        select(AddonAssociation)
        .where(AddonAssociation.subscription_id.in_(subscription_ids), *_active(addon_id))
        .order_by(AddonAssociation.start_date, AddonAssociation.id)
    ):
        found[row.subscription_id].append(row)
    return found


async def _items(session: AsyncSession, ids: Sequence[str]) -> dict[str, list[SubscriptionLineItem]]:
    """All line items of each attachment, ended ones included."""
    found: dict[str, list[SubscriptionLineItem]] = defaultdict(list)
    for row in await session.scalars(
        select(SubscriptionLineItem).where(
            # by subscription for the index, which knows no attachments
            SubscriptionLineItem.subscription_id.in_(
                select(AddonAssociation.subscription_id).where(AddonAssociation.id.in_(ids))
            ),
            SubscriptionLineItem.addon_association_id.in_(ids),
            SubscriptionLineItem.status == Status.PUBLISHED,
        )
    ):
        found[row.addon_association_id or ""].append(row)
    return found


async def _overridden(
    session: AsyncSession, items: Mapping[str, Sequence[SubscriptionLineItem]]
) -> dict[str, set[str | None]]:
    """The roots that each attachment has a price of its own for, whatever other attachments have."""
    charged = {item.price_id for each in items.values() for item in each}
    rows = await session.execute(
        select(Price.id, Price.parent_price_id).where(
            Price.id.in_(charged),
            Price.entity_type == PriceEntityType.SUBSCRIPTION,
            Price.status == Status.PUBLISHED,
            Price.parent_price_id.is_not(None),
        )
    )
    roots = {row.id: row.parent_price_id for row in rows}
    return {
        association_id: {roots[item.price_id] for item in each if item.price_id in roots}
        for association_id, each in items.items()
    }
