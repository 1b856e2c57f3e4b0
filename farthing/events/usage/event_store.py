"""What the rest of the product needs of a store of events.

Every callable that takes a session works within its scope. Any of them may raise ServiceUnavailable: what cannot be
answered whole is never answered in part.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.period import Period
from farthing.events.changes import EventChange
from farthing.events.ingest.arrivals import Placed, stored_event
from farthing.events.ingest.measuring import Measurements
from farthing.events.ingest.store import AppendMeasured
from farthing.events.usage.cuts import Windows
from farthing.events.usage.ownership import OwnedEvents, Ownership
from farthing.events.usage.tallies import EventTally, TalliedEvents
from farthing.events.usage.usage_statement import StatementShape, UsageQuery
from farthing.metering.event import UsageEvent
from farthing.metering.filters import Conditions
from farthing.metering.meter import Meter
from farthing.storage.postgres import ports_of

Asked = Sequence[tuple[int, UsageQuery]]
"""Questions of one shape with their numbers."""


class EventRow(NamedTuple):
    """An event as it is stored; `properties` is its JSON, `arrival` decides whose it is."""

    id: str
    external_customer_id: str
    customer_id: str
    event_name: str
    timestamp: datetime
    source: str
    properties: str
    environment_id: str
    ingested_at: datetime
    sequence: int
    arrival: int


def event_of(row: EventRow) -> UsageEvent:
    """A stored event as what was sent."""
    return stored_event(
        row.id,
        row.event_name,
        row.external_customer_id,
        row.timestamp,
        row.properties,
        row.source,
        row.customer_id,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSelection:
    """Which events: `[start, end)`, or up to `until` itself; an empty text narrows nothing.

    `beyond` is a cursor, (time, id), of which only the newer or only the older side is wanted.
    """

    start: datetime | None = None
    end: datetime | None = None
    until: datetime | None = None
    event_name: str = ""
    external_customer_id: str = ""
    event_id: str = ""
    source: str = ""
    properties: Conditions = ()
    beyond: tuple[datetime, str] | None = None
    newer: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EventOrder:
    """In which order, by time or name and then id, and which part of it."""

    by_name: bool = False
    ascending: bool = False
    limit: int
    offset: int = 0


class EventQuantity(NamedTuple):
    """What an event counts for a meter."""

    event_id: str
    meter_id: str
    quantity: Decimal
    key: str


class LateQuestion(NamedTuple):
    """Has an event of this customer (by id), with its time in `[since, until)`, come or gone after `mark`?"""

    line: str
    customer_id: str
    since: datetime
    until: datetime
    mark: int


class EarlierEvents(NamedTuple):
    """Events of a customer, under one of its external ids, that lie before `until`."""

    customer_id: str
    owned: OwnedEvents
    until: datetime


@dataclass(frozen=True, slots=True)
class Measured:
    """What an event counts for the meter of a backfill, with where the event stands."""

    row: EventRow
    owner_sequence: int | None
    quantity: Decimal
    key: str
    quantity_error: str | None


@dataclass(frozen=True, slots=True)
class Visited:
    """A part of the walk of a backfill: how many events, the last id, and those of the meter's name, held still."""

    count: int
    last: str | None
    rows: Sequence[tuple[EventRow, int | None]]


Totals = dict[tuple[str, datetime], tuple[int, Decimal]]
"""Rows and sums of quantities, by meter and UTC day."""


@dataclass(frozen=True, slots=True)
class UsageReads:
    """Usage, as `usage_query` asks for it."""

    read: Callable[
        [AsyncSession, StatementShape, Asked, Ownership, Period | None, int | None], Awaitable[Sequence[Sequence[Any]]]
    ]
    """Rows `(number of the question, *group, [start of the window], [key], event count, *measures)`: see
    `usage_statement.statement`. The span is given if the shape has windows, and holds every row. Not all rows are
    read if there are more than the number, if one is given."""
    find_span: Callable[
        [AsyncSession, StatementShape, Asked, Ownership], Awaitable[tuple[datetime | None, datetime | None]]
    ]
    """The first and last time of the rows that are asked for."""
    stream: Callable[[AsyncSession, Asked, Ownership, bool], AsyncIterator[Sequence[Any]]]
    """`(number of the question, time, quantity, key)` of each event, each question's in time order; the flag says
    whether an external id changed hands."""
    watermark: Callable[[AsyncSession], Awaitable[int]]
    """See `ingest.arrival.watermark`."""
    find_late: Callable[[AsyncSession, Sequence[LateQuestion]], Awaitable[set[str]]]
    """The lines for which something came or went."""
    count_earlier: Callable[[AsyncSession, Sequence[EarlierEvents]], Awaitable[dict[str, int]]]
    """How many events there are of each customer; those without any are left out."""
    tally: Callable[[AsyncSession, EventTally], Awaitable[TalliedEvents]]
    """How many events there are, for a statement of PostgreSQL that adds them up."""


@dataclass(frozen=True, slots=True)
class EventReads:
    """Events one by one."""

    select: Callable[[AsyncSession, EventSelection, EventOrder], Awaitable[Sequence[EventRow]]]
    count: Callable[[AsyncSession, EventSelection], Awaitable[int]]
    count_ingested: Callable[[AsyncSession, datetime, datetime], Awaitable[int]]
    """How many that are stored came in within a time."""
    count_beyond: Callable[[AsyncSession, str], Awaitable[int]]
    """How many have a greater id."""
    count_in_windows: Callable[[AsyncSession, Windows, Period], Awaitable[Sequence[tuple[datetime, int]]]]
    """How many have their time in each window of a span, by time; windows without events are left out."""
    span: Callable[[AsyncSession, EventSelection], Awaitable[tuple[datetime | None, datetime | None]]]
    """The first and last time."""
    find: Callable[[AsyncSession, Collection[str]], Awaitable[Sequence[EventRow]]]
    """Those with these ids that are stored."""
    quantities: Callable[[AsyncSession, Sequence[EventRow], Collection[str]], Awaitable[Sequence[EventQuantity]]]
    """What events count for these meters."""
    stream: Callable[
        [AsyncSession, EventSelection, Collection[OwnedEvents] | None, Collection[str] | None],
        AsyncIterator[Sequence[EventRow]],
    ]
    """Portions of the events selected, of these owned ones and these names only if given, in no order."""


@dataclass(frozen=True, slots=True)
class EventChanges:
    """Corrections of stored events; what is asked for is done, and seen, when the call returns."""

    hold: Callable[[AsyncSession], Awaitable[None]]
    """Wait until nothing is being stored half here. Before the events are looked at that are to be changed."""
    lock: Callable[[AsyncSession, Sequence[str]], Awaitable[dict[str, datetime]]]
    """The times of those that are stored; nobody else changes them until the transaction ends."""
    keep: Callable[[AsyncSession, Sequence[str], EventChange, str], Awaitable[None]]
    """Keep locked events as they are now, with what changed them and why, before they are changed."""
    restore: Callable[[AsyncSession, Sequence[str]], Awaitable[None]]
    """Let void events be stored again, counting nothing."""
    remove: Callable[[AsyncSession, Sequence[str]], Awaitable[None]]
    """Delete locked events and all that they count."""
    find_changed: Callable[[AsyncSession, Sequence[Placed]], Awaitable[list[str]]]
    """The ids of those that are stored with other content."""
    replace: Callable[[AsyncSession, Sequence[Placed], Measurements], Awaitable[None]]
    """Let stored events be these, and count so."""
    finish: Callable[[AsyncSession], Awaitable[None]]
    """Let what was changed be seen; may commit."""


@dataclass(frozen=True, slots=True)
class EventUpkeep:
    """Backfills, proofs and retention, in bounded batches that may be repeated."""

    await_appends: Callable[[AsyncSession], Awaitable[None]]
    """Return when every append that began before this call has ended; later ones wait for this transaction."""
    count_up_to: Callable[[AsyncSession, int], Awaitable[int]]
    """How many events are stored, but never more than so many."""
    visit: Callable[[AsyncSession, str, str, int], Awaitable[Visited]]
    """The events of a name among so many beyond an id, in the order of ids."""
    add: Callable[[AsyncSession, Meter, Sequence[Measured]], Awaitable[Sequence[str]]]
    """Store what events count for a meter where it is missing; the external ids of those that got a row."""
    totals: Callable[[AsyncSession, Collection[str], datetime, datetime], Awaitable[Totals]]
    """What is stored for these meters with its time in `[start, end)`."""
    forget: Callable[[AsyncSession, datetime, Collection[str]], Awaitable[int]]
    """Delete a batch of events older than a time with what they count, but for these meters; 0 when none is left."""


@dataclass(frozen=True, slots=True)
class EventRewriting:
    """What a person's events are without it: other names for external ids, and texts and properties as erased."""

    external_ids: Collection[str]
    """Whose events: all that came under these ids."""
    renamed: Mapping[str, str]
    text: Callable[[str], str]
    document: Callable[[Mapping[str, Any]], dict[str, Any]]

    def name_of(self, external_id: str) -> str:
        """The external id that takes the place of one."""
        return self.renamed.get(external_id, external_id)


@dataclass(frozen=True, slots=True)
class EventErasure:
    """Erasing a person where its events are no tables of the database."""

    rewrite: Callable[[AsyncSession, EventRewriting], Awaitable[int]]
    """Record what is to be written; how many events named the person in their texts."""
    finish: Callable[[AsyncSession], Awaitable[None]]
    """Commit, and let nothing else be left when the call returns."""


@dataclass(frozen=True, slots=True)
class EventStore:
    """A store of events."""

    name: str
    in_postgres: bool
    """Whether the events are tables of the database, which statements of other packages can join."""
    append_measured: AppendMeasured
    usage: UsageReads
    events: EventReads
    changes: EventChanges
    upkeep: EventUpkeep
    erasure: EventErasure | None
    """None where the events are tables of the database, whose texts are written over like all others."""
    finish_writes: Callable[[AsyncSession, datetime], Awaitable[int]]
    """The duty: finish what a process that ended has left half stored; how many such writes there were."""


def store_of(session: AsyncSession) -> EventStore:
    """The store that holds the events of a session's deployment."""
    return ports_of(session, EventStore)
