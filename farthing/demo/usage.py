"""What the demo's customers use: events of the last five months, through the code that stores what the API is sent.

Each event is charged for: it comes from a customer whose plan has a price for it, while the customer subscribes.
The same for the same seed. Events come in batches, each of one stretch of time and appended in one transaction;
a batch whose first event is there is there whole.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import accumulate
from random import Random

import psycopg

from farthing.demo.books import Ledger
from farthing.demo.catalogue import ACTIVE, COMPLETION, LARGE, REQUEST, SMALL, STORED, CatalogueOffer
from farthing.demo.company import Habit
from farthing.demo.subscriptions import METERED, Deal
from farthing.events.ingest.arrivals import Arrival
from farthing.events.ingest.meters import MeterMemory
from farthing.events.ingest.sequence import settle_in
from farthing.events.ingest.store import append
from farthing.events.usage.event_store import EventStore, store_of
from farthing.metering.event import UsageEvent

EVENTS = 1_000_000
BATCH = 2_000
LASTS = timedelta(days=153)
"""Long enough for every invoice that is still owed to have the events of its period."""

_KINDS = {COMPLETION: 58, REQUEST: 36, ACTIVE: 5, STORED: 1}
_SIZES = (1, 1, 2, 3, 5, 12, 30)
_LARGE_SIZES = (20, 30)
_REGIONS = ("eu-west", "us-east", "ap-south")
_MILLISECOND = timedelta(milliseconds=1)


class UsersOverTime:
    """The customers that use things at a time, and how much of all use is each one's own, as a weight.

    Customers who forget to pay use much, so that most of what is owed is owed for usage.
    """

    def __init__(self, deals: Sequence[Deal]) -> None:
        self._metered = [deal for deal in deals if deal.plan in METERED] or list(deals)
        ends = [deal.cancelled for deal in self._metered if deal.cancelled is not None]
        self._changes = sorted([*(deal.begins for deal in self._metered), *ends])
        self._known: dict[int, tuple[list[str], list[int]]] = {}

    def at(self, moment: datetime) -> tuple[list[str], list[int]]:
        """External ids and the running sums of their weights; all of them where nobody subscribes yet."""
        stretch = bisect_right(self._changes, moment)
        if stretch not in self._known:
            active = [
                deal
                for deal in self._metered
                if deal.begins <= moment and (deal.cancelled is None or moment < deal.cancelled)
            ]
            users = active or self._metered
            self._known[stretch] = (
                [deal.customer.external_id for deal in users],
                list(accumulate(_weight(deal) for deal in users)),
            )
        return self._known[stretch]


def _weight(deal: Deal) -> int:
    chance = Random(f"use/{deal.key}")  # noqa: S311 (a story)
    return chance.choice(_LARGE_SIZES if deal.customer.habit is Habit.FORGETFUL else _SIZES)


def batches(total: int) -> Iterator[tuple[int, int]]:
    """The number of each batch and how many events it has."""
    for number, start in enumerate(range(0, total, BATCH)):
        yield number, min(BATCH, total - start)


def events(deals: Sequence[Deal], number: int, count: int, story: CatalogueOffer) -> list[UsageEvent]:
    """The events of one batch, which has its own stretch of the last five months; ids say where they belong."""
    chance = Random(f"{story.seed}/events/{number}")  # noqa: S311 (a story)
    users = UsersOverTime(deals)
    kinds = chance.choices(list(_KINDS), list(_KINDS.values()), k=count)
    begins = story.until - LASTS + LASTS * (number * BATCH) / story.events
    stretch = LASTS * count / story.events
    # each event has a slot of its own, so that no two of a batch are of one millisecond unless there are very many
    slot = int(stretch / _MILLISECOND) // count
    whole = begins.replace(microsecond=begins.microsecond // 1000 * 1000)
    made = []
    for place, kind in enumerate(kinds):
        at = whole + _MILLISECOND * (slot * place + int(chance.random() * slot))
        names, sums = users.at(at)
        made.append(
            UsageEvent(
                id=_id(story.seed, number, place),
                event_name=kind,
                external_customer_id=chance.choices(names, cum_weights=sums)[0],
                timestamp=at,
                properties=_properties(kind, chance),
                source="demo",
            )
        )
    return made


def _id(seed: int, batch: int, place: int) -> str:
    return f"demo-{seed}-{batch:05}-{place:04}"


def _properties(kind: str, chance: Random) -> dict[str, str | int]:
    draw = chance.random()
    region = _REGIONS[int(draw * 997) % 3]
    if kind == COMPLETION:
        model = LARGE if draw < 0.35 else SMALL
        return {"model": model, "tokens": 4_000 + int(240_000 * chance.random() ** 2), "region": region}
    if kind == REQUEST:
        return {"path": "/v1/chat" if draw < 0.7 else "/v1/embed", "status": 200 if draw < 0.98 else 429}
    if kind == ACTIVE:
        return {"user": f"user-{int(60 * draw * draw):02}"}
    return {"gb": int(draw * 40) - 10, "region": region}


async def load_events(
    ledger: Ledger,
    deals: Sequence[Deal],
    story: CatalogueOffer,
    progress: Callable[[int], None] = lambda count: None,
) -> int:
    """Append what is not there yet of the story's events; how many were appended.

    `progress` is told of every event, also of those that were there.
    """
    appended = 0
    memory, store = MeterMemory(), ledger.database.ports.part(EventStore)
    connection = await psycopg.AsyncConnection.connect(ledger.database.url, autocommit=True)
    async with connection:
        await settle_in(connection)
        there = await _there(ledger, story)
        for number, count in batches(story.events):
            if number not in there:
                # a story's events arrive as they happen
                arrivals = [Arrival(event, event.timestamp) for event in events(deals, number, count, story)]
                await append(connection, ledger.scope, arrivals, memory, store.append_measured)
                appended += count
                await asyncio.sleep(0)  # whoever asks the server something meanwhile comes first
            progress(count)
    return appended


async def _there(ledger: Ledger, story: CatalogueOffer) -> set[int]:
    """The batches whose first event is stored."""
    firsts = {_id(story.seed, number, 0): number for number, _ in batches(story.events)}
    async with ledger.database.transaction(ledger.scope, read_only=True) as session:
        return {firsts[row.id] for row in await store_of(session).events.find(session, list(firsts))}
