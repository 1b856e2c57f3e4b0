"""How much of what it may use a customer has used, over the API."""

from __future__ import annotations

from typing import Any

import pytest

from farthing.storage.queries.rows import lock_row
from farthing.subscriptions import roll_forward
from farthing.subscriptions.tables import Subscription
from tests.account import Account
from tests.subscriptions.reads.test_charged import used
from tests.subscriptions.shop import Shop


async def entitle(shop: Shop, plan: dict[str, Any], feature: dict[str, Any], **terms: Any) -> dict[str, Any]:
    body = {"plan_id": plan["id"], "feature_id": feature["id"], "feature_type": feature["type"], "is_enabled": True}
    made: dict[str, Any] = await shop.account.post("/entitlements", {**body, **terms})
    return made


async def plain_feature(shop: Shop, name: str, type: str) -> dict[str, Any]:
    made: dict[str, Any] = await shop.account.post("/features", {"name": name, "lookup_key": name, "type": type})
    return made


async def summary(shop: Shop, expect: int = 200, **given: Any) -> Any:
    return await shop.account.get("/customers/usage", expect=expect, **(given or {"customer_lookup_key": "ann"}))


class TestWindows:
    @pytest.mark.parametrize(
        ("reset", "expected", "next_reset"),
        [
            pytest.param(None, "6", "2026-05-15T00:00:00Z", id="without a reset it is the open period"),
            pytest.param("MONTHLY", "6", "2026-05-15T00:00:00Z", id="the billing period's own kind is the open period"),
            pytest.param("DAILY", "1", "2026-04-21T00:00:00Z", id="days are local days"),
            pytest.param("WEEKLY", "1", "2026-04-27T00:00:00Z", id="weeks begin on Monday"),
            pytest.param("ANNUAL", "9", "2027-02-15T00:00:00Z", id="longer kinds run from the subscription's start"),
            pytest.param("NEVER", "9", None, id="never is since the subscription began, and ends nowhere"),
        ],
    )
    async def test_usage_is_that_of_the_reset_window_up_to_now(
        self, shop: Shop, reset: str | None, expected: str, next_reset: str | None
    ) -> None:
        await shop.on("2026-02-15")
        feature = await shop.feature()
        plan = await shop.plan(shop.usage(feature, "1"))
        await entitle(shop, plan, feature, usage_limit=10, **({"usage_reset_period": reset} if reset else {}))
        made = await shop.subscribe(plan, await shop.customer("ann"))
        for day, count in (("2026-02-14", 7), ("2026-02-20", 3), ("2026-04-16", 5), ("2026-04-20", 1)):
            await used(shop, count, day=day)
        await shop.on("2026-04-20T12:00:00")
        async with shop.transaction() as session:
            await roll_forward.advance_to(
                session, await lock_row(session, Subscription, made.subscription.id), shop.now
            )
        (one,) = (await summary(shop))["features"]
        assert (one["current_usage"], one["next_usage_reset_at"]) == (expected, next_reset)

    async def test_the_reset_is_never_past_the_end_of_the_subscription(self, shop: Shop) -> None:
        feature = await shop.feature()
        plan = await shop.plan(shop.usage(feature, "1"))
        await entitle(shop, plan, feature, usage_limit=10)
        await shop.subscribe(plan, await shop.customer("ann"), end_date="2026-04-20T00:00:00Z")
        (one,) = (await summary(shop))["features"]
        assert one["next_usage_reset_at"] == "2026-04-20T00:00:00Z"


class TestLimits:
    @pytest.mark.parametrize(
        ("limit", "percent", "unlimited"),
        [
            pytest.param(8, "0.5", False, id="half of the limit is 0.5"),
            pytest.param(3, "1.3333333333333333", False, id="more than the limit is more than 1"),
            pytest.param(None, "0", True, id="of an unlimited feature nothing is used up"),
            pytest.param(0, "100", False, id="a limit of nothing is used up"),
        ],
    )
    async def test_share(self, shop: Shop, limit: int | None, percent: str, unlimited: bool) -> None:
        feature = await shop.feature()
        plan = await shop.plan(shop.usage(feature, "1"))
        entitlement = await entitle(shop, plan, feature, usage_limit=limit, is_soft_limit=True)
        made = await shop.subscribe(plan, await shop.customer("ann"))
        await used(shop, 4)
        await shop.on("2026-04-10")
        answer = await summary(shop)
        assert answer["period"] is None
        (one,) = answer["features"]
        assert (one["total_limit"], one["is_unlimited"], one["usage_percent"]) == (limit, unlimited, percent)
        assert (one["current_usage"], one["is_enabled"], one["is_soft_limit"]) == ("4", True, True)
        assert one["feature"]["id"] == feature["id"]
        (source,) = one["sources"]
        assert source["entitlement_id"] == entitlement["id"]
        assert (source["subscription_id"], source["entity_name"]) == (made.subscription.id, "Plan")

    async def test_two_subscriptions_add_their_limits_and_count_usage_once(self, shop: Shop) -> None:
        feature = await shop.feature()
        customer = await shop.customer("ann")
        for name in ("One", "Two"):
            plan = await shop.plan(shop.usage(feature, "1"), name=name)
            await entitle(shop, plan, feature, usage_limit=5)
            await shop.subscribe(plan, customer)
        await used(shop, 4)
        await shop.on("2026-04-10")
        (one,) = (await summary(shop))["features"]
        assert (one["total_limit"], one["current_usage"], len(one["sources"])) == (10, "4", 2)

    async def test_a_parents_children_count(self, shop: Shop) -> None:
        await shop.customer("child")
        feature = await shop.feature()
        plan = await shop.plan(shop.usage(feature, "1"))
        await entitle(shop, plan, feature, usage_limit=5)
        inheritance = {"external_customer_ids_to_inherit_subscription": ["child"]}
        await shop.subscribe(plan, await shop.customer("ann"), inheritance=inheritance)
        await used(shop, 1)
        await used(shop, 2, customer="child")
        await shop.on("2026-04-10")
        (one,) = (await summary(shop))["features"]
        assert one["current_usage"] == "3"


class TestAsking:
    async def test_order_and_filters(self, shop: Shop) -> None:
        plan = await shop.plan(shop.usage(await shop.feature("zeta"), "1"))
        wanted: list[tuple[dict[str, Any], dict[str, Any]]] = [
            (await shop.feature("beta"), {"usage_limit": 1}),
            (await shop.feature("alpha"), {"usage_limit": 1}),
            (await plain_feature(shop, "able", "boolean"), {}),
            (await plain_feature(shop, "still", "static"), {"static_value": "gold"}),
        ]
        for feature, terms in wanted:
            await entitle(shop, plan, feature, **terms)
        made = await shop.subscribe(plan, await shop.customer("ann"))

        async def names(**given: Any) -> list[str]:
            answer = await summary(shop, customer_lookup_key="ann", **given)
            return [feature["feature"]["name"] for feature in answer["features"]]

        assert await names() == ["alpha", "beta", "still", "able"]
        assert await names(feature_lookup_keys="beta,able") == ["beta", "able"]
        assert await names(feature_ids=[wanted[0][0]["id"], wanted[1][0]["id"]]) == ["alpha", "beta"]
        assert await names(feature_lookup_keys="nothing") == []
        assert await names(subscription_ids=made.subscription.id) == ["alpha", "beta", "still", "able"]
        assert await names(subscription_ids="subs_other") == []

    async def test_who_is_meant(self, shop: Shop, stranger: Account) -> None:
        ann, bob = await shop.customer("ann"), await shop.customer("bob")
        assert (await summary(shop, customer_id=ann["id"], customer_lookup_key="ann"))["customer_id"] == ann["id"]
        assert (await shop.account.get(f"/customers/{ann['id']}/usage"))["features"] == []
        await summary(shop, expect=400, feature_ids="feat_1")
        await summary(shop, expect=400, customer_id=bob["id"], customer_lookup_key="ann")
        await summary(shop, expect=404, customer_id="cust_unknown")
        await summary(shop, expect=404, customer_lookup_key="nobody")
        await stranger.get("/customers/usage", expect=404, customer_id=ann["id"])

    async def test_the_published_client_reads_it(self, shop: Shop) -> None:
        feature = await shop.feature()
        plan = await shop.plan(shop.usage(feature, "1"))
        await entitle(shop, plan, feature, usage_limit=5)
        await shop.subscribe(plan, await shop.customer("ann"))
        found = await shop.account.sdk().customers.get_customer_usage_summary_async(customer_lookup_key="ann")
        assert found.features is not None
        assert found.features[0].total_limit == 5
