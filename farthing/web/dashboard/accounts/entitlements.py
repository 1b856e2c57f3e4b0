"""The usage windows of a subscription's entitlements, for its page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.calculation.quotas.usage import QuotaWindow
from farthing.billing.entitlement_grants.open_cycles import windows_at
from farthing.catalogue.products.tables import Feature
from farthing.storage.queries.rows import in_array
from farthing.subscriptions.snapshot.loading import load_one

MOST_SHOWN = 50


@dataclass(frozen=True, slots=True)
class ShownWindow:
    """A usage window of the open period, and the name of its feature."""

    feature: str
    window: QuotaWindow
    is_open: bool


async def usage_windows_of(session: AsyncSession, subscription_id: str, now: datetime) -> list[ShownWindow]:
    """The usage windows of a subscription's open period, the latest first."""
    cycles = await windows_at(session, [await load_one(session, subscription_id)], now)
    if not cycles:
        return []
    rows = await session.execute(
        select(Feature.id, Feature.name).where(in_array(Feature.id, {cycle.feature_id for cycle in cycles}))
    )
    names = dict(rows.all())
    shown = [
        ShownWindow(names.get(cycle.feature_id, cycle.feature_id), window, window.start <= now < window.end)
        for cycle in cycles
        for window in cycle.usage.windows
    ]
    return sorted(shown, key=lambda each: (each.window.start, each.window.entitlement_id), reverse=True)[:MOST_SHOWN]
