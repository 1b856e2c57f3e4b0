"""Erasing a person, with the events in either store: nothing names it any more, and what it used is still counted."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from farthing.core.errors import ServiceUnavailable
from farthing.doctor.examination import audit
from farthing.erasure.erase import DocumentsChoice, erase
from farthing.erasure.usage import finish_usage
from farthing.events.stores.clickhouse.schema import EVENTS, IDS, USAGE
from farthing.events.stores.clickhouse.store import clickhouse_store
from farthing.events.upkeep.unfinished import finish_writes
from farthing.storage.postgres import Database
from farthing.wiring import wire
from tests.account import Account
from tests.erasure.person import PERSON, TRACES, live, traces
from tests.events.clickhouse import MUTATION, FaultyClickHouse, opened_clickhouse

APRIL = {"start_time": "2026-04-01T00:00:00Z", "end_time": "2026-05-01T00:00:00Z"}


async def _traces_in_clickhouse(account: Account) -> list[str]:
    """What names the person in any version of any row."""
    clickhouse = await opened_clickhouse()
    found: list[str] = []
    for table in (EVENTS, USAGE, IDS):
        rows = await clickhouse.rows(
            f"SELECT * FROM {clickhouse.database}.{table} WHERE environment_id = %(environment)s",
            {"environment": account.environment_id},
        )
        found += [f"{table}: {row}" for row in rows if any(trace.lower() in str(row).lower() for trace in TRACES)]
    return found


async def _counted(account: Account, meter_id: str, external_id: str) -> Any:
    query = {**APRIL, "meter_id": meter_id, "external_customer_id": external_id}
    usage = await account.post("/events/usage/meter", query, expect=200)
    return usage["value"]


async def _leave_a_deleted_event(account: Account) -> None:
    """One that first stood under somebody else's name: where it stood must not come back."""
    event = {"event_name": "calls", "event_id": "gone", "timestamp": "2026-04-02T00:00:00Z"}
    for external_id in ("a neighbour", PERSON["external_id"]):
        await account.post("/events", {**event, "external_customer_id": external_id, "properties": {}}, expect=202)
    answer = await account.http.delete("/events/gone")
    assert answer.is_success, answer.text


async def test_no_event_names_the_person_and_usage_is_what_it_was(account: Account) -> None:
    life = await live(account)
    await _leave_a_deleted_event(account)
    before = await _counted(account, life.feature["meter_id"], PERSON["external_id"])
    answer = await account.post(f"/customers/{life.customer_id}/erase", {"documents": "erase"}, expect=200)
    assert answer["rows"]["events"] == 2
    assert await traces(account) == {}
    assert await _traces_in_clickhouse(account) == []
    assert await _counted(account, life.feature["meter_id"], answer["external_id"]) == before == 3
    events = (await account.post("/events/query", APRIL, expect=200))["events"]
    assert {event["external_customer_id"] for event in events} == {answer["external_id"]}
    assert len(events) == 4
    assert (await audit(account.database, only=[account.environment_id])).differences == []
    again = await account.post(f"/customers/{life.customer_id}/erase", {"documents": "erase"}, expect=200)
    assert "events" not in again["rows"]
    assert await _counted(account, life.feature["meter_id"], answer["external_id"]) == before


@pytest.mark.parametrize("table", [EVENTS, USAGE, IDS, MUTATION])
async def test_an_erasure_that_was_cut_off_is_finished(
    in_clickhouse: Database, clickhouse_server: Any, database_url: str, table: str
) -> None:
    url, settings = clickhouse_server
    clickhouse = FaultyClickHouse()
    faulty = Database(database_url, wire(clickhouse_store(clickhouse)), pool_size=5)
    async with Account(url, settings, in_clickhouse) as account:
        life = await live(account)
        before = await _counted(account, life.feature["meter_id"], PERSON["external_id"])
        async with faulty.session(account.scope) as session:
            erasure = await erase(session, life.customer_id, DocumentsChoice.ERASE)
            clickhouse.breaks_at = lambda inserted: inserted == table
            with pytest.raises(ServiceUnavailable, match="recorded"):
                await finish_usage(session)
        assert await _traces_in_clickhouse(account)
        async with in_clickhouse.transaction(account.scope) as session:
            assert await finish_writes(session, account.database.clock.now()) > 1
        assert await _traces_in_clickhouse(account) == []
        async with in_clickhouse.transaction(account.scope, read_only=True) as session:
            assert await session.scalar(text("SELECT count(*) FROM pending_event_writes")) == 0
        assert await _counted(account, life.feature["meter_id"], erasure.external_id) == before
        assert (await audit(in_clickhouse, only=[account.environment_id])).differences == []
    await faulty.close()


async def test_what_is_only_asked_about_is_not_erased(account: Account) -> None:
    life = await live(account)
    async with account.database.session(account.scope) as session:
        await erase(session, life.customer_id, DocumentsChoice.ERASE)
        await session.rollback()
    assert (await traces(account))["customers.name"]
    assert await _counted(account, life.feature["meter_id"], PERSON["external_id"]) == 3
