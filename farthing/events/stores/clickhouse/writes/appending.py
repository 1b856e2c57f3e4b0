"""Appending to ClickHouse, exactly once: see `pending` for how.

What is decided is decided as in `ingest.store`, with the same errors, beneath the lock of the environment's writes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import psycopg
from psycopg.rows import TupleRow

from farthing.events.ingest import statements
from farthing.events.ingest.arrivals import (
    Appended,
    Arrival,
    EventsElsewhere,
    EventsOfOthers,
    MetersChanged,
    Placed,
    VoidedEvents,
    admitted,
    count_unmetered,
    last_of_each,
    may_replace,
)
from farthing.events.ingest.measuring import Counted, Measurements
from farthing.events.ingest.meters import MeterMemory
from farthing.events.ingest.parameters import text_array
from farthing.events.ingest.sequence import FIRST_SEQUENCE, MOST_IN_ONE_TRANSACTION
from farthing.events.stores.clickhouse.client import ClickHouse
from farthing.events.stores.clickhouse.queries.reading import find_stored
from farthing.events.stores.clickhouse.records import EventWrite, StoredVersion
from farthing.events.stores.clickhouse.writes.pending import (
    Connection,
    carry_out,
    cross_out,
    finish_open,
    lock_writes,
    record,
    unlock_writes,
)
from farthing.events.tables import MOVING
from farthing.metering.event import same_content
from farthing.storage.connections.messages import Statement, send_together
from farthing.storage.scope import Scope

_SCOPE = "SELECT set_config('farthing.tenant_id', %s, true), set_config('farthing.environment_id', %s, true)"
_METERS = "SELECT id, event_name FROM meters WHERE environment_id = %s AND event_name = ANY(%s)"


async def append_measured(
    clickhouse: ClickHouse,
    connection: psycopg.AsyncConnection[TupleRow],
    scope: Scope,
    arrivals: Sequence[Arrival],
    measured: Measurements,
    memory: MeterMemory,
) -> Appended:
    """As `ingest.store.append_measured`; raises ServiceUnavailable besides, where nothing was stored unless the store
    went away in the middle, when all of it will be."""
    if len(arrivals) > MOST_IN_ONE_TRANSACTION:
        raise ValueError(f"an append takes at most {MOST_IN_ONE_TRANSACTION} events")
    environment = scope.environment_id
    await lock_writes(connection, environment)
    try:
        async with connection.transaction():
            await connection.execute(_SCOPE, (scope.tenant_id, environment))
            await finish_open(connection, clickhouse, environment)
        async with connection.transaction():
            done, write = await _decide(clickhouse, connection, scope, arrivals, measured, memory)
        if write is not None:
            await carry_out(clickhouse, environment, write)
            async with connection.transaction():
                await connection.execute(_SCOPE, (scope.tenant_id, environment))
                await cross_out(connection, environment, write)
        return done
    finally:
        await unlock_writes(connection, environment)


async def _decide(
    clickhouse: ClickHouse,
    connection: Connection,
    scope: Scope,
    arrivals: Sequence[Arrival],
    measured: Measurements,
    memory: MeterMemory,
) -> tuple[Appended, EventWrite | None]:
    """What an append does, recorded in the connection's transaction; None where it changes nothing."""
    environment = scope.environment_id
    within = (scope.tenant_id, environment)
    _, ((version, rule, places),) = await send_together(
        connection, [Statement(statements.CONFINE, within), Statement(statements.RULES, within)]
    )
    if MOVING in places:
        raise EventsElsewhere
    if (version or 0) != measured.version:
        await memory.at(connection, environment, version or 0)
        raise MetersChanged
    taken = admitted(arrivals, rule)
    latest, rewritten = last_of_each(enumerate(arrivals) if taken is None else taken)
    if not latest:
        return Appended(refused=len(arrivals)), None
    ids = [arrival.event.id for _, arrival in latest]
    (refused,) = await send_together(connection, [Statement(statements.VOID, (environment, text_array(ids)))])
    if refused:
        raise VoidedEvents(event_id for (event_id,) in refused)
    stored = await find_stored(clickhouse, environment, ids)
    changed = _changed(latest, stored, rewritten)
    new = [placed for placed in latest if placed[1].event.id not in stored]
    done = Appended(
        added=len(new),
        replaced=len(changed),
        unchanged=len(latest) - len(new) - len(changed),
        refused=len({arrival.event.id for arrival in arrivals}) - len(latest),
        unmetered=count_unmetered([*new, *changed], measured),
    )
    if not (new or changed):
        return done, None
    write = EventWrite(await first_sequence_of(connection))
    replace(write, environment, changed, stored, measured, await meters_of(connection, environment, stored.values()))
    add(write, environment, new, measured)
    write = write.settled()
    await record(connection, environment, write)
    return done, write


async def first_sequence_of(connection: Connection) -> int:
    """Where the connection's transaction stands in the order of acceptance."""
    row = await (await connection.execute(f"SELECT {FIRST_SEQUENCE}")).fetchone()
    assert row is not None, "a SELECT of one value has a row"
    return int(row[0])


async def meters_of(
    connection: Connection, environment: str, stored: Iterable[StoredVersion]
) -> Mapping[str, Sequence[str]]:
    """The meters, whatever became of them, that may count stored events, by the events' names."""
    names = {version.event.event_name for version in stored}
    found: dict[str, list[str]] = defaultdict(list)
    if names:
        for meter_id, name in await (await connection.execute(_METERS, (environment, sorted(names)))).fetchall():
            found[name].append(meter_id)
    return found


def add(write: EventWrite, environment: str, placed: Sequence[Placed], measured: Measurements) -> None:
    """Let a write store events that are new."""
    counted = _by_place(measured)
    for place, arrival in placed:
        write.add(environment, arrival, write.sequence + place, None, counted.get(place, ()))
    if placed:
        write.notice(
            min(arrival.at for _, arrival in placed), (arrival.event.external_customer_id for _, arrival in placed)
        )


def replace(
    write: EventWrite,
    environment: str,
    placed: Sequence[Placed],
    stored: Mapping[str, StoredVersion],
    measured: Measurements,
    meters: Mapping[str, Sequence[str]],
) -> None:
    """Let a write store events in the place of those that are stored; an event keeps its owner under the same id of a
    customer."""
    counted = _by_place(measured)
    for place, arrival in placed:
        former, event = stored[arrival.event.id], arrival.event
        sequence = write.sequence + place
        write.remove(environment, former.event, meters.get(former.event.event_name, ()), sequence)
        owner = None
        if event.external_customer_id == former.event.external_customer_id:
            owner = former.sequence if former.owner_sequence is None else former.owner_sequence
        write.add(environment, arrival, sequence, owner, counted.get(place, ()))
        stood = (former.event.external_customer_id, former.event.timestamp)
        write.notice(arrival.at, [event.external_customer_id])
        if stood != (event.external_customer_id, event.timestamp):
            write.withdrawn.append(stood)
            write.notice(arrival.at, [stood[0]])


def _by_place(measured: Measurements) -> Mapping[int, Sequence[Counted]]:
    found: dict[int, list[Counted]] = defaultdict(list)
    for counted in measured.counted:
        found[counted[0]].append(counted)
    return found


def _changed(latest: Sequence[Placed], stored: Mapping[str, StoredVersion], rewritten: set[str]) -> list[Placed]:
    """Those whose stored version differs. Raises EventsOfOthers when a sender may not replace them."""
    changed: list[Placed] = []
    foreign: list[str] = []
    for place, arrival in latest:
        former = stored.get(arrival.event.id)
        if former is None:
            continue
        given = arrival.event
        if arrival.keeps_stored_time:
            given = msgspec.structs.replace(given, timestamp=former.event.timestamp)
        if given.id in rewritten or not same_content(former.event, given):
            if not may_replace(arrival.sender, former.sent_by):
                foreign.append(given.id)
            changed.append((place, arrival))
    if foreign:
        raise EventsOfOthers(foreign)
    return changed
