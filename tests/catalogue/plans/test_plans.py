"""Plans and addons over HTTP: keys, copies, what belongs to them, and what stands in the way of an end."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.account import Account
from tests.catalogue.prices.asking import new_meter, new_plan, new_unit, price, quoted, usage
from tests.subscriptions.shop import Shop, fixed

BASE = {
    "id",
    "tenant_id",
    "environment_id",
    "status",
    "created_at",
    "updated_at",
    "created_by",
    "updated_by",
    "name",
    "lookup_key",
    "description",
    "metadata",
}


class TestPlans:
    async def test_a_plan_answers_what_was_asked(self, account: Account) -> None:
        asked = {"name": "Pro", "lookup_key": "pro", "description": "d", "display_order": 0, "metadata": {"a": "1"}}
        made = await account.post("/plans", asked)
        assert {name: made[name] for name in asked} == asked
        assert made.keys() == BASE | {"display_order"}
        read = await account.get(f"/plans/{made['id']}")
        assert read == {**made, "prices": [], "entitlements": [], "credit_grants": []}

    async def test_a_change_keeps_what_it_does_not_name(self, account: Account) -> None:
        made = await account.post("/plans", {"name": "Pro", "lookup_key": "pro", "metadata": {"a": "1"}})
        changed = await account.put(f"/plans/{made['id']}", {"description": "d", "metadata": {"b": "2"}})
        assert (changed["name"], changed["lookup_key"], changed["metadata"]) == ("Pro", "pro", {"b": "2"})
        other = await account.post("/plans", {"name": "Other"})
        taken = await account.put(f"/plans/{other['id']}", {"lookup_key": "pro"}, expect=409)
        assert taken["details"] == {"lookup_key": "pro"}

    async def test_of_many_with_one_key_at_once_one_wins(self, account: Account) -> None:
        asked = {"name": "Pro", "lookup_key": "race"}
        answers = await asyncio.gather(*(account.http.post("/plans", json=asked) for _ in range(8)))
        assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7

    async def test_plans_need_no_key(self, account: Account) -> None:
        await new_plan(account)
        await new_plan(account)
        assert (await account.get("/plans"))["pagination"]["total"] == 2

    async def test_archiving_frees_the_key_and_ends_all_change(self, account: Account) -> None:
        plan = await new_plan(account, lookup_key="pro")
        answer = await account.delete(f"/plans/{plan}", expect=200)
        assert answer == {"message": "price deleted successfully"}
        assert (await account.get(f"/plans/{plan}"))["status"] == "archived"
        assert (await account.delete(f"/plans/{plan}", expect=400))["code"] == "invalid_operation"
        assert (await account.put(f"/plans/{plan}", {"name": "x"}, expect=400))["code"] == "invalid_operation"
        await new_plan(account, lookup_key="pro")

    async def test_a_plan_that_somebody_subscribes_to_stays(self, account: Account) -> None:
        shop = Shop(account)
        plan = await shop.plan(fixed("5"))
        await shop.subscribe(plan)
        refused = await account.delete(f"/plans/{plan['id']}", expect=400)
        assert (refused["code"], refused["details"]) == ("invalid_operation", {"subscriptions": 1})

    async def test_plans_are_searched_by_key_id_and_metadata(self, account: Account) -> None:
        one = await new_plan(account, lookup_key="one", metadata={"region": "eu", "tier": "1"})
        two = await new_plan(account, lookup_key="two", metadata={"region": "us"})
        queries: list[tuple[dict[str, Any], list[str]]] = [
            ({"lookup_key": "one"}, [one]),
            ({"plan_ids": [two]}, [two]),
            ({"metadata": {"region": "eu", "tier": "1"}}, [one]),
            ({"metadata": {"region": "eu", "tier": "2"}}, []),
            ({}, [two, one]),
        ]
        for query, expected in queries:
            items = (await account.post("/plans/search", query, expect=200))["items"]
            assert [item["id"] for item in items] == expected, query

    async def test_a_single_plan_shows_ended_prices_and_a_list_does_not(self, account: Account) -> None:
        plan, meter = await new_plan(account), await new_meter(account)
        live = await account.post("/prices", usage(plan, meter))
        ended = await account.post("/prices", price(plan))
        await account.delete(f"/prices/{ended['id']}", expect=200)
        whole = await account.get(f"/plans/{plan}")
        assert {price["id"] for price in whole["prices"]} == {live["id"], ended["id"]}
        listed = (await account.get("/plans", expand="prices.meters,entitlements,credit_grant"))["items"][0]
        assert [price["id"] for price in listed["prices"]] == [live["id"]]
        assert listed["prices"][0]["meter"]["id"] == meter
        assert (listed["entitlements"], listed["credit_grants"]) == ([], [])
        assert "prices" not in (await account.get("/plans"))["items"][0]
        await account.get("/plans", expand="prices.plan", expect=400)

    async def test_a_clone_has_its_own_prices_and_entitlements_without_keys_or_lineage(self, account: Account) -> None:
        await account.freeze(datetime(2025, 2, 1, tzinfo=UTC))
        plan, meter = await new_plan(account, metadata={"a": "1"}), await new_meter(account)
        unit = await new_unit(account)
        root = await account.post("/prices", usage(plan, meter, lookup_key="tokens", start_date="2025-01-01T00:00:00Z"))
        version = await account.put(f"/prices/{root['id']}", {"amount": "0.02"})
        custom = await account.post("/prices", quoted(plan, {"price_unit": "crd", "amount": "5"}))
        future = await account.post("/prices", price(plan, amount="7", start_date="2026-01-01T00:00:00Z"))
        feature = await account.post("/features", {"name": "Tokens", "type": "metered", "meter_id": meter})
        await account.post(
            "/entitlements",
            {"plan_id": plan, "feature_id": feature["id"], "feature_type": "metered", "usage_limit": 100},
        )
        asked = {"name": "Copy", "lookup_key": "copy", "metadata": {"b": "2"}}
        copy = await account.post(f"/plans/{plan}/clone", asked)
        assert copy["metadata"] == {"a": "1", "b": "2", "source_plan_id": plan}
        assert [price["amount"] for price in copy["prices"]] == ["0.02", "0.05", "7"]
        for source, made in zip((version, custom, future), copy["prices"], strict=True):
            assert made["id"] != source["id"]
            assert made["lookup_key"] == ""
            assert "parent_price_id" not in made
            assert (made["meter_id"], made["start_date"]) == (source["meter_id"], source["start_date"])
            assert made["sequence"] > future["sequence"]
        assert copy["prices"][1]["price_unit_id"] == unit["id"]
        assert [entitlement["usage_limit"] for entitlement in copy["entitlements"]] == [100]
        assert copy["entitlements"][0]["plan_id"] == copy["id"]
        assert copy["entitlements"][0]["feature"]["id"] == feature["id"]
        assert (await account.post(f"/plans/{plan}/clone", asked, expect=409))["code"] == "already_exists"

    @pytest.mark.parametrize(
        "broken",
        [{"name": ""}, {"name": "x" * 256}, {"name": 1}, {"display_order": 2**31}, {"metadata": {"a": None}}],
        ids=str,
    )
    async def test_a_malformed_plan_is_refused(self, account: Account, broken: dict[str, Any]) -> None:
        assert (await account.post("/plans", {"name": "Pro", **broken}, expect=400))["code"] == "validation_error"


class TestAddons:
    async def test_an_addon_takes_any_metadata_and_ignores_its_old_type(self, account: Account) -> None:
        asked = {"name": "Seats", "lookup_key": "seats", "metadata": {"nested": {"list": [1, "2", None]}}}
        made = await account.post("/addons", {**asked, "type": "onetime"})
        assert {name: made[name] for name in asked} == asked
        assert made.keys() == BASE
        await account.post("/prices", price(made["id"], entity_type="ADDON"))
        whole = await account.get(f"/addons/{made['id']}")
        assert [price["display_name"] for price in whole["prices"]] == ["Seats"]
        assert await account.get("/addons/lookup/seats") == whole

    async def test_keys_are_unique_and_do_not_change(self, account: Account) -> None:
        made = await account.post("/addons", {"name": "Seats", "lookup_key": "seats"})
        assert (await account.post("/addons", {"name": "B", "lookup_key": "seats"}, expect=409))[
            "code"
        ] == "already_exists"
        changed = await account.put(f"/addons/{made['id']}", {"name": "More seats", "lookup_key": "other"})
        assert (changed["name"], changed["lookup_key"]) == ("More seats", "seats")
        await account.post("/addons", {"name": "No key"}, expect=400)

    async def test_an_attached_addon_stays_and_another_goes(self, account: Account) -> None:
        shop = Shop(account)
        attached = await shop.addon(fixed("5"), key="attached")
        outcome = await shop.subscribe(await shop.plan(fixed("5")))
        await account.post(
            "/subscriptions/addon", {"subscription_id": outcome.subscription.id, "addon_id": attached["id"]}, expect=200
        )
        refused = await account.delete(f"/addons/{attached['id']}", expect=400)
        assert refused["code"] == "validation_error"
        assert refused["details"] == {"active_associations": 1, "line_items": 1}
        made = await account.post("/addons", {"name": "Seats", "lookup_key": "seats"})
        answer = await account.delete(f"/addons/{made['id']}", expect=200)
        assert answer == {"message": "addon deleted successfully"}
        await account.get("/addons/lookup/seats", expect=404)
        assert (await account.get(f"/addons/{made['id']}"))["status"] == "archived"
        await account.put(f"/addons/{made['id']}", {"name": "x"}, expect=400)

    async def test_addons_are_searched_by_key_and_id(self, account: Account) -> None:
        one = await account.post("/addons", {"name": "One", "lookup_key": "one"})
        two = await account.post("/addons", {"name": "Two", "lookup_key": "two"})
        found = await account.post("/addons/search", {"lookup_keys": ["one", "x"]}, expect=200)
        assert [item["id"] for item in found["items"]] == [one["id"]]
        found = await account.post("/addons/search", {"addon_ids": [two["id"]], "expand": "prices"}, expect=200)
        assert [(item["id"], item["prices"]) for item in found["items"]] == [(two["id"], [])]

    async def test_metadata_has_a_bound(self, account: Account) -> None:
        big = {"name": "A", "lookup_key": "a", "metadata": {"a": ["x" * 1000] * 20}}
        await account.post("/addons", big, expect=400)


async def test_a_stranger_sees_and_changes_nothing(account: Account, stranger: Account) -> None:
    plan = await new_plan(account, lookup_key="pro")
    addon = await account.post("/addons", {"name": "Seats", "lookup_key": "seats"})
    for path in (f"/plans/{plan}", f"/addons/{addon['id']}"):
        await stranger.get(path, expect=404)
        await stranger.put(path, {"name": "x"}, expect=404)
        await stranger.delete(path, expect=404)
    await stranger.post(f"/plans/{plan}/clone", {"name": "x", "lookup_key": "x"}, expect=404)
    await stranger.get("/addons/lookup/seats", expect=404)
    assert (await stranger.get("/plans"))["items"] == (await stranger.get("/addons"))["items"] == []
    # keys are unique in an environment, not beyond it
    await new_plan(stranger, lookup_key="pro")


async def test_the_published_client_does_all_of_it(account: Account) -> None:
    async with account.sdk() as sdk:
        plan = await sdk.plans.create_plan_async(name="Pro", lookup_key="pro", display_order=1, metadata={"a": "1"})
        assert plan.id
        await account.post("/prices", price(plan.id))
        read = await sdk.plans.get_plan_async(id=plan.id)
        assert read.prices
        assert read.prices[0].amount == "10"
        assert (await sdk.plans.update_plan_async(id=plan.id, name="Pro 2")).name == "Pro 2"
        assert (await sdk.plans.query_plan_async(lookup_key="pro", expand="prices,entitlements")).items
        clone = await sdk.plans.clone_plan_async(id=plan.id, name="Copy", lookup_key="copy")
        assert clone.id
        assert (await sdk.plans.delete_plan_async(id=clone.id)).message
        addon = await sdk.addons.create_addon_async(name="Seats", lookup_key="seats", metadata={"any": [1]})
        assert addon.id
        assert (await sdk.addons.get_addon_async(id=addon.id)).prices == []
        assert (await sdk.addons.get_addon_by_lookup_key_async(lookup_key="seats")).id == addon.id
        assert (await sdk.addons.query_addon_async(addon_ids=[addon.id])).items
        assert (await sdk.addons.update_addon_async(id=addon.id, name="Seat")).name == "Seat"
        assert (await sdk.addons.delete_addon_async(id=addon.id)).message
