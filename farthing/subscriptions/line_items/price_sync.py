"""Bringing the line items of living subscriptions in line with the prices of their plan or addon.

Nothing is invoiced or prorated here; a line that begins or ends inside the open period is billed pro rata by the
billing rules. Closed periods keep the lines they were invoiced with.
Rule: docs/rules/pricing.md#synchronising-line-items
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.enums import PriceEntityType
from farthing.catalogue.plans.tables import Plan
from farthing.catalogue.prices.tables import Price
from farthing.catalogue.products.tables import MeterRow
from farthing.core.enums import PriceType, Status
from farthing.storage.queries.rows import find
from farthing.subscriptions.changes.events import record_change
from farthing.subscriptions.enums import LineItemOwner, SubscriptionStatus, SubscriptionType
from farthing.subscriptions.line_items.rows import ItemOrigin, line_item, meters_of
from farthing.subscriptions.tables import Subscription, SubscriptionLineItem

PAGE = 100
REACHED = (
    SubscriptionStatus.ACTIVE,
    SubscriptionStatus.TRIALING,
    SubscriptionStatus.DRAFT,
    SubscriptionStatus.INCOMPLETE,
)


@dataclass
class SyncCounts:
    """What a page of a synchronisation did. `last_id` is where the next page begins; None when there is no more."""

    subscriptions: int = 0
    created: int = 0
    ended: int = 0
    last_id: str | None = None

    async def count(self, session: AsyncSession, subscription: Subscription, made: int, ended: int) -> None:
        """Count a subscription with the lines it was given and lost, and record that it changed if there are any."""
        if made or ended:
            await record_change(session, subscription)
        self.subscriptions += 1
        self.created += made
        self.ended += ended


async def target_sequence(session: AsyncSession, owner_id: str, owner: PriceEntityType = PriceEntityType.PLAN) -> int:
    """The newest sequence among the owner's published prices: what a run that starts now brings line items to."""
    newest = await session.scalar(
        select(func.max(Price.sequence)).where(
            Price.entity_type == owner, Price.entity_id == owner_id, Price.status == Status.PUBLISHED
        )
    )
    return newest or 0


async def sync_page(
    session: AsyncSession,
    plan_id: str,
    target: int,
    *,
    after: str = "",
    limit: int = PAGE,
    fixed_too: bool = False,
) -> SyncCounts:
    """Synchronise the next subscriptions of a plan whose marker is below `target`, by id.

    Commit each page. Fixed prices create no lines unless `fixed_too`; lines of terminated ones always end. Running a
    page twice changes nothing.
    """
    plan = await find(session, Plan, plan_id)
    behind = (Subscription.plan_id == plan_id, Subscription.synced_price_sequence < target)
    rows = await lock_page(session, behind, after, limit)
    counts = SyncCounts(last_id=rows[-1].id if len(rows) == limit else None)
    if not rows:
        return counts
    prices = await prices_up_to(session, PriceEntityType.PLAN, plan_id, target)
    items = await _items(session, [row.id for row in rows])
    overridden = await _overridden(session, [row.id for row in rows])
    lines = NewLines(await meters_of(session, prices), {"added_by": "plan_sync_api", "sync_version": str(target)})
    origin = ItemOrigin(LineItemOwner.PLAN, plan.id, plan.name)
    for subscription in rows:
        own = items[subscription.id]
        held = {item.price_id for item in own}
        missing = [
            price
            for price in prices
            if _missing(price, subscription, held, overridden[subscription.id], fixed_too=fixed_too)
        ]
        made = lines.add(session, subscription, missing, origin, subscription.start_date, subscription.end_date)
        ended = end_terminated(subscription, own, {price.id: price for price in prices})
        subscription.synced_price_sequence = max(subscription.synced_price_sequence, target)
        await counts.count(session, subscription, made, ended)
    await session.flush()
    return counts


async def lock_page(
    session: AsyncSession, belonging: Collection[ColumnElement[bool]], after: str, limit: int
) -> Sequence[Subscription]:
    """The next living subscriptions that `belonging` picks, by id, locked; those that inherit have no lines."""
    return (
        await session.scalars(
            select(Subscription)
            .where(
                *belonging,
                Subscription.id > after,
                Subscription.status == Status.PUBLISHED,
                Subscription.subscription_status.in_(REACHED),
                Subscription.subscription_type != SubscriptionType.INHERITED,
            )
            .order_by(Subscription.id)
            .limit(limit)
            .with_for_update()
            .execution_options(populate_existing=True)
        )
    ).all()


@dataclass(frozen=True, slots=True)
class NewLines:
    """How a synchronisation makes lines: the meters of its prices, and the metadata that says who made them."""

    meters: Mapping[str, MeterRow]
    metadata: Mapping[str, str]

    def add(
        self,
        session: AsyncSession,
        subscription: Subscription,
        prices: Iterable[Price],
        origin: ItemOrigin,
        start: datetime,
        end: datetime | None,
    ) -> int:
        """Add a line for each price, from the open period on at the earliest; how many live at all."""
        made = 0
        for price in prices:
            begins = max(start, subscription.current_period_start)
            item = line_item(subscription, price, origin, self.meters, start=begins, end=end, metadata=self.metadata)
            if item.end_date is None or item.end_date > item.start_date:
                session.add(item)
                made += 1
        return made


def _missing(
    price: Price, subscription: Subscription, held: set[str], overridden: set[str | None], *, fixed_too: bool
) -> bool:
    """Whether the subscription should have a line of this price and has none: an override wins over both."""
    return (
        (fixed_too or price.type is PriceType.USAGE)
        and price.sequence > subscription.synced_price_sequence
        and price.currency == subscription.currency
        and (price.billing_period, price.billing_period_count)
        == (subscription.billing_period, subscription.billing_period_count)
        and (price.end_date is None or subscription.start_date < price.end_date)
        and price.id not in held
        and not {price.id, price.parent_price_id} & overridden
    )


def end_terminated(subscription: Subscription, items: Sequence[SubscriptionLineItem], prices: dict[str, Price]) -> int:
    """End the live lines whose price has an end, never inside a closed period; how many ends moved."""
    ended = 0
    for item in items:
        price = prices.get(item.price_id)
        if price is None or price.end_date is None:
            continue
        at = max(item.start_date, price.end_date, subscription.current_period_start)
        if item.end_date is None or item.end_date > at:
            item.end_date = at
            ended += 1
    return ended


async def prices_up_to(session: AsyncSession, owner: PriceEntityType, owner_id: str, target: int) -> list[Price]:
    """The owner's published prices, ended ones included, whose sequence is at most `target`; oldest first."""
    rows = await session.scalars(
        select(Price)
        .where(
            Price.entity_type == owner,
            Price.entity_id == owner_id,
            Price.status == Status.PUBLISHED,
            Price.sequence <= target,
        )
        .order_by(Price.sequence)
    )
    return list(rows)


async def _items(session: AsyncSession, ids: Sequence[str]) -> dict[str, list[SubscriptionLineItem]]:
    table = SubscriptionLineItem
    found: dict[str, list[SubscriptionLineItem]] = defaultdict(list)
    for row in await session.scalars(
        select(table).where(
            table.subscription_id.in_(ids),
            table.status == Status.PUBLISHED,
            or_(table.entity_type == LineItemOwner.PLAN, table.end_date.is_(None)),
        )
    ):
        found[row.subscription_id].append(row)
    return found


async def _overridden(session: AsyncSession, ids: Sequence[str]) -> dict[str, set[str | None]]:
    """The roots that each subscription has a price of its own for."""
    found: dict[str, set[str | None]] = defaultdict(set)
    rows = await session.execute(
        select(Price.entity_id, Price.parent_price_id).where(
            Price.entity_type == PriceEntityType.SUBSCRIPTION,
            Price.entity_id.in_(ids),
            Price.status == Status.PUBLISHED,
            Price.parent_price_id.is_not(None),
        )
    )
    for owner, parent in rows:
        found[owner].add(parent)
    return found
