"""Changing the plan, in place and by replacement; prices synchronised."""

from __future__ import annotations

from typing import Any

import pytest

from farthing.calendar.billing import BillingPeriod
from farthing.core.errors import InvalidOperation
from farthing.subscriptions.changes.planned_terms import PlannedChangeInPlace
from farthing.subscriptions.enums import AddonPolicy, InvoiceTrigger, ProrationBehavior
from farthing.subscriptions.item_changes import ItemAction
from farthing.subscriptions.line_items import price_sync
from farthing.subscriptions.plan_change import by_replacement, in_place
from farthing.subscriptions.plan_change.by_replacement import Target
from tests.subscriptions.shop import Shop, at, fixed

PRORATED = ProrationBehavior.CREATE_PRORATIONS


class TestInPlace:
    async def test_what_bills_alike_is_carried_the_rest_closes_and_opens(self, shop: Shop) -> None:
        feature = await shop.feature()
        small = await shop.plan(fixed("20"), shop.usage(feature, "0.02"))
        large = await shop.plan(fixed("50"), shop.usage(feature, "0.02"), name="Large")
        made = await shop.subscribe(small)
        await shop.on("2026-04-11")
        planned, done = await shop.do(
            in_place.change_plan, made.subscription.id, large["id"], PRORATED, shop.now, shop.now
        )
        assert planned.change_type == "upgrade"
        settled = [change for change in done.changes if not change.carried]
        assert [(settlement.action, settlement.at) for settlement in settled] == [
            (ItemAction.REMOVE, at("2026-04-11")), (ItemAction.ADD, at("2026-04-11")),
        ]  # fmt: skip
        read = await shop.read(made)
        assert read["plan_id"] == large["id"]
        assert read["current_period_end"] == "2026-05-01T00:00:00Z"
        usage = [item for item in read["line_items"] if item["price_type"] == "USAGE"]
        assert [(item["price_id"], item["end_date"]) for item in usage] == [(large["prices"][1]["id"], None)]
        assert (await shop.events(read["id"]))[-2:] == ["subscription.updated", "subscription.plan_changed"]

    async def test_the_plan_of_it_writes_nothing_and_says_the_same(self, shop: Shop) -> None:
        small, large = await shop.plan(fixed("20")), await shop.plan(fixed("50"), name="Large")
        made = await shop.subscribe(small)
        arguments = (made.subscription.id, large["id"], PRORATED, shop.now)
        _, planned = await shop.do(in_place.planned_for, *arguments)
        assert (await shop.read(made))["plan_id"] == small["id"]
        done, _ = await shop.do(in_place.change_plan, *arguments, shop.now)
        assert (planned.change_type, planned.closing) == (done.change_type, done.closing)
        assert [item.price_id for item in planned.opening] == [item.price_id for item in done.opening]

    async def test_addons_can_be_dropped(self, shop: Shop) -> None:
        addon = await shop.addon(fixed("3"))
        small, large = await shop.plan(fixed("20")), await shop.plan(fixed("20", invoice_cadence="ARREAR"), name="L")
        made = await shop.subscribe(small, addons=[{"addon_id": addon["id"]}])
        await shop.on("2026-04-11")
        planned, _ = await shop.do(
            in_place.change_plan,
            made.subscription.id,
            large["id"],
            ProrationBehavior.NONE,
            shop.now,
            shop.now,
            AddonPolicy.DROP,
        )
        assert len(planned.dropped) == 1
        assert (await shop.account.get(f"/subscriptions/{made.subscription.id}/addons/associations"))["items"] == []

    async def test_a_trial_moves_no_money(self, shop: Shop) -> None:
        small, large = await shop.plan(fixed("20")), await shop.plan(fixed("50"), name="Large")
        made = await shop.subscribe(small, trial_period_days=14)
        _, done = await shop.do(in_place.change_plan, made.subscription.id, large["id"], PRORATED, shop.now, shop.now)
        assert done.proration == "none"

    @pytest.mark.parametrize(
        "more",
        [
            pytest.param({"subscription_status": "draft"}, id="a draft"),
            pytest.param({"payment_behavior": "allow_incomplete"}, id="one that is not paid for"),
            pytest.param({"phases": [{"start_date": "2026-04-01T00:00:00Z"}]}, id="one with phases"),
        ],
    )
    async def test_refused(self, shop: Shop, more: dict[str, Any]) -> None:
        small, large = await shop.plan(fixed("20")), await shop.plan(fixed("50"), name="Large")
        made = await shop.subscribe(small, **more)
        with pytest.raises(InvalidOperation):
            await shop.do(in_place.change_plan, made.subscription.id, large["id"], PRORATED, shop.now, shop.now)

    async def test_one_change_waits_at_a_time_unless_superseded(self, shop: Shop) -> None:
        small, large = await shop.plan(fixed("20")), await shop.plan(fixed("50"), name="Large")
        made = await shop.subscribe(small)
        arguments = (made.subscription.id, large["id"], PlannedChangeInPlace(target_plan_id=large["id"]), shop.now)
        _, first, _ = await shop.do(in_place.schedule_change, *arguments)
        with pytest.raises(InvalidOperation):
            await shop.do(in_place.schedule_change, *arguments)
        _, _, superseded = await shop.do(in_place.schedule_change, *arguments, supersede=True)
        assert superseded == [first]


class TestReplacement:
    async def test_the_old_ends_and_the_new_carries_everything_else(self, shop: Shop) -> None:
        addon = await shop.addon(fixed("3"))
        small, large = await shop.plan(fixed("20")), await shop.plan(fixed("50"), name="Large")
        made = await shop.subscribe(
            small,
            addons=[{"addon_id": addon["id"]}],
            collection_method="send_invoice",
            payment_terms="30 NET",
            metadata={"team": "a"},
        )
        await shop.on("2026-04-11")
        target = Target(large["id"], BillingPeriod.MONTHLY, proration=PRORATED)
        done = await shop.do(by_replacement.replace_plan, made.subscription.id, target, shop.now)
        assert done.change_type == "upgrade"
        assert (await shop.read(made))["subscription_status"] == "cancelled"
        assert len(done.former.changes) == 2
        read = await shop.read(done.new)
        assert (read["plan_id"], read["billing_anchor"]) == (large["id"], "2026-04-11T00:00:00Z")
        assert (read["collection_method"], read["payment_terms"]) == ("send_invoice", "30 NET")
        assert read["metadata"] == {"team": "a"}
        assert [item["entity_type"] for item in read["line_items"]] == ["plan", "addon"]
        assert [billable.occasion for billable in done.former.billables] == [InvoiceTrigger.FINAL]
        assert [billable.occasion for billable in done.new.billables] == [InvoiceTrigger.UPDATE]

    async def test_children_follow_the_new_parent(self, shop: Shop) -> None:
        await shop.customer("child")
        small, large = await shop.plan(fixed("20")), await shop.plan(fixed("50"), name="Large")
        made = await shop.subscribe(small, inheritance={"external_customer_ids_to_inherit_subscription": ["child"]})
        await shop.on("2026-04-11")
        done = await shop.do(
            by_replacement.replace_plan, made.subscription.id, Target(large["id"], BillingPeriod.MONTHLY), shop.now
        )
        await shop.do(by_replacement.hand_over_children, done, shop.now)
        children = (await shop.account.get("/customers/external/child/subscriptions"))["items"]
        assert sorted(
            (child["parent_subscription_id"], child["subscription_status"], child["start_date"]) for child in children
        ) == sorted(
            [
                (made.subscription.id, "cancelled", "2026-04-01T00:00:00Z"),
                (done.new.subscription.id, "active", "2026-04-11T00:00:00Z"),
            ]
        )


class TestSynchronisation:
    async def sync(self, shop: Shop, plan: dict[str, Any]) -> price_sync.SyncCounts:
        async def page(session: Any) -> price_sync.SyncCounts:
            target = await price_sync.target_sequence(session, plan["id"])
            return await price_sync.sync_page(session, plan["id"], target)

        found: price_sync.SyncCounts = await shop.do(page)
        return found

    async def test_a_new_usage_price_reaches_all_but_those_with_an_override(self, shop: Shop) -> None:
        await shop.on("2026-03-01")
        plan = await shop.plan(shop.usage(await shop.feature(), "0.01"))
        price = plan["prices"][0]["id"]
        plain = await shop.subscribe(plan)
        own = await shop.subscribe(plan, override_line_items=[{"price_id": price, "amount": "0.005"}])
        await shop.account.put(f"/prices/{price}", {"amount": "0.008"})
        counts = await self.sync(shop, plan)
        assert (counts.subscriptions, counts.created, counts.ended) == (2, 1, 1)
        read = await shop.account.post(
            "/subscriptions/lineitems/search", {"subscription_ids": [plain.subscription.id], "expand": "prices"}, 200
        )
        amounts = {item["price"]["amount"]: item["end_date"] for item in read["items"]}
        assert amounts == {"0.01": "2026-03-01T00:00:00Z", "0.008": None}
        assert [item["price"]["amount"] for item in (await shop.read(own))["line_items"]] == ["0.005"]
        again = await self.sync(shop, plan)
        assert (again.subscriptions, again.created, again.ended) == (0, 0, 0)

    async def test_fixed_prices_end_but_do_not_begin(self, shop: Shop) -> None:
        plan = await shop.plan(fixed("10"))
        made = await shop.subscribe(plan)
        await shop.on("2026-04-11")
        await shop.account.put(f"/prices/{plan['prices'][0]['id']}", {"amount": "12"})
        before = await shop.account.get(f"/subscriptions/{made.subscription.id}/v2")
        assert before["plan_prices_out_of_sync"] is True
        counts = await self.sync(shop, plan)
        assert (counts.created, counts.ended) == (0, 1)
        after = await shop.account.get(f"/subscriptions/{made.subscription.id}/v2")
        assert after["plan_prices_out_of_sync"] is False
