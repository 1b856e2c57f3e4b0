"""Events that move to another store and back: nothing is lost or doubled, whoever goes on sending meanwhile."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text

from farthing.core.clock import FIRST_INSTANT, LAST_INSTANT
from farthing.core.errors import ServiceUnavailable
from farthing.events.ingest.arrivals import EventsElsewhere
from farthing.events.stores import moving
from farthing.events.stores.clickhouse.schema import USAGE
from farthing.events.stores.clickhouse.store import clickhouse_store
from farthing.events.stores.place import StoresDiffer, confirm_place
from farthing.events.usage.event_store import EventSelection, event_of, store_of
from farthing.metering.meter import Aggregation, AggregationType
from farthing.storage.postgres import Database, UnsafeDatabase
from farthing.storage.scope import SYSTEM
from farthing.wiring import wire
from tests.account import Account
from tests.conftest import settings_for
from tests.events.books import Books, opened
from tests.events.clickhouse import FaultyClickHouse, event, summed
from tests.waiting import until


async def _until_alone(database: Database) -> None:
    """Until PostgreSQL has noticed that the other connections are closed."""

    async def is_alone() -> bool:
        async with database.transaction(SYSTEM) as session:
            return not await moving.others_run(session, database)

    await until(is_alone)


async def _everything(books: Books) -> Any:
    async with books.database.transaction(books.scope, read_only=True) as session:
        store, found = store_of(session), []
        async for rows in store.events.stream(session, EventSelection(), None, None):
            found += [(row.id, row.timestamp, row.sequence, row.arrival, event_of(row).properties) for row in rows]
        meters = (await session.scalars(text("SELECT id FROM meters"))).all()
        totals = await store.upkeep.totals(session, meters, FIRST_INSTANT, LAST_INSTANT)
    return sorted(found), totals


async def test_events_move_there_and_back_and_an_interrupted_move_goes_on(
    new_database: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deployment of its own: a move takes all of its events along."""
    url = new_database()
    clickhouse = FaultyClickHouse(f"moved_{uuid.uuid4().hex[:8]}")
    here, there = Database(url, wire(), pool_size=4), Database(url, wire(clickhouse_store(clickhouse)), pool_size=4)
    monkeypatch.setattr(moving, "BATCH", 7)
    await confirm_place(here, None)
    async with Account("http://nowhere", settings_for(url), here) as account, opened(here) as books:
        books.scope = account.scope
        level = dataclasses.replace(summed(), aggregation=Aggregation(AggregationType.WEIGHTED_SUM, "x"))
        await books.add_meters([summed(), level])
        await books.send([event(f"e{n}", Decimal("1.25") + n, minute=n * 60 * 24 * 9) for n in range(40)])
        await books.send([event(f"e{n}", n, minute=n, customer="c2") for n in range(5)])
        before = await _everything(books)
        with pytest.raises(UnsafeDatabase, match="events are stored in PostgreSQL"):
            await confirm_place(here, clickhouse)
        copied: list[int] = []
        clickhouse.breaks_at = lambda table: table == USAGE and len(copied) > 8
        with pytest.raises(ServiceUnavailable):
            await moving.move_to_clickhouse(here, clickhouse, copied.append)
        with pytest.raises(UnsafeDatabase, match="being moved"):
            await confirm_place(here, None)
        clickhouse.breaks_at = lambda _: False
        assert await moving.move_to_clickhouse(here, clickhouse, copied.append) < sum(copied) == 40 + 80
        books.database = there
        assert await _everything(books) == before
        await confirm_place(there, clickhouse)
        clickhouse.breaks_at = lambda _: True
        await confirm_place(there, clickhouse)  # a process starts while it is away
        clickhouse.breaks_at = lambda _: False
        another = FaultyClickHouse(f"another_{uuid.uuid4().hex[:8]}")
        with pytest.raises(UnsafeDatabase, match="is not where this deployment's events are stored"):
            await confirm_place(there, another)
        with pytest.raises(UnsafeDatabase, match="set FARTHING_EVENTS_URL"):
            await confirm_place(here, None)
        assert (await books.send([event("e9", 1), event("new", 3)])).replaced == 1
        before = await _everything(books)
        with pytest.raises(UnsafeDatabase, match="stop all its processes"):
            await moving.move_to_postgres(here, clickhouse, copied.append)
        await there.close()
        await _until_alone(here)
        await moving.move_to_postgres(here, clickhouse, copied.append)
        books.database = here
        assert await _everything(books) == before
        await confirm_place(here, None)
    await here.close()
    await there.close()


async def test_who_goes_on_sending_while_events_move_loses_and_doubles_nothing(
    new_database: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was overlooked, because it had no connection when the move began: `opened` has no name of ours."""
    url = new_database()
    clickhouse = FaultyClickHouse(f"moved_{uuid.uuid4().hex[:8]}")
    here, there = Database(url, wire(), pool_size=4), Database(url, wire(clickhouse_store(clickhouse)), pool_size=4)
    monkeypatch.setattr(moving, "BATCH", 5)
    async with Account("http://nowhere", settings_for(url), here) as account, opened(here) as books:
        books.scope = account.scope
        await books.add_meters([summed()])
        accepted = [f"e{n}" for n in range(30)]
        await books.send([event(name, 1) for name in accepted])
        moved, refused = asyncio.Event(), 0

        async def go_on() -> None:
            nonlocal refused
            for number in itertools.count():
                given = event(f"later {number}", 1)
                try:
                    # with ids of its own, and with ids that are made as events come in, which are stored in another way
                    await books.send([given], have_fresh_ids=number % 2 == 0)
                    accepted.append(given.id)
                except EventsElsewhere:
                    refused += 1
                if moved.is_set():
                    return
                await asyncio.sleep(0)

        sending = asyncio.create_task(go_on())
        try:
            await moving.move_to_clickhouse(here, clickhouse, lambda _: None)
        finally:
            moved.set()
            await sending
        assert refused
        with pytest.raises(EventsElsewhere):
            await books.send([event("after the move", 1)])
        books.database = there
        again = await books.send([event("e1", 1), event("after the move", 1)])
        assert (again.added, again.unchanged) == (1, 1), "what was refused is sent again, and some of what was not"
        accepted.append("after the move")
        stored, totals = await _everything(books)
        assert [row[0] for row in stored] == sorted(accepted)
        assert sum(count for count, _ in totals.values()) == len(accepted)
    await here.close()
    await there.close()


async def test_a_copy_that_lacks_something_is_not_switched_to(new_database: Callable[..., str]) -> None:
    url = new_database()
    clickhouse = FaultyClickHouse(f"moved_{uuid.uuid4().hex[:8]}")
    here = Database(url, wire(), pool_size=4)
    async with Account("http://nowhere", settings_for(url), here) as account, opened(here) as books:
        books.scope = account.scope
        await books.add_meters([summed()])
        await books.send([event("e1", 5), event("e2", 7)])
        clickhouse.loses = USAGE
        with pytest.raises(StoresDiffer, match="usage of meter"):
            await moving.move_to_clickhouse(here, clickhouse, lambda _: None)
        await moving.give_up(here, clickhouse)
        await confirm_place(here, None)
        assert len((await _everything(books))[0]) == 2
    await here.close()
