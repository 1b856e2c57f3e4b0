"""Events on their way into the store: from whom they came, which of them are taken, and what became of them. Pure.

Both stores go by it, PostgreSQL's and ClickHouse's.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec

from farthing.core.errors import ServiceUnavailable
from farthing.events.ingest.contents import read
from farthing.events.ingest.measuring import Measurements
from farthing.metering.event import UsageEvent, same_content


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


Placed = tuple[int, Arrival]
"""An arrival with its place among those that came together."""


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


class EventsElsewhere(ServiceUnavailable):
    """Events are being moved to another store, or were: this process is to be stopped and started anew."""

    def __init__(self) -> None:
        super().__init__("Events are being moved to another store; nothing was accepted")


class VoidedEvents(Exception):
    """Events that somebody has declared void; only an amendment brings them back."""

    def __init__(self, ids: Iterable[str]) -> None:
        super().__init__("voided events")
        self.ids = frozenset(ids)


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


def count_unmetered(placed: Iterable[Placed], measured: Measurements) -> Counter[str]:
    """Events that nothing counts, by reason."""
    counted = {place for place, _, _ in measured.counted}
    return Counter(
        "no_matching_meter" if arrival.event.event_name in measured.metered_names else "no_meter_for_event_name"
        for place, arrival in placed
        if place not in counted
    )


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
