"""Backfills, proofs and retention in PostgreSQL."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from sqlalchemy import Text, func, literal, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.events.ingest import store
from farthing.events.tables import MeterUsage
from farthing.events.usage.event_store import EventRow, Measured, Totals, Visited
from farthing.metering.meter import Meter
from farthing.storage.postgres import scope_of

FORGOTTEN_AT_ONCE = 5_000

_USAGE = MeterUsage.__table__
_VISIT = text(
    "SELECT count(*), max(id) FROM "
    "(SELECT id FROM events WHERE environment_id = :environment AND id > :reached ORDER BY id LIMIT :batch) AS visited"
)
_HOLD = text(
    """
    SELECT id, external_customer_id, customer_id, event_name, timestamp, source, properties::text AS properties,
        environment_id, ingested_at, sequence, coalesce(owner_sequence, sequence) AS arrival, owner_sequence
    FROM events
    WHERE environment_id = :environment AND id > :reached AND id <= :last AND event_name = :event_name
    ORDER BY id COLLATE "C" FOR SHARE
    """
)
_ADD = text(
    """
    INSERT INTO meter_usage
        (environment_id, meter_id, external_customer_id, timestamp, sequence, owner_sequence, quantity, key,
            quantity_error)
    SELECT :environment, :meter_id, * FROM unnest(
        CAST(:customers AS text[]), CAST(:timestamps AS timestamptz[]), CAST(:sequences AS bigint[]),
        CAST(:owners AS bigint[]), CAST(:quantities AS numeric[]), CAST(:keys AS text[]), CAST(:errors AS text[]))
    ON CONFLICT (environment_id, meter_id, external_customer_id, timestamp, sequence) DO NOTHING
    RETURNING external_customer_id
    """
)
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
_FORGET = text("DELETE FROM events WHERE environment_id = :environment AND id = ANY(:ids)")


async def await_appends(session: AsyncSession) -> None:
    await store.await_appends(session, scope_of(session).environment_id)


async def count_up_to(session: AsyncSession, most: int) -> int:
    visit_of_all = {"environment": scope_of(session).environment_id, "reached": "", "batch": most}
    stored, _ = (await session.execute(_VISIT, visit_of_all)).one()
    return int(stored)


async def visit(session: AsyncSession, name: str, reached: str, batch: int) -> Visited:
    """The events stay locked, so that a correction cannot slip in between measuring and storing."""
    here = {"environment": scope_of(session).environment_id, "reached": reached}
    count, last = (await session.execute(_VISIT, {**here, "batch": batch})).one()
    if not count:
        return Visited(0, None, [])
    held = await session.execute(_HOLD, {**here, "last": last, "event_name": name})
    return Visited(count, last, [(EventRow(*row), owner) for *row, owner in held])


async def add_missing(session: AsyncSession, meter: Meter, measured: Sequence[Measured]) -> Sequence[str]:
    added = await session.execute(
        _ADD,
        {
            "environment": scope_of(session).environment_id,
            "meter_id": meter.id,
            "customers": [part.row.external_customer_id for part in measured],
            "timestamps": [part.row.timestamp for part in measured],
            "sequences": [part.row.sequence for part in measured],
            "owners": [part.owner_sequence for part in measured],
            "quantities": [part.quantity for part in measured],
            "keys": [part.key for part in measured],
            "errors": [part.quantity_error for part in measured],
        },
    )
    return added.scalars().all()


async def totals(session: AsyncSession, meter_ids: Collection[str], start: datetime, end: datetime) -> Totals:
    day = func.date_trunc(literal("day", Text), _USAGE.c.timestamp, literal("UTC", Text)).label("day")
    inner = (
        select(_USAGE.c.meter_id, day, _USAGE.c.quantity)
        .where(
            _USAGE.c.environment_id == scope_of(session).environment_id,
            _USAGE.c.meter_id.in_(sorted(meter_ids)),
            _USAGE.c.timestamp >= start,
            _USAGE.c.timestamp < end,
        )
        .subquery()
    )
    found = await session.execute(
        select(inner.c.meter_id, inner.c.day, func.count(), func.sum(inner.c.quantity)).group_by(
            inner.c.meter_id, inner.c.day
        )
    )
    return {(meter_id, day.astimezone(UTC)): (rows, total) for meter_id, day, rows, total in found}


async def forget(session: AsyncSession, before: datetime, kept: Collection[str]) -> int:
    """Oldest first."""
    here = {"environment": scope_of(session).environment_id}
    ids = list(await session.scalars(_OLD, {**here, "before": before, "batch": FORGOTTEN_AT_ONCE}))
    if ids:
        await session.execute(_UNCOUNT, {**here, "ids": ids, "kept": list(kept)})
        await session.execute(_FORGET, {**here, "ids": ids})
    return len(ids)
