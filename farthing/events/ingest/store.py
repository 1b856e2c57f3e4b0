"""Appending to the store, exactly once: the transaction in which an event and what it counts come, change and go.

How a new meter and an event in flight cannot miss each other: an append holds a lock of its environment, shared with
other appends, from before it reads the version of the meters until it has committed. A backfill, which begins after
its meter was committed, first takes that lock alone. So every append has either committed before the backfill looks at
the stored events, or reads a version that knows the meter.

What events count is measured before the transaction begins, by the meters as they were known then; the version that
the transaction reads must be the same, or everything is measured again.

Appends that share ids wait for each other in one order, that of the ids, and so never for each other at once.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec
import psycopg
from psycopg.rows import TupleRow
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.slices import collect
from farthing.events.ingest import statements
from farthing.events.ingest.sequence import MOST_IN_ONE_TRANSACTION
from farthing.events.ingest.contents import read, written
from farthing.events.ingest.measuring import UNMEASURED, Measurements, measure_events, measure_if_cheap
from farthing.events.ingest.meters import MeterMemory, MeterSet
from farthing.events.ingest.parameters import arrays, quoted, single_row, text_array
from farthing.metering.event import UsageEvent, same_content
from farthing.storage.connections.messages import Statement, send_together
from farthing.storage.postgres import clock_of
from farthing.storage.scope import Scope

ATTEMPTS = 5


class Sender(msgspec.Struct, frozen=True):
    """Who sent an event: `id` is None for the deployment itself. Who may not correct all corrects its own only."""

    id: int | None
    corrects_all: bool


_DEPLOYMENT = Sender(None, corrects_all=True)


@lru_cache(maxsize=10_000)
def sender_named(name: str, *, corrects_all: bool) -> Sender:
    """The sender with this name: events keep a number of eight bytes, which costs ingest next to nothing."""
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return Sender(int.from_bytes(digest, signed=True), corrects_all)


class Arrival(msgspec.Struct, frozen=True):
    """An event as it came in, when, and from whom."""

    event: UsageEvent
    at: datetime
    sender: Sender = _DEPLOYMENT
    keeps_stored_time: bool = False
    """Whether its time is that of its arrival and it may be a repeat, whose first arrival is when it happened."""
    has_fresh_id: bool = False
    """Whether its id was made for it as it came in, so that no other event can have it."""


@dataclass(slots=True)
class Appended:
    """What an append did, in events. `unmetered` counts added and replaced ones that no meter counts, by reason.

    `refused` ones belong to customers whom the environment's ingestion filter leaves out; they are not stored.
    """

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    refused: int = 0
    unmetered: Counter[str] = field(default_factory=Counter)


class MetersChanged(Exception):
    """The arrivals were measured by other meters than stand now; the memory knows those that do."""


class EventsOfOthers(Exception):
    """Events that their sender may not replace, because somebody else sent them."""

    def __init__(self, ids: Iterable[str]) -> None:
        super().__init__("events of others")
        self.ids = frozenset(ids)


class VoidedEvents(Exception):
    """Events that somebody has declared void; only an amendment brings them back."""

    def __init__(self, ids: Iterable[str]) -> None:
        super().__init__("voided events")
        self.ids = frozenset(ids)


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
    VoidedEvents or psycopg.Error; then
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
    batch = _Batch(list(enumerate(arrivals)), measured)
    condition = (str(measured.version), scope.tenant_id)
    confining = Statement(statements.CONFINE, (scope.tenant_id, environment))
    # without BEGIN: PostgreSQL commits a message at its end, or all of it fails
    _, ((places,),) = await send_together(connection, (confining, await _insertion(environment, batch, condition)))
    if len(places or ()) < len(arrivals):
        return None  # the condition does not hold, or they were stored before and the answer to that was lost
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
    batch = _Batch(latest, measured)
    at_once = measured.version >= 0 and environment not in memory.filtering
    within = (scope.tenant_id, environment)
    _, _, rules, *stored = await send_together(
        connection,
        [
            Statement("BEGIN"),
            Statement(statements.CONFINE, within),
            Statement(statements.RULES, within),
            *(await _insertion_unless_void(environment, batch) if at_once else ()),
        ],
    )
    ((version, rule),) = rules
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
        batch = _Batch(latest, measured)
        if not latest:
            return Appended(refused=len(arrivals))
    if not stored:
        stored = await send_together(connection, await _insertion_unless_void(environment, batch))
    ((places,),), refused = stored
    if refused:
        raise VoidedEvents(event_id for (event_id,) in refused)
    added: Sequence[int] = places or ()
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
            await _replace(connection, environment, _Batch(changed, measured))
    else:
        done.unmetered = batch.unmetered(None)
    return done


Placed = tuple[int, Arrival]
"""An arrival with its place among those that came together."""


async def _insertion(environment: str, batch: _Batch, condition: Sequence[str] = ()) -> Statement:
    """What answers the places of the new events; `condition` is the version of the meters, and the tenant."""
    if batch.is_of_one:
        sql = statements.INSERT_ONE_IF if condition else statements.INSERT_ONE
        row = single_row(batch.columns(batch.properties()), batch.measured(), batch.notice())
        return Statement(sql, [environment, *row, *condition])
    properties = await collect(map(quoted, batch.properties()), environment)
    columns = arrays(batch.columns(properties), batch.measured(), batch.notice())
    return Statement(statements.INSERT_IF if condition else statements.INSERT, [environment, *columns, *condition])


async def _insertion_unless_void(environment: str, batch: _Batch) -> Sequence[Statement]:
    """The same, and what answers the ids of void ones."""
    # a statement of its own, so that it sees the void of an event that the insert has waited for
    return await _insertion(environment, batch), Statement(statements.VOID, (environment, text_array(batch.ids())))


def admitted(arrivals: Sequence[Arrival], rule: Mapping[str, Any] | None) -> list[Placed] | None:
    """Those of the customers that the environment's ingestion filter names; None where it is off and all are taken."""
    if not rule or not rule.get("enabled"):
        return None
    wanted = frozenset(rule.get("allowed_external_customer_ids") or ())
    return [placed for placed in enumerate(arrivals) if placed[1].event.external_customer_id in wanted]


def last_of_each(arrivals: Iterable[Placed]) -> tuple[list[Placed], set[str]]:
    """The last version of each id with its place, in the order of ids; and the ids that came with several contents."""
    found: dict[str, Placed] = {}
    rewritten: set[str] = set()
    for place, arrival in arrivals:
        name = arrival.event.id
        earlier = found.get(name)
        if earlier is not None:
            if same_content(earlier[1].event, arrival.event):
                continue
            if not may_replace(arrival.sender, earlier[1].sender.id):
                raise EventsOfOthers([name])
            rewritten.add(name)
        found[name] = (place, arrival)
    return [found[name] for name in sorted(found)], rewritten


def may_replace(sender: Sender, earlier: int | None) -> bool:
    return sender.corrects_all or (earlier is not None and earlier == sender.id)


class _Batch:
    """Events of one statement as the arrays it takes, and what they count."""

    def __init__(self, placed: Sequence[Placed], measured: Measurements) -> None:
        self._placed = placed
        self._measured = measured
        places = {place for place, _ in placed}
        self._counted = [counted for counted in measured.counted if counted[0] in places]

    @property
    def is_of_one(self) -> bool:
        """Whether it is one event, which one meter counts."""
        return len(self._placed) == len(self._counted) == 1

    def ids(self) -> list[str]:
        return [arrival.event.id for _, arrival in self._placed]

    def properties(self) -> Iterator[str]:
        """The properties of each event as JSON, made as they are taken."""
        return (written(arrival.event.properties) for _, arrival in self._placed)

    def columns(self, properties: Iterable[str]) -> list[Any]:
        """A list for each column, that of the properties as given."""
        events = [arrival.event for _, arrival in self._placed]
        return [
            [place for place, _ in self._placed],
            [event.timestamp for event in events],
            [arrival.at for _, arrival in self._placed],
            [event.id for event in events],
            [event.external_customer_id for event in events],
            [event.event_name for event in events],
            [event.customer_id for event in events],
            [event.source for event in events],
            list(properties),
            [arrival.sender.id for _, arrival in self._placed],
        ]

    def measured(self) -> list[Any]:
        counted = self._counted
        return [
            [place for place, _, _ in counted],
            [meter_id for _, meter_id, _ in counted],
            [quantity.quantity for _, _, quantity in counted],
            [quantity.key for _, _, quantity in counted],
            [quantity.quantity_error for _, _, quantity in counted],
        ]

    def notice(self) -> list[Any]:
        """When the first of them came, and whose they are."""
        arrivals = [arrival for _, arrival in self._placed]
        return [
            min(arrival.at for arrival in arrivals),
            list({arrival.event.external_customer_id for arrival in arrivals}),
        ]

    def unmetered(self, places: set[int] | None) -> Counter[str]:
        """Events among `places` (None: all) that nothing counts, by reason."""
        placed = self._placed if places is None else [numbered for numbered in self._placed if numbered[0] in places]
        return count_unmetered(placed, self._measured)


def count_unmetered(placed: Iterable[Placed], measured: Measurements) -> Counter[str]:
    """Events that nothing counts, by reason."""
    counted = {place for place, _, _ in measured.counted}
    return Counter(
        "no_matching_meter" if arrival.event.event_name in measured.metered_names else "no_meter_for_event_name"
        for place, arrival in placed
        if place not in counted
    )


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
    await _replace(connection, environment, _Batch(changed, measured))


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


async def _replace(connection: psycopg.AsyncConnection[TupleRow], environment: str, batch: _Batch) -> None:
    columns = batch.columns(batch.properties())
    await connection.execute(statements.REPLACE, [*columns, environment, environment, *batch.measured()])
    await connection.execute(statements.NOTICE_CHANGES, [environment, *batch.notice()])


def stored_event(
    id: str,
    event_name: str,
    external_customer_id: str,
    timestamp: datetime,
    properties: str,
    source: str,
    customer_id: str,
) -> UsageEvent:
    """An event from the columns of its row, in this order, properties as text."""
    return UsageEvent(
        id=id,
        event_name=event_name,
        external_customer_id=external_customer_id,
        timestamp=timestamp,
        properties=read(properties),
        source=source,
        customer_id=customer_id,
    )
