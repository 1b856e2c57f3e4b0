"""The way in: what is accepted, what is refused and how it is said, and that nothing counts twice."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest

from farthing.core.clock import FIRST_INSTANT, LAST_INSTANT
from farthing.core.errors import ServiceUnavailable, TooManyRequests
from farthing.events.ingest.arrivals import Arrival
from farthing.events.ingest.group_commit import Ingest
from farthing.events.ingest.incoming import LARGEST_EVENT_BYTES
from farthing.events.ingest.store import append_measured
from farthing.events.usage.event_store import store_of
from farthing.metering.event import UsageEvent
from farthing.storage.postgres import Database
from farthing.storage.scope import Scope
from farthing.wiring import wire
from tests.account import Account
from tests.conftest import running, settings_for
from tests.events.counter import at, each, new_meter, post, send, sent, usage

JANUARY = ("2024-01-01T00:00", "2024-02-01T00:00")
RANGE: dict[str, Any] = {"start_time": at(JANUARY[0]), "end_time": at(JANUARY[1])}


async def test_one_event_is_answered_with_its_id(account: Account) -> None:
    given = await account.post("/events", sent("10:00", "order/7: b::c", x=1), expect=202)
    assert given == {"message": "Event accepted for processing", "event_id": "order/7: b::c"}
    made = await account.post("/events", sent("10:00", x=1), expect=202)
    assert made["event_id"].startswith("event_")
    assert len(made["event_id"]) == len("event_") + 26
    found = await account.get("/events/lookup", id="order/7: b::c")
    assert found["event"]["timestamp"] == "2024-01-15T10:00:00Z"
    assert (await account.get("/events/order%2F7%3A%20b%3A%3Ac"))["event"] == found["event"]


async def test_a_batch_tells_its_ids_to_those_who_ask(account: Account) -> None:
    body = {"events": [sent("10:00", "a"), sent("10:01", "b")]}
    plain = await account.post("/events/bulk", body, expect=202)
    assert plain == {"message": "Events accepted for processing"}
    answer = await account.http.post("/events/bulk", json=body, headers={"Prefer": "return=representation"})
    assert answer.json()["event_ids"] == ["a", "b"]


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        pytest.param("2024-01-15T12:00:00+02:00", "2024-01-15T10:00:00Z", id="any offset becomes UTC"),
        pytest.param("2024-01-15T10:00:00.123999Z", "2024-01-15T10:00:00.123Z", id="cut to the millisecond"),
    ],
)
async def test_times(account: Account, given: str, stored: str) -> None:
    await account.post("/events", {**sent("10:00", "e"), "timestamp": given}, expect=202)
    assert (await account.get("/events/lookup", id="e"))["event"]["timestamp"] == stored


@pytest.mark.parametrize("absent", [None, "0001-01-01T00:00:00Z"])
async def test_without_a_time_the_arrival_counts(account: Account, absent: str | None) -> None:
    await account.freeze(datetime(2025, 2, 3, 4, 5, 6, 789_012, tzinfo=UTC))
    await account.post("/events", {**sent("10:00", "e"), "timestamp": absent}, expect=202)
    event = (await account.get("/events/lookup", id="e"))["event"]
    assert event["timestamp"] == "2025-02-03T04:05:06.789Z"
    assert event["ingested_at"] == "2025-02-03T04:05:06.789012Z"


@pytest.mark.parametrize(
    ("now", "time", "accepted"),
    [
        pytest.param("2026-06-15T12:00:00", "2000-01-01T00:00:00Z", True, id="the first of 2000"),
        pytest.param("2026-06-15T12:00:00", "1999-12-31T23:59:59.999999999Z", False, id="just before 2000"),
        pytest.param("2026-06-15T12:00:00", "2000-01-01T00:30:00+01:00", False, id="2000 on the wall, 1999 in UTC"),
        pytest.param("2026-06-15T12:00:00", "2031-06-15T12:00:00Z", True, id="five years later"),
        pytest.param("2026-06-15T12:00:00", "2031-06-15T12:00:00.001Z", False, id="five years and a millisecond later"),
        pytest.param("2028-02-29T12:00:00", "2033-02-28T12:00:00Z", True, id="five years after a leap day"),
        pytest.param("2028-02-29T12:00:00", "2033-03-01T00:00:00Z", False, id="the day after five years"),
        pytest.param("2026-06-15T12:00:00", "0001-01-02T00:00:00Z", False, id="nearly the zero time"),
        pytest.param("2026-06-15T12:00:00", "9999-12-31T23:59:59.9999999Z", False, id="the last time there is"),
        pytest.param("2026-06-15T12:00:00", "58382-01-01T00:00:00Z", False, id="milliseconds read as seconds"),
    ],
)
async def test_the_times_that_events_may_have(account: Account, now: str, time: str, accepted: bool) -> None:
    """Rule: docs/rules/metering.md#fields-of-an-event"""
    await account.freeze(datetime.fromisoformat(now).replace(tzinfo=UTC))
    event = {**sent("10:00", "e"), "timestamp": time}
    answer = await account.post("/events", event, expect=202 if accepted else 400)
    if not accepted:
        assert list(answer["details"]) == ["timestamp"]
    good = {**sent("10:00", "good"), "timestamp": now + "Z"}
    answer = await account.post("/events/bulk", {"events": [good, event]}, expect=202 if accepted else 400)
    if not accepted:
        assert [(error["index"], error["field"]) for error in answer["details"]["errors"]] == [(1, "timestamp")]


async def test_an_environment_says_which_times_its_events_may_have(account: Account) -> None:
    """Rule: docs/rules/metering.md#fields-of-an-event"""
    await account.freeze(datetime(2026, 6, 15, tzinfo=UTC))
    ancient, distant = {"timestamp": "0001-01-02T00:00:00Z"}, {"timestamp": "9999-12-31T23:59:59.999Z"}
    for change in (ancient, distant):
        await account.post("/events", {**sent("10:00", "e"), **change}, expect=400)
    value = {"earliest_event_time": "0001-01-01T00:00:00Z", "event_years_ahead": 8000}
    await account.put("/settings/request_config", {"value": value})
    for change in (ancient, distant):
        await account.post("/events", {**sent("10:00", "e"), **change}, expect=202)
    await account.put("/settings/request_config", {"value": {"event_years_ahead": 0}})
    await account.post("/events", {**sent("10:00", "e"), "timestamp": "2026-06-15T00:00:01Z"}, expect=400)
    await account.post("/events", {**sent("10:00", "e"), "timestamp": "2026-06-15T00:00:00Z"}, expect=202)


async def test_properties_come_back_as_they_were_sent(account: Account) -> None:
    body = (
        '{"event_name": "call", "external_customer_id": "c", "event_id": "e", "timestamp": "2024-01-15T10:00:00Z", '
        '"properties": {"big": 9007199254740993, "tenth": 0.10, "t": true, "n": null, "l": [1, {"a": "b"}], '
        '"a.b": "dot", "twice": 1, "twice": 2, "\\ud83d\\ude00": "\\u00e9"}}'
    )
    answer = await account.http.post("/events", content=body)
    assert answer.status_code == 202, answer.text
    raw = (await account.http.get("/events/lookup", params={"id": "e"})).text
    properties = json.loads(raw, parse_float=Decimal)["event"]["properties"]
    assert properties == {
        "big": 9007199254740993,
        "tenth": Decimal("0.10"),
        "t": True,
        "n": None,
        "l": [1, {"a": "b"}],
        "a.b": "dot",
        "twice": 2,
        "😀": "é",
    }


_GOOD = {"event_name": "call", "external_customer_id": "c", "event_id": "e"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        pytest.param(b"{", "body", id="not JSON"),
        pytest.param(b"null", "body", id="null"),
        pytest.param(b"[]", "body", id="a list"),
        pytest.param({"external_customer_id": "c"}, "event_name", id="no name"),
        pytest.param({"event_name": "call"}, "external_customer_id", id="no customer"),
        pytest.param({**_GOOD, "event_name": " \t "}, "event_name", id="a name of spaces"),
        pytest.param({**_GOOD, "external_customer_id": "  "}, "external_customer_id", id="a customer of spaces"),
        pytest.param({**_GOOD, "event_name": "x" * 256}, "event_name", id="a long name"),
        pytest.param({**_GOOD, "event_id": "x" * 256}, "event_id", id="a long id"),
        pytest.param({**_GOOD, "event_id": 7}, "event_id", id="an id that is a number"),
        pytest.param({**_GOOD, "timestamp": 1700000000}, "timestamp", id="a time that is a number"),
        pytest.param({**_GOOD, "timestamp": "2024-01-15T10:00:00"}, "timestamp", id="a time without an offset"),
        pytest.param({**_GOOD, "timestamp": "yesterday"}, "timestamp", id="a time in words"),
        pytest.param({**_GOOD, "timestamp": "0001-01-01T00:00:00+14:00"}, "timestamp", id="a time before all"),
        pytest.param({**_GOOD, "properties": [1]}, "properties", id="properties that are a list"),
        pytest.param({**_GOOD, "properties": {"a": "x\0y"}}, "body", id="a NUL in a value"),
        pytest.param({**_GOOD, "properties": {"a\0": 1}}, "body", id="a NUL in a key"),
        pytest.param(
            b'{"event_name":"call","external_customer_id":"c","properties":{"a":1e99999}}', None, id="a huge number"
        ),
        pytest.param(
            b'{"event_name":"call","external_customer_id":"c","properties":{"a":"\\ud800"}}',
            None,
            id="half a character",
        ),
        pytest.param({**_GOOD, "properties": {"a": "x" * LARGEST_EVENT_BYTES}}, "event", id="over 256 KiB"),
        pytest.param(
            b'{"event_name":"call","external_customer_id":"c","properties":{"a":' + b"[" * 5000 + b"]" * 5000 + b"}}",
            None,
            id="very deep",
        ),
    ],
)
async def test_what_is_malformed_is_refused_and_named(account: Account, body: Any, field: str | None) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = await account.http.post("/events", content=content)
    assert answer.status_code == 400, answer.text
    assert answer.json()["code"] == "validation_error"
    if field is not None:
        assert field in answer.json()["details"], answer.text
    assert (await post(account, "/events/query", {"end_time": "2100-01-01T00:00:00Z"})) == {
        "events": [],
        "has_more": False,
        "offset": 50,
    }


async def test_text_that_only_looks_like_a_nul_is_fine(account: Account) -> None:
    body = rb'{"event_name":"call","external_customer_id":"c","event_id":"e","properties":{"a":"\\u0000"}}'
    answer = await account.http.post("/events", content=body)
    assert answer.status_code == 202, answer.text
    assert (await account.get("/events/lookup", id="e"))["event"]["properties"] == {"a": "\\u0000"}


async def test_a_bad_batch_is_refused_whole_and_every_bad_event_is_named(account: Account) -> None:
    events = [
        sent("10:00", "good"),
        {**sent("10:00"), "event_name": " "},
        None,
        {"event_name": "call"},
        {**sent("10:00"), "timestamp": "soon"},
        {**sent("10:00"), "properties": {"a": "\0"}},
        {**sent("10:00"), "event_id": "x" * 300},
    ]
    answer = await account.post("/events/bulk", {"events": events}, expect=400)
    assert [(error["index"], error["field"]) for error in answer["details"]["errors"]] == [
        (1, "event_name"),
        (2, "body"),
        (3, "external_customer_id"),
        (4, "timestamp"),
        (5, "body"),
        (6, "event_id"),
    ]
    assert all(error["message"] for error in answer["details"]["errors"])
    await account.get("/events/lookup", id="good", expect=404)


@pytest.mark.parametrize("count", [0, 1001])
async def test_a_batch_has_1_to_1000_events(account: Account, count: int) -> None:
    answer = await account.post("/events/bulk", {"events": [sent("10:00", "e")] * count}, expect=400)
    assert "1 to 1000" in answer["details"]["events"]


async def test_a_batch_with_one_huge_event_names_it(account: Account) -> None:
    events = [sent("10:00"), sent("10:00", x="y" * LARGEST_EVENT_BYTES)]
    answer = await account.post("/events/bulk", {"events": events}, expect=400)
    assert [error["index"] for error in answer["details"]["errors"]] == [1]


async def test_32_clients_that_send_one_event_at_once_count_once(account: Account) -> None:
    meter_id = await new_meter(account)
    event = sent("10:00", "the one", x=3)
    answers = await asyncio.gather(*(account.http.post("/events", json=event) for _ in range(32)))
    assert {answer.status_code for answer in answers} == {202}
    assert (await usage(account, meter_id, *JANUARY))["value"] == 3
    assert (await post(account, "/events/query", RANGE))["total_count"] == 1


async def test_32_different_versions_at_once_leave_one_of_them(account: Account) -> None:
    meter_id = await new_meter(account)
    versions = [sent("10:00", "the one", customer=f"c{n}", x=n) for n in range(32)]
    await asyncio.gather(*(account.http.post("/events", json=version) for version in versions))
    (event,) = (await post(account, "/events/query", RANGE))["events"]
    assert (await usage(account, meter_id, *JANUARY)).get("value", 0) == event["properties"]["x"]
    async with account.transaction(read_only=True) as session:
        store = store_of(session)
        totals = await store.upkeep.totals(session, [meter_id], FIRST_INSTANT, LAST_INSTANT)
        stored = await store.events.find(session, ["the one"])
    assert list(totals.values()) == [(1, event["properties"]["x"])]
    assert [row.external_customer_id for row in stored] == [event["external_customer_id"]]


async def test_batches_that_mix_new_same_and_changed_events(account: Account) -> None:
    meter_id = await new_meter(account)
    await send(account, [sent("10:00", f"e{n}", x=1) for n in range(10)])
    again = [sent("10:00", f"e{n}", x=1 if n < 5 else 2) for n in range(15)]
    await asyncio.gather(*(send(account, again[::step]) for step in (1, -1, 1, -1)))
    assert (await usage(account, meter_id, *JANUARY))["value"] == 25


async def test_a_deleted_event_is_gone_and_its_id_is_free(account: Account) -> None:
    meter_id = await new_meter(account)
    await send(account, [sent("10:00", "a/b", x=1), sent("10:01", "other", x=2)])
    await account.delete("/events/a%2Fb")
    await account.delete("/events/a%2Fb", expect=404)
    assert (await usage(account, meter_id, *JANUARY))["value"] == 2
    await send(account, [sent("10:00", "a/b", x=5)])
    assert (await usage(account, meter_id, *JANUARY))["value"] == 7


async def test_the_ingestion_filter_leaves_other_customers_out(account: Account) -> None:
    await account.put(
        "/settings/event_ingestion_filter", {"value": {"enabled": True, "allowed_external_customer_ids": ["c1"]}}
    )
    await send(account, [sent("10:00", "in"), sent("10:00", "out", customer="c2")])
    assert (await post(account, "/events/query", RANGE))["total_count"] == 1
    await account.put("/settings/event_ingestion_filter", {"value": {"enabled": False}})
    await send(account, [sent("10:00", "out", customer="c2")])
    assert (await post(account, "/events/query", RANGE))["total_count"] == 2


HAS_ID = pytest.mark.parametrize(
    "named", [pytest.param({}, id="with ids"), pytest.param({"event_id": None}, id="without ids")]
)
"""Events whose ids are made as they come in are stored in another way."""


@HAS_ID
async def test_what_the_filter_leaves_out_takes_nothing_of_what_others_count(
    account: Account, named: dict[str, Any]
) -> None:
    """It is switched on where events were stored before, so that the first append after that does not know of it."""
    meter_id = await new_meter(account)
    await send(account, [sent("10:00", "before", x=1), sent("10:00", "of another", customer="c2", x=1)])
    await account.put(
        "/settings/event_ingestion_filter", {"value": {"enabled": True, "allowed_external_customer_ids": ["c1"]}}
    )
    for number in range(2):
        out, taken = sent("10:01", f"out {number}", customer="c2", x=10), sent("10:01", f"in {number}", x=100)
        await send(account, [{**out, **named}, {**taken, **named}])
    assert (await post(account, "/events/query", RANGE))["total_count"] == 4
    assert (await usage(account, meter_id, *JANUARY))["value"] == 202
    await account.put("/settings/event_ingestion_filter", {"value": {"enabled": False}})
    for number in range(2):
        await send(account, [{**sent("10:02", f"then {number}", customer="c2", x=1000), **named}])
    assert (await usage(account, meter_id, *JANUARY))["value"] == 2202


async def test_a_full_queue_tells_clients_to_come_back(database: Database, account: Account) -> None:
    ingest = Ingest(database.url, append_measured)  # not started: nothing is taken from the queue
    arrival = Arrival(
        UsageEvent(id="e", event_name="call", external_customer_id="c", timestamp=datetime(2024, 1, 1, tzinfo=UTC)),
        datetime(2024, 1, 1, tzinfo=UTC),
    )
    waiting = asyncio.create_task(ingest.accept(account.scope, [arrival] * 50_000))
    await asyncio.sleep(0)
    with pytest.raises(TooManyRequests) as refused:
        await ingest.accept(account.scope, [arrival])
    assert refused.value.retry_after_seconds == 1
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_without_a_store_nothing_is_accepted() -> None:
    database = Database("postgresql://farthing@/nothing?host=/nowhere", wire())
    ingest = Ingest(database.url, append_measured)
    await ingest.start()
    moment = datetime(2024, 1, 1, tzinfo=UTC)
    event = UsageEvent(id="e", event_name="call", external_customer_id="c", timestamp=moment)
    with pytest.raises(ServiceUnavailable):
        await ingest.accept(Scope("t", "e"), [Arrival(event, moment)])
    await ingest.stop()
    await database.close()


@HAS_ID
async def test_a_meter_made_in_one_process_counts_in_another_at_once(
    account: Account, database_url: str, named: dict[str, Any]
) -> None:
    other_database = Database(database_url, account.database.ports, pool_size=5)
    settings = settings_for(database_url)
    async with running(settings, other_database) as url:
        other = Account(url, account.settings, other_database)
        other.http = other.client(account.key)
        async with other.http:
            await send(other, each(1))  # the other process remembers that there is no meter
            for n in range(5):
                meter_id = await new_meter(account)
                await send(other, [{**sent("11:00", f"after-{n}", x=1), **named}])
                answer = await usage(other, meter_id, "2024-01-15T10:30", "2024-02-01T00:00")
                # those of earlier rounds were stored when the meter was made, and counted with it
                assert answer["value"] == n + 1, f"round {n}"
    await other_database.close()


async def test_published_client(account: Account) -> None:
    meter_id = await new_meter(account, field="tokens")
    sdk = account.sdk()
    one = await sdk.events.ingest_event_async(
        event_name="call",
        external_customer_id="c1",
        event_id="sdk-1",
        timestamp="2024-01-15T10:00:00Z",
        properties={"tokens": "12.5"},
    )
    assert "sdk-1" in str(one)
    bulk = {"events": [{"event_name": "call", "external_customer_id": "c1", "timestamp": "2024-01-15T11:00:00Z"}]}
    await sdk.events.ingest_events_bulk_async(**bulk)
    listed = await sdk.events.list_raw_events_async(start_time=_time(JANUARY[0]), end_time=_time(JANUARY[1]))
    assert listed.total_count == 2
    value = await sdk.events.get_usage_by_meter_async(
        meter_id=meter_id, start_time=_time(JANUARY[0]), end_time=_time(JANUARY[1])
    )
    assert value.value == 12.5
    found = await sdk.events.get_event_async(id="sdk-1", external_customer_id="c1")
    assert found.event.id == "sdk-1"
    items = await sdk.events.get_usage_analytics_async(start_time=_time(JANUARY[0]), end_time=_time(JANUARY[1]))
    assert items.items[0].total_usage == "12.5"


def _time(text_: str) -> datetime:
    return datetime.fromisoformat(at(text_))


async def test_published_client_without_async(account: Account) -> None:
    sdk = account.sdk()
    await asyncio.to_thread(sdk.events.ingest_event, event_name="call", external_customer_id="c1", event_id="sync-1")
    assert (await account.get("/events/lookup", id="sync-1"))["event"]["event_name"] == "call"


async def test_another_tenant_and_another_environment_see_nothing(account: Account, stranger: Account) -> None:
    meter_id = await new_meter(account)
    await send(account, [sent("10:00", "mine", x=1)])
    elsewhere = await account.new_key(["super_admin"], environment_id=await account.new_environment())
    async with account.client(elsewhere) as client:
        for other in (stranger.http, client):
            assert (await other.get("/events/lookup", params={"id": "mine"})).status_code == 404
            assert (await other.delete("/events/mine")).status_code == 404
            assert (await other.post("/events/query", json=RANGE)).json()["events"] == []
            body = {"meter_id": meter_id, **RANGE}
            assert (await other.post("/events/usage/meter", json=body)).status_code == 404
            asked = {"event_name": "call", "aggregation_type": "COUNT", **RANGE}
            assert "value" not in (await other.post("/events/usage", json=asked)).json()
            assert (await other.post("/events/analytics", json=RANGE)).json()["items"] == []
            # the same id is another event there
            sent_there = await other.post("/events", json=sent("10:00", "mine", x=7))
            assert sent_there.status_code == 202
    assert (await usage(account, meter_id, *JANUARY))["value"] == 1


async def test_keys_that_only_ingest_cannot_read_and_readers_cannot_write(account: Account) -> None:
    async with (
        account.client(await account.new_key(["event_ingestor"])) as ingestor,
        account.client(await account.new_key(["event_reader"])) as reader,
    ):
        assert (await ingestor.post("/events", json=sent("10:00"))).status_code == 202
        assert (await ingestor.post("/events/query", json={})).status_code == 403
        assert (await ingestor.get("/events/lookup", params={"id": "e"})).status_code == 403
        assert (await reader.post("/events/query", json={})).status_code == 200
        assert (await reader.post("/events", json=sent("10:00"))).status_code == 403
        assert (await reader.delete("/events/e")).status_code == 403


async def test_what_became_of_events_is_counted(account: Account) -> None:
    """Added, the same again, another version of it, and one that the filter leaves out; no meter counts them."""

    async def counted() -> dict[str, float]:
        async with httpx.AsyncClient() as http:
            page = (await http.get(f"{account.base_url}/metrics")).text
        return {name: float(value) for name, value in re.findall(r"^(\w+(?:\{[^}]*\})?) (\S+)$", page, re.MULTILINE)}

    before = await counted()
    for size in ("1", "1", "2"):
        await account.post("/events", sent("10:00", "counted", x=size), expect=202)
    filtered = {"enabled": True, "allowed_external_customer_ids": ["c1"]}
    await account.put("/settings/event_ingestion_filter", {"value": filtered})
    await account.post("/events", sent("10:00", "left out", customer="c2"), expect=202)
    after = await counted()

    def more(name: str) -> float:
        return after.get(name, 0) - before.get(name, 0)

    outcomes = {
        outcome: more(f'farthing_events_total{{outcome="{outcome}"}}')
        for outcome in ("added", "unchanged", "replaced", "refused")
    }
    assert outcomes == {"added": 1, "unchanged": 1, "replaced": 1, "refused": 1}
    assert more("events_superseded_total") == 1
    assert sum(more(name) for name in after if name.startswith("events_rejected_total")) > 0
