"""Entitlements over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import select

from farthing.storage.record.outbox import SystemEvent
from tests.account import Account

GRANT: dict[str, Any] = {
    "grant_measure": "quantity",
    "grant_quota": "100.5",
    "grant_duration_unit": "subscription_period",
}


class Shop:
    """A tenant with a plan, an addon and features of every type, each called by its type."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.features: dict[str, str] = {}

    async def open(self) -> Shop:
        self.plan = (await self.account.post("/plans", {"name": "Pro", "lookup_key": "pro"}))["id"]
        self.addon = (await self.account.post("/addons", {"name": "Boost", "lookup_key": "boost"}))["id"]
        for kind in ("metered", "boolean", "static", "config"):
            await self.feature(kind, kind)
        return self

    async def feature(self, name: str, kind: str, **aggregation: Any) -> str:
        body: dict[str, Any] = {"name": name, "type": kind}
        if kind == "metered":
            how = {"type": "SUM", "field": "value", **aggregation}
            body["meter"] = {"name": name, "event_name": name, "aggregation": how, "reset_usage": "BILLING_PERIOD"}
        self.features[name] = (await self.account.post("/features", body))["id"]
        return self.features[name]

    def body(self, feature: str = "metered", **change: Any) -> dict[str, Any]:
        kind = feature if feature in {"boolean", "static", "config"} else "metered"
        return {"feature_id": self.features[feature], "feature_type": kind, "plan_id": self.plan, **change}

    async def entitle(self, feature: str = "metered", expect: int = 201, **change: Any) -> Any:
        return await self.account.post("/entitlements", self.body(feature, **change), expect=expect)


@pytest.fixture
async def shop(account: Account) -> Shop:
    return await Shop(account).open()


async def test_a_metered_entitlement_comes_back_as_stored(shop: Shop) -> None:
    made = await shop.entitle(usage_limit=1000, usage_reset_period="DAILY", is_soft_limit=True)
    assert (made["entity_type"], made["entity_id"], made["plan_id"]) == ("PLAN", shop.plan, shop.plan)
    assert (made["usage_limit"], made["usage_reset_period"], made["is_soft_limit"]) == (1000, "DAILY", True)
    assert made["is_enabled"] is True
    assert made["feature"]["id"] == shop.features["metered"]
    assert made["plan"]["name"] == "Pro"
    assert await shop.account.get(f"/entitlements/{made['id']}") == made


async def test_no_limit_is_told_as_null_and_zero_as_zero(shop: Shop) -> None:
    assert (await shop.entitle())["usage_limit"] is None
    assert (await shop.entitle(plan_id=None, entity_type="addon", entity_id=shop.addon, usage_limit=0))[
        "usage_limit"
    ] == 0


async def test_the_other_types(shop: Shop) -> None:
    boolean = await shop.entitle("boolean", usage_reset_period="MONTHLY", usage_limit=5)
    assert (boolean["is_enabled"], boolean["usage_limit"], "usage_reset_period" in boolean) == (False, None, False)
    static = await shop.entitle("static", static_value="gold", is_enabled=False)
    assert (static["static_value"], static["is_enabled"]) == ("gold", True)
    config = await shop.entitle("config", config_value={"regions": ["eu"], "n": 1.5})
    assert config["config_value"] == {"regions": ["eu"], "n": 1.5}


async def test_an_owner_is_named_in_three_ways(shop: Shop) -> None:
    for change in (
        {"entity_type": "PLAN", "entity_id": shop.plan, "plan_id": None},
        {"entity_type": "plan", "entity_id": shop.plan},
        {"entity_id": shop.plan},
    ):
        made = await shop.entitle(**change)
        assert made["entity_type"] == "PLAN"
        await shop.account.delete(f"/entitlements/{made['id']}", expect=200)
    made = await shop.entitle(plan_id=None, entity_type="Addon", entity_id=shop.addon)
    assert (made["entity_type"], "plan_id" in made) == ("ADDON", False)


@pytest.mark.parametrize(
    ("feature", "change", "status"),
    [
        pytest.param("metered", {"entity_type": "ADDON"}, 400, id="a plan that is an addon"),
        pytest.param("metered", {"entity_id": "plan_other"}, 400, id="two plans"),
        pytest.param("metered", {"plan_id": None}, 400, id="no owner"),
        pytest.param("metered", {"plan_id": None, "entity_type": "PLAN"}, 400, id="an owner without an id"),
        pytest.param("metered", {"plan_id": None, "entity_type": "PRICE", "entity_id": "x"}, 400, id="an odd owner"),
        pytest.param("metered", {"plan_id": "plan_none"}, 404, id="an unknown plan"),
        pytest.param(
            "metered",
            {"plan_id": None, "entity_type": "SUBSCRIPTION", "entity_id": "subs_none"},
            404,
            id="no subscription",
        ),
        pytest.param("metered", {"feature_id": "feat_none"}, 404, id="an unknown feature"),
        pytest.param("metered", {"feature_type": "boolean"}, 400, id="the wrong type"),
        pytest.param("metered", {"usage_limit": -1}, 400, id="a negative limit"),
        pytest.param("metered", {"usage_limit": 2**63}, 400, id="a limit beyond what is kept"),
        pytest.param("metered", {"usage_reset_period": "HOURLY"}, 400, id="an unknown reset period"),
        pytest.param("metered", {"config_value": {"a": 1}}, 400, id="values on a metered feature"),
        pytest.param("static", {}, 400, id="a static feature without a value"),
        pytest.param("config", {"config_value": {" ": 1}}, 400, id="a blank key"),
        pytest.param("config", {"config_value": [1]}, 400, id="values that are no object"),
        pytest.param("metered", {"parent_entitlement_id": "ent_x"}, 400, id="a plan's entitlement with a parent"),
        pytest.param("metered", {"aggregation_mode": "parallel"}, 400, id="parallel without a grant"),
        pytest.param("metered", {"grant_quota": "5"}, 400, id="half a grant"),
        pytest.param("metered", {**GRANT, "grant_quota": "0"}, 400, id="a grant of nothing"),
        pytest.param("metered", {**GRANT, "grant_quota": "1e-16"}, 400, id="a quota finer than is kept"),
        pytest.param("metered", {**GRANT, "grant_duration_unit": "month"}, 400, id="an unknown unit"),
        pytest.param("metered", {**GRANT, "grant_duration_value": 1}, 400, id="a period has no length"),
        pytest.param("boolean", GRANT, 400, id="a grant on a switch"),
    ],
)
async def test_bad_entitlements_are_refused(shop: Shop, feature: str, change: dict[str, Any], status: int) -> None:
    await shop.entitle(feature, expect=status, **change)
    assert (await shop.account.get("/entitlements"))["pagination"]["total"] == 0


async def test_an_archived_plan_or_feature_entitles_to_nothing_more(shop: Shop) -> None:
    await shop.account.http.delete(f"/plans/{shop.plan}")
    assert (await shop.entitle(expect=400))["code"] == "invalid_operation"
    await shop.account.http.delete(f"/features/{shop.features['boolean']}")
    on_addon = {"plan_id": None, "entity_type": "ADDON", "entity_id": shop.addon}
    assert (await shop.entitle("boolean", expect=400, **on_addon))["code"] == "invalid_operation"


async def test_an_entitled_feature_is_not_deleted(shop: Shop) -> None:
    made = await shop.entitle()
    path = f"/features/{shop.features['metered']}"
    refused = await shop.account.http.delete(path)
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_operation")
    await shop.account.delete(f"/entitlements/{made['id']}", expect=200)
    assert (await shop.account.http.delete(path)).status_code < 300


async def test_a_feature_is_entitled_once_per_owner(shop: Shop) -> None:
    made = await shop.entitle()
    assert (await shop.entitle(expect=409))["code"] == "already_exists"
    await shop.entitle(plan_id=None, entity_type="ADDON", entity_id=shop.addon)
    await shop.account.delete(f"/entitlements/{made['id']}", expect=200)
    await shop.entitle()


async def test_of_many_entitling_at_once_one_succeeds(shop: Shop) -> None:
    answers = await asyncio.gather(*(shop.account.http.post("/entitlements", json=shop.body()) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7


async def test_a_bucketed_max_meter_cannot_be_entitled(shop: Shop) -> None:
    await shop.feature("peak", "metered", type="MAX", bucket_size="HOUR")
    await shop.entitle("peak", expect=400)


async def test_grants(shop: Shop) -> None:
    made = await shop.entitle(**GRANT)
    assert {name: made[name] for name in GRANT} == GRANT
    assert (made["grant_allocation_behavior"], made["aggregation_mode"]) == ("first_usage", "additive")
    path = f"/entitlements/{made['id']}"
    changed = await shop.account.put(path, {"grant_quota": "7"})
    assert (changed["grant_quota"], changed["grant_duration_unit"]) == ("7", "subscription_period")
    assert "grant_duration_value" not in changed
    await shop.account.put(path, {"grant_allocation_behavior": "unit_start"}, expect=400)
    await shop.account.put(path, {"clear_grant_config": True, "grant_quota": "1"}, expect=400)
    changed = await shop.account.put(path, {"clear_grant_config": True})
    assert not [name for name in changed if name.startswith("grant_")]
    changed = await shop.account.put(path, {**GRANT, "aggregation_mode": "parallel"})
    assert changed["aggregation_mode"] == "parallel"
    changed = await shop.account.put(path, {"clear_grant_config": True})
    assert changed["aggregation_mode"] == "additive"


@pytest.mark.parametrize(
    "aggregation",
    [
        pytest.param({"type": "MAX"}, id="a peak cannot be granted"),
        pytest.param({"bucket_size": "HOUR"}, id="nor what is summed per bucket"),
    ],
)
async def test_meters_that_cannot_be_granted(shop: Shop, aggregation: dict[str, Any]) -> None:
    await shop.feature("special", "metered", **aggregation)
    await shop.entitle("special", expect=400, **GRANT)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"grant_duration_unit": "hour", "grant_duration_value": 1}, id="by hour"),
        pytest.param({"grant_duration_unit": "day", "grant_duration_value": 1}, id="by day"),
        pytest.param({"grant_duration_unit": "week", "grant_duration_value": 2}, id="by week"),
        pytest.param(
            {"grant_duration_unit": "hour", "grant_duration_value": 5, "grant_allocation_behavior": "unit_start"},
            id="from where a unit starts",
        ),
        pytest.param({"grant_measure": "amount"}, id="in money"),
    ],
)
async def test_grants_of_every_duration_and_measure(shop: Shop, change: dict[str, Any]) -> None:
    """Rule: docs/rules/entitlements.md#grants"""
    made = await shop.entitle(**{**GRANT, **change})
    assert {name: made[name] for name in change} == change
    changed = await shop.account.put(f"/entitlements/{made['id']}", {"grant_quota": "7"})
    assert {name: changed[name] for name in change} == change


async def test_parallel_grants_stand_side_by_side(shop: Shop) -> None:
    parallel = {**GRANT, "aggregation_mode": "parallel"}
    first = await shop.entitle(**parallel)
    second = await shop.entitle(**{**parallel, "grant_quota": "7"})
    assert first["id"] != second["id"]
    await shop.entitle(expect=400)
    await shop.account.put(f"/entitlements/{second['id']}", {"clear_grant_config": True}, expect=400)


async def test_updates_keep_what_they_do_not_say(shop: Shop) -> None:
    made = await shop.entitle(usage_limit=10, usage_reset_period="DAILY", is_soft_limit=True)
    path = f"/entitlements/{made['id']}"
    assert (await shop.account.put(path, {"usage_limit": 20}))["usage_limit"] == 20
    kept = await shop.account.put(path, {"usage_limit": None, "usage_reset_period": "", "static_value": ""})
    assert (kept["usage_limit"], kept["usage_reset_period"], kept["is_soft_limit"]) == (20, "DAILY", True)
    assert (await shop.account.put(path, {"usage_limit": 0}))["usage_limit"] is None
    assert (await shop.account.put(path, {"is_enabled": False}))["is_enabled"] is False
    await shop.account.put(path, {"config_value": {"a": 1}}, expect=400)
    answer = await shop.account.delete(path, expect=200)
    assert answer == {"message": "entitlement deleted successfully"}
    assert (await shop.account.get(path))["status"] == "archived"
    assert (await shop.account.put(path, {}, expect=400))["code"] == "invalid_operation"
    assert (await shop.account.delete(path, expect=400))["code"] == "invalid_operation"


async def test_a_static_value_changes_and_is_never_emptied(shop: Shop) -> None:
    path = f"/entitlements/{(await shop.entitle('static', static_value='gold'))['id']}"
    assert (await shop.account.put(path, {"static_value": "silver"}))["static_value"] == "silver"
    assert (await shop.account.put(path, {"static_value": ""}))["static_value"] == "silver"


async def test_bulk_is_all_or_nothing(shop: Shop) -> None:
    items = [shop.body(), shop.body("boolean"), shop.body("static", static_value="x")]
    await shop.account.post("/entitlements/bulk", {"items": [*items, shop.body()]}, expect=409)
    await shop.account.post(
        "/entitlements/bulk", {"items": [*items, shop.body("config", plan_id="plan_no")]}, expect=404
    )
    await shop.account.post("/entitlements/bulk", {"items": []}, expect=400)
    await shop.account.post("/entitlements/bulk", {"items": [shop.body()] * 101}, expect=400)
    assert (await shop.account.get("/entitlements"))["pagination"]["total"] == 0
    made = await shop.account.post("/entitlements/bulk", {"items": items})
    assert [item["feature_type"] for item in made["items"]] == ["metered", "boolean", "static"]


async def test_two_bulks_in_opposite_order_do_not_lock_each_other_out(shop: Shop) -> None:
    on_addon = {"plan_id": None, "entity_type": "ADDON", "entity_id": shop.addon}
    here = [shop.body("metered"), shop.body("boolean")]
    there = [shop.body("boolean", **on_addon), shop.body("metered", **on_addon)]
    answers = await asyncio.gather(
        *(shop.account.http.post("/entitlements/bulk", json={"items": items}) for items in (here, there))
    )
    assert [answer.status_code for answer in answers] == [201, 201]


async def test_lists_filter_and_expand(shop: Shop) -> None:
    plain = await shop.entitle()
    switch = await shop.entitle("boolean")
    on_addon = await shop.entitle(plan_id=None, entity_type="ADDON", entity_id=shop.addon, **GRANT)

    async def listed(**query: Any) -> set[str]:
        page = await shop.account.post("/entitlements/search", query, expect=200)
        return {item["id"] for item in page["items"]}

    assert await listed() == {plain["id"], switch["id"], on_addon["id"]}
    assert await listed(plan_ids=[shop.plan]) == {plain["id"], switch["id"]}
    assert await listed(entity_type="addon") == {on_addon["id"]}
    assert await listed(entity_ids=[shop.addon], entity_type="ADDON") == {on_addon["id"]}
    assert await listed(feature_ids=[shop.features["metered"]]) == {plain["id"], on_addon["id"]}
    assert await listed(feature_type="boolean") == {switch["id"]}
    assert await listed(is_enabled=False) == {switch["id"]}
    assert await listed(has_grant_config=True) == {on_addon["id"]}
    assert await listed(has_grant_config=False) == {plain["id"], switch["id"]}
    page = await shop.account.get("/entitlements", limit=1, expand="features,meters,plans,addons")
    assert page["pagination"] == {"total": 3, "limit": 1, "offset": 1}
    (only,) = page["items"]
    assert (only["addon"]["name"], only["feature"]["meter"]["event_name"], "plan" in only) == (
        "Boost",
        "metered",
        False,
    )
    await shop.account.get("/entitlements", expand="prices", expect=400)
    await shop.account.get("/entitlements", entity_type="PRICE", expect=400)


async def test_what_a_plan_and_an_addon_include(shop: Shop) -> None:
    await shop.entitle()
    await shop.entitle(plan_id=None, entity_type="ADDON", entity_id=shop.addon, usage_limit=3)
    of_plan = await shop.account.get(f"/plans/{shop.plan}/entitlements")
    assert [(item["plan_id"], item["feature"]["name"]) for item in of_plan["items"]] == [(shop.plan, "metered")]
    of_addon = await shop.account.get(f"/addons/{shop.addon}/entitlements")
    assert [item["usage_limit"] for item in of_addon["items"]] == [3]
    await shop.account.get("/plans/plan_none/entitlements", expect=404)
    await shop.account.get("/addons/addon_none/entitlements", expect=404)


async def test_changes_are_told(shop: Shop) -> None:
    made = await shop.entitle(usage_limit=5)
    path = f"/entitlements/{made['id']}"
    await shop.account.put(path, {"usage_limit": 6})
    await shop.account.delete(path, expect=200)
    async with shop.account.transaction(read_only=True) as session:
        told = select(SystemEvent).where(SystemEvent.entity_id == made["id"]).order_by(SystemEvent.id)
        events = list(await session.scalars(told))
    assert [event.event_name for event in events] == [
        "entitlement.created",
        "entitlement.updated",
        "entitlement.deleted",
    ]
    assert [(event.payload or {})["entitlement"]["usage_limit"] for event in events] == [5, 6, 6]


async def test_another_tenant_sees_and_changes_nothing(shop: Shop, stranger: Account) -> None:
    made = await shop.entitle()
    path = f"/entitlements/{made['id']}"
    await stranger.get(path, expect=404)
    await stranger.put(path, {"usage_limit": 1}, expect=404)
    await stranger.delete(path, expect=404)
    await stranger.post("/entitlements", shop.body("boolean"), expect=404)
    await stranger.get(f"/plans/{shop.plan}/entitlements", expect=404)
    assert (await stranger.get("/entitlements"))["items"] == []
    assert await shop.account.get(path) == made


async def test_the_published_client_does_every_operation(shop: Shop) -> None:
    sdk = shop.account.sdk().entitlements
    made = await sdk.create_entitlement_async(
        feature_id=shop.features["metered"],
        feature_type="metered",
        entity_type="PLAN",
        entity_id=shop.plan,
        usage_limit=100,
        usage_reset_period="MONTHLY",
    )
    assert made.id is not None
    bulk = await sdk.create_entitlements_bulk_async(items=[shop.body("boolean", is_enabled=True)])
    assert [item.is_enabled for item in bulk.items or []] == [True]
    of_addon = shop.body(plan_id=None, entity_type="ADDON", entity_id=shop.addon)
    await shop.account.post("/entitlements", of_addon)
    assert (await sdk.get_entitlement_async(id=made.id)).usage_limit == 100
    assert (await sdk.update_entitlement_async(id=made.id, usage_limit=200)).usage_limit == 200
    found = await sdk.query_entitlement_async(plan_ids=[shop.plan], expand="features")
    assert {item.feature.name for item in found.items or [] if item.feature} == {"metered", "boolean"}
    assert len((await sdk.get_plan_entitlements_async(id=shop.plan)).items or []) == 2
    assert len((await sdk.get_addon_entitlements_async(id=shop.addon)).items or []) == 1
    assert (await sdk.delete_entitlement_async(id=made.id)).message == "entitlement deleted successfully"
