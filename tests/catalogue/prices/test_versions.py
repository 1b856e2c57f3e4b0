"""A price's money never changes in place: what ends, what begins, and what it is called."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from farthing.catalogue.prices.schemas import PricingChange
from farthing.catalogue.prices.tables import Price
from farthing.catalogue.prices.versions import override
from tests.account import Account
from tests.catalogue.prices.asking import TIERS_A, new_plan, new_unit, price, quoted

JANUARY, MARCH, JUNE = "2025-01-01T00:00:00Z", "2025-03-01T00:00:00Z", "2025-06-01T00:00:00Z"


async def test_versions_meet_at_one_instant_and_name_the_root(account: Account) -> None:
    plan = await new_plan(account)
    first = await account.post(
        "/prices", price(plan, amount="100", start_date=JANUARY, lookup_key="base", min_quantity=3, metadata={"a": "1"})
    )
    second = await account.put(f"/prices/{first['id']}", {"amount": "120", "effective_from": MARCH})
    ended = await account.get(f"/prices/{first['id']}")
    assert (ended["end_date"], second["start_date"]) == (MARCH, MARCH)
    assert second["parent_price_id"] == first["id"]
    assert first["sequence"] < ended["sequence"] < second["sequence"]
    assert "end_date" not in second
    kept = ("lookup_key", "min_quantity", "metadata", "display_name", "currency", "billing_period", "entity_id")
    assert {name: second[name] for name in kept} == {name: first[name] for name in kept}
    third = await account.put(f"/prices/{second['id']}", {"amount": "130", "effective_from": JUNE})
    assert third["parent_price_id"] == first["id"]
    refused = await account.put(f"/prices/{first['id']}", {"amount": "1"}, expect=400)
    assert refused["code"] == "invalid_operation"
    lineage = await account.get("/prices", parent_price_id=first["id"], allow_expired_prices=True)
    assert {item["id"] for item in lineage["items"]} == {second["id"], third["id"]}


async def test_a_key_finds_the_version_in_force_and_else_the_next(account: Account) -> None:
    await account.freeze(datetime(2025, 2, 1, tzinfo=UTC))
    plan = await new_plan(account)
    first = await account.post("/prices", price(plan, lookup_key="base", start_date=JANUARY))
    second = await account.put(f"/prices/{first['id']}", {"amount": "20", "effective_from": MARCH})
    assert (await account.get("/prices/lookup/base"))["id"] == first["id"]
    await account.freeze(datetime(2025, 3, 1, tzinfo=UTC))
    assert (await account.get("/prices/lookup/base"))["id"] == second["id"]
    future = await account.post("/prices", price(plan, lookup_key="later", start_date=JUNE))
    assert (await account.get("/prices/lookup/later"))["id"] == future["id"]


async def test_labels_change_in_place_even_of_an_ended_price(account: Account) -> None:
    plan = await new_plan(account)
    group = await account.post("/groups", {"name": "G", "entity_type": "price", "lookup_key": "g"})
    made = await account.post("/prices", price(plan, lookup_key="a", metadata={"a": "1"}))
    labels = {"display_name": "Base", "description": "d", "metadata": {"b": "2"}, "group_id": group["id"]}
    changed = await account.put(f"/prices/{made['id']}", labels)
    assert {name: changed[name] for name in labels} == labels
    assert (changed["id"], changed["sequence"], changed["lookup_key"]) == (made["id"], made["sequence"], "a")
    await account.delete(f"/prices/{made['id']}", expect=200)
    again = await account.put(f"/prices/{made['id']}", {"group_id": "", "lookup_key": ""})
    assert "group_id" not in again
    assert again["lookup_key"] == "a"


async def test_a_group_given_with_new_money_is_of_both_versions(account: Account) -> None:
    plan = await new_plan(account)
    group = await account.post("/groups", {"name": "G", "entity_type": "price", "lookup_key": "g"})
    made = await account.post("/prices", price(plan))
    version = await account.put(f"/prices/{made['id']}", {"amount": "1", "group_id": group["id"]})
    assert version["group_id"] == (await account.get(f"/prices/{made['id']}"))["group_id"] == group["id"]
    await account.delete(f"/groups/{group['id']}")
    assert "group_id" not in await account.get(f"/prices/{version['id']}")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(
            {"billing_model": "TIERED", "tier_mode": "SLAB", "tiers": TIERS_A},
            {"billing_model": "TIERED", "amount": "0", "tier_mode": "SLAB"},
            id="from flat to tiered",
        ),
        pytest.param(
            {"billing_model": "PACKAGE", "transform_quantity": {"divide_by": 7, "round": "down"}},
            {"billing_model": "PACKAGE", "amount": "10", "transform_quantity": {"divide_by": 7, "round": "down"}},
            id="from flat to package, amount inherited",
        ),
    ],
)
async def test_switching_the_model(account: Account, change: dict[str, Any], expected: dict[str, Any]) -> None:
    made = await account.post("/prices", price(await new_plan(account)))
    version = await account.put(f"/prices/{made['id']}", change)
    assert {name: version[name] for name in expected} == expected
    if expected["billing_model"] == "TIERED":
        refused = await account.put(f"/prices/{version['id']}", {"billing_model": "FLAT_FEE"}, expect=400)
        assert refused["details"].keys() == {"amount"}
        back = await account.put(f"/prices/{version['id']}", {"billing_model": "FLAT_FEE", "amount": "3"})
        assert "tiers" not in back


@pytest.mark.parametrize(
    ("change", "field"),
    [
        pytest.param({"billing_model": "TIERED"}, "tier_mode", id="tiered without tiers"),
        pytest.param({"effective_from": MARCH}, "effective_from", id="a date without money"),
        pytest.param({"amount": "1", "effective_from": "2024-12-31T23:59:59Z"}, "effective_from", id="too early"),
        pytest.param({"amount": "1", "price_unit_amount": "1"}, "price_unit_amount", id="both kinds of money"),
        pytest.param({"price_unit_amount": "1"}, "price_unit_amount", id="custom money for a fiat price"),
        pytest.param({"amount": "-1"}, "amount", id="negative money"),
    ],
)
async def test_a_change_that_makes_no_sense_is_refused(account: Account, change: dict[str, Any], field: str) -> None:
    made = await account.post("/prices", price(await new_plan(account), start_date=JANUARY))
    refused = await account.put(f"/prices/{made['id']}", change, expect=400)
    assert field in refused["details"], refused
    assert await account.get(f"/prices/{made['id']}") == made


async def test_a_custom_price_is_changed_in_its_unit_at_its_frozen_rate(account: Account) -> None:
    plan = await new_plan(account)
    await new_unit(account)
    config = {"price_unit": "crd", "amount": "250"}
    made = await account.post("/prices", quoted(plan, config))
    assert made["amount"] == "2.5"
    await account.put(f"/prices/{made['id']}", {"amount": "1"}, expect=400)
    version = await account.put(f"/prices/{made['id']}", {"price_unit_amount": "300"})
    assert (version["amount"], version["price_unit_amount"], version["conversion_rate"]) == ("3", "300", "0.01")


async def test_a_price_ends_once_and_not_before_it_starts(account: Account) -> None:
    plan = await new_plan(account)
    made = await account.post("/prices", price(plan, start_date=MARCH))
    before = {"end_date": "2025-02-28T23:59:59Z"}
    answer = await account.http.request("DELETE", f"/prices/{made['id']}", json=before)
    assert (answer.status_code, answer.json()["code"]) == (400, "validation_error")
    answer = await account.http.request("DELETE", f"/prices/{made['id']}", json={"end_date": JUNE})
    assert answer.json() == {"message": "price deleted successfully"}
    ended = await account.get(f"/prices/{made['id']}")
    assert (ended["end_date"], ended["status"]) == (JUNE, "published")
    assert ended["sequence"] > made["sequence"]
    assert (await account.delete(f"/prices/{made['id']}", expect=400))["code"] == "invalid_operation"


async def test_a_price_to_come_cannot_end_before_it_begins(account: Account) -> None:
    made = await account.post("/prices", price(await new_plan(account), start_date="2999-01-01T00:00:00Z"))
    await account.delete(f"/prices/{made['id']}", expect=400)


async def test_of_many_changes_at_once_one_makes_the_successor(account: Account) -> None:
    made = await account.post("/prices", price(await new_plan(account), start_date=JANUARY, lookup_key="race"))
    answers = await asyncio.gather(
        *(account.http.put(f"/prices/{made['id']}", json={"amount": str(n), "effective_from": MARCH}) for n in range(6))
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 5
    lineage = await account.get("/prices", parent_price_id=made["id"])
    assert lineage["pagination"]["total"] == 1


async def test_an_override_is_a_price_of_the_subscription_rooted_in_the_plan(account: Account) -> None:
    plan = await new_plan(account)
    group = await account.post("/groups", {"name": "G", "entity_type": "price", "lookup_key": "g"})
    root = await account.post(
        "/prices", price(plan, start_date=JANUARY, min_quantity=2, group_id=group["id"], lookup_key="base")
    )
    version = await account.put(f"/prices/{root['id']}", {"amount": "12", "effective_from": MARCH})
    start = datetime(2025, 6, 1, tzinfo=UTC)
    async with account.transaction() as session:
        plan_price = await session.get_one(Price, version["id"])
        made = await override(session, plan_price, "subs_1", PricingChange(tiers=None, amount=plan_price.amount), start)
        override_id = made.id
    answer = await account.get(f"/prices/{override_id}")
    expected = {
        "entity_type": "SUBSCRIPTION",
        "entity_id": "subs_1",
        "parent_price_id": root["id"],
        "amount": "12",
        "min_quantity": "2",
        "group_id": group["id"],
        "lookup_key": "",
        "display_name": "Recurring",
        "start_date": JUNE,
    }
    assert {name: answer[name] for name in expected} == expected
