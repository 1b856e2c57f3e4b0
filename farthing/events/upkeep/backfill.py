"""Bringing stored events to a meter that came after them, in bounded batches, resumable and repeatable.

A batch visits events in the order of their ids, measures those of the meter's name and adds what is missing. It holds
the visited events, so that a correction cannot slip in between measuring and storing. An event that is sent or replaced
meanwhile is measured by its append, which knows the meter: see `store`.

Where few events are stored, the first backfill of a meter is done in the transaction that makes the meter. A longer one
is waited for by whatever would compute a final invoice.
Rule: docs/rules/metering.md#new-meters-and-wider-filters
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from decimal import Decimal

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.products import tables
from farthing.core.enums import Status
from farthing.events.ingest.arrival import first_sequence
from farthing.events.ingest.measuring import measure_with
from farthing.events.ingest.meters import meter_of
from farthing.events.ingest.store import await_appends, stored_event
from farthing.events.tables import MeterBackfill
from farthing.events.upkeep.notices import leave_notice
from farthing.metering.meter import Meter
from farthing.storage.postgres import clock_of, scope_of
from farthing.storage.queries.rows import in_array

BATCH = 5_000
MOST_AT_ONCE = 10_000
"""How many stored events a new meter visits in its own transaction, which holds up the events of its environment."""
COST_OF_A_BATCH = 500_000
"""Rows are held while a batch is measured: of a meter that costs much, fewer at a time."""

_VISIT = text(
    "SELECT count(*), max(id) FROM "
    "(SELECT id FROM events WHERE environment_id = :environment AND id > :reached ORDER BY id LIMIT :batch) AS visited"
)
_HOLD = text(
    """
    SELECT id, event_name, external_customer_id, timestamp, properties::text, source, customer_id, sequence,
        owner_sequence
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
        await await_appends(session, scope_of(session).environment_id)
        row.started_at = now
        return 1
    return max(await _visit(session, row, now), 1)


async def fill_new_meter(session: AsyncSession, meter_id: str) -> None:
    """Do the whole first backfill of a meter that this transaction makes, unless too many events are stored.

    Appends wait until the transaction ends, and know the meter then.
    """
    environment_id = scope_of(session).environment_id
    await await_appends(session, environment_id)
    visit = {"environment": environment_id, "reached": "", "batch": MOST_AT_ONCE + 1}
    stored, _ = (await session.execute(_VISIT, visit)).one()
    if stored > MOST_AT_ONCE:
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
    here = {"environment": scope_of(session).environment_id, "reached": row.reached}
    visited, last = (await session.execute(_VISIT, {**here, "batch": batch})).one()
    if visited and meter.status == Status.PUBLISHED:
        row.metered += await _add(session, row, measuring, last, now)
    row.visited += visited
    row.reached = last or row.reached
    if visited < batch or meter.status != Status.PUBLISHED:
        is_first = row.finished_sequence is None
        # what a meter counts from the beginning is no widening, whenever its backfill ends
        row.finished_at, row.finished_sequence = now, 0 if is_first else await first_sequence(session)
    return int(visited)


async def _add(session: AsyncSession, row: MeterBackfill, meter: Meter, last: str, now: datetime) -> int:
    """Measure the events after `row.reached` up to `last`; how many usage rows were missing.

    Whose usage grows is noticed as if it had come at `now`: spend and balances are looked at for it.
    """
    environment_id = scope_of(session).environment_id
    held = await session.execute(
        _HOLD,
        {"environment": environment_id, "reached": row.reached, "last": last, "event_name": row.event_name},
    )
    customers: list[str] = []
    timestamps: list[datetime] = []
    sequences: list[int] = []
    owners: list[int | None] = []
    quantities: list[Decimal] = []
    keys: list[str] = []
    errors: list[str | None] = []
    events = (((sequence, owner), stored_event(*content)) for *content, sequence, owner in held)
    for (sequence, owner), event, measured in await measure_with(environment_id, meter, events):
        customers.append(event.external_customer_id)
        timestamps.append(event.timestamp)
        sequences.append(sequence)
        owners.append(owner)
        quantities.append(measured.quantity)
        keys.append(measured.key)
        errors.append(measured.quantity_error)
    if not sequences:
        return 0
    added = await session.execute(
        _ADD,
        {
            "environment": environment_id,
            "meter_id": meter.id,
            "customers": customers,
            "timestamps": timestamps,
            "sequences": sequences,
            "owners": owners,
            "quantities": quantities,
            "keys": keys,
            "errors": errors,
        },
    )
    names = added.scalars().all()
    if names:
        await leave_notice(session, sorted(set(names)), now)
    return len(names)
