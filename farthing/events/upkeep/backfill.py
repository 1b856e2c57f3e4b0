"""Bringing stored events to a meter that came after them, in bounded batches, resumable and repeatable.

A batch visits events in the order of their ids, measures those of the meter's name and adds what is missing. It holds
the visited events, so that a correction cannot slip in between measuring and storing. An event that is sent or replaced
meanwhile is measured by its append, which knows the meter: see `store`.

Where few events are stored, the first backfill of a meter is done in the transaction that makes the meter. A longer one
is waited for by whatever would compute a final invoice.
Rule: docs/rules/metering.md#new-meters-and-wider-filters
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.products import tables
from farthing.core.enums import Status
from farthing.events.ingest.measuring import measure_with
from farthing.events.ingest.meters import meter_of
from farthing.events.ingest.sequence import first_sequence
from farthing.events.tables import MeterBackfill
from farthing.events.upkeep.notices import leave_notice
from farthing.events.usage.event_store import EventRow, Measured, event_of, store_of
from farthing.metering.meter import Meter
from farthing.storage.postgres import clock_of, scope_of
from farthing.storage.queries.rows import in_array

BATCH = 5_000
MOST_AT_ONCE = 10_000
"""How many stored events a new meter visits in its own transaction, which holds up the events of its environment."""
COST_OF_A_BATCH = 500_000
"""Rows are held while a batch is measured: of a meter that costs much, fewer at a time."""


async def backfill(session: AsyncSession, now: datetime) -> int:
    """Do one batch of one unfinished backfill; how many events were visited, at least 1 unless none is left to do.

    The duty: call it, each time in a transaction of its own, until it answers 0. Two at once take different meters.
    """
    row = (
        await session.scalars(
            select(MeterBackfill)
            .where(MeterBackfill.finished_at.is_(None))
            .order_by(MeterBackfill.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
    ).one_or_none()
    if row is None:
        return 0
    if row.started_at is None:
        await store_of(session).upkeep.await_appends(session)
        row.started_at = now
        return 1
    return max(await _visit(session, row, now), 1)


async def fill_new_meter(session: AsyncSession, meter_id: str) -> None:
    """Do the whole first backfill of a meter that this transaction makes, unless too many events are stored.

    Appends wait until the transaction ends, and know the meter then.
    """
    upkeep = store_of(session).upkeep
    await upkeep.await_appends(session)
    if await upkeep.count_up_to(session, MOST_AT_ONCE + 1) > MOST_AT_ONCE:
        return
    row = await session.get_one(MeterBackfill, meter_id)
    now = clock_of(session).now()
    row.started_at = now
    while row.finished_at is None:
        await _visit(session, row, now)


async def unfilled(session: AsyncSession, meter_ids: Collection[str] | None = None) -> frozenset[str]:
    """The meters, among these or all, whose first backfill is not done: stored usage is missing from them."""
    query = select(MeterBackfill.id).where(
        MeterBackfill.finished_at.is_(None), MeterBackfill.finished_sequence.is_(None)
    )
    if meter_ids is not None:
        query = query.where(in_array(MeterBackfill.id, meter_ids))
    return frozenset(await session.scalars(query))


async def _visit(session: AsyncSession, row: MeterBackfill, now: datetime) -> int:
    """One batch; how many events were visited."""
    meter = await session.get_one(tables.MeterRow, row.id)
    measuring = meter_of(meter)
    batch = max(min(BATCH, COST_OF_A_BATCH // measuring.cost), 1)
    visited = await store_of(session).upkeep.visit(session, row.event_name, row.reached, batch)
    is_live = meter.status == Status.PUBLISHED
    if visited.rows and is_live:
        row.metered += await _add(session, measuring, visited.rows, now)
    row.visited += visited.count
    row.reached = visited.last or row.reached
    if visited.count < batch or not is_live:
        is_first = row.finished_sequence is None
        # what a meter counts from the beginning is no widening, whenever its backfill ends
        row.finished_at, row.finished_sequence = now, 0 if is_first else await first_sequence(session)
    return visited.count


async def _add(session: AsyncSession, meter: Meter, rows: Sequence[tuple[EventRow, int | None]], now: datetime) -> int:
    """Measure these events; how many usage rows were missing.

    Whose usage grows is noticed as if it had come at `now`: spend and balances are looked at for it.
    """
    events = (((row, owner), event_of(row)) for row, owner in rows)
    measured = [
        Measured(row, owner, quantity.quantity, quantity.key, quantity.quantity_error)
        for (row, owner), _, quantity in await measure_with(scope_of(session).environment_id, meter, events)
    ]
    if not measured:
        return 0
    names = await store_of(session).upkeep.add(session, meter, measured)
    if names:
        await leave_notice(session, sorted(set(names)), now)
    return len(names)
