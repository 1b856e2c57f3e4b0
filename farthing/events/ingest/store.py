"""Appending to the store, exactly once: the transaction in which an event and what it counts come, change and go.

How a new meter and an event in flight cannot miss each other: an append holds a lock of its environment, shared with
other appends, from before it reads the version of the meters until it has committed. A backfill, which begins after
its meter was committed, first takes that lock alone. So every append has either committed before the backfill looks at
the stored events, or reads a version that knows the meter.

What events count is measured before the transaction begins, by the meters as they were known then; the version that
the transaction reads must be the same, or everything is measured again.

Appends that share ids wait for each other in one order, that of the ids, and so never for each other at once.
Rule: docs/rules/metering.md#identity-of-an-event
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime

import msgspec
import psycopg
from psycopg.rows import TupleRow
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

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
    last_of_each,
    may_replace,
    stored_event,
)
from farthing.events.ingest.batch import Batch, insertion, insertion_unless_void
from farthing.events.ingest.measuring import UNMEASURED, Measurements, measure_events, measure_if_cheap
from farthing.events.ingest.meters import MeterMemory, MeterSet
from farthing.events.ingest.sequence import MOST_IN_ONE_TRANSACTION
from farthing.metering.event import same_content
from farthing.storage.connections.messages import Statement, send_together
from farthing.storage.postgres import clock_of
from farthing.storage.scope import Scope

ATTEMPTS = 5


class _Vanished(Exception):
    """A stored event was removed between the insert that met it and the lock."""


class _Filtered(Exception):
    """Events were stored before it was known that the environment's filter may leave some out."""


AppendMeasured = Callable[
    [psycopg.AsyncConnection[TupleRow], Scope, Sequence[Arrival], Measurements, MeterMemory], Awaitable[Appended]
]
"""Stores arrivals as `append_measured` does; what stores them elsewhere may raise ServiceUnavailable besides."""


async def append(
    connection: psycopg.AsyncConnection[TupleRow],
    scope: Scope,
    arrivals: Sequence[Arrival],
    memory: MeterMemory,
    store_measured: AppendMeasured,
) -> Appended:
    """Measure arrivals and store them; again when the meters have changed meanwhile. Raises as `append_measured`."""
    while True:
        measured = await measure_arrivals(scope.environment_id, arrivals, memory)
        try:
            return await store_measured(connection, scope, arrivals, measured, memory)
        except MetersChanged:
            continue


async def measure_arrivals(environment_id: str, arrivals: Sequence[Arrival], memory: MeterMemory) -> Measurements:
    """What arrivals count for the meters that are remembered, in slices if measuring takes long."""
    measured = measure_arrivals_if_cheap(environment_id, arrivals, memory)
    if measured is not None:
        return measured
    meters = memory.known(environment_id)
    assert meters is not None, "else nothing is measured, which is cheap"
    return await measure_events(environment_id, [arrival.event for arrival in arrivals], meters)


def measure_arrivals_if_cheap(
    environment_id: str, arrivals: Sequence[Arrival], memory: MeterMemory
) -> Measurements | None:
    """The same without waiting; None when measuring could hold others up."""
    meters = memory.known(environment_id)
    if meters is None:
        return UNMEASURED
    return measure_if_cheap([arrival.event for arrival in arrivals], meters)


async def append_measured(
    connection: psycopg.AsyncConnection[TupleRow],
    scope: Scope,
    arrivals: Sequence[Arrival],
    measured: Measurements,
    memory: MeterMemory,
) -> Appended:
    """Store arrivals in the order of acceptance, in one transaction that this function begins and commits.

    Of several arrivals with one id the last counts. An id that is stored already is left alone if its content is the
    same, and else replaced with all that it counted. Raises MetersChanged, EventsOfOthers,
    VoidedEvents, EventsElsewhere or psycopg.Error; then
    nothing was stored, unless the connection was lost during the commit, when nobody can tell; appending the same
    again is always right.
    """
    if len(arrivals) > MOST_IN_ONE_TRANSACTION:
        raise ValueError(f"an append takes at most {MOST_IN_ONE_TRANSACTION} events")
    for attempt in range(ATTEMPTS):
        try:
            if (appended := await _append_at_once(connection, scope, arrivals, measured, memory)) is not None:
                return appended
            async with _ending(connection):
                return await _append(connection, scope, arrivals, measured, memory)
        except (_Vanished, _Filtered, psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure):
            if attempt == ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


@asynccontextmanager
async def _ending(connection: psycopg.AsyncConnection[TupleRow]) -> AsyncIterator[None]:
    """Commit the transaction that the block begins, or undo it after an exception."""
    try:
        yield
    except BaseException:
        with suppress(psycopg.Error):  # of a connection that was lost, whose transaction is undone
            await connection.rollback()
        raise
    await connection.commit()


async def remove_stored(session: AsyncSession, ids: Sequence[str], environment_id: str) -> None:
    """Delete locked events and all that they count."""
    found = {"environment": environment_id, "ids": list(ids)}
    # a statement of its own, so that it sees what was counted while the lock was waited for
    await session.execute(text(statements.REMOVE_COUNTED), found)
    customers = set(await session.scalars(text(statements.REMOVE), found))
    notice = {"environment": environment_id, "arrived_at": clock_of(session).now(), "customers": list(customers)}
    await session.execute(statements.NOTICE_REMOVAL, notice)


async def current_meters(
    connection: psycopg.AsyncConnection[TupleRow], environment: str, memory: MeterMemory
) -> MeterSet:
    """The meters that stand until the connection's transaction has ended: backfills of others wait for it."""
    await connection.execute(f"SELECT pg_advisory_xact_lock_shared({statements.LOCK})", (environment,))
    cursor = await connection.execute("SELECT version FROM meter_versions WHERE environment_id = %s", (environment,))
    row = await cursor.fetchone()
    return await memory.at(connection, environment, row[0] if row else 0)


async def measure_placed(environment: str, placed: Sequence[Placed], meters: MeterSet) -> Measurements:
    """What arrivals with these places count."""
    by_place = dict(placed)
    events = [by_place[place].event for place in range(len(by_place))]
    return await measure_events(environment, events, meters)


async def await_appends(session: AsyncSession, environment_id: str) -> None:
    """Return when every append that began before this call has ended; later ones wait for this transaction."""
    await session.execute(
        text(f"SELECT pg_advisory_xact_lock({statements.LOCK_SPACE}, hashtext(:environment))"),
        {"environment": environment_id},
    )


async def _append_at_once(
    connection: psycopg.AsyncConnection[TupleRow],
    scope: Scope,
    arrivals: Sequence[Arrival],
    measured: Measurements,
    memory: MeterMemory,
) -> Appended | None:
    """Store events that no other can be, in one message that is a transaction; None where that cannot be done.

    They are stored on condition that the meters are those they were measured by, and that no filter is on.
    """
    environment = scope.environment_id
    is_usual = measured.version >= 0 and environment not in memory.filtering
    if not is_usual or not all(arrival.has_fresh_id for arrival in arrivals):
        return None
    # customers lead two of the indexes: a page that several rows of a batch enter is read once
    placed = sorted(enumerate(arrivals), key=lambda numbered: numbered[1].event.external_customer_id)
    batch = Batch(placed, measured)
    condition = (str(measured.version), scope.tenant_id)
    confining = Statement(statements.CONFINE, (scope.tenant_id, environment))
    # without BEGIN: PostgreSQL commits a message at its end, or all of it fails
    insert = await insertion(environment, batch, condition)
    try:
        _, ((places,),) = await send_together(connection, (confining, insert))
    except psycopg.errors.UniqueViolation:
        return None  # they were stored before, and the answer to that was lost
    if not places:
        return None  # the condition does not hold
    return Appended(added=len(arrivals), unmetered=batch.unmetered(None))


async def _append(
    connection: psycopg.AsyncConnection[TupleRow],
    scope: Scope,
    arrivals: Sequence[Arrival],
    measured: Measurements,
    memory: MeterMemory,
) -> Appended:
    """Begin a transaction and store arrivals in it. What the transaction has to know first is asked in the message that
    stores them; it is undone where they should have been stored otherwise, which is seldom.
    """
    environment = scope.environment_id
    latest, rewritten = last_of_each(enumerate(arrivals))
    batch = Batch(latest, measured)
    at_once = measured.version >= 0 and environment not in memory.filtering
    within = (scope.tenant_id, environment)
    _, _, rules, *stored = await send_together(
        connection,
        [
            Statement("BEGIN"),
            Statement(statements.CONFINE, within),
            Statement(statements.RULES, within),
            *(await insertion_unless_void(environment, batch) if at_once else ()),
        ],
    )
    ((version, rule, places),) = rules
    if places:
        raise EventsElsewhere
    if (version or 0) != measured.version:
        await memory.at(connection, environment, version or 0)
        raise MetersChanged
    taken = admitted(arrivals, rule)
    if taken is None:
        memory.filtering.discard(environment)
    else:
        memory.filtering.add(environment)
        if stored:
            raise _Filtered
        latest, rewritten = last_of_each(taken)
        batch = Batch(latest, measured)
        if not latest:
            return Appended(refused=len(arrivals))
    if not stored:
        stored = await send_together(connection, await insertion_unless_void(environment, batch))
    ((new,),), refused = stored
    if refused:
        raise VoidedEvents(event_id for (event_id,) in refused)
    added: Sequence[int] = new or ()
    done = Appended(added=len(added), refused=len({arrival.event.id for arrival in arrivals}) - len(latest))
    if len(added) < len(latest):
        known = set(added)
        again = [numbered for numbered in latest if numbered[0] not in known]
        changed = await _changed(connection, environment, again, rewritten)
        done.replaced = len(changed)
        done.unchanged = len(again) - len(changed)
        kept = known | {place for place, _ in changed}
        done.unmetered = batch.unmetered(kept)
        if changed:
            await _replace(connection, environment, Batch(changed, measured))
    else:
        done.unmetered = batch.unmetered(None)
    return done


async def find_changed(
    connection: psycopg.AsyncConnection[TupleRow], environment: str, placed: Sequence[Placed]
) -> list[str]:
    """The ids of those that are stored with other content."""
    by_id = {arrival.event.id: arrival.event for _, arrival in placed}
    cursor = await connection.execute(statements.LOCK_STORED, (environment, list(by_id)))
    stored = [stored_event(*content) for *content, _, _ in await cursor.fetchall()]
    return [earlier.id for earlier in stored if not same_content(earlier, by_id[earlier.id])]


async def replace_stored(
    connection: psycopg.AsyncConnection[TupleRow], environment: str, placed: Sequence[Placed], measured: Measurements
) -> None:
    """Let stored events be these, whatever they were, and count so."""
    changed = await _changed(connection, environment, placed, {arrival.event.id for _, arrival in placed})
    await _replace(connection, environment, Batch(changed, measured))


async def _changed(
    connection: psycopg.AsyncConnection[TupleRow], environment: str, again: Iterable[Placed], rewritten: set[str]
) -> list[Placed]:
    """Those whose stored version differs, which no longer counts when this returns. Their rows stay locked.

    Raises EventsOfOthers when a sender may not replace them.
    """
    by_id = {arrival.event.id: (place, arrival) for place, arrival in again}
    cursor = await connection.execute(statements.LOCK_STORED, (environment, list(by_id)))
    stored = await cursor.fetchall()
    if len(stored) < len(by_id):
        raise _Vanished
    changed: list[Placed] = []
    gone: list[tuple[str, str, datetime, int]] = []
    withdrawn: list[tuple[str, datetime]] = []
    foreign: list[str] = []
    for *content, sequence, sent_by in stored:
        earlier = stored_event(*content)
        arrival = by_id[earlier.id][1]
        given = arrival.event
        if arrival.keeps_stored_time:
            given = msgspec.structs.replace(given, timestamp=earlier.timestamp)
        if earlier.id in rewritten or not same_content(earlier, given):
            if not may_replace(by_id[earlier.id][1].sender, sent_by):
                foreign.append(earlier.id)
            changed.append(by_id[earlier.id])
            gone.append((earlier.event_name, earlier.external_customer_id, earlier.timestamp, sequence))
            now, stood = by_id[earlier.id][1].event, (earlier.external_customer_id, earlier.timestamp)
            if (now.external_customer_id, now.timestamp) != stood:
                withdrawn.append(stood)
    if foreign:
        raise EventsOfOthers(foreign)
    if gone:
        await connection.execute(statements.UNCOUNT, [*map(list, zip(*gone, strict=True)), environment, environment])
    if withdrawn:
        await connection.execute(statements.WITHDRAW, [environment, *map(list, zip(*withdrawn, strict=True))])
        customers = list({customer for customer, _ in withdrawn})
        await connection.execute(statements.NOTICE_CHANGES, [environment, changed[0][1].at, customers])
    return changed


async def _replace(connection: psycopg.AsyncConnection[TupleRow], environment: str, batch: Batch) -> None:
    columns = batch.columns(batch.properties())
    await connection.execute(statements.REPLACE, [*columns, environment, environment, *batch.measured()])
    await connection.execute(statements.NOTICE_CHANGES, [environment, *batch.notice()])
