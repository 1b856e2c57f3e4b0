"""Which line items are versions of one another: a change of quantity or price ends one and begins the next."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.enums import Status
from farthing.storage.queries.rows import in_array
from farthing.subscriptions.tables import SubscriptionLineItem


async def later_versions(session: AsyncSession, item_ids: Collection[str]) -> Mapping[str, Sequence[str]]:
    """All versions that have followed each of these line items, oldest first."""
    item = SubscriptionLineItem
    later = (
        select(item.replaces_id.label("first"), item.id.label("id"))
        .where(in_array(item.replaces_id, item_ids), item.status == Status.PUBLISHED)
        .cte("later", recursive=True)
    )
    later = later.union_all(
        select(later.c.first, item.id)
        .join(later, item.replaces_id == later.c.id)
        .where(item.status == Status.PUBLISHED)
    )
    rows = await session.execute(
        select(later.c.first, later.c.id).join(item, item.id == later.c.id).order_by(item.start_date, item.id)
    )
    found: dict[str, list[str]] = defaultdict(list)
    for first, version in rows:
        found[first].append(version)
    return found
