"""Events in ClickHouse: answered as PostgreSQL answers, stored once whatever breaks, and billed to the cent.

What the engine within the process cannot show (replicas, shards, a server that dies) is shown with a client that fails
when it is told to, and by the text of the statements. `FARTHING_TEST_CLICKHOUSE_URL` lets all of it run on a server.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gzip
import random
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from sqlalchemy import text
from structlog.testing import capture_logs

from farthing.backup.export import back_up
from farthing.backup.load import restore
from farthing.calendar.windows import WindowSize
from farthing.core.caller import RequestTerms
from farthing.core.errors import DatabaseFailed, ServiceUnavailable
from farthing.doctor.examination import audit
from farthing.events.analytics import listing
from farthing.events.corrections.changing import Amendment, amend_events, delete_event, void_events
from farthing.events.corrections.schemas import AmendedEventRequest
from farthing.events.ingest.arrivals import sender_named
from farthing.events.ingest.incoming import AcceptedTimes
from farthing.events.requests import GetEventsRequest
from farthing.events.stores.clickhouse.client import ClickHouse
from farthing.events.stores.clickhouse.schema import EVENTS, IDS, USAGE, local_name
from farthing.events.stores.clickhouse.store import clickhouse_store
from farthing.events.stores.clickhouse.writes.pending import lock_writes, unlock_writes
from farthing.events.stores.place import confirm_place
from farthing.events.upkeep import reconcile
from farthing.events.upkeep.unfinished import finish_writes
from farthing.events.usage import usage_query
from farthing.events.usage.event_store import store_of
from farthing.events.usage.usage_statement import UsageQuery
from farthing.logs import traceback_of
from farthing.metering.event import UsageEvent
from farthing.metering.meter import Meter
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.wiring import wire
from tests.account import Account
from tests.billing.office import Office
from tests.conftest import running, settings_for
from tests.events.books import Books, opened
from tests.events.clickhouse import DAY, FaultyClickHouse, address, event, opened_clickhouse, summed
from tests.events.usage.test_against_the_model import METERS, ZONES, events, selections
from tests.subscriptions.shop import fixed
from tests.waiting import until

NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def total(books: Books, meter: Meter, *customers: str) -> Decimal:
    query = UsageQuery(meter, DAY - timedelta(days=90), DAY + timedelta(days=90), frozenset(customers or {"c1"}))
    async with books.database.transaction(books.scope, read_only=True) as session:
        return (await usage_query.usage(session, query)).value


async def pending(books: Books) -> int:
    async with books.database.transaction(books.scope, read_only=True) as session:
        return int(await session.scalar(text("SELECT count(*) FROM pending_event_writes")) or 0)


async def finish(books: Books) -> int:
    async with books.database.transaction(books.scope) as session:
        return await finish_writes(session, NOW)


async def correct(books: Books, changes: Sequence[tuple[str, UsageEvent]]) -> list[Any]:
    """Void, delete or amend events, and what came of it."""
    outcomes: list[Any] = []
    terms = AcceptedTimes.at(NOW, RequestTerms(False, datetime(1970, 1, 1, tzinfo=UTC), 1))
    for what, content in changes:
        async with books.database.session(books.scope) as session:
            if what == "delete":
                outcomes.append(await delete_event(session, content.id))
                await session.commit()
                continue
            known = await store_of(session).events.find(session, [content.id])
            if not known and what == "void":
                outcomes.append("unknown")
                continue
            if what == "void":
                outcomes.append(await void_events(session, [content.id], "wrong"))
            elif known:
                amended = AmendedEventRequest(
                    id=content.id,
                    event_name=content.event_name,
                    external_customer_id=content.external_customer_id,
                    timestamp=content.timestamp,
                    properties=dict(content.properties),
                )
                asked = Amendment([amended], "wrong", sender_named("tests", corrects_all=True), terms)
                outcomes.append(await amend_events(session, books.memory, asked))
            await session.commit()
    return outcomes


def _values(found: Any) -> Any:
    return [(each.id, each.timestamp, each.external_customer_id, each.source) for each in found]


@pytest.mark.slow
@settings(max_examples=12)
@given(
    batches=st.lists(st.lists(events, min_size=1, max_size=12), min_size=1, max_size=4),
    changes=st.lists(st.tuples(st.sampled_from(["void", "delete", "amend"]), events), max_size=6),
    asked=selections(),
    zone=st.sampled_from(ZONES),
    size=st.sampled_from(list(WindowSize)),
    group_by=st.sampled_from([(), ("source",), ("properties.u", "external_customer_id")]),
    chance=st.randoms(use_true_random=False),
)
async def test_both_stores_answer_alike(
    database: Database,
    in_clickhouse: Database,
    batches: list[list[UsageEvent]],
    changes: list[tuple[str, UsageEvent]],
    asked: Any,
    zone: str,
    size: WindowSize,
    group_by: tuple[str, ...],
    chance: random.Random,
) -> None:
    page = GetEventsRequest(
        start_time=asked.start - timedelta(days=9), end_time=asked.end + timedelta(days=9), page_size=5
    )
    answers: list[Any] = []
    for stored_in in (database, in_clickhouse):
        async with opened(stored_in) as books:
            meters = [dataclasses.replace(meter, id=f"meter_{uuid.uuid4().hex}") for meter in METERS]
            await books.add_meters(meters)
            found: list[Any] = [await books.send(batch) for batch in batches]
            found.append(await correct(books, changes))
            found.append(await books.send(batches[0])) if not any(what == "void" for what, _ in changes) else None
            async with stored_in.transaction(books.scope, read_only=True) as session:
                queries = [
                    UsageQuery(
                        meter,
                        asked.start,
                        asked.end,
                        asked.customers,
                        asked.sources,
                        asked.properties,
                        zone=ZoneInfo(zone),
                        group_by=group_by,
                    )
                    for meter in meters
                ]
                plain = [dataclasses.replace(query, group_by=()) for query in queries]
                found.append(await usage_query.usage_of(session, plain))
                found.append([await usage_query.since_beginning(session, query) for query in plain])
                found.append(await usage_query.grouped_of(session, queries))
                found.append(await usage_query.series_of(session, plain, size))
                found.append(await usage_query.buckets_of(session, [query for query in plain if query.buckets]))
                listed = await listing.events_page(session, page, NOW)
                found += [_values(listed.events), listed.total_count, listed.has_more, listed.iter_last_key]
                assert await reconcile.differences(session, DAY - timedelta(days=40), DAY + timedelta(days=400)) == []
            answers.append(found)
    assert answers[0] == answers[1]


async def billed(account: Account) -> Any:
    """Half a year of a customer with a fee and three usage prices, with corrections and late usage, as it is billed."""
    office = Office(account)
    await office.set_up()
    calls = await office.feature("calls")
    amounts = await office.feature("amounts", type="SUM", field="n")
    users = await office.feature("users", type="COUNT_UNIQUE", field="u")
    plan = await office.plan(
        fixed("10"), office.usage(calls, "0.25"), office.usage(amounts, "1.5"), office.usage(users, "3")
    )
    customer = await office.customer()
    subscription = await office.subscribed(plan, customer)
    for month in (1, 2, 3):
        await office.used("calls", customer, 40 + month, f"2026-0{month}-11T10:00", n=1)
        await office.recorded(
            "amounts", customer, *((f"2026-0{month}-{day:02}T12:00", {"n": f"{day}.125"}) for day in range(1, 20))
        )
        await office.recorded(
            "users", customer, *((f"2026-0{month}-{day:02}T08:00", {"u": f"u{day % 5}"}) for day in range(1, 20))
        )
        await office.run(f"2026-0{month + 1}-01T00:10")
    return await office.totals(subscription)


async def test_an_invoice_is_the_same_from_either_store(
    base_url: str,
    settings: Settings,
    database: Database,
    clickhouse_server: tuple[str, Settings],
    in_clickhouse: Database,
) -> None:
    async with Account(base_url, settings, database) as account:
        expected = await billed(account)
    assert expected[-1] != "10.00"
    url, elsewhere = clickhouse_server
    async with Account(url, elsewhere, in_clickhouse) as account:
        assert await billed(account) == expected
        # and nothing of it is in PostgreSQL
        async with in_clickhouse.transaction(account.scope, read_only=True) as session:
            assert await session.scalar(text("SELECT count(*) FROM events")) == 0
            assert await session.scalar(text("SELECT count(*) FROM meter_usage")) == 0


@asynccontextmanager
async def faulty(database_url: str) -> AsyncIterator[tuple[Database, FaultyClickHouse]]:
    """The worker's database with a ClickHouse that breaks when it is told to."""
    await opened_clickhouse()
    clickhouse = FaultyClickHouse()
    database = Database(database_url, wire(clickhouse_store(clickhouse)), pool_size=5)
    yield database, clickhouse
    await database.close()


async def mark_above_e1(database: Database, books: Books) -> int:
    """The watermark, once the event `e1` lies below it; else 0. Whatever else runs on the server holds it back."""
    async with database.transaction(books.scope, read_only=True) as session:
        mark = await store_of(session).usage.watermark(session)
        (stored,) = await store_of(session).events.find(session, ["e1"])
        return mark if stored.sequence <= mark else 0


@pytest.mark.parametrize("table", [EVENTS, USAGE, IDS])
@pytest.mark.parametrize("is_done_first", [False, True], ids=["before", "after"])
async def test_a_write_that_was_cut_off_is_finished_by_whoever_comes_next(
    database_url: str, in_clickhouse: Database, table: str, is_done_first: bool
) -> None:
    async with faulty(database_url) as (database, clickhouse), opened(database) as books:
        meter = summed()
        await books.add_meters([meter])
        await books.send([event("e1", 5), event("e2", 7)])
        before = await until(lambda: mark_above_e1(database, books))
        clickhouse.breaks_at, clickhouse.is_done_first = lambda at: at == table, is_done_first
        with pytest.raises(ServiceUnavailable):
            # one is new, one moves to another month and customer
            await books.send([event("e3", 11), event("e2", 13, minute=60 * 24 * 60, customer="c2")])
        assert await pending(books) == 1
        async with database.transaction(books.scope, read_only=True) as session:
            assert before <= await store_of(session).usage.watermark(session)
            clickhouse.breaks_at = lambda _: False
            mark = await store_of(session).usage.watermark(session)
            # all that arrived up to the mark is what was acknowledged
            found = await store_of(session).events.find(session, ["e1", "e3"])
            is_late = {row.id: row.sequence > mark for row in found}
            assert not is_late["e1"]
            assert is_late.get("e3", True)
        # the same process, or another, goes on
        books.database = in_clickhouse
        if table == USAGE:
            assert await finish(books) == 1
        else:
            await books.send([event("e4", 1)])
        assert await pending(books) == 0
        assert await total(books, meter, "c1") == (16 if table == USAGE else 17)
        assert await total(books, meter, "c2") == 13
        assert (await books.send([event("e3", 11)])).unchanged == 1


async def test_while_it_is_away_nothing_is_accepted_and_nothing_is_billed(database_url: str) -> None:
    async with faulty(database_url) as (database, clickhouse):
        settings = settings_for(database_url)
        async with running(settings, database) as url, Account(url, settings, database) as account:
            office = Office(account)
            await office.set_up()
            calls = await office.feature("calls")
            customer = await office.customer()
            subscription = await office.subscribed(await office.plan(office.usage(calls, "1")), customer)
            await office.used("calls", customer, 3, "2026-01-11")
            fees = await office.subscribed(await office.plan(fixed("10")))
            clickhouse.breaks_at = lambda _: True
            body = {"event_name": "calls", "external_customer_id": customer["external_id"]}
            await account.post("/events", body, expect=503)
            await account.post("/events/query", {}, expect=503)
            done = await office.run("2026-02-01T00:10")
            assert list(done.failed) == [subscription.id]
            assert await office.totals(subscription) == []
            assert await office.totals(fees) == ["10.00", "10.00"]
            await account.get(f"/customers/{customer['id']}")
            async with database.transaction(account.scope, read_only=True) as session:
                assert await session.scalar(text("SELECT count(*) FROM pending_event_writes")) == 0
            clickhouse.breaks_at = lambda _: False
            await office.run("2026-02-01T00:20")
            assert await office.totals(subscription) == ["3.00"]


async def test_a_batch_waits_for_that_of_another_process_in_its_environment_only(
    database_url: str, in_clickhouse: Database
) -> None:
    async with opened(in_clickhouse) as books, opened(in_clickhouse) as others:
        await asyncio.gather(books.add_meters([summed()]), others.add_meters([summed()]))
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as elsewhere:
            await lock_writes(elsewhere, books.scope.environment_id)
            waiting = asyncio.create_task(books.send([event("e1", 5)]))
            assert (await others.send([event("e1", 5)])).added == 1
            assert not waiting.done()
            await unlock_writes(elsewhere, books.scope.environment_id)
            assert (await waiting).added == 1


async def test_a_backup_of_the_books_holds_no_events(new_database: Callable[..., str], tmp_path: Path) -> None:
    settings = settings_for(new_database())
    database = Database(settings.database_url or "", wire(clickhouse_store(await opened_clickhouse())))
    async with running(settings, database) as url, Account(url, settings, database) as account:
        await account.post("/customers", {"external_id": "told-in-the-books", "name": "Acme"})
        sent = {"event_name": "calls", "event_id": "told-nowhere-else", "external_customer_id": "told-in-the-books"}
        await account.post("/events", sent, expect=202)
        await asyncio.to_thread(back_up, settings, tmp_path / "backup", Console(quiet=True))
        written = [gzip.decompress(file.read_bytes()) for file in (tmp_path / "backup/tables").iterdir()]
        assert any(b"told-in-the-books" in rows for rows in written)
        assert not any(b"told-nowhere-else" in rows for rows in written)
    await database.close()


@pytest.mark.slow
async def test_books_that_were_restored_charge_later_events_late_and_the_doctor_finds_those_that_are_gone(
    new_database: Callable[..., str], tmp_path: Path
) -> None:
    """ClickHouse stands where it stood after the books' backup; then where it stood before."""
    url, clickhouse = new_database(), FaultyClickHouse(f"kept_{uuid.uuid4().hex[:8]}")
    books, quiet = settings_for(url), Console(quiet=True)
    database = Database(url, wire(clickhouse_store(clickhouse)), pool_size=5)
    await confirm_place(database, clickhouse)
    async with running(books, database) as address, Account(address, books, database) as account:
        office = Office(account)
        await office.set_up()
        calls = await office.feature("calls")
        customer = await office.customer()
        plan = await office.plan(office.usage(calls, "1"))
        await office.settings(late_usage_policy="next_invoice")
        subscription = await office.subscribed(plan, customer)
        await office.used("calls", customer, 3, "2026-01-11")
        await office.run("2026-02-01T00:10")
        assert await office.totals(subscription) == ["3.00"]
        await asyncio.to_thread(back_up, books, tmp_path / "backup", quiet)
        await office.used("calls", customer, 4, "2026-01-12")
    await database.close()

    again = settings_for(new_database(migrated=False))
    await asyncio.to_thread(restore, again, tmp_path / "backup", quiet)
    database = Database(again.database_url or "", wire(clickhouse_store(clickhouse)), pool_size=5)
    await confirm_place(database, clickhouse)
    account.database = database
    assert (await audit(database)).differences == []
    await office.run("2026-03-01T00:10")
    assert await office.totals(subscription) == ["3.00", "4.00"]
    assert (await audit(database)).differences == []

    for table in (EVENTS, USAGE, IDS):
        await clickhouse.command(f"TRUNCATE TABLE {local_name(table, clickhouse.address)}")
    differences = (await audit(database)).differences
    assert {difference.figure for difference in differences} == {"usage measured again"}
    await database.close()


@pytest.mark.slow
async def test_books_that_went_back_in_time_correct_events_that_they_do_not_know(
    new_database: Callable[..., str], tmp_path: Path
) -> None:
    """As by a second restore of one backup, or a recovery to a moment: what was given out is given out again."""
    url, quiet = new_database(), Console(quiet=True)
    sees_all = settings_for(url.replace("farthing@", "postgres@"))  # the environment of these books is no tenant's
    clickhouse, meter = FaultyClickHouse(f"ahead_{uuid.uuid4().hex[:8]}"), summed()
    database = Database(url, wire(clickhouse_store(clickhouse)), pool_size=3)
    await confirm_place(database, clickhouse)
    async with opened(database) as books:
        await books.add_meters([meter])
        await asyncio.to_thread(back_up, sees_all, tmp_path / "backup", quiet)
        await books.connection.execute("UPDATE event_arrival SET moves = moves + 1")
        assert (await books.send([event("e1", 5)])).added == 1
    await database.close()

    again = settings_for(new_database(migrated=False))
    await asyncio.to_thread(restore, again, tmp_path / "backup", quiet)
    database = Database(again.database_url or "", wire(clickhouse_store(clickhouse)), pool_size=3)
    await confirm_place(database, clickhouse)
    async with opened(database) as after:
        after.scope = books.scope
        assert await total(after, meter) == 5
        assert (await after.send([event("e1", 7)])).replaced == 1
        assert await total(after, meter) == 7
        moves = "SELECT moves FROM event_arrival"
        settled = await (await after.connection.execute(moves)).fetchall()
        await confirm_place(database, clickhouse)
        assert await (await after.connection.execute(moves)).fetchall() == settled, "once"
    await database.close()


async def test_a_correction_that_was_cut_off_takes_effect_later(database_url: str) -> None:
    async with faulty(database_url) as (database, clickhouse), opened(database) as books:
        meter = summed()
        await books.add_meters([meter])
        await books.send([event("e1", 5), event("e2", 7)])
        clickhouse.breaks_at = lambda table: table == USAGE
        with pytest.raises(ServiceUnavailable, match="recorded"):
            await correct(books, [("void", event("e1"))])
        clickhouse.breaks_at = lambda _: False
        assert await finish(books) == 1
        assert await total(books, meter) == 7


async def test_events_that_were_forgotten_stay_forgotten(in_clickhouse: Database) -> None:
    async with opened(in_clickhouse) as books:
        meter = summed()
        await books.add_meters([meter])
        await books.send([event("e1", 5, minute=60 * 24 * 60), event("e2", 7), event("e3", 1, minute=60 * 24 * 60)])
        await books.send([event("e1", 5)])  # it moves to before what is kept
        async with in_clickhouse.transaction(books.scope) as session:
            forget = store_of(session).upkeep.forget
            assert await forget(session, DAY + timedelta(days=1), []) == 2
            assert await forget(session, DAY + timedelta(days=1), []) == 0
            assert [row.id for row in await store_of(session).events.find(session, ["e1", "e2", "e3"])] == ["e3"]
        assert await total(books, meter) == 1
        assert (await books.send([event("e1", 2)])).added == 1


@pytest.mark.parametrize("separately", [0, 1])
async def test_either_way_of_reading_months_gives_the_same(in_clickhouse: Database, separately: int) -> None:
    clickhouse = await opened_clickhouse()
    async with opened(in_clickhouse) as books:
        meter = summed()
        await books.add_meters([meter])
        await books.send([event(f"e{n}", 1, minute=n * 24 * 60) for n in range(-40, 40)])
        await books.send([event(f"e{n}", 2, minute=-n * 24 * 60) for n in range(-40, 40)])
        ((count, amount),) = await clickhouse.rows(
            f"SELECT count(), sum(quantity) FROM {clickhouse.database}.{USAGE} FINAL "
            "WHERE environment_id = %(environment)s "
            f"SETTINGS do_not_merge_across_partitions_select_final = {separately}",
            {"environment": books.scope.environment_id},
        )
        assert (count, amount) == (80, 160)


async def test_what_it_says_of_a_failure_is_not_logged(in_clickhouse: Database) -> None:
    """Its text quotes statements, and values in them."""
    clickhouse, value = ClickHouse(address()), "of somebody"
    with capture_logs() as written, pytest.raises(DatabaseFailed) as failed:
        await clickhouse.rows("SELECT toUInt8({value:String})", {"value": value})
    (line,) = written
    assert (line["event"], line["code"], line["name"]) == ("events.failed", 6, "CANNOT_PARSE_TEXT")
    stack = traceback_of((type(failed.value), failed.value, failed.value.__traceback__))
    assert value not in f"{written}{stack}"
