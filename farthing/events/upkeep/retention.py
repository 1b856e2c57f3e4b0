"""Forgetting old events, in bounded batches, and never what somebody still needs.

`EventPorts.find_earliest_needed` says how far back whatever is billed later still reaches; nothing at or after that
instant is deleted. Usage rows of levels that live on for ever are kept beyond their events, because a level is the sum
of all its changes.
Rule: docs/rules/metering.md#retention
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.products import tables
from farthing.events.ports import EventPorts
from farthing.events.usage.event_store import store_of
from farthing.metering.meter import AggregationType, ResetUsage
from farthing.storage.postgres import ports_of, scope_of

BATCH = 5_000

_FORGET_WITHDRAWN = text(
    """
    DELETE FROM events_withdrawn WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM events_withdrawn WHERE environment_id = :environment AND timestamp < :before
        ORDER BY timestamp LIMIT :batch FOR UPDATE SKIP LOCKED
    )) RETURNING timestamp
    """
)
_FORGET_VERSIONS = text(
    """
    DELETE FROM event_versions WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM event_versions WHERE environment_id = :environment AND timestamp < :before
        ORDER BY timestamp LIMIT :batch FOR UPDATE SKIP LOCKED
    )) RETURNING timestamp
    """
)


def retention(keep: timedelta) -> Callable[[AsyncSession, datetime], Awaitable[int]]:
    """The duty that forgets events older than `keep`; each call is one batch and answers how many it deleted."""

    async def duty(session: AsyncSession, now: datetime) -> int:
        return await forget_before(session, await cutoff(session, now, keep))

    return duty


async def cutoff(session: AsyncSession, now: datetime, keep: timedelta) -> datetime:
    """The instant before which nothing is needed any more."""
    needed = await ports_of(session, EventPorts).find_earliest_needed(session, now)
    return now - keep if needed is None else min(now - keep, needed)


async def forget_before(session: AsyncSession, before: datetime) -> int:
    """Delete one batch of events older than `before`, oldest first, with what they count, and as many at most of the
    marks of withdrawn ones and of former versions; how many of all."""
    bounds = {"environment": scope_of(session).environment_id, "before": before, "batch": BATCH}
    withdrawn = (await session.execute(_FORGET_WITHDRAWN, bounds)).all()
    versions = (await session.execute(_FORGET_VERSIONS, bounds)).all()
    kept = await session.scalars(
        select(tables.MeterRow.id).where(
            tables.MeterRow.aggregation_type == AggregationType.WEIGHTED_SUM,
            tables.MeterRow.reset_usage == ResetUsage.NEVER,
        )
    )
    events = await store_of(session).upkeep.forget(session, before, kept.all())
    return events + len(withdrawn) + len(versions)
