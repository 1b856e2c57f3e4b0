"""Forgetting old events, in bounded batches, and never what somebody still needs.

Floors above add to `NEEDED_SINCE` how far back their open and draft periods, and the free allowances that outlive a
period, reach; nothing at or after the earliest of those instants is deleted. Usage rows of levels that live on for ever
are kept beyond their events, because a level is the sum of all its changes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.products import tables
from farthing.metering.meter import AggregationType, ResetUsage
from farthing.storage.postgres import scope_of

BATCH = 5_000

Since = Callable[[AsyncSession, datetime], Awaitable[datetime | None]]
"""The earliest instant whose events something in this environment needs; None when it needs nothing."""

NEEDED_SINCE: Final[list[Since]] = []

_OLD = text(
    """
    SELECT id FROM events WHERE environment_id = :environment AND timestamp < :before
    ORDER BY timestamp LIMIT :batch FOR UPDATE SKIP LOCKED
    """
)
_UNCOUNT = text(
    """
    DELETE FROM meter_usage AS u USING events AS e, meters AS m
    WHERE e.environment_id = :environment AND e.id = ANY(:ids)
        AND m.environment_id = :environment AND m.event_name = e.event_name AND m.id <> ALL(:kept)
        AND u.environment_id = :environment AND u.meter_id = m.id
        AND u.external_customer_id = e.external_customer_id AND u.timestamp = e.timestamp AND u.sequence = e.sequence
    """
)
_FORGET_WITHDRAWN = text("DELETE FROM events_withdrawn WHERE environment_id = :environment AND timestamp < :before")
_FORGET = text("DELETE FROM events WHERE environment_id = :environment AND id = ANY(:ids)")


def retention(keep: timedelta) -> Callable[[AsyncSession, datetime], Awaitable[int]]:
    """The duty that forgets events older than `keep`; each call is one batch and answers how many it deleted."""

    async def duty(session: AsyncSession, now: datetime) -> int:
        return await forget_before(session, await cutoff(session, now, keep))

    return duty


async def cutoff(session: AsyncSession, now: datetime, keep: timedelta) -> datetime:
    """The instant before which nothing is needed any more."""
    before = now - keep
    for since in NEEDED_SINCE:
        needed = await since(session, now)
        if needed is not None:
            before = min(before, needed)
    return before


async def forget_before(session: AsyncSession, before: datetime) -> int:
    """Delete one batch of events older than `before`, oldest first, with what they count; how many."""
    environment_id = scope_of(session).environment_id
    here = {"environment": environment_id}
    found = await session.scalars(_OLD, {**here, "before": before, "batch": BATCH})
    ids = list(found)
    await session.execute(_FORGET_WITHDRAWN, {**here, "before": before})
    if ids:
        kept = await session.scalars(
            select(tables.MeterRow.id).where(
                tables.MeterRow.aggregation_type == AggregationType.WEIGHTED_SUM,
                tables.MeterRow.reset_usage == ResetUsage.NEVER,
            )
        )
        await session.execute(_UNCOUNT, {**here, "ids": ids, "kept": list(kept)})
        await session.execute(_FORGET, {**here, "ids": ids})
    return len(ids)
