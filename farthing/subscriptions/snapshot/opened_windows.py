"""The usage windows that were opened for grants of entitlements, as calculations see them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.storage.queries.rows import in_array
from farthing.subscriptions.snapshot.entitlements import Entitled, OpenedWindow
from farthing.subscriptions.tables import Subscription
from farthing.subscriptions.usage_windows import EntitlementGrant


async def load_opened_windows(
    session: AsyncSession,
    rows: Sequence[Subscription],
    included: Mapping[str, Sequence[Entitled]],
    since: datetime | None,
) -> dict[str, list[OpenedWindow]]:
    """The usage windows, from the open periods or `since` on, of the subscriptions that have a grant."""
    having = [row for row in rows if any(source.grant is not None for source in included.get(row.id, ()))]
    found: dict[str, list[OpenedWindow]] = defaultdict(list)
    if not having:
        return found
    first = min(row.full_period_start for row in having)
    table = EntitlementGrant
    for window in await session.scalars(
        select(table)
        .where(
            in_array(table.subscription_id, [row.id for row in having]),
            table.valid_to > (first if since is None else min(since, first)),
        )
        .order_by(table.valid_from, table.id)
        .execution_options(populate_existing=True)
    ):
        found[window.subscription_id].append(_as_value(window))
    return found


def _as_value(window: EntitlementGrant) -> OpenedWindow:
    """A window as calculations see it."""
    return OpenedWindow(
        window.id,
        window.entitlement_config_id,
        window.feature_id,
        window.measure,
        window.duration_unit,
        window.quota,
        window.valid_from,
        window.valid_to,
        window.quota_crossed_at,
        window.last_computed_at,
    )
