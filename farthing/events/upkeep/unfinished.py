"""Finishing what a process that ended has left half stored."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.events.usage.event_store import store_of


async def finish_writes(session: AsyncSession, now: datetime) -> int:
    """The duty: finish the writes of this environment that nobody works on; how many there were.

    PostgreSQL leaves none: a transaction commits or not.
    """
    return await store_of(session).finish_writes(session, now)
