"""Drafts that go live, payments that activate, and families that change."""

from __future__ import annotations

from typing import Any

import pytest

from farthing.core.errors import InvalidOperation
from farthing.customers import lookup
from farthing.storage.queries.rows import lock_row
from farthing.subscriptions import roll_forward
from farthing.subscriptions.attachments import add_coupon, remove_coupon
from farthing.subscriptions.enums import InvoiceTrigger
from farthing.subscriptions.lifecycle import activation, discard, hierarchy
from farthing.subscriptions.tables import Subscription
from tests.subscriptions.shop import Shop, at, fixed


class TestDrafts:
    async def test_everything_moves_with_the_start(self, shop: Shop) -> None:
        addon = await shop.addon(fixed("3"))
        made = await shop.subscribe(
            await shop.plan(fixed("10")),
            subscription_status="draft",
            trial_period_days=None,
            addons=[{"addon_id": addon["id"], "cadence": "onetime"}],
        )
        done = await shop.do(activation.activate, made.subscription.id, at("2026-04-20"), at("2026-04-20"))
        (billable,) = done.billables
        assert billable.occasion is InvoiceTrigger.CREATE
        assert (billable.period.start, billable.period.end) == (at("2026-04-20"), at("2026-05-20"))
        read = await shop.read(made)
        assert (read["subscription_status"], read["billing_anchor"]) == ("active", "2026-04-20T00:00:00Z")
        assert {item["start_date"] for item in read["line_items"]} == {"2026-04-20T00:00:00Z"}
        found = await shop.account.get(f"/subscriptions/{read['id']}/addons/associations")
        assert found["items"][0]["end_date"] == "2026-05-20T00:00:00Z"
        assert "subscription.activated" in await shop.events(read["id"])

    async def test_one_that_starts_later_is_opened_by_the_run(self, shop: Shop) -> None:
        made = await shop.subscribe(await shop.plan(fixed("10")), subscription_status="draft")
        done = await shop.do(activation.activate, made.subscription.id, at("2026-04-20"), shop.now)
        assert done.billables == ()
        assert done.subscription.opens_at == at("2026-04-20")

    async def test_a_trial_moves_too(self, shop: Shop) -> None:
        made = await shop.subscribe(await shop.plan(fixed("10")), subscription_status="draft", trial_period_days=14)
        done = await shop.do(activation.activate, made.subscription.id, at("2026-04-20"), at("2026-04-20"))
        assert done.billables[0].occasion is InvoiceTrigger.TRIAL_START
        read = await shop.read(made)
        assert (read["subscription_status"], read["trial_end"]) == ("trialing", "2026-05-04T00:00:00Z")

    async def test_one_that_nobody_paid_for_is_archived_with_its_items(self, shop: Shop) -> None:
        made = await shop.subscribe(await shop.plan(fixed("10")), subscription_status="draft")
        await shop.do(discard.discard_draft, made.subscription.id)
        assert (await shop.account.post("/subscriptions/search", {}, expect=200))["items"] == []
        assert (await shop.account.post("/subscriptions/lineitems/search", {}, expect=200))["items"] == []
        with pytest.raises(InvalidOperation):
            await shop.do(discard.discard_draft, (await shop.subscribe(await shop.plan(fixed("1")))).subscription.id)

    async def test_only_drafts(self, shop: Shop) -> None:
        made = await shop.subscribe(await shop.plan(fixed("10")))
        with pytest.raises(InvalidOperation) as refused:
            await shop.do(activation.activate, made.subscription.id, shop.now, shop.now)
        assert refused.value.details["allowed_statuses"] == ["draft"]


class TestPayment:
    @pytest.mark.parametrize(
        ("behaviour", "paid", "status"),
        [
            pytest.param("allow_incomplete", True, "active", id="paid is active"),
            pytest.param("allow_incomplete", False, "incomplete", id="unpaid waits"),
            pytest.param("error_if_incomplete", True, "active", id="paid is active, also when it must be"),
        ],
    )
    async def test_the_opening_invoice_decides(self, shop: Shop, behaviour: str, paid: bool, status: str) -> None:
        made = await shop.subscribe(await shop.plan(fixed("10")), payment_behavior=behaviour)
        await shop.do(activation.paid_for, made.subscription.id, paid=paid)
        assert (await shop.read(made))["subscription_status"] == status

    async def test_it_must_not_exist_unpaid_when_told_so(self, shop: Shop) -> None:
        made = await shop.subscribe(await shop.plan(fixed("10")), payment_behavior="error_if_incomplete")
        with pytest.raises(InvalidOperation, match="payment failed"):
            await shop.do(activation.paid_for, made.subscription.id, paid=False)

    async def test_later_payments_change_no_status(self, shop: Shop) -> None:
        made = await shop.subscribe(await shop.plan(fixed("10")), subscription_status="draft")
        await shop.do(activation.paid_for, made.subscription.id, paid=True)
        assert (await shop.read(made))["subscription_status"] == "draft"


class TestFamilies:
    async def test_subscriptions_are_grouped_and_released(self, shop: Shop) -> None:
        plan = await shop.plan(fixed("10"))
        parent, child = await shop.subscribe(plan), await shop.subscribe(plan)
        ids = [child.subscription.id]

        async def group(session: Any) -> Any:
            return await hierarchy.group(session, await lock_row(session, Subscription, parent.subscription.id), ids)

        await shop.do(group)
        assert (await shop.read(parent))["subscription_type"] == "parent"
        assert (await shop.read(child))["subscription_type"] == "grouped_invoicing"
        with pytest.raises(InvalidOperation):
            await shop.do(group)
        await shop.do(hierarchy.ungroup, ids)
        assert (await shop.read(child))["subscription_type"] == "standalone"

    @pytest.mark.parametrize(
        ("more", "field"),
        [
            pytest.param({"billing_period_count": 2}, "billing_period_count", id="another count"),
            pytest.param({"billing_anchor": "2026-04-09T00:00:00Z"}, "billing_anchor", id="another day"),
            pytest.param({"start_date": "2026-03-01T00:00:00Z"}, "start_date", id="older than its parent"),
        ],
    )
    async def test_what_bills_differently_cannot_be_grouped(self, shop: Shop, more: dict[str, Any], field: str) -> None:
        plan = await shop.plan(fixed("10"), fixed("20", billing_period_count=2))
        parent, child = await shop.subscribe(plan), await shop.subscribe(plan, **more)

        async def group(session: Any) -> Any:
            row = await lock_row(session, Subscription, parent.subscription.id)
            return await hierarchy.group(session, row, [child.subscription.id])

        with pytest.raises(InvalidOperation) as refused:
            await shop.do(group)
        assert refused.value.details["field"] == field

    async def test_a_child_can_leave(self, shop: Shop) -> None:
        child = await shop.customer("child")
        plan = await shop.plan(fixed("1"))
        made = await shop.subscribe(plan, inheritance={"external_customer_ids_to_inherit_subscription": ["child"]})

        async def leave(session: Any) -> Any:
            customer = await lookup.by_external_id(session, "child", lock=True)
            row = await lock_row(session, Subscription, made.subscription.id)
            return await hierarchy.disinherit(session, row, [customer], shop.now)

        await shop.do(leave)
        (gone,) = (await shop.account.get("/customers/external/child/subscriptions"))["items"]
        assert gone["subscription_status"] == "cancelled"
        await shop.subscribe(plan, child)


class TestThreshold:
    async def test_the_period_is_cut_and_remembers_where_it_began(self, shop: Shop) -> None:
        plan = await shop.plan(shop.usage(await shop.feature(), "0.01"))
        made = await shop.subscribe(plan, auto_invoice_threshold="10")
        assert await shop.do(roll_forward.with_threshold, 10) == [made.subscription.id]
        await shop.on("2026-04-11")

        async def cut(session: Any) -> Any:
            row = await lock_row(session, Subscription, made.subscription.id)
            return await roll_forward.cut_period(session, row, shop.now)

        billable = await shop.do(cut)
        assert (billable.period.start, billable.period.end) == (at("2026-04-01"), at("2026-04-11"))
        read = await shop.read(made)
        assert (read["current_period_start"], read["current_period_end"]) == (
            "2026-04-11T00:00:00Z",
            "2026-05-01T00:00:00Z",
        )
        await shop.on("2026-05-01")

        async def roll(session: Any) -> Any:
            row = await roll_forward.lock_due(session, made.subscription.id, shop.now)
            assert row is not None
            return (await roll_forward.advance_to(session, row, shop.now)).billables

        (closing,) = await shop.do(roll)
        assert (closing.period.start, closing.full_start) == (at("2026-04-11"), at("2026-04-01"))


class TestCoupons:
    async def test_one_is_added_and_taken_off(self, shop: Shop) -> None:
        made = await shop.subscribe(await shop.plan(fixed("10")))
        await shop.account.post(
            "/coupons",
            {"name": "Ten", "coupon_code": "ten", "type": "percentage", "percentage_off": "10", "cadence": "repeated",
             "duration_in_periods": 3},
        )  # fmt: skip

        async def add(session: Any) -> Any:
            return await add_coupon(
                session, await lock_row(session, Subscription, made.subscription.id), "ten", shop.now
            )

        association = await shop.do(add)
        assert association.end_date == at("2026-06-30T23:59:59")
        await shop.on("2026-04-11")

        async def remove(session: Any) -> Any:
            row = await lock_row(session, Subscription, made.subscription.id)
            return await remove_coupon(session, row, association.id, shop.now)

        await shop.do(remove)
        (shown,) = (await shop.read(made))["coupon_associations"]
        assert shown["end_date"] == "2026-04-11T00:00:00Z"


class TestEntitlements:
    async def test_a_customer_has_what_all_subscriptions_include(self, shop: Shop) -> None:
        feature, customer = await shop.feature(), await shop.customer("ann")
        plan, addon = await shop.plan(shop.usage(feature, "1")), await shop.addon(fixed("3"))
        for owner, limit in ((("PLAN", plan["id"]), 1000), (("ADDON", addon["id"]), 500)):
            await shop.account.post(
                "/entitlements",
                {
                    "entity_type": owner[0], "entity_id": owner[1], "feature_id": feature["id"],
                    "feature_type": "metered", "usage_limit": limit,
                },
            )  # fmt: skip
        made = await shop.subscribe(plan, customer, addons=[{"addon_id": addon["id"]}, {"addon_id": addon["id"]}])
        own = await shop.account.get(f"/subscriptions/{made.subscription.id}/entitlements")
        assert own["features"][0]["entitlement"]["usage_limit"] == 2000
        assert [source["entity_type"] for source in own["features"][0]["sources"]] == ["plan", "addon", "addon"]
        second = await shop.subscribe(plan, customer)
        whole = await shop.account.get("/customers/external/ann/entitlements")
        assert whole["features"][0]["entitlement"]["usage_limit"] == 3000
        assert len(whole["subscriptions"]) == 2
        narrowed = await shop.account.get(
            f"/customers/{customer['id']}/entitlements", subscription_ids=second.subscription.id
        )
        assert narrowed["features"][0]["entitlement"]["usage_limit"] == 1000
        await shop.account.get("/customers/cust_x/entitlements", expect=404)
