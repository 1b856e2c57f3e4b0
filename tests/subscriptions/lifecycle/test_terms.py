"""What may be said when a subscription is made, over HTTP: defaults, and refusals that name the field."""

from __future__ import annotations

from typing import Any

import pytest

from tests.subscriptions.shop import Shop, fixed

FACTOR = {"overage_factor": "2"}


def override(price: str, **terms: Any) -> dict[str, Any]:
    """One override."""
    return {"override_line_items": [{"price_id": price, **terms}]}


def commit(price: str, **terms: Any) -> dict[str, Any]:
    """One commitment."""
    return {"line_item_commitments": {price: terms}}


def hours(start: int, end: int, **more: int) -> dict[str, Any]:
    """Terms of some hours of the day."""
    stretch = {"start": {"hour": start}, "end": {"hour": end, **more}}
    return {"commitment_time_buckets": [{**stretch, "commitment_type": "amount", "commitment_value": "1"}]}


def inline(amount: str, **more: Any) -> dict[str, Any]:
    """A price made with its line item."""
    return {key: value for key, value in fixed(amount, **more).items() if key not in {"currency", "start_date"}}


class Till:
    """A shop with a plan of a fee at 10, usage by the hour, and tiers; `body` is what a minimal request says."""

    def __init__(self, shop: Shop, plan: dict[str, Any], customer: dict[str, Any]) -> None:
        self.shop, self.plan, self.customer = shop, plan, customer
        self.fee, self.usage, self.tiers = (price["id"] for price in plan["prices"])
        self.addon = ""
        self.body = {
            "customer_id": customer["id"],
            "plan_id": plan["id"],
            "currency": "usd",
            "billing_period": "MONTHLY",
        }

    def named(self, value: Any) -> Any:
        """A body whose `<fee>`, `<usage>` and `<tiers>` are the plan's prices, and `<addon>` an addon."""
        if isinstance(value, dict):
            return {self.named(key): self.named(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.named(inner) for inner in value]
        known = {"<fee>": self.fee, "<usage>": self.usage, "<tiers>": self.tiers, "<addon>": self.addon}
        return known.get(value, value) if isinstance(value, str) else value

    async def ask(self, expect: int = 201, **more: Any) -> Any:
        return await self.shop.account.post("/subscriptions", {**self.body, **self.named(more)}, expect=expect)


@pytest.fixture
async def till(shop: Shop) -> Till:
    calls = await shop.feature("calls", type="SUM", field="n", bucket_size="HOUR")
    tiers = [{"up_to": 10, "unit_amount": "2"}, {"unit_amount": "1"}]
    plan = await shop.plan(
        fixed("10"),
        shop.usage(calls, "1"),
        fixed("0", billing_model="TIERED", tier_mode="SLAB", tiers=tiers, min_quantity=4),
    )
    return Till(shop, plan, await shop.customer())


async def test_what_is_not_said_has_a_default(till: Till) -> None:
    made = await till.ask(start_date="2026-04-01T00:00:00.123987Z", timezone="Asia/Kolkata")
    expected = {
        "billing_cycle": "anniversary",
        "billing_period_count": 1,
        "billing_cadence": "RECURRING",
        "collection_method": "charge_automatically",
        "payment_behavior": "default_active",
        "proration_behavior": "none",
        "pause_status": "none",
        "subscription_type": "standalone",
        "overage_factor": "1",
        "enable_true_up": False,
        "timezone": "UTC",
        "start_date": "2026-04-01T00:00:00.123Z",
        "cancel_at": None,
        "cancel_at_period_end": False,
        "trial_start": None,
        "trial_end": None,
        "version": 1,
    }
    assert {name: made[name] for name in expected} == expected
    assert {item["price_id"]: item["quantity"] for item in made["line_items"]} == {
        till.fee: "1",
        till.usage: "0",
        till.tiers: "4",
    }
    assert [item["end_date"] for item in made["line_items"]] == [None, None, None]


DAY = "{}T00:00:00Z"
APRIL, MAY, JUNE = (DAY.format(f"2026-0{month}-01") for month in (4, 5, 6))

REFUSED = [
    ("the currency has three letters", {"currency": "usdd"}, "currency"),
    ("a trial is not negative", {"trial_period_days": -1}, "trial_period_days"),
    ("a threshold is not negative", {"auto_invoice_threshold": "-1"}, "auto_invoice_threshold"),
    ("terms are among six", {"payment_terms": "10 NET"}, "payment_terms"),
    ("collection is of two kinds", {"collection_method": "sometimes"}, "collection_method"),
    ("money and behaviour go together", {"payment_behavior": "default_incomplete"}, "payment_behavior"),
    ("100 line items at most", {"line_items": [{"price_id": "<fee>"}] * 101}, "line_items"),
    ("a line item has a price", {"line_items": [{}]}, "price_id"),
    ("and only one", {"line_items": [{"price_id": "<fee>", "price": inline("1")}]}, "price_id"),
    (
        "one override per price",
        {"override_line_items": [{"price_id": "<fee>", "quantity": "2"}] * 2},
        "override_line_items",
    ),
    ("an override overrides", override("<fee>"), "price_id"),
    ("no negative amount", override("<fee>", amount="-1"), "amount"),
    ("no negative quantity", override("<fee>", quantity="-1"), "quantity"),
    ("usage is metered", override("<usage>", quantity="3"), "override_line_items"),
    ("tiers need tiers", override("<fee>", billing_model="TIERED", tier_mode="SLAB"), "tiers"),
    ("packages need a size", override("<fee>", billing_model="PACKAGE", amount="1"), "transform_quantity"),
    ("a flat fee needs an amount", override("<tiers>", billing_model="FLAT_FEE"), "amount"),
    ("a fiat price takes no units", override("<fee>", price_unit_amount="1"), "price_unit_amount"),
    ("money or units", override("<fee>", amount="1", price_unit_amount="1"), "price_unit_amount"),
    ("an amount or a quantity", commit("<usage>", commitment_amount="1", commitment_quantity="1"), "commitment_amount"),
    ("something is committed", commit("<usage>", **FACTOR), "commitment_amount"),
    ("a commitment has a factor", commit("<usage>", commitment_amount="1"), "overage_factor"),
    ("of 1 at least", commit("<usage>", commitment_amount="1", overage_factor="0.9"), "overage_factor"),
    (
        "its type is what is given",
        commit("<usage>", commitment_amount="1", commitment_type="quantity"),
        "commitment_type",
    ),
    ("fees are not committed to", commit("<fee>", commitment_amount="1", **FACTOR), "line_item_commitments"),
    ("only prices of the plan", commit("price_x", commitment_amount="1", **FACTOR), "line_item_commitments"),
    (
        "one commitment, above or below",
        {"commitment_amount": "5", **commit("<usage>", commitment_amount="1", **FACTOR)},
        "line_item_commitments",
    ),
    (
        "times of day need windows",
        commit("<usage>", commitment_amount="1", **FACTOR, **hours(8, 9)),
        "commitment_time_buckets",
    ),
    ("a time of day lasts", commit("<usage>", **hours(8, 8)), "end"),
    ("24 is the end of the day", commit("<usage>", **hours(8, 24, minute=1)), "minute"),
    (
        "phases follow one another",
        {"phases": [{"start_date": APRIL, "end_date": MAY}, {"start_date": JUNE}]},
        "phases[1].start_date",
    ),
    ("only the last is open", {"phases": [{"start_date": APRIL}, {"start_date": MAY}]}, "phases[0].end_date"),
    ("it starts with the first phase", {"start_date": MAY, "phases": [{"start_date": APRIL}]}, "start_date"),
    ("it ends with the last", {"end_date": JUNE, "phases": [{"start_date": APRIL, "end_date": MAY}]}, "end_date"),
    ("drafts have none", {"subscription_status": "draft", "phases": [{"start_date": APRIL}]}, "phases"),
    (
        "a coupon for a price needs its line",
        {"subscription_coupons": [{"coupon_code": "ten", "price_id": "price_x"}]},
        "subscription_coupons",
    ),
    (
        "no override of what is prorated",
        {"proration_behavior": "create_prorations", "override_entitlements": [{"entitlement_id": "ent_x"}]},
        "override_entitlements",
    ),
    (
        "one period for all when prorating",
        {
            "proration_behavior": "create_prorations",
            "line_items": [{"price": inline("90", billing_period="QUARTERLY")}],
        },
        "proration_behavior",
    ),
    (
        "what is charged once is charged before",
        {"line_items": [{"price": inline("9", billing_period="ONETIME", invoice_cadence="ARREAR")}]},
        "invoice_cadence",
    ),
    (
        "an addon begins before the end",
        {"end_date": MAY, "addons": [{"addon_id": "<addon>", "start_date": JUNE}]},
        "start_date",
    ),
]


@pytest.mark.parametrize(("given", "field"), [pytest.param(given, field, id=id) for id, given, field in REFUSED])
async def test_refused(till: Till, given: dict[str, Any], field: str) -> None:
    coupon = {"name": "Ten", "type": "percentage", "percentage_off": "10", "cadence": "forever", "coupon_code": "ten"}
    await till.shop.account.post("/coupons", coupon)
    till.addon = (await till.shop.addon(fixed("1")))["id"]
    refused = await till.ask(400, **given)
    assert refused["code"] == "validation_error"
    found = [name for name in refused["details"] if name == field or name.endswith(f".{field}")]
    assert found, refused
    listed = await till.shop.account.get("/subscriptions")
    assert listed["pagination"]["total"] == 0


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({"plan_id": "plan_x"}, id="plan"),
        pytest.param({"customer_id": "cust_x"}, id="customer"),
        pytest.param({"customer_id": "", "external_customer_id": "nobody"}, id="customer by the tenant's own id"),
        pytest.param({"subscription_coupons": [{"coupon_code": "nothing"}]}, id="coupon"),
        pytest.param({"addons": [{"addon_id": "addon_x"}]}, id="addon"),
        pytest.param({"override_entitlements": [{"entitlement_id": "ent_x"}]}, id="entitlement"),
        pytest.param({"tax_rate_overrides": [{"tax_rate_code": "none", "currency": "usd"}]}, id="tax rate"),
        pytest.param({"line_items": [{"price_id": "price_x"}]}, id="price of a line item"),
    ],
)
async def test_unknown(till: Till, given: dict[str, Any]) -> None:
    assert (await till.ask(404, **given))["code"] == "not_found"


async def test_a_checkout_needs_a_connected_provider(till: Till) -> None:
    refused = await till.ask(400, checkout={"payment_provider": "stripe"})
    assert refused["details"] == {"payment_provider": "stripe"}


async def test_a_credit_grant_names_what_is_missing(till: Till) -> None:
    refused = await till.ask(400, credit_grants=[{"name": "x"}])
    assert any("credit_grants" in field for field in refused["details"])
    await till.ask(201, credit_grants=[])


async def test_customer_id_wins_and_both_must_be_in_use(till: Till) -> None:
    other = await till.shop.customer("other")
    made = await till.ask(external_customer_id="other")
    assert made["customer_id"] == till.customer["id"]
    await till.shop.account.delete(f"/customers/{other['id']}")
    await till.ask(400, customer_id=other["id"])


@pytest.mark.parametrize(
    ("period", "count", "fits"),
    [
        ("MONTHLY", 1, False), ("QUARTERLY", 1, True), ("HALF_YEARLY", 1, True), ("ANNUAL", 1, True),
        ("MONTHLY", 3, True), ("MONTHLY", 6, True), ("MONTHLY", 4, False), ("WEEKLY", 1, False), ("DAILY", 90, False),
        ("ONETIME", 1, True),
    ],
)  # fmt: skip
async def test_only_whole_multiples_of_the_period_fit(till: Till, period: str, count: int, fits: bool) -> None:
    """On a quarterly subscription, whether the price comes with an addon, a line item, or afterwards."""
    shop = till.shop
    plan = await shop.plan(fixed("30", billing_period="QUARTERLY"), name="Quarterly")
    price = fixed("7", billing_period=period, billing_period_count=count)
    addon = await shop.addon(price)
    quarterly = {"plan_id": plan["id"], "billing_period": "QUARTERLY"}
    own = inline("7", billing_period=period, billing_period_count=count)
    for extra in ({"addons": [{"addon_id": addon["id"]}]}, {"line_items": [{"price": own}]}):
        answer = await till.ask(201 if fits else 400, **quarterly, **extra)
        assert fits or "billing_period" in answer["details"]
    made = await till.ask(**quarterly)
    path = f"/subscriptions/{made['id']}/lineitems"
    await shop.account.post(path, {"price": own}, expect=201 if fits else 400)
    more = {"subscription_id": made["id"], "addon_id": addon["id"]}
    await shop.account.post("/subscriptions/addon", more, expect=200 if fits else 400)


class TestOverrides:
    async def test_they_leave_the_plan_as_it_was(self, till: Till) -> None:
        tiers = [{"up_to": 5, "unit_amount": "3"}, {"unit_amount": "2", "flat_amount": "1"}]
        made = await till.ask(
            override_line_items=[
                {"price_id": "<fee>", "amount": "8", "quantity": "2"},
                {
                    "price_id": "<usage>",
                    "billing_model": "PACKAGE",
                    "amount": "5",
                    "transform_quantity": {"divide_by": 9},
                },
                {"price_id": "<tiers>", "tiers": tiers, "quantity": "0"},
            ]
        )
        items = {item["price"]["parent_price_id"]: item for item in made["line_items"]}
        fee, usage, tiered = items[till.fee], items[till.usage], items[till.tiers]
        assert (fee["price"]["amount"], fee["quantity"], fee["price"]["entity_type"]) == ("8", "2", "SUBSCRIPTION")
        assert fee["price"]["entity_id"] == made["id"]
        assert (usage["price"]["billing_model"], usage["quantity"], usage["meter_id"]) == (
            "PACKAGE", "0", usage["price"]["meter_id"],
        )  # fmt: skip
        assert [tier["unit_amount"] for tier in tiered["price"]["tiers"]] == ["3", "2"]
        assert tiered["quantity"] == "4", "0 is the price's own minimum"
        assert (await till.shop.account.get(f"/prices/{till.fee}"))["amount"] == "10"

    async def test_a_quantity_alone_makes_no_price(self, till: Till) -> None:
        made = await till.ask(override_line_items=[{"price_id": "<fee>", "quantity": "3"}])
        assert {item["price_id"] for item in made["line_items"]} == {till.fee, till.usage, till.tiers}


class TestPhases:
    PHASES = (
        {
            "start_date": "2026-04-01T00:00:00Z",
            "end_date": "2026-06-01T00:00:00Z",
            "override_line_items": [{"price_id": "<fee>", "amount": "5"}],
            "subscription_coupons": [{"coupon_code": "ten", "price_id": "<fee>"}],
            "metadata": {"phase": "ramp"},
        },
        {
            "start_date": "2026-06-01T00:00:00Z",
            "end_date": "2026-12-01T00:00:00Z",
            "line_items": [{"price": inline("1")}],
        },
    )

    async def made(self, till: Till, **more: Any) -> Any:
        coupon = {"name": "T", "type": "percentage", "percentage_off": "10", "cadence": "forever", "coupon_code": "ten"}
        await till.shop.account.post("/coupons", coupon)
        return await till.ask(phases=list(self.PHASES), **more)

    async def test_each_has_its_items_overrides_and_coupons(self, till: Till) -> None:
        made = await self.made(till)
        first, second = made["phases"]
        assert (first["metadata"], second["metadata"]) == ({"phase": "ramp"}, {})
        assert made["end_date"] == second["end_date"] == "2026-12-01T00:00:00Z"
        spans = [
            (item["subscription_phase_id"], item["start_date"][:10], item["end_date"][:10], item["price"].get("amount"))
            for item in made["line_items"]
        ]
        ramp, rest = (first["id"], "2026-04-01", "2026-06-01"), (second["id"], "2026-06-01", "2026-12-01")
        assert sorted(spans) == sorted(
            [(*ramp, "5"), (*ramp, "1"), (*ramp, "0"), (*rest, "10"), (*rest, "1"), (*rest, "0"), (*rest, "1")]
        )
        (coupon,) = made["coupon_associations"]
        assert (coupon["subscription_phase_id"], coupon["end_date"]) == (first["id"], "2026-06-01T00:00:00Z")
        assert coupon["subscription_line_item"]["id"] in {item["id"] for item in made["line_items"]}

    async def test_a_coupon_of_the_subscription_finds_the_overridden_item(self, till: Till) -> None:
        made = await self.made(till, subscription_coupons=[{"coupon_code": "ten", "price_id": "<fee>"}])
        live = {item["id"] for item in made["line_items"]}
        assert [
            coupon_association["subscription_line_item_id"] in live
            for coupon_association in made["coupon_associations"]
        ] == [True, True]
        assert "5" in {item["price"].get("amount") for item in made["line_items"]}

    async def test_a_line_item_can_be_for_a_phase_of_its_own_subscription_only(self, till: Till) -> None:
        made, other = await self.made(till), await till.ask()
        phase = made["phases"][1]["id"]
        body = {"price": inline("2"), "subscription_phase_id": phase}
        item = await till.shop.account.post(f"/subscriptions/{made['id']}/lineitems", body)
        assert (item["start_date"], item["end_date"]) == ("2026-06-01T00:00:00Z", "2026-12-01T00:00:00Z")
        refused = await till.shop.account.post(f"/subscriptions/{other['id']}/lineitems", body, expect=400)
        assert "subscription_phase_id" in refused["details"]


async def test_news_of_the_plan_in_another_currency_is_no_news(till: Till) -> None:
    made = await till.ask()
    path = f"/subscriptions/{made['id']}/v2"
    price = {**fixed("9"), "entity_type": "PLAN", "entity_id": till.plan["id"]}
    for more in ({"currency": "eur"}, {"billing_period": "ANNUAL"}):
        await till.shop.account.post("/prices", {**price, **more})
        assert (await till.shop.account.get(path))["plan_prices_out_of_sync"] is False
    await till.shop.account.post("/prices", price)
    assert (await till.shop.account.get(path))["plan_prices_out_of_sync"] is True
