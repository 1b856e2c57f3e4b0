"""Exactly once, whatever is sent again; backfills that find everything; forgetting; proving."""

from __future__ import annotations

import asyncio
import random
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text, update

from farthing.catalogue.products.tables import MeterRow
from farthing.core.clock import FIRST_INSTANT, LAST_INSTANT
from farthing.events.corrections.changing import delete_event
from farthing.events.ingest.arrivals import Arrival
from farthing.events.ingest.meters import MeterMemory
from farthing.events.ingest.sequence import watermark
from farthing.events.ingest.store import AppendMeasured, append
from farthing.events.stores import postgres_upkeep
from farthing.events.upkeep import backfill, retention
from farthing.events.upkeep.reconcile import differences
from farthing.events.usage import usage_query
from farthing.events.usage.event_store import EventStore, event_of, store_of
from farthing.events.usage.usage_statement import UsageQuery
from farthing.metering.event import UsageEvent
from farthing.metering.filters import Filter
from farthing.metering.meter import Aggregation, AggregationType, Meter, ResetUsage
from farthing.storage.postgres import Database
from farthing.wiring import wire
from tests.events.books import Books, opened
from tests.waiting import until

DAY = datetime(2025, 5, 1, tzinfo=UTC)
LATER = DAY + timedelta(days=30)


def event(
    name: str, x: Any = 1, minute: int = 0, customer: str = "c1", event_name: str = "call", **more: Any
) -> UsageEvent:
    return UsageEvent(
        id=name,
        event_name=event_name,
        external_customer_id=customer,
        timestamp=DAY + timedelta(minutes=minute),
        properties={"x": x, **more},
    )


def meter(event_name: str = "call", *filters: Filter, reset: ResetUsage = ResetUsage.BILLING_PERIOD) -> Meter:
    return Meter(f"meter_{uuid.uuid4().hex}", event_name, Aggregation(AggregationType.SUM, "x"), filters, reset)


async def total(books: Books, one: Meter, *customers: str) -> Decimal:
    query = UsageQuery(one, DAY - timedelta(days=400), LATER, frozenset(customers) if customers else None)
    async with books.database.transaction(books.scope, read_only=True) as session:
        return (await usage_query.usage(session, query)).value


async def rows(books: Books) -> int:
    """How many rows of usage are stored."""
    async with books.database.transaction(books.scope, read_only=True) as session:
        meters = (await session.scalars(select(MeterRow.id))).all()
        totals = await store_of(session).upkeep.totals(session, meters, FIRST_INSTANT, LAST_INSTANT)
    return sum(count for count, _ in totals.values())


def appending(books: Books) -> AppendMeasured:
    """How the store of these books appends."""
    return books.database.ports.part(EventStore).append_measured


class _Interrupted(Exception):
    """The worker died."""


async def interrupted(books: Books) -> None:
    """A batch that is done and never committed."""
    async with books.database.transaction(books.scope) as session:
        await backfill.backfill(session, LATER)
        raise _Interrupted


async def fill(books: Books) -> int:
    """Run backfills to their end; how many batches it took."""
    batches = 0
    while True:
        async with books.database.transaction(books.scope) as session:
            if not await backfill.backfill(session, LATER):
                return batches
        batches += 1


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"timestamp": DAY + timedelta(hours=1)}, id="time"),
        pytest.param({"external_customer_id": "c2"}, id="customer"),
        pytest.param({"event_name": "other"}, id="name"),
        pytest.param({"properties": {"x": 7}}, id="value"),
        pytest.param({"source": "web"}, id="source"),
    ],
)
async def test_a_changed_event_replaces_the_earlier_version(each_store: Database, changed: dict[str, Any]) -> None:
    async with opened(each_store) as books:
        meters = meter(), meter("other")
        await books.add_meters(meters)
        first = event("e1", 5)
        await books.send([first, event("e2", 1)])
        second = msgspec.structs.replace(first, **changed)
        done = await books.send([second])
        assert (done.added, done.replaced, done.unchanged) == (0, 1, 0)
        assert await rows(books) == 2
        where = meters[0] if second.event_name == "call" else meters[1]
        await books.send([first])
        assert await total(books, meters[0], "c1") == 6
        await books.send([second])
        assert await total(books, where, second.external_customer_id) >= second.properties["x"]
        assert await rows(books) == 2


async def test_fresh_ids_that_are_stored_again_after_a_lost_answer_count_once(each_store: Database) -> None:
    async with opened(each_store) as books:
        counting = meter()
        await books.add_meters([counting])
        fresh = [event("made here", 1), event("made here too", 2)]
        await books.send(fresh, have_fresh_ids=True)  # the first reads the meters
        fresh = [msgspec.structs.replace(each, id=f"{each.id} later") for each in fresh]
        done = await books.send(fresh, have_fresh_ids=True)
        assert (done.added, done.unchanged) == (2, 0)
        done = await books.send(fresh, have_fresh_ids=True)
        assert (done.added, done.unchanged) == (0, 2)
        assert await total(books, counting, "c1") == 6


async def test_events_are_accepted_in_the_order_of_the_request_whatever_order_they_are_stored_in(
    database: Database,
) -> None:
    async with opened(database) as books:
        await books.add_meters([meter()])
        sent = [event(f"e{n}", n, minute=0, customer=f"c{n * 7 % 5}") for n in range(20)]
        await books.send(sent, have_fresh_ids=True)
        await books.send(sent[:1], have_fresh_ids=True)  # the meters are known now: stored by the other statement
        others = [event(f"f{n}", n, minute=0, customer=f"c{n * 7 % 5}") for n in range(20)]
        await books.send(others, have_fresh_ids=True)
        async with database.transaction(books.scope) as session:
            ids = list(await session.scalars(text("SELECT id FROM events ORDER BY sequence")))
            amounts = text("SELECT quantity FROM meter_usage ORDER BY sequence")
            counted = [int(quantity) for quantity in await session.scalars(amounts)]
    assert ids == [given.id for given in (*sent, *others)]
    assert counted == [*range(20), *range(20)]


async def test_the_same_content_changes_nothing_not_even_the_order(each_store: Database) -> None:
    async with opened(each_store) as books:
        latest = replace(meter(), aggregation=Aggregation(AggregationType.LATEST, "x"))
        await books.add_meters([latest])
        await books.send([event("e1", 1)])
        await books.send([event("e2", 2)])
        done = await books.send([event("e1", Decimal("1.0"))])
        assert (done.added, done.replaced, done.unchanged) == (0, 0, 1)
        assert await total(books, latest) == 2


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 9), st.integers(0, 2)), min_size=1, max_size=12),
    st.randoms(use_true_random=False),
)
async def test_any_repetition_and_order_of_the_same_events_counts_the_same(
    each_store: Database, given: list[tuple[str, int, int]], chance: random.Random
) -> None:
    distinct = {name: event(name, x, minute) for name, x, minute in given}
    sent = [*distinct.values(), *chance.choices(list(distinct.values()), k=5)]
    chance.shuffle(sent)
    async with opened(each_store) as books:
        one = meter()
        await books.add_meters([one])
        while sent:
            size = chance.randint(1, len(sent))
            await books.send(sent[:size])
            sent = sent[size:]
        assert await total(books, one) == sum(each.properties["x"] for each in distinct.values())
        assert await rows(books) == len(distinct)


async def test_parallel_appends_that_share_ids_neither_deadlock_nor_double(each_store: Database) -> None:
    async with opened(each_store) as books:
        one = meter()
        await books.add_meters([one])
        chance = random.Random(7)
        names = [f"e{n}" for n in range(60)]

        async def sender(number: int) -> None:
            connection: psycopg.AsyncConnection[Any] = await psycopg.AsyncConnection.connect(
                each_store.url, autocommit=True
            )
            async with connection:
                for round_ in range(6):
                    some = chance.sample(names, 40)
                    arrivals = [Arrival(event(name, number * 10 + round_), DAY) for name in some]
                    await append(connection, books.scope, arrivals, MeterMemory(), appending(books))

        await asyncio.gather(*(sender(number) for number in range(8)))
        assert await rows(books) == 60
        async with each_store.transaction(books.scope, read_only=True) as session:
            stored = await store_of(session).events.find(session, names)
        assert len({row.sequence for row in stored}) == 60
        assert await total(books, one) == sum(event_of(row).properties["x"] for row in stored)


async def test_a_removed_event_counts_no_more_and_its_id_is_free(each_store: Database) -> None:
    async with opened(each_store) as books:
        one = meter()
        await books.add_meters([one])
        await books.send([event("e1", 5)])
        async with each_store.session(books.scope) as session:
            assert await delete_event(session, "e1")
            assert not await delete_event(session, "e1")
            await session.commit()
        assert await rows(books) == 0
        await books.send([event("e1", 5)])
        assert await total(books, one) == 5


async def test_a_new_meter_finds_stored_events_and_a_widened_one_more_of_them(
    each_store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "BATCH", 10)
    async with opened(each_store) as books:
        await books.send([event(f"e{n:02}", 1, n, kind="a" if n % 2 else "b") for n in range(45)])
        one = meter("call", Filter("kind", ("a",)))
        await books.add_meters([one])
        await books.send([event("late", 100, kind="a")])
        assert await total(books, one) == 100
        assert await fill(books) == 6
        assert await total(books, one) == 122
        async with each_store.transaction(books.scope) as session:
            await session.execute(
                update(MeterRow).where(MeterRow.id == one.id).values(filters=[{"key": "kind", "values": ["a", "b"]}])
            )
        await fill(books)
        assert await total(books, one) == 145
        assert await fill(books) == 0


async def test_an_interrupted_backfill_goes_on_where_it_stopped(
    each_store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "BATCH", 7)
    async with opened(each_store) as books:
        await books.send([event(f"e{n:02}", 1, n) for n in range(30)])
        one = meter()
        await books.add_meters([one])
        for _ in range(3):
            with pytest.raises(_Interrupted):
                await interrupted(books)
            async with each_store.transaction(books.scope) as session:
                await backfill.backfill(session, LATER)
        # corrections in the middle of it, before and after what was visited
        await books.send([event("e00", 10), event("e29", 10)])
        await fill(books)
        assert await total(books, one) == 48
        assert await rows(books) == 30


async def test_an_append_in_flight_and_a_new_meter_do_not_miss_each_other(each_store: Database) -> None:
    async with opened(each_store) as books:
        one = meter()

        async def sender() -> None:
            connection: psycopg.AsyncConnection[Any] = await psycopg.AsyncConnection.connect(
                each_store.url, autocommit=True
            )
            memory = MeterMemory()
            async with connection:
                for n in range(40):
                    arrival = Arrival(event(f"{id(memory)}-{n}", 1), DAY)
                    await append(connection, books.scope, [arrival], memory, appending(books))

        async def maker() -> None:
            await asyncio.sleep(0.02)
            await books.add_meters([one])
            await fill(books)

        await asyncio.gather(*(sender() for _ in range(4)), maker())
        assert await total(books, one) == 160


async def test_old_events_are_forgotten_but_not_what_is_needed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(database) as books:
        level = replace(meter(reset=ResetUsage.NEVER), aggregation=Aggregation(AggregationType.WEIGHTED_SUM, "x"))
        await books.add_meters([meter(), level])
        await books.send([event(f"e{n}", 1, n * 24 * 60) for n in range(10)])

        async def needed(_session: object, _now: datetime) -> datetime:
            return DAY + timedelta(days=6)

        ports = wire()
        narrowed = replace(ports, events=replace(ports.events, find_earliest_needed=needed))
        monkeypatch.setattr(database, "ports", narrowed)
        monkeypatch.setattr(postgres_upkeep, "FORGOTTEN_AT_ONCE", 4)
        duty = retention.retention(timedelta(days=1))
        deleted = []
        for _ in range(3):
            async with database.transaction(books.scope) as session:
                deleted.append(await duty(session, LATER))
        assert deleted == [4, 2, 0]
        assert await rows(books) == 10 + 4


async def test_the_store_is_proved_and_a_missing_row_is_found(database: Database) -> None:
    async with opened(database) as books:
        one = meter()
        await books.add_meters([one])
        await fill(books)
        await books.send([event(f"e{n}", 1, n) for n in range(10)])
        async with database.transaction(books.scope) as session:
            assert await differences(session, DAY, LATER) == []
            await session.execute(text("DELETE FROM meter_usage WHERE timestamp = :at"), {"at": DAY})
            (found,) = await differences(session, DAY, LATER)
        assert (found.meter_id, found.day, found.stored_rows, found.measured_rows) == (one.id, DAY, 9, 10)


async def _counted(database: Database, books: Books) -> None:
    """Wait until the watermark has passed all that is there: whatever else runs on the server holds it back."""

    async def has_passed() -> bool:
        async with database.transaction(books.scope, read_only=True) as session:
            highest: int = (await session.execute(text("SELECT max(sequence) FROM events"))).scalar_one()
            return await watermark(session) >= highest

    await until(has_passed)


async def test_the_watermark_stops_below_a_transaction_in_flight(database: Database) -> None:
    async with opened(database) as books, opened(database) as slow:
        slow.scope = books.scope
        await books.add_meters([meter()])
        await books.send([event("first")])
        await _counted(database, books)
        async with slow.connection.transaction():
            # a writer that has its place in the order and has not committed
            await slow.connection.execute("SELECT pg_current_xact_id()")
            await books.send([event("second")])
            async with database.transaction(books.scope, read_only=True) as session:
                mark = await watermark(session)
                found = await session.execute(text("SELECT id, sequence <= :mark FROM events"), {"mark": mark})
                assert dict(found.all()) == {"first": True, "second": False}
        # other writers of this cluster may hold it back for a moment, never for good
        await _counted(database, books)
