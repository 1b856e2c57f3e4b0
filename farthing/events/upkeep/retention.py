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
from farthing.metering.meter import AggregationType, ResetUsage
from farthing.storage.postgres import ports_of, scope_of

BATCH = 5_000

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
_FORGET = text("DELETE FROM events WHERE environment_id = :environment AND id = ANY(:ids)")


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
    environment_id = scope_of(session).environment_id
    here = {"environment": environment_id}
    bounds = {**here, "before": before, "batch": BATCH}
    ids = list(await session.scalars(_OLD, bounds))
    withdrawn = (await session.execute(_FORGET_WITHDRAWN, bounds)).all()
    versions = (await session.execute(_FORGET_VERSIONS, bounds)).all()
    if ids:
        kept = await session.scalars(
            select(tables.MeterRow.id).where(
                tables.MeterRow.aggregation_type == AggregationType.WEIGHTED_SUM,
                tables.MeterRow.reset_usage == ResetUsage.NEVER,
            )
        )
        await session.execute(_UNCOUNT, {**here, "ids": ids, "kept": list(kept)})
        await session.execute(_FORGET, {**here, "ids": ids})
    return len(ids) + len(withdrawn) + len(versions)
