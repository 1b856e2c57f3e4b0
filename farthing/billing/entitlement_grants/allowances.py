"""What the grants of subscriptions leave at a time, whether or not their windows were stored.

Rule: docs/rules/entitlements.md#what-a-grant-leaves
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.calculation.quotas.usage import QuotaWindow
from farthing.billing.calculation.quotas.windows import QuotaSlot
from farthing.billing.entitlement_grants.open_cycles import CycleWindows, windows_at
from farthing.subscriptions.ports import GrantAllowance
from farthing.subscriptions.snapshot.values import SubscriptionSnapshot


async def find_allowances(
    session: AsyncSession, snapshots: Sequence[SubscriptionSnapshot], now: datetime
) -> Mapping[tuple[str, str], list[GrantAllowance]]:
    """What each grant leaves at `now`, by subscription and feature."""
    return {
        (cycle.snapshot.id, cycle.feature_id): [_allowance(cycle, slot, now) for slot in cycle.question.slots]
        for cycle in await windows_at(session, snapshots, now)
    }


def _allowance(cycle: CycleWindows, slot: QuotaSlot, now: datetime) -> GrantAllowance:
    """The window that holds `now`; a whole quota that no window has taken up yet, where none does."""
    parallel = len(cycle.question.slots) > 1
    for window in cycle.usage.windows:
        if window.start <= now < window.end and (not parallel or window.entitlement_id == slot.entitlement_id):
            return allowance_of(cycle.snapshot, window)
    return GrantAllowance(slot.entitlement_id, slot.measure, slot.quota)


def allowance_of(snapshot: SubscriptionSnapshot, window: QuotaWindow) -> GrantAllowance:
    """What a window leaves of its quota."""
    opened = next((opened for opened in snapshot.opened if opened.id == window.opened_id), None)
    return GrantAllowance(
        window.entitlement_id,
        window.measure,
        window.quota,
        window.usage,
        window.start,
        window.end,
        window.crossed_at if opened is None or opened.crossed_at is None else opened.crossed_at,
        window.opened_id,
        None if opened is None else opened.computed_at,
    )
