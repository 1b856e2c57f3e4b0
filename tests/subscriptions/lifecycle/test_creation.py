"""How subscriptions come to be."""

from __future__ import annotations

from typing import Any

import pytest

from farthing.core.errors import InvalidOperation, ValidationFailed
from farthing.subscriptions.enums import InvoiceTrigger
from farthing.subscriptions.snapshot.loading import load_one
from tests.subscriptions.shop import Shop, at, fixed

_MORNING = {"start": {"hour": 6}, "end": {"hour": 10}}


class TestPlain:
    async def test_a_monthly_plan_opens_its_first_period_and_bills_it(self, shop: Shop) -> None:
        plan = await shop.plan(fixed("50"))
        made = await shop.subscribe(plan)
        (billable,) = made.billables
        assert billable.occasion is InvoiceTrigger.CREATE
        assert (billable.period.start, billable.period.end) == (at("2026-04-01"), at("2026-05-01"))
        read = await shop.read(made)
        assert read["subscription_status"] == "active"
        assert read["current_period_start"] == "2026-04-01T00:00:00Z"
        assert read["current_period_end"] == "2026-05-01T00:00:00Z"
        assert read["plan"]["id"] == plan["id"]
        (item,) = read["line_items"]
        assert item["quantity"] == "1"
        assert item["price"]["amount"] == "50"
        assert item["end_date"] is None
        assert await shop.events(read["id"]) == ["subscription.created"]

    async def test_the_zone_is_the_customers(self, shop: Shop) -> None:
        customer = await shop.customer(timezone="Asia/Kolkata")
        made = await shop.subscribe(await shop.plan(fixed("5")), customer, timezone="Europe/Paris")
        assert made.subscription.timezone == "Asia/Kolkata"

    async def test_a_calendar_cycle_is_anchored_on_the_next_first(self, shop: Shop) -> None:
        await shop.on("2026-01-15")
        made = await shop.subscribe(await shop.plan(fixed("100")), billing_cycle="calendar")
        assert made.subscription.billing_anchor == at("2026-02-01")
        assert made.subscription.current_period_end == at("2026-02-01")

    async def test_prices_of_other_periods_and_currencies_are_left_out(self, shop: Shop) -> None:
        plan = await shop.plan(
            fixed("1"),
            fixed("2", billing_period="ANNUAL"),
            fixed("3", currency="eur"),
            fixed("4", billing_period="ONETIME"),
        )
        read = await shop.read(await shop.subscribe(plan))
        assert sorted(item["price"]["amount"] for item in read["line_items"]) == ["1", "4"]

    async def test_usage_has_no_quantity(self, shop: Shop) -> None:
        plan = await shop.plan(shop.usage(await shop.feature(), "0.02"))
        (item,) = (await shop.read(await shop.subscribe(plan)))["line_items"]
        assert (item["quantity"], item["invoice_cadence"], item["meter_display_name"]) == ("0", "ARREAR", "calls")

    async def test_a_quantity_override_changes_the_item_alone(self, shop: Shop) -> None:
        plan = await shop.plan(fixed("10"))
        price = plan["prices"][0]["id"]
        made = await shop.subscribe(plan, override_line_items=[{"price_id": price, "quantity": "5"}])
        (item,) = (await shop.read(made))["line_items"]
        assert (item["quantity"], item["price_id"]) == ("5", price)

    async def test_an_amount_override_makes_a_price_of_the_subscription(self, shop: Shop) -> None:
        plan = await shop.plan(fixed("10"))
        price = plan["prices"][0]["id"]
        made = await shop.subscribe(plan, override_line_items=[{"price_id": price, "amount": "7"}])
        (item,) = (await shop.read(made))["line_items"]
        assert item["price"]["amount"] == "7"
        assert item["price"]["entity_type"] == "SUBSCRIPTION"
        assert item["price"]["parent_price_id"] == price


class TestStatus:
    @pytest.mark.parametrize(
        ("behaviour", "method", "status"),
        [
            pytest.param("default_active", "charge_automatically", "active", id="default_active is active at once"),
            pytest.param("default_active", "send_invoice", "active", id="a sent invoice may be active at once"),
            pytest.param("allow_incomplete", "charge_automatically", "incomplete", id="allow_incomplete waits"),
            pytest.param("error_if_incomplete", "charge_automatically", "incomplete", id="error_if_incomplete waits"),
            pytest.param("default_incomplete", "send_invoice", "incomplete", id="default_incomplete waits to be paid"),
        ],
    )
    async def test_opening_status(self, shop: Shop, behaviour: str, method: str, status: str) -> None:
        made = await shop.subscribe(await shop.plan(fixed("1")), payment_behavior=behaviour, collection_method=method)
        assert made.subscription.subscription_status == status
        assert made.billables[0].activating is (status == "incomplete")

    @pytest.mark.parametrize(
        ("behaviour", "method"),
        [
            ("default_incomplete", "charge_automatically"),
            ("allow_incomplete", "send_invoice"),
            ("error_if_incomplete", "send_invoice"),
        ],
    )
    async def test_pairs_that_do_not_go_together_are_refused(self, shop: Shop, behaviour: str, method: str) -> None:
        plan = await shop.plan(fixed("1"))
        with pytest.raises(ValidationFailed) as refused:
            await shop.subscribe(plan, payment_behavior=behaviour, collection_method=method)
        assert "payment_behavior" in refused.value.details

    async def test_the_legacy_collection_method_allows_incomplete(self, shop: Shop) -> None:
        made = await shop.subscribe(await shop.plan(fixed("1")), collection_method="default_incomplete")
        assert made.subscription.payment_behavior == "allow_incomplete"
        assert made.subscription.collection_method == "charge_automatically"

    async def test_a_draft_bills_nothing(self, shop: Shop) -> None:
        made = await shop.subscribe(await shop.plan(fixed("1")), subscription_status="draft")
        assert made.billables == ()
        assert await shop.events(made.subscription.id) == ["subscription.draft.created"]

    async def test_a_trial_is_the_period(self, shop: Shop) -> None:
        await shop.on("2026-01-10")
        made = await shop.subscribe(await shop.plan(fixed("1")), trial_period_days=14)
        row = made.subscription
        assert row.subscription_status == "trialing"
        assert (row.trial_start, row.trial_end) == (at("2026-01-10"), at("2026-01-24"))
        assert (row.current_period_start, row.current_period_end) == (row.trial_start, row.trial_end)
        assert made.billables[0].occasion is InvoiceTrigger.TRIAL_START

    async def test_the_plans_trial_is_inherited_unless_said_otherwise(self, shop: Shop) -> None:
        plan = await shop.plan(fixed("1", trial_period_days=7))
        assert (await shop.subscribe(plan)).subscription.subscription_status == "trialing"
        assert (await shop.subscribe(plan, trial_period_days=0)).subscription.subscription_status == "active"


class TestRefusals:
    @pytest.mark.parametrize(
        ("given", "field"),
        [
            pytest.param({"end_date": "2026-03-01T00:00:00Z"}, "end_date", id="it cannot end before it starts"),
            pytest.param({"currency": "eur"}, "plan_id", id="the plan must have a price in the currency"),
            pytest.param({"billing_period": "ANNUAL"}, "plan_id", id="the plan must have a price of the period"),
            pytest.param(
                {"start_date": "2026-03-31T00:00:00Z", "proration_behavior": "create_prorations"},
                "start_date",
                id="with proration it cannot begin before today",
            ),
            pytest.param(
                {"override_line_items": [{"price_id": "price_x", "quantity": "2"}]},
                "override_line_items",
                id="only prices in scope can be overridden",
            ),
            pytest.param({"auto_invoice_threshold": "10"}, "auto_invoice_threshold", id="a threshold needs usage"),
            pytest.param({"subscription_status": "cancelled"}, "subscription_status", id="it cannot begin cancelled"),
            pytest.param({"subscription_status": "trialing"}, "subscription_status", id="trialing needs a trial"),
            pytest.param(
                {"line_items": [{"price": {
                    "type": "FIXED", "price_unit_type": "FIAT", "billing_period": "WEEKLY",
                    "billing_model": "FLAT_FEE", "invoice_cadence": "ADVANCE", "amount": "1"}}]},
                "billing_period",
                id="no item may bill more often than the subscription",
            ),
        ],
    )  # fmt: skip
    async def test_refused(self, shop: Shop, given: dict[str, Any], field: str) -> None:
        plan = await shop.plan(fixed("1"))
        with pytest.raises(ValidationFailed) as refused:
            await shop.subscribe(plan, **given)
        assert field in refused.value.details

    @pytest.mark.parametrize(
        "given",
        [
            pytest.param({"billing_period": "ONETIME"}, id="ONETIME does not recur"),
            pytest.param({"billing_period_count": -1}, id="a negative count"),
            pytest.param({"overage_factor": "0.5"}, id="a factor below 1"),
            pytest.param({"commitment_amount": "-1"}, id="a negative commitment"),
            pytest.param(
                {"billing_cycle": "calendar", "billing_anchor": "2026-04-05T00:00:00Z"}, id="an anchor on calendar"
            ),
            pytest.param({"customer_id": ""}, id="nobody"),
            pytest.param(
                {"phases": [{"start_date": "2026-04-01T00:00:00Z"}, {"start_date": "2026-05-01T00:00:00Z"}]},
                id="a phase without an end before another",
            ),
        ],
    )
    async def test_malformed(self, shop: Shop, given: dict[str, Any]) -> None:
        plan = await shop.plan(fixed("1"))
        with pytest.raises(ValidationFailed):
            await shop.subscribe(plan, **given)

    async def test_a_commitment_lives_on_the_subscription_or_on_an_item(self, shop: Shop) -> None:
        plan = await shop.plan(shop.usage(await shop.feature(), "0.02"))
        config = {plan["prices"][0]["id"]: {"commitment_amount": 10, "overage_factor": 2}}
        with pytest.raises(ValidationFailed):
            await shop.subscribe(plan, commitment_amount="10", line_item_commitments=config)
        made = await shop.subscribe(plan, line_item_commitments=config)
        (item,) = (await shop.read(made))["line_items"]
        assert (item["commitment_amount"], item["commitment_type"], item["commitment_overage_factor"]) == (
            "10",
            "amount",
            "2",
        )

    async def test_windows_of_the_day_have_terms_of_their_own(self, shop: Shop) -> None:
        """C12's set-up: a bucket at 2 committed to 5, the rest of the day at 1 committed to 10."""
        feature = await shop.feature(type="SUM", field="units", bucket_size="HOUR")
        plan = await shop.plan(shop.usage(feature, "1"))
        price = plan["prices"][0]["id"]
        dear = {
            "type": "USAGE", "price_unit_type": "FIAT", "billing_period": "MONTHLY", "billing_model": "FLAT_FEE",
            "invoice_cadence": "ARREAR", "amount": "2", "meter_id": feature["meter_id"],
        }  # fmt: skip
        bucket = {
            "start": {"hour": 22}, "end": {"hour": 2}, "commitment_type": "amount", "commitment_value": "5",
            "overage_factor": "2", "price": dear,
        }  # fmt: skip
        config: dict[str, Any] = {
            "commitment_amount": 10, "overage_factor": 1, "enable_true_up": True, "is_window_commitment": True,
            "commitment_time_buckets": [bucket],
        }  # fmt: skip
        made = await shop.subscribe(plan, line_item_commitments={price: config})
        (item,) = (await shop.read(made))["line_items"]
        (shown,) = item["commitment_time_buckets"]
        assert (shown["start"], shown["end"]) == ({"hour": 22, "minute": 0}, {"hour": 2, "minute": 0})
        assert (shown["commitment_value"], shown["overage_factor"]) == ("5", 2.0)
        snapshot = await shop.do(load_one, made.subscription.id)
        (terms,) = snapshot.items[0].buckets
        assert terms.terms.price.amount == 2
        assert terms.holds(at("2026-04-01T23:30:00"))
        assert terms.holds(at("2026-04-01T01:00:00"))
        assert not terms.holds(at("2026-04-01T02:00:00"))
        for wrong in (
            {"commitment_time_buckets": [{**bucket, "end": {"hour": 2, "minute": 30}}]},
            {"commitment_time_buckets": [bucket, {**bucket, "start": {"hour": 1}, "end": {"hour": 3}}]},
            {"commitment_time_buckets": [{**bucket, "id": "a"}, {**bucket, **_MORNING, "id": "a"}]},
            {"commitment_duration": "ANNUAL"},
            {"is_window_commitment": False},
        ):
            with pytest.raises(ValidationFailed):
                await shop.subscribe(plan, line_item_commitments={price: {**config, **wrong}})
        named = {"commitment_time_buckets": [{**bucket, "id": "a"}, {**bucket, **_MORNING, "id": "b"}]}
        made = await shop.subscribe(plan, line_item_commitments={price: {**config, **named}})
        (item,) = (await shop.read(made))["line_items"]
        assert [shown["id"] for shown in item["commitment_time_buckets"]] == ["a", "b"]

    async def test_the_plan_must_be_published(self, shop: Shop) -> None:
        plan = await shop.plan(fixed("1"))
        await shop.account.delete(f"/plans/{plan['id']}", expect=200)
        with pytest.raises(InvalidOperation):
            await shop.subscribe(plan)


class TestParts:
    async def test_phases_follow_one_another_with_their_own_items(self, shop: Shop) -> None:
        plan = await shop.plan(fixed("10"))
        price = plan["prices"][0]["id"]
        made = await shop.subscribe(
            plan,
            phases=[
                {"start_date": "2026-04-01T00:00:00Z", "end_date": "2026-07-01T00:00:00Z"},
                {
                    "start_date": "2026-07-01T00:00:00Z",
                    "override_line_items": [{"price_id": price, "amount": "8"}],
                },
            ],
        )
        read = await shop.read(made)
        assert [(item["start_date"], item["end_date"], item["price"]["amount"]) for item in read["line_items"]] == [
            ("2026-04-01T00:00:00Z", "2026-07-01T00:00:00Z", "10"),
            ("2026-07-01T00:00:00Z", None, "8"),
        ]
        assert [phase["start_date"] for phase in read["phases"]] == ["2026-04-01T00:00:00Z", "2026-07-01T00:00:00Z"]

    async def test_addons_come_with_their_items(self, shop: Shop) -> None:
        addon = await shop.addon(fixed("3"))
        made = await shop.subscribe(await shop.plan(fixed("10")), addons=[{"addon_id": addon["id"]}])
        read = await shop.read(made)
        assert [item["entity_type"] for item in read["line_items"]] == ["plan", "addon"]
        (association,) = (await shop.account.get(f"/subscriptions/{read['id']}/addons/associations"))["items"]
        assert association["addon"]["id"] == addon["id"]
        assert association["addon_status"] == "active"

    async def test_an_entitlement_is_overridden_and_prorated(self, shop: Shop) -> None:
        feature = await shop.feature()
        plan = await shop.plan(shop.usage(feature, "0.02"))
        entitlement = await shop.account.post(
            "/entitlements",
            {
                "entity_type": "PLAN", "entity_id": plan["id"], "feature_id": feature["id"],
                "feature_type": "metered", "usage_limit": 1000,
            },
        )  # fmt: skip
        plain = await shop.subscribe(plan)
        raised = await shop.subscribe(
            plan, override_entitlements=[{"entitlement_id": entitlement["id"], "usage_limit": 5000}]
        )
        await shop.on("2026-01-15")
        stub = await shop.subscribe(plan, billing_cycle="calendar", proration_behavior="create_prorations")
        limits = []
        for subscription in (plain, raised, stub):
            view = await shop.account.get(f"/subscriptions/{subscription.subscription.id}/entitlements")
            (shown,) = view["features"]
            limits.append(shown["entitlement"]["usage_limit"])
        assert limits == [1000, 5000, 548]

    async def test_a_coupon_is_attached_to_the_item_of_a_price(self, shop: Shop) -> None:
        plan = await shop.plan(fixed("10"))
        await shop.account.post(
            "/coupons",
            {"name": "Ten", "coupon_code": "ten", "type": "percentage", "percentage_off": "10", "cadence": "forever"},
        )
        made = await shop.subscribe(
            plan, subscription_coupons=[{"coupon_code": "TEN", "price_id": plan["prices"][0]["id"]}]
        )
        read = await shop.read(made)
        (association,) = read["coupon_associations"]
        assert association["subscription_line_item_id"] == read["line_items"][0]["id"]
        assert association["coupon"]["coupon_code"] == "ten"


class TestFamilies:
    async def test_who_pays_for_another(self, shop: Shop) -> None:
        payer = await shop.customer("payer")
        made = await shop.subscribe(
            await shop.plan(fixed("1")), inheritance={"invoicing_customer_external_id": "payer"}
        )
        assert made.subscription.subscription_type == "delegated_invoicing"
        assert made.subscription.invoicing_customer_id == payer["id"]

    async def test_children_inherit_and_have_no_items(self, shop: Shop) -> None:
        await shop.customer("child")
        made = await shop.subscribe(
            await shop.plan(fixed("1")),
            inheritance={"external_customer_ids_to_inherit_subscription": ["child"]},
        )
        assert made.subscription.subscription_type == "parent"
        found = await shop.account.get("/customers/external/child/subscriptions", expand="subscription_line_items")
        (child,) = found["items"]
        assert child["subscription_type"] == "inherited"
        assert child["parent_subscription_id"] == made.subscription.id
        assert "line_items" not in child

    async def test_who_inherits_cannot_subscribe_alone(self, shop: Shop) -> None:
        child = await shop.customer("child")
        plan = await shop.plan(fixed("1"))
        await shop.subscribe(plan, inheritance={"external_customer_ids_to_inherit_subscription": ["child"]})
        with pytest.raises(InvalidOperation):
            await shop.subscribe(plan, child)

    async def test_grouped_children_share_the_rhythm_and_bill_nothing_themselves(self, shop: Shop) -> None:
        """H1: a fee of 100 and seats of 10 and 20 are one opening invoice."""
        await shop.customer("one")
        await shop.customer("two")
        ten, twenty = await shop.plan(fixed("10")), await shop.plan(fixed("20"))
        made = await shop.subscribe(
            await shop.plan(fixed("100")),
            inheritance={
                "grouped_invoicing_children_to_create": [
                    {"plan_id": ten["id"], "external_customer_id": "one"},
                    {"plan_id": twenty["id"], "external_customer_id": "two"},
                ]
            },
        )
        assert len(made.billables) == 1
        found = await shop.account.post(
            "/subscriptions/search", {"parent_subscription_ids": [made.subscription.id]}, expect=200
        )
        assert [child["subscription_type"] for child in found["items"]] == ["grouped_invoicing"] * 2
        assert {child["current_period_end"] for child in found["items"]} == {"2026-05-01T00:00:00Z"}

    async def test_a_grouped_child_may_have_phases_that_begin_with_its_parent(self, shop: Shop) -> None:
        await shop.customer("one")
        plan, seat = await shop.plan(fixed("100")), await shop.plan(fixed("10"))

        def family(start: str) -> dict[str, Any]:
            phases = [{"start_date": start, "end_date": "2026-07-01T00:00:00Z"}, {"start_date": "2026-07-01T00:00:00Z"}]
            child = {"plan_id": seat["id"], "external_customer_id": "one", "phases": phases}
            return {"grouped_invoicing_children_to_create": [child]}

        with pytest.raises(ValidationFailed):
            await shop.subscribe(plan, inheritance=family("2026-05-01T00:00:00Z"))
        await shop.subscribe(plan, inheritance=family("2026-04-01T00:00:00Z"))
        (child,) = (await shop.account.get("/customers/external/one/subscriptions"))["items"]
        read = await shop.account.get(f"/subscriptions/{child['id']}")
        assert [item["end_date"] for item in read["line_items"]] == ["2026-07-01T00:00:00Z", None]

    @pytest.mark.parametrize(
        "family",
        [
            {"parent_subscription_id": "subs_x", "subscriptions_ids_for_grouped_invoicing": ["subs_y"]},
            {
                "invoicing_customer_external_id": "a",
                "external_customer_ids_to_inherit_subscription": ["b"],
            },
            {
                "subscriptions_ids_for_grouped_invoicing": ["subs_y"],
                "external_customer_ids_to_inherit_subscription": ["b"],
            },
        ],
    )
    async def test_contradictory_families_are_refused(self, shop: Shop, family: dict[str, Any]) -> None:
        plan = await shop.plan(fixed("1"))
        with pytest.raises(ValidationFailed, match="combined"):
            await shop.subscribe(plan, inheritance=family)
