"""Listing, analytics with cost, the debugger and single costs, over the API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.windows import WindowSize
from farthing.catalogue.prices.tables import Price
from farthing.events.analytics import usage_cost
from farthing.events.charged_items import ChargedItem
from farthing.events.stores.clickhouse.store import clickhouse_store
from farthing.events.stores.postgres import POSTGRES
from farthing.events.upkeep import backfill
from farthing.events.usage.event_store import EventStore
from farthing.rating.commitments.line_commitment import LineCommitment
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.wiring import wire
from tests.account import Account
from tests.conftest import running, settings_for
from tests.events.clickhouse import opened_clickhouse
from tests.events.counter import new_meter, post, send, sent
from tests.events.usage.ranges import RANGE

BEGINNING = datetime(2024, 1, 1, tzinfo=UTC)
TIERS = [
    {"up_to": 5, "unit_amount": "0"},
    {"up_to": 10, "unit_amount": "2"},
    {"unit_amount": "3"},
]
SLAB = {"billing_model": "TIERED", "tier_mode": "SLAB", "tiers": TIERS}
VOLUME = {"billing_model": "TIERED", "tier_mode": "VOLUME", "tiers": TIERS}
PACKAGE = {"billing_model": "PACKAGE", "amount": "2", "transform_quantity": {"divide_by": 5, "round": "up"}}


async def new_price(account: Account, meter_id: str, **terms: Any) -> str:
    """A usage price of a plan of its own."""
    plan = await account.post("/plans", {"name": "Plan", "lookup_key": meter_id + str(terms.pop("key", ""))})
    terms.setdefault("billing_model", "FLAT_FEE")
    body = {
        "entity_type": "PLAN",
        "entity_id": plan["id"],
        "type": "USAGE",
        "meter_id": meter_id,
        "currency": "usd",
        "billing_period": "MONTHLY",
        "billing_period_count": 1,
        "billing_cadence": "RECURRING",
        "invoice_cadence": "ARREAR",
        "price_unit_type": "FIAT",
        **terms,
    }
    price = await account.post("/prices", body)
    return str(price["id"])


@pytest.fixture(scope="module")
def charged_terms() -> list[dict[str, Any]]:
    """What is charged for usage while a test runs: for each line item its price and what differs from the default."""
    return []


@asynccontextmanager
async def _serving(
    database_url: str, charged_terms: list[dict[str, Any]], event_store: EventStore
) -> AsyncIterator[tuple[str, Settings]]:
    """A server that charges for what the tests say, with its events in this store."""

    async def list_charged_items(
        session: AsyncSession, customers: Collection[str], start: datetime, end: datetime, include_children: bool
    ) -> Sequence[ChargedItem]:
        items = []
        for number, differing in enumerate(charged_terms):
            terms = {
                "id": f"subs_line_{number}",
                "subscription_id": "subs_1",
                "customers": frozenset(customers),
                "start": BEGINNING,
                "end": None,
                "is_active": True,
                **differing,
            }
            price = (await session.scalars(select(Price).where(Price.id == terms.pop("price")))).one_or_none()
            if price is not None:
                items.append(ChargedItem(price=price, **terms))
        return items

    ports = wire(event_store)
    ports = replace(ports, events=replace(ports.events, list_charged_items=list_charged_items))
    database = Database(database_url, ports, 20)
    settings = settings_for(database_url)
    async with running(settings, database) as url:
        yield url, settings
    await database.close()


@pytest.fixture(scope="module")
async def base_url(database_url: str, charged_terms: list[dict[str, Any]]) -> AsyncIterator[str]:
    async with _serving(database_url, charged_terms, POSTGRES) as (url, _):
        yield url


@pytest.fixture(scope="module")
async def clickhouse_server(
    database_url: str, charged_terms: list[dict[str, Any]]
) -> AsyncIterator[tuple[str, Settings]]:
    async with _serving(database_url, charged_terms, clickhouse_store(await opened_clickhouse())) as served:
        yield served


@pytest.fixture
def charging(charged_terms: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The list of what is charged, empty at first."""
    yield charged_terms
    charged_terms.clear()


@pytest.fixture
async def customer(account: Account) -> str:
    """The customer that the events of these tests belong to, its id; what nobody owns is charged to nobody."""
    return str((await account.post("/customers", {"external_id": "c1", "name": "One"}))["id"])


async def asked(account: Account, **given: Any) -> Any:
    return await post(account, "/events/analytics", {"external_customer_id": "c1", **RANGE, **given})


@pytest.mark.usefixtures("customer")
@pytest.mark.parametrize(
    ("meter", "price", "events", "quantity", "cost"),
    [
        pytest.param(
            {"type": "MAX", "bucket_size": "HOUR"},
            SLAB,
            [sent("07:30", x=8), sent("07:45", x=4), sent("08:15", x=10), sent("08:30", x=5), sent("08:45", x=9)],
            "18",
            "16",
            id="A15: slab tiers restart in each bucket",
        ),
        pytest.param(
            {"type": "MAX", "bucket_size": "HOUR"},
            VOLUME,
            [sent("07:30", x=8), sent("08:30", x=10), sent("09:30", x=12)],
            "30",
            "72",
            id="A16: volume tiers of each bucket",
        ),
        pytest.param(
            {"type": "MAX", "field": "data", "bucket_size": "HOUR", "group_by": "r"},
            SLAB,
            [sent("10:00", data=10, r="a"), sent("10:30", data=20, r="b"), sent("11:15", data=15, r="a")],
            "45",
            "75",
            id="A17: each bucket and group is priced on its own",
        ),
        pytest.param(
            {"type": "MAX", "field": "data", "bucket_size": "HOUR"},
            SLAB,
            [sent("10:00", data=10, r="a"), sent("10:30", data=20, r="b"), sent("11:15", data=15, r="a")],
            "35",
            "65",
            id="A17: the same without groups",
        ),
        pytest.param(
            {"bucket_size": "15MIN"},
            PACKAGE,
            [sent("10:01", x=4), sent("10:14", x=3), sent("10:15", x=6)],
            "13",
            "8",
            id="A18: packages round in each bucket",
        ),
        pytest.param(
            {},
            PACKAGE,
            [sent("10:01", x=4), sent("10:14", x=3), sent("10:15", x=6)],
            "13",
            "6",
            id="A18: packages of a plain sum",
        ),
        pytest.param(
            {}, {"amount": "0.333"}, [sent("10:00", x=5)], "5", "1.67", id="a cost is rounded to the currency, once"
        ),
    ],
)
async def test_usage_and_its_cost(
    account: Account,
    charging: list[dict[str, Any]],
    meter: dict[str, Any],
    price: dict[str, Any],
    events: Any,
    quantity: str,
    cost: str,
) -> None:
    meter_id = await new_meter(account, **meter)
    charging.append({"price": await new_price(account, meter_id, **price)})
    await send(account, events)
    answer = await asked(account, window_size="DAY", expand=["price", "meter"])
    (item,) = answer["items"]
    assert (item["total_usage"], item["subtotal"], item["total_cost"]) == (quantity, cost, cost)
    assert (answer["total_cost"], answer["currency"]) == (cost, "usd")
    assert item["event_count"] == len(events)
    assert item["price"]["id"] == item["price_id"]
    assert item["meter"]["id"] == meter_id
    (point,) = item["points"]
    assert (point["timestamp"], point["cost"]) == ("2024-01-15T00:00:00Z", cost)


@pytest.mark.usefixtures("customer")
async def test_a36_a_price_change_in_the_middle_is_two_items(account: Account, charging: list[dict[str, Any]]) -> None:
    meter_id = await new_meter(account)
    change = datetime(2024, 1, 11, tzinfo=UTC)
    charging.append({"price": await new_price(account, meter_id, amount="1", key="a"), "end": change})
    charging.append({"price": await new_price(account, meter_id, amount="2", key="b"), "start": change})
    await send(account, [sent("2024-01-10T23:59:59.999", x=3), sent("2024-01-11T00:00", x=4)])
    answer = await asked(account)
    assert [(item["total_usage"], item["total_cost"]) for item in answer["items"]] == [("3", "3"), ("4", "8")]
    assert answer["total_cost"] == "11"


@pytest.mark.usefixtures("customer")
async def test_groups_discounts_and_commitments(account: Account, charging: list[dict[str, Any]]) -> None:
    meter_id = await new_meter(account)
    price = await new_price(account, meter_id, amount="1")
    charging.append({"price": price, "percent_off": Decimal(10)})
    await send(
        account,
        [sent("10:00", source="web", x=3, m="a"), sent("10:01", source="sdk", x=4, m="b"), sent("10:02", x=5)],
    )
    by_model = await asked(account, group_by=["feature_id", "properties.m"])
    assert [(item.get("properties"), item["total_cost"]) for item in by_model["items"]] == [
        (None, "4.5"),
        ({"m": "a"}, "2.7"),
        ({"m": "b"}, "3.6"),
    ]
    by_source = await asked(account, group_by=["source"], sources=["web", "sdk"])
    assert [(item["source"], item["total_usage"]) for item in by_source["items"]] == [("sdk", "4"), ("web", "3")]
    (together,) = (await asked(account, expand=["source"]))["items"]
    assert together["sources"] == ["", "sdk", "web"]
    narrowed = await asked(account, property_filters={"m": ["b"]})
    assert narrowed["total_cost"] == "3.6"
    charging[0] = {
        "price": price,
        "commitment": LineCommitment(Decimal(100), true_up=True),
        "commitment_terms": {"type": "amount", "amount": "100"},
    }
    (committed,) = (await asked(account, group_by=["external_customer_id"]))["items"]
    assert committed["total_cost"] == "100"
    assert committed["commitment_info"]["computed_true_up_amount"] == "88"
    later = await asked(account, start_time="2024-02-01T00:00:00Z", end_time="2024-03-01T00:00:00Z")
    assert [item["total_cost"] for item in later["items"]] == ["100"]


@pytest.mark.usefixtures("customer")
async def test_a_feature_names_its_items_and_shows_its_own_unit(
    account: Account, charging: list[dict[str, Any]]
) -> None:
    meter_id = await new_meter(account)
    feature = await account.post(
        "/features",
        {
            "name": "Tokens",
            "type": "metered",
            "meter_id": meter_id,
            "unit_singular": "token",
            "unit_plural": "tokens",
            "reporting_unit": {"unit_singular": "kT", "unit_plural": "kT", "conversion_rate": "0.001"},
        },
    )
    charging.append({"price": await new_price(account, meter_id, amount="1")})
    await send(account, [sent("10:00", x=1500)])
    (item,) = (await asked(account, feature_ids=[feature["id"]], expand=["feature"]))["items"]
    assert (item["name"], item["total_usage_display"], item["unit"]) == ("Tokens", "1.5", "token")
    assert item["feature"]["id"] == item["feature_id"] == feature["id"]
    assert (await asked(account, feature_ids=["feat_unknown"]))["items"] == []


async def test_an_unknown_customer_has_no_items(account: Account, charging: list[dict[str, Any]]) -> None:
    meter_id = await new_meter(account)
    await send(account, [sent("10:00", x=1)])
    assert await asked(account, external_customer_id="nobody") == {
        "subtotal": "0",
        "total_discount": "0",
        "total_cost": "0",
        "currency": "",
        "items": [],
    }
    (item,) = (await post(account, "/events/analytics", {**RANGE, "group_by": ["external_customer_id"]}))["items"]
    assert (item["meter_id"], item["external_customer_id"], item["total_cost"]) == (meter_id, "c1", "0")


@pytest.mark.parametrize("bucketed", [False, True], ids=["a plain meter", "a meter with buckets"])
async def test_usage_is_split_into_so_many_groups_at_most(
    account: Account, monkeypatch: pytest.MonkeyPatch, bucketed: bool
) -> None:
    await new_meter(account, **({"bucket_size": "HOUR"} if bucketed else {}))
    await send(account, [sent(f"{10 + hour}:00", x=1, of=str(of)) for of in range(3) for hour in range(2)])
    whole, split = dict(RANGE), {**RANGE, "group_by": ["properties.of"]}
    monkeypatch.setattr(usage_cost, "MOST_GROUPS", 3)
    monkeypatch.setattr(usage_cost, "MOST_POINTS", 6)
    for asked_for in (split, {**split, "window_size": "HOUR"}):
        assert len((await post(account, "/events/analytics", asked_for))["items"]) == 3
    monkeypatch.setattr(usage_cost, "MOST_GROUPS", 2)
    refused = await post(account, "/events/analytics", split, expect=400)
    assert refused["details"]["group_by"].startswith("must not give more than 2 groups; narrow it")
    monkeypatch.setattr(usage_cost, "MOST_GROUPS", 3)
    monkeypatch.setattr(usage_cost, "MOST_POINTS", 5)
    refused = await post(account, "/events/analytics", {**split, "window_size": "HOUR"}, expect=400)
    assert refused["details"]["group_by"].startswith("must not give more than 5 points of all groups; narrow it")
    monkeypatch.setattr(usage_cost, "MOST_POINTS", 1)
    (item,) = (await post(account, "/events/analytics", {**whole, "window_size": "HOUR"}))["items"]
    assert len(item["points"]) == 2, "what is not split is as long as its time"


async def test_the_debugger_follows_an_event_to_its_charge(
    account: Account, charging: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    await send(account, [sent("10:00", "e", x=5)])
    found = await account.get("/events/lookup", id="e")
    assert (found["status"], found["debug_tracker"]["failure_point"]["failure_point_type"]) == (
        "failed",
        "customer_lookup",
    )
    await account.post("/customers", {"external_id": "c1", "name": "One"})
    with monkeypatch.context() as patch:
        patch.setattr(backfill, "MOST_AT_ONCE", 0)
        meter_id = await new_meter(account)
    found = await account.get("/events/lookup", id="e")
    assert found["status"] == "processing"  # the meter came after the event, and its backfill has not run
    assert found["debug_tracker"]["meter_matching"]["status"] == "not_found"
    await send(account, [sent("11:00", "later", x=5)])
    found = await account.get("/events/lookup", id="later")
    assert found["debug_tracker"]["price_lookup"]["error"]["code"] == "not_found"
    assert found["processed_events"][0]["qty_total"] == "5"
    price = await new_price(account, meter_id, amount="1")
    charging.append({"price": price, "end": datetime(2024, 1, 2, tzinfo=UTC)})
    found = await account.get("/events/lookup", id="later")
    lookup = found["debug_tracker"]["subscription_line_item_lookup"]
    assert (lookup["status"], lookup["matched_line_items"][0]["timestamp_within_range"]) == ("not_found", False)
    charging[0] = {"price": price, "start": datetime(2024, 1, 15, 11, tzinfo=UTC)}
    found = await account.get("/events/lookup", id="later")
    assert found["status"] == "processed"
    assert "debug_tracker" not in found
    (entry,) = found["processed_events"]
    assert (entry["price_id"], entry["meter_id"], entry["sub_line_item_id"]) == (price, meter_id, "subs_line_0")


@pytest.mark.usefixtures("customer")
async def test_single_events_are_priced_alone(account: Account, charging: list[dict[str, Any]]) -> None:
    meter_id = await new_meter(account)
    charging.append({"price": await new_price(account, meter_id, amount="0.000001")})
    await send(account, [sent("10:00", "one", x=5), sent("10:01", "two", x="2.5")])
    expected = {
        "requests": [
            {"requestId": "two", "costNanoUsd": "2500"},
            {"requestId": "unknown", "costNanoUsd": "0"},
            {"requestId": "one", "costNanoUsd": "5000"},
        ]
    }
    for path in ("/events/huggingface-inference", "/events/huggingface-billing"):
        assert await post(account, path, {"requestIds": ["two", "unknown", "one"]}) == expected


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        pytest.param("query", {"sort": "id"}, "sort", id="an unknown order key"),
        pytest.param("query", {"order": "DESC"}, "order", id="an order in capitals"),
        pytest.param("query", {"iter_last_key": "soon::e"}, "iter_last_key", id="a cursor without a time"),
        pytest.param("query", {"iter_first_key": "12"}, "iter_first_key", id="a cursor without an id"),
        pytest.param(
            "query",
            {"start_time": "2024-02-01T00:00:00Z", "end_time": "2024-01-01T00:00:00Z"},
            "end_time",
            id="an end first",
        ),
        pytest.param("usage", {"aggregation_type": "MIN"}, "aggregation_type", id="an unknown aggregation"),
        pytest.param("usage", {"window_size": "2HOUR"}, "window_size", id="an unknown window"),
        pytest.param("usage", {"timezone": "Mars/Base"}, "timezone", id="an unknown zone"),
        pytest.param("usage", {"bucket_size": "DAY"}, "bucket_size", id="buckets of a count"),
        pytest.param("usage", {"property_name": "x", "multiplier": "2"}, "multiplier", id="a multiplier of a count"),
        pytest.param("analytics", {"group_by": ["customer"]}, "group_by", id="an unknown grouping"),
        pytest.param("analytics", {"group_by": ["properties.a b"]}, "group_by", id="a grouping with a space"),
        pytest.param("huggingface-inference", {"requestIds": []}, "requestIds", id="no ids"),
    ],
)
async def test_what_is_asked_wrongly_is_named(account: Account, path: str, body: dict[str, Any], field: str) -> None:
    if path == "usage":
        body = {"event_name": "call", "aggregation_type": "COUNT", **body}
    answer = await post(account, f"/events/{path}", body, expect=400)
    assert field in answer["details"], answer


async def test_too_many_windows_are_refused(account: Account) -> None:
    meter_id = await new_meter(account)
    await send(account, [sent("2000-01-01T00:00", x=1), sent("2024-01-01T00:00", x=1)])
    body = {"meter_id": meter_id, "start_time": "0002-01-01T00:00:00Z", "end_time": "9999-01-01T00:00:00Z"}
    answer = await post(account, "/events/usage/meter", {**body, "window_size": "YEAR"}, expect=400)
    assert "window_size" in answer["details"]
    months = await post(account, "/events/usage/meter", {**body, "window_size": "MONTH"})
    assert [result["value"] for result in months["results"]] == [1, 1]
    minutes = await post(account, "/events/usage/meter", {**body, "window_size": "MINUTE"})
    assert len(minutes["results"]) == 2


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "Pacific/Apia", "America/New_York"])
async def test_events_at_either_end_of_the_calendar_are_counted_in_windows_of_every_size(
    account: Account, zone: str
) -> None:
    """Rule: docs/rules/conventions.md#times"""
    value = {"earliest_event_time": "0001-01-01T00:00:00Z", "event_years_ahead": 8000}
    await account.put("/settings/request_config", {"value": value})
    meter_id = await new_meter(account)
    first, last = "0001-01-01T00:00:00.001Z", "9999-12-31T23:59:59.999Z"
    start, end = "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.9999999Z"
    events = [{**sent("10:00", x=1), "timestamp": time} for time in (first, last)]
    await account.post("/events/bulk", {"events": events}, expect=202)
    body = {"meter_id": meter_id, "timezone": zone}
    for size in WindowSize:
        early = {"start_time": start, "end_time": "0002-01-01T00:00:00Z"}
        for bounds in (early, {"end_time": end}, {"start_time": "9990-01-01T00:00:00Z", "end_time": end}):
            answer = await post(account, "/events/usage/meter", {**body, **bounds, "window_size": size})
            assert [point["value"] for point in answer["results"]] == [1], (size, bounds)
        whole = {**body, "start_time": start, "end_time": end, "window_size": size}
        refused = await post(account, "/events/usage/meter", whole, expect=400)
        assert list(refused["details"]) == ["window_size"]
    for event in await _listed(account, start, end):
        await account.get(f"/events/{event}")
    around: dict[str, Any] = {"start_time": "9990-01-01T00:00:00Z", "end_time": end}
    points = await account.get("/events/monitoring", window_size="MONTH", **around)
    assert [point["event_count"] for point in points["points"]] == [1]


async def _listed(account: Account, start: str, end: str) -> list[str]:
    page = await post(account, "/events/query", {"start_time": start, "end_time": end})
    assert page["total_count"] == 2
    return [event["id"] for event in page["events"]]


async def test_monitoring_counts_and_tells_what_is_left(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "MOST_AT_ONCE", 0)
    await send(account, [sent("10:00", "a"), sent("10:30", "b"), sent("12:00", "c")])
    await new_meter(account)
    answer = await account.get("/events/monitoring", window_size="HOUR", **RANGE)
    assert answer == {
        "total_count": 3,
        "consumption_lag": 0,
        "post_processing_lag": 3,
        "points": [
            {"timestamp": "2024-01-15T10:00:00Z", "event_count": 2},
            {"timestamp": "2024-01-15T12:00:00Z", "event_count": 1},
        ],
    }
    assert "start_time" in (await account.get("/events/monitoring", expect=400, end_time=RANGE["end_time"]))["details"]
