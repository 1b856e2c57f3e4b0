"""Forgetting old attempts and deliveries that have ended; the events themselves stay.

Rule: docs/rules/webhooks.md#messages
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.storage.postgres import real_clock_of, scope_of

KEPT = timedelta(days=90)
BATCH = 5_000

_FORGET = (
    """
    DELETE FROM webhook_attempts WHERE id IN (
        SELECT id FROM webhook_attempts WHERE environment_id = :environment_id AND attempted_at < :before LIMIT :batch)
    """,
    """
    DELETE FROM webhook_deliveries WHERE id IN (
        SELECT id FROM webhook_deliveries
        WHERE environment_id = :environment_id AND state <> 'pending' AND finished_at < :before LIMIT :batch)
    """,
)


async def forget_old_deliveries(session: AsyncSession, _now: datetime) -> int:
    """Forget a batch of what is older than it is kept, in real time; how many rows."""
    before = real_clock_of(session).now() - KEPT
    parameters = {"environment_id": scope_of(session).environment_id, "before": before, "batch": BATCH}
    forgotten = 0
    for statement in _FORGET:
        result = await session.execute(text(statement), parameters)
        forgotten += result.rowcount  # type: ignore[attr-defined]  # of a statement that writes
    return forgotten
