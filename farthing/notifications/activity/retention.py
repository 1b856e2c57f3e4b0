"""Forgetting what is older than an environment keeps, whole months at a time; what belongs to the tenant alone stays.

Rule: docs/rules/activity.md#how-long-it-is-kept
Rule: docs/rules/activity.md#append-only
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.identity.settings import current
from farthing.identity.settings.catalogue import ActivityConfig
from farthing.storage.postgres import real_clock_of, scope_of

BATCH = 5_000
_FORGET = text("SELECT forget_activities(:environment_id, :before, :most)")


async def forget_old_activities(session: AsyncSession, now: datetime) -> int:
    """Forget a batch of what is older than the environment keeps, by its clock or the real one; how many rows."""
    days = (await current.read(session, ActivityConfig)).retention_days
    if not days:
        return 0
    oldest_kept = min(now, real_clock_of(session).now()) - timedelta(days=days)
    parameters = {
        "environment_id": scope_of(session).environment_id,
        "before": oldest_kept.replace(day=1, hour=0, minute=0, second=0, microsecond=0),
        "most": BATCH,
    }
    return int((await session.execute(_FORGET, parameters)).scalar_one())
