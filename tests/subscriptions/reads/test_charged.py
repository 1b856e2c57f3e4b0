"""What subscriptions charge for usage, seen through analytics, the event debugger and single costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.subscriptions.shop import Shop, at, fixed

APRIL = {"start_time": "2026-04-01T00:00:00Z", "end_time": "2026-05-01T00:00:00Z"}
TIERS = [{"up_to": 5, "unit_amount": "2"}, {"up_to": 10, "unit_amount": "1"}, {"unit_amount": "0.5"}]


async def used(
    shop: Shop, count: int, customer: str = "ann", day: str = "2026-04-03", name: str = "calls", **properties: str
) -> None:
    """So many events, each an hour after the one before."""
    events = [
        {
            "event_id": f"{customer}-{day}-{name}-{number}",
            "event_name": name,
            "external_customer_id": customer,
            "timestamp": f"{day}T{number % 24:02}:00:{number // 24:02}Z",
            "properties": properties,
        }
        for number in range(count)
    ]
    await shop.account.post("/events/bulk", {"events": events}, expect=202)


async def analytics(shop: Shop, customer: str = "ann", **given: Any) -> Any:
    return await shop.account.post(
        "/events/analytics", {"external_customer_id": customer, **APRIL, **given}, expect=200
    )


class TestAnalytics:
    @pytest.mark.parametrize(
        ("price", "count", "cost"),
        [
            pytest.param({}, 7, "10.5", id="a flat price is quantity times amount"),
            pytest.param(
                {"billing_model": "TIERED", "tier_mode": "SLAB", "tiers": TIERS},
                12,
                "16",
                id="slab tiers fill one after the other: 5 x 2 + 5 x 1 + 2 x 0.5",
            ),
            pytest.param(
                {"billing_model": "TIERED", "tier_mode": "VOLUME", "tiers": TIERS},
                12,
                "6",
                id="volume tiers price all by the tier reached: 12 x 0.5",
            ),
            pytest.param(
                {"billing_model": "PACKAGE", "transform_quantity": {"divide_by": 5, "round": "up"}},
                12,
                "4.5",
                id="packages begun are packages paid: 3 x 1.5",
            ),
        ],
    )
    async def test_cost_is_price_times_usage(self, shop: Shop, price: Mapping[str, Any], count: int, cost: str) -> None:
        feature = await shop.feature()
        plan = await shop.plan(shop.usage(feature, "1.5", **price))
        made = await shop.subscribe(plan, await shop.customer("ann"))
        await used(shop, count)
        answer = await analytics(shop, expand=["price", "plan", "subscription_line_item"])
        (item,) = answer["items"]
        assert (answer["currency"], answer["total_cost"]) == ("usd", cost)
        assert (item["total_usage"], item["total_cost"], item["feature_id"]) == (str(count), cost, feature["id"])
        assert item["price"]["id"] == item["price_id"] == plan["prices"][0]["id"]
        assert item["plan"]["id"] == item["plan_id"] == plan["id"]
        assert item["subscription_line_item"]["id"] == item["sub_line_item_id"]
        assert item["subscription_id"] == made.subscription.id

    async def test_only_the_life_of_the_subscription_is_charged(self, shop: Shop) -> None:
        plan = await shop.plan(shop.usage(await shop.feature(), "1"))
        await shop.subscribe(plan, await shop.customer("ann"), start_date="2026-04-01T00:00:00Z",
                             end_date="2026-04-10T00:00:00Z")  # fmt: skip
        await used(shop, 2, day="2026-03-31")
        await used(shop, 3, day="2026-04-09")
        await used(shop, 4, day="2026-04-10")
        answer = await analytics(shop, start_time="2026-03-01T00:00:00Z")
        assert [item["total_usage"] for item in answer["items"]] == ["3"]

    async def test_lasting_percentage_coupons_reduce_it_and_fixed_ones_do_not(self, shop: Shop) -> None:
        plan = await shop.plan(shop.usage(await shop.feature(), "1"))
        coupons = [
            await shop.account.post("/coupons", {"name": "c", **terms})
            for terms in (
                {"type": "percentage", "percentage_off": "20", "cadence": "forever"},
                {"type": "percentage", "percentage_off": "50", "cadence": "once"},
                {"type": "fixed", "amount_off": "3", "currency": "usd", "cadence": "forever"},
            )
        ]
        await shop.subscribe(plan, await shop.customer("ann"), coupons=[coupon["id"] for coupon in coupons])
        await used(shop, 10)
        answer = await analytics(shop)
        assert (answer["subtotal"], answer["total_discount"], answer["total_cost"]) == ("10", "2", "8")

    async def test_a_commitment_shows_its_minimum_without_any_usage(self, shop: Shop) -> None:
        plan = await shop.plan(shop.usage(await shop.feature(), "1"))
        commitment = {
            "commitment_type": "amount",
            "commitment_amount": "25",
            "overage_factor": "2",
            "enable_true_up": True,
        }
        await shop.subscribe(
            plan, await shop.customer("ann"), line_item_commitments={plan["prices"][0]["id"]: commitment}
        )
        (item,) = (await analytics(shop))["items"]
        assert item["total_usage"] == "0"
        assert item["total_cost"] == "25"
        assert item["commitment_info"]["amount"] == "25"
        assert item["commitment_info"]["computed_true_up_amount"] == "25"

    async def test_children_count_when_asked_for_and_nobody_sees_their_siblings(self, shop: Shop) -> None:
        await shop.customer("child")
        await shop.customer("sibling")
        await shop.subscribe(
            await shop.plan(shop.usage(await shop.feature(), "1")),
            await shop.customer("ann"),
            inheritance={"external_customer_ids_to_inherit_subscription": ["child", "sibling"]},
        )
        for number, name in enumerate(("ann", "child", "sibling"), start=1):
            await used(shop, number, customer=name)
        alone, together = await analytics(shop), await analytics(shop, include_children=True)
        assert (alone["total_cost"], together["total_cost"]) == ("1", "6")
        assert (await analytics(shop, "child"))["items"] == []
        assert (await analytics(shop, "child", include_children=True))["total_cost"] == "2"

    async def test_drafts_and_strangers_charge_nothing(self, shop: Shop, stranger: Any) -> None:
        plan = await shop.plan(shop.usage(await shop.feature(), "1"))
        await shop.subscribe(plan, await shop.customer("ann"), subscription_status="draft")
        await used(shop, 3)
        assert (await analytics(shop))["items"] == []
        body = {"external_customer_id": "ann", **APRIL}
        assert (await stranger.post("/events/analytics", body, expect=200))["items"] == []


class TestDebugger:
    async def looked_up(self, shop: Shop, event_id: str) -> Any:
        return await shop.account.get("/events/lookup", id=event_id)

    async def test_a_charged_event_is_processed(self, shop: Shop) -> None:
        feature = await shop.feature()
        plan = await shop.plan(shop.usage(feature, "1"))
        customer = await shop.customer("ann")
        made = await shop.subscribe(plan, customer)
        await used(shop, 1)
        answer = await self.looked_up(shop, "ann-2026-04-03-calls-0")
        assert answer["status"] == "processed"
        assert "debug_tracker" not in answer
        (one,) = answer["processed_events"]
        assert one["subscription_id"] == made.subscription.id
        assert (one["price_id"], one["feature_id"]) == (plan["prices"][0]["id"], feature["id"])
        assert (one["customer_id"], one["qty_total"]) == (customer["id"], "1")

    async def test_each_step_says_where_it_stopped(self, shop: Shop) -> None:
        feature = await shop.feature()
        await used(shop, 1, day="2026-04-03")
        await used(shop, 1, name="nothing")

        async def stopped(event_id: str) -> tuple[str, list[str]]:
            tracker = (await self.looked_up(shop, event_id))["debug_tracker"]
            steps = ("customer_lookup", "meter_matching", "price_lookup", "subscription_line_item_lookup")
            return tracker["failure_point"]["failure_point_type"], [tracker[step]["status"] for step in steps]

        counted, uncounted = "ann-2026-04-03-calls-0", "ann-2026-04-03-nothing-0"
        missing, waiting = "not_found", "unprocessed"
        assert await stopped(counted) == ("customer_lookup", [missing, waiting, waiting, waiting])
        customer = await shop.customer("ann")
        assert await stopped(uncounted) == ("meter_lookup", ["found", missing, waiting, waiting])
        assert await stopped(counted) == ("price_lookup", ["found", "found", missing, waiting])
        made = await shop.subscribe(await shop.plan(shop.usage(feature, "1")), customer)
        assert (await self.looked_up(shop, counted))["status"] == "processed"
        await shop.account.post(f"/subscriptions/{made.subscription.id}/pause", {"pause_mode": "immediate"}, 200)
        assert await stopped(counted) == ("subscription_line_item_lookup", ["found", "found", "found", missing])

    async def test_an_event_of_a_child_is_charged_by_its_parents_item(self, shop: Shop) -> None:
        await shop.customer("child")
        made = await shop.subscribe(
            await shop.plan(shop.usage(await shop.feature(), "1")),
            inheritance={"external_customer_ids_to_inherit_subscription": ["child"]},
        )
        await used(shop, 1, customer="child")
        (one,) = (await self.looked_up(shop, "child-2026-04-03-calls-0"))["processed_events"]
        assert one["subscription_id"] == made.subscription.id


async def test_single_events_cost_what_their_price_says(shop: Shop) -> None:
    await shop.subscribe(
        await shop.plan(fixed("9"), shop.usage(await shop.feature(), "1.5")), await shop.customer("ann")
    )
    await used(shop, 1)
    await shop.on("2026-04-05")
    event_id = "ann-2026-04-03-calls-0"
    answer = await shop.account.post("/events/huggingface-inference", {"requestIds": [event_id, "none"]}, expect=200)
    assert [float(request["costNanoUsd"]) for request in answer["requests"]] == [1.5e9, 0]
    assert shop.now == at("2026-04-05")
