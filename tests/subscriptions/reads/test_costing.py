"""What usage earned and what it cost to serve."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.reporting.costing import Margin
from farthing.subscriptions.reads import usage_sources
from tests.account import Account
from tests.subscriptions.reads.test_charged import APRIL, TIERS, used
from tests.subscriptions.shop import Shop, fixed

MONEY = st.decimals(min_value=0, max_value=10**9, places=4)


@pytest.mark.parametrize(
    ("revenue", "cost", "expected"),
    [
        pytest.param("250", "100", ("150", "60", "1.5", "150"), id="250 earned at a cost of 100 leave 150"),
        pytest.param(
            "1250.50",
            "437.75",
            ("812.75", "64.99400239904038", "1.8566533409480297", "185.66533409480297"),
            id="ratios have 16 decimals, and then are percent",
        ),
        pytest.param("0", "80", ("-80", "0", "-1", "-100"), id="nothing earned: the margin has no share"),
        pytest.param("80", "0", ("80", "100", "0", "0"), id="nothing spent: there is no return on it"),
        pytest.param("0", "0", ("0", "0", "0", "0"), id="nothing at all"),
    ],
)
def test_margins(revenue: str, cost: str, expected: tuple[str, ...]) -> None:
    margin = Margin(Decimal(revenue), Decimal(cost))
    found = (margin.amount, margin.percent, margin.roi, margin.roi_percent)
    assert found == tuple(Decimal(cost) for cost in expected)


@settings(max_examples=150)
@given(revenue=MONEY, cost=MONEY)
def test_margin_and_cost_are_the_revenue(revenue: Decimal, cost: Decimal) -> None:
    margin = Margin(revenue, cost)
    assert margin.amount + cost == revenue
    assert margin.percent <= 100
    assert (margin.amount > 0) == (revenue > cost)
    assert margin.roi_percent == margin.roi * 100


async def sheet(shop: Shop, *costs: Mapping[str, Any]) -> dict[str, Any]:
    """A cost sheet, from now on the active one."""
    made: dict[str, Any] = (await shop.account.post("/costs", {"name": "Cloud bill"}))["costsheet"]
    made["prices"] = [
        await shop.account.post("/prices", {**cost, "entity_type": "COSTSHEET", "entity_id": made["id"]})
        for cost in costs
    ]
    return made


async def analytics(shop: Shop, expect: int = 200, **given: Any) -> Any:
    return await shop.account.post("/costs/analytics", {**APRIL, **given}, expect=expect)


async def selling(shop: Shop, amount: str, customer: str = "ann", **terms: Any) -> dict[str, Any]:
    """A feature, and a customer who pays `amount` for each use."""
    feature = await shop.feature()
    await shop.subscribe(await shop.plan(shop.usage(feature, amount, **terms)), await shop.customer(customer))
    return feature


class TestAnswer:
    async def test_revenue_250_and_cost_100(self, shop: Shop) -> None:
        feature = await selling(shop, "25")
        made = await sheet(shop, shop.usage(feature, "10"))
        await used(shop, 10)
        answer = await analytics(shop, external_customer_id="ann", expand=["meter", "price"])
        (item,) = answer.pop("cost_analytics")
        assert answer == {
            "total_revenue": "250",
            "total_cost": "100",
            "margin": "150",
            "margin_percent": "60",
            "roi": "1.5",
            "roi_percent": "150",
            "currency": "usd",
            **APRIL,
        }
        assert (item["total_cost"], item["total_quantity"], item["total_events"]) == ("100", "10", 10)
        assert (item["currency"], item["meter_name"], item["external_customer_id"]) == ("usd", "calls", "ann")
        assert item["meter"]["id"] == item["meter_id"] == feature["meter_id"]
        assert item["meter"]["environment_id"] == shop.account.environment_id
        assert item["price"]["id"] == item["price_id"] == made["prices"][0]["id"]
        assert item["costsheet_id"] == made["id"]

    @pytest.mark.parametrize(
        ("cost", "expected"),
        [
            pytest.param({"amount": "0.0013"}, "0.0156", id="a flat cost is not rounded"),
            pytest.param({"billing_model": "TIERED", "tier_mode": "SLAB", "tiers": TIERS}, "16", id="slab tiers"),
            pytest.param(
                {"billing_model": "PACKAGE", "transform_quantity": {"divide_by": 5, "round": "up"}}, "3", id="packages"
            ),
        ],
    )
    async def test_cost_is_usage_at_the_sheets_price(self, shop: Shop, cost: Mapping[str, Any], expected: str) -> None:
        feature = await shop.feature()
        await sheet(shop, {**shop.usage(feature, "1"), **cost})
        await used(shop, 12)
        assert (await analytics(shop))["total_cost"] == expected

    async def test_buckets_are_priced_one_by_one(self, shop: Shop) -> None:
        feature = await shop.feature(type="SUM", field="x", bucket_size="DAY")
        package = {"billing_model": "PACKAGE", "transform_quantity": {"divide_by": 5, "round": "up"}}
        await sheet(shop, shop.usage(feature, "1", **package))
        for day in ("2026-04-03", "2026-04-04"):
            await used(shop, 1, day=day, x="3")
        answer = await analytics(shop)
        assert (answer["total_cost"], answer["cost_analytics"][0]["total_quantity"]) == ("2", "6")


class TestWhoseUsage:
    async def test_of_everybody_all_portions_are_added(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(usage_sources, "AT_ONCE", 2)
        feature = await shop.feature()
        plan = await shop.plan(shop.usage(feature, "5"))
        for number in range(5):
            await shop.subscribe(plan, await shop.customer(f"c{number}"))
            await used(shop, number + 1, customer=f"c{number}")
        await sheet(shop, shop.usage(feature, "2"))
        await used(shop, 1, customer="nobody")
        answer = await analytics(shop)
        assert (answer["total_revenue"], answer["total_cost"]) == ("75", "32")
        assert len(answer["cost_analytics"]) == 1
        assert "external_customer_id" not in answer["cost_analytics"][0]

    async def test_children_count_when_asked_for_and_once_for_everybody(self, shop: Shop) -> None:
        await shop.customer("child")
        feature = await shop.feature()
        inheritance = {"external_customer_ids_to_inherit_subscription": ["child"]}
        plan = await shop.plan(shop.usage(feature, "5"))
        await shop.subscribe(plan, await shop.customer("ann"), inheritance=inheritance)
        await sheet(shop, shop.usage(feature, "2"))
        await used(shop, 1)
        await used(shop, 2, customer="child")

        async def totals(**given: Any) -> tuple[str, str]:
            answer = await analytics(shop, **given)
            return answer["total_revenue"], answer["total_cost"]

        assert await totals(external_customer_id="ann") == ("5", "2")
        assert await totals(external_customer_id="ann", include_children=True) == ("15", "6")
        assert await totals() == ("15", "6")

    async def test_features_and_properties_narrow_both_sides(self, shop: Shop) -> None:
        one, two = await shop.feature("one"), await shop.feature("two")
        await shop.subscribe(await shop.plan(shop.usage(one, "5"), shop.usage(two, "7")), await shop.customer("ann"))
        await sheet(shop, shop.usage(one, "2"), shop.usage(two, "3"))
        await used(shop, 2, name="one", region="eu")
        await used(shop, 1, name="one", day="2026-04-05", region="us")
        await used(shop, 1, name="two")
        whole = await analytics(shop)
        assert (whole["total_revenue"], whole["total_cost"]) == ("22", "9")
        only = await analytics(shop, feature_ids=[one["id"]], property_filters={"region": ["eu"]})
        assert (only["total_revenue"], only["total_cost"]) == ("10", "4")
        page = await analytics(shop, limit=1, offset=1)
        assert [item["meter_name"] for item in page["cost_analytics"]] == ["two"]
        assert page["total_cost"] == "9"


class TestCurrencies:
    async def test_they_are_never_mixed(self, shop: Shop) -> None:
        feature = await selling(shop, "5")
        euros = await shop.plan(shop.usage(feature, "4", currency="eur"), name="Euro")
        await shop.subscribe(euros, await shop.customer("bob"), currency="eur")
        await sheet(shop, shop.usage(feature, "2"))
        await used(shop, 1)
        assert (await analytics(shop))["total_revenue"] == "5"
        await used(shop, 1, customer="bob")
        refused = await analytics(shop, expect=400)
        assert "currency" in str(refused)
        dollars = await analytics(shop, currency="USD")
        assert (dollars["total_revenue"], dollars["total_cost"], dollars["currency"]) == ("5", "4", "usd")
        euro = await analytics(shop, currency="eur")
        assert (euro["total_revenue"], euro["total_cost"], euro["cost_analytics"]) == ("4", "0", [])


class TestAsking:
    async def test_bad_questions(self, shop: Shop) -> None:
        await analytics(shop, expect=404)
        await sheet(shop)
        for body in ({"start_time": "2026-04-01T00:00:00Z"}, {"limit": 0}, {"offset": -1}, {"currency": "dollars"}):
            await shop.account.post("/costs/analytics", body, expect=400)
        await analytics(shop, expect=400, start_time="2026-05-02T00:00:00Z")

    async def test_the_last_seven_days_unless_said_otherwise(self, shop: Shop) -> None:
        await sheet(shop)
        await shop.on("2026-04-20")
        answer = await shop.account.post("/costs/analytics", expect=200)
        assert (answer["start_time"], answer["end_time"]) == ("2026-04-13T00:00:00Z", "2026-04-20T00:00:00.001Z")
        assert (answer["cost_analytics"], answer["margin"], answer["currency"]) == ([], "0", "")

    async def test_fixed_costs_cost_no_usage(self, shop: Shop) -> None:
        await sheet(shop, fixed("100"))
        assert (await analytics(shop))["total_cost"] == "0"

    async def test_a_stranger_sees_nothing(self, shop: Shop, stranger: Account) -> None:
        feature = await selling(shop, "5")
        await sheet(shop, shop.usage(feature, "2"))
        await used(shop, 1)
        await stranger.post("/costs/analytics", APRIL, expect=404)
        await stranger.post("/costs", {"name": "Other"})
        answer = await stranger.post("/costs/analytics", APRIL, expect=200)
        assert (answer["total_revenue"], answer["total_cost"]) == ("0", "0")

    async def test_the_published_client_reads_it(self, shop: Shop) -> None:
        feature = await selling(shop, "25")
        await sheet(shop, shop.usage(feature, "10"))
        await used(shop, 10)
        await shop.on("2026-04-05")
        found = await shop.account.sdk().costs.get_detailed_cost_analytics_async(external_customer_id="ann")
        assert (found.total_revenue, found.total_cost, found.margin_percent) == ("250", "100", "60")
