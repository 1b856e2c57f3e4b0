"""Meters that do not count all stored events yet: what charges by them waits until they do.

Rule: docs/rules/metering.md#new-meters-and-wider-filters
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.events.upkeep.backfill import backfill, unfilled
from farthing.storage.postgres import Database
from farthing.storage.queries.rows import in_array
from farthing.storage.scope import Scope
from farthing.subscriptions.tables import Subscription, SubscriptionLineItem

_PAUSE_SECONDS = 0.1


async def charging_by_unfilled(session: AsyncSession, subscription_ids: Collection[str]) -> frozenset[str]:
    """Those of these subscriptions that, or whose children, have items of a meter whose first backfill is not done."""
    meters = await unfilled(session)
    if not meters:
        return frozenset()
    table, item = Subscription, SubscriptionLineItem
    charging = await session.execute(
        select(table.id, table.parent_subscription_id)
        .join(item, item.subscription_id == table.id)
        .where(
            in_array(item.meter_id, meters),
            or_(in_array(table.id, subscription_ids), in_array(table.parent_subscription_id, subscription_ids)),
        )
    )
    named = {subscription_id for row in charging for subscription_id in row}
    return frozenset(subscription_id for subscription_id in subscription_ids if subscription_id in named)


async def fill_meters(database: Database, scope: Scope, now: datetime) -> None:
    """Bring every first backfill of an environment to its end; one that another process is at is waited for."""
    while True:
        async with database.transaction(scope, read_only=True) as session:
            if not await unfilled(session):
                return
        async with database.transaction(scope) as session:
            visited = await backfill(session, now)
        if not visited:
            await asyncio.sleep(_PAUSE_SECONDS)
