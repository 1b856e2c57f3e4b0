"""Backfills, proofs and retention in ClickHouse, beneath the lock of the environment's writes where they write."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.events.ingest.store import await_appends as await_postgres
from farthing.events.stores.clickhouse.client import ClickHouse
from farthing.events.stores.clickhouse.moments import at_millisecond, first_millisecond_from, milliseconds
from farthing.events.stores.clickhouse.queries.reading import find_places, find_quantities
from farthing.events.stores.clickhouse.records import row_of, usage_record
from farthing.events.stores.clickhouse.schema import BY_NAME, EVENTS, IDS, USAGE, local_name
from farthing.events.stores.clickhouse.writes.appending import first_sequence_of
from farthing.events.stores.clickhouse.writes.pending import lock_until_end
from farthing.events.usage.event_store import Measured, Totals, Visited
from farthing.metering.meter import Meter
from farthing.storage.postgres import scope_of

FORGOTTEN_AT_ONCE = 100_000
_DAY = 24 * 60 * 60 * 1000


async def await_appends(clickhouse: ClickHouse, session: AsyncSession) -> None:
    # in this order, which is that of appends
    await lock_until_end(session, clickhouse)
    await await_postgres(session, scope_of(session).environment_id)


async def count_up_to(clickhouse: ClickHouse, session: AsyncSession, most: int) -> int:
    rows = await clickhouse.rows(
        f"SELECT count() FROM (SELECT id FROM {clickhouse.database}.event_ids FINAL "
        f"WHERE environment_id = %(environment)s LIMIT {most})",
        {"environment": scope_of(session).environment_id},
    )
    return int(rows[0][0])


async def visit(clickhouse: ClickHouse, session: AsyncSession, name: str, reached: str, batch: int) -> Visited:
    environment = scope_of(session).environment_id
    await lock_until_end(session, clickhouse)
    places = await clickhouse.rows(
        f"SELECT id, event_name, external_customer_id, timestamp FROM {clickhouse.database}.event_ids FINAL "
        f"WHERE environment_id = %(environment)s AND id > %(reached)s ORDER BY id LIMIT {batch}",
        {"environment": environment, "reached": reached},
    )
    named = {tuple(place) for place in places if place[1] == name}
    stored = await find_places(clickhouse, environment, named) if named else {}
    rows = [(row_of(stored[event_id], environment), stored[event_id].owner_sequence) for event_id in sorted(stored)]
    return Visited(len(places), places[-1][0] if places else None, rows)


async def add(
    clickhouse: ClickHouse, session: AsyncSession, meter: Meter, measured: Sequence[Measured]
) -> Sequence[str]:
    """The version is that of the walk, which is later than whatever was done to a row before."""
    environment = scope_of(session).environment_id
    there = await find_quantities(clickhouse, session, [part.row for part in measured], [meter.id])
    counted = {quantity.event_id for quantity in there}
    missing = [part for part in measured if part.row.id not in counted]
    if not missing:
        return []
    version = await first_sequence_of(await lock_until_end(session, clickhouse))
    rows = [
        usage_record(
            environment, meter.id, part.row.external_customer_id, milliseconds(part.row.timestamp), part.row.id,
            part.quantity, part.key, part.quantity_error, part.row.sequence, part.owner_sequence, version,
        )
        for part in missing
    ]  # fmt: skip
    token = f"{environment} {version} {meter.id} {missing[-1].row.id}"
    columns = BY_NAME[USAGE].column_names
    await clickhouse.insert(USAGE, columns, [msgspec.structs.astuple(row) for row in rows], token)
    return [part.row.external_customer_id for part in missing]


async def totals(
    clickhouse: ClickHouse, session: AsyncSession, meter_ids: Collection[str], start: datetime, end: datetime
) -> Totals:
    if not meter_ids:
        return {}
    rows = await clickhouse.rows(
        f"SELECT meter_id, timestamp - positiveModulo(timestamp, {_DAY}) AS day, count(), sum(quantity) "
        f"FROM {clickhouse.database}.meter_usage FINAL WHERE environment_id = %(environment)s "
        "AND meter_id IN %(meters)s AND timestamp >= %(start)s AND timestamp < %(end)s GROUP BY meter_id, day",
        {
            "environment": scope_of(session).environment_id,
            "meters": tuple(sorted(meter_ids)),
            "start": first_millisecond_from(start),
            "end": first_millisecond_from(end),
        },
    )
    return {(meter_id, at_millisecond(day)): (count, total) for meter_id, day, count, total in rows}


async def forget(clickhouse: ClickHouse, session: AsyncSession, before: datetime, kept: Collection[str]) -> int:
    """Ids go first, in batches, as deleted rows: deleting them would bring back where an event stood before. The rest
    goes at once, because all versions of a row share their time. How many ids there were, or 1 for the rest."""
    environment = scope_of(session).environment_id
    version = await first_sequence_of(await lock_until_end(session, clickhouse))
    given = {"environment": environment, "before": first_millisecond_from(before)}
    old = "environment_id = %(environment)s AND timestamp < %(before)s"
    ids = await clickhouse.rows(
        f"SELECT id, event_name, external_customer_id, timestamp FROM {clickhouse.database}.event_ids FINAL "
        f"WHERE {old} LIMIT {FORGOTTEN_AT_ONCE}",
        given,
    )
    gone = [(environment, *place, version, 1) for place in ids]
    await clickhouse.insert(IDS, BY_NAME[IDS].column_names, gone, f"{environment} {version} forgotten")
    if len(ids) == FORGOTTEN_AT_ONCE:
        return len(ids)
    left = await clickhouse.rows(f"SELECT count() FROM {clickhouse.database}.events WHERE {old}", given)
    if not left[0][0]:
        return len(ids)
    address = clickhouse.address
    counted = f"{old} AND meter_id NOT IN %(kept)s" if kept else old
    usage_given = {**given, "kept": tuple(sorted(kept))} if kept else given
    await clickhouse.command(f"DELETE FROM {local_name(USAGE, address)} WHERE {counted}", usage_given)
    await clickhouse.command(f"DELETE FROM {local_name(EVENTS, address)} WHERE {old}", given)
    return max(len(ids), 1)
