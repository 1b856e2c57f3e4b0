"""How subscriptions end."""

from __future__ import annotations

from typing import Any

import pytest

from farthing.core.errors import InvalidOperation, ValidationFailed
from farthing.storage.queries.listing import ListQuery
from farthing.subscriptions.enums import InvoiceTrigger
from farthing.subscriptions.lifecycle import cancellation, schedules
from farthing.subscriptions.lifecycle.cancellation import Cancellation, CancelSubscriptionRequest
from tests.subscriptions.shop import Shop, at, fixed, of_wire


async def cancel(shop: Shop, id: str, type: str = "immediate", **more: Any) -> Cancellation:
    request = of_wire(CancelSubscriptionRequest, {"cancellation_type": type, **more})
    made: Cancellation = await shop.do(cancellation.cancel, id, request, shop.now)
    return made


class TestAtOnce:
    async def test_it_is_over_with_all_that_belongs_to_it(self, shop: Shop) -> None:
        addon = await shop.addon(fixed("3"))
        made = await shop.subscribe(await shop.plan(fixed("20")), addons=[{"addon_id": addon["id"]}])
        await shop.on("2026-04-11")
        done = await cancel(shop, made.subscription.id, proration_behavior="create_prorations", reason="moved")
        read = await shop.read(made)
        assert read["subscription_status"] == "cancelled"
        assert read["end_date"] == read["cancelled_at"] == read["cancel_at"] == "2026-04-11T00:00:00Z"
        assert read["current_period_end"] == "2026-05-01T00:00:00Z"
        assert read["metadata"]["cancellation_reason"] == "moved"
        assert {item["end_date"] for item in read["line_items"]} == {"2026-04-11T00:00:00Z"}
        assert (await shop.account.get(f"/subscriptions/{read['id']}/addons/associations"))["items"] == []
        assert [change.at for change in done.outcome.changes] == [at("2026-04-11")] * 2
        assert done.outcome.billables == ()
        assert await shop.events(read["id"]) == [
            "subscription.created", "subscription.updated", "subscription.cancelled",
        ]  # fmt: skip

    async def test_what_is_owed_can_be_billed(self, shop: Shop) -> None:
        made = await shop.subscribe(await shop.plan(fixed("20")))
        await shop.on("2026-04-11")
        done = await cancel(shop, made.subscription.id, cancel_immediately_inovice_policy="generate_invoice")
        (billable,) = done.outcome.billables
        assert billable.occasion is InvoiceTrigger.FINAL
        assert (billable.period.start, billable.period.end) == (at("2026-04-01"), at("2026-04-11"))

    async def test_a_trial_gives_no_credit_and_no_invoice(self, shop: Shop) -> None:
        made = await shop.subscribe(await shop.plan(fixed("20")), trial_period_days=14)
        await shop.on("2026-04-05")
        policy = {"cancel_immediately_invoice_policy": "generate_invoice", "proration_behavior": "create_prorations"}
        done = await cancel(shop, made.subscription.id, **policy)
        assert (done.outcome.changes, done.outcome.billables, done.outcome.proration) == ((), (), "none")


class TestLater:
    async def test_at_the_end_of_the_period_it_lives_on_and_can_be_kept(self, shop: Shop) -> None:
        made = await shop.subscribe(await shop.plan(fixed("20")))
        await shop.on("2026-04-10")
        await cancel(shop, made.subscription.id, "end_of_period")
        read = await shop.read(made)
        assert (read["subscription_status"], read["cancel_at_period_end"]) == ("active", True)
        assert read["cancel_at"] == "2026-05-01T00:00:00Z"
        assert "end_date" not in read
        (waiting,) = (await shop.account.get("/subscriptions/schedules", pending_only=True))["schedules"]
        assert (waiting["schedule_type"], waiting["can_be_cancelled"], waiting["days_until_execution"]) == (
            "cancellation", True, 21,
        )  # fmt: skip
        answer = await shop.account.post(f"/subscriptions/schedules/{waiting['id']}/cancel", expect=200)
        assert answer["status"] == "cancelled"
        kept = await shop.read(made)
        assert kept["cancel_at_period_end"] is False
        assert not {"cancelled_at", "end_date"} & kept.keys()
        assert kept["cancel_at"] is None

    async def test_on_a_date_the_period_is_shortened_and_restored(self, shop: Shop) -> None:
        made = await shop.subscribe(await shop.plan(fixed("20")))
        await cancel(shop, made.subscription.id, "scheduled_date", cancel_at="2026-04-20T00:00:00Z")
        read = await shop.read(made)
        assert read["current_period_end"] == read["end_date"] == "2026-04-20T00:00:00Z"
        body = {"subscription_id": read["id"], "schedule_type": "cancellation"}
        await shop.account.post("/subscriptions/schedules/cancel", body, expect=200)
        assert (await shop.read(made))["current_period_end"] == "2026-05-01T00:00:00Z"

    async def test_a_schedule_whose_time_has_come_stays(self, shop: Shop) -> None:
        made = await shop.subscribe(await shop.plan(fixed("20")))
        await cancel(shop, made.subscription.id, "end_of_period")
        found, _ = await shop.do(schedules.search, ListQuery(limit=5), subscription_ids=[made.subscription.id])
        await shop.on("2026-05-01")
        with pytest.raises(InvalidOperation):
            await shop.do(schedules.cancel, found[0].id, shop.now)


class TestRefusals:
    async def test_twice(self, shop: Shop) -> None:
        made = await shop.subscribe(await shop.plan(fixed("20")))
        await cancel(shop, made.subscription.id, "end_of_period")
        with pytest.raises(InvalidOperation):
            await cancel(shop, made.subscription.id, "end_of_period")
        await cancel(shop, made.subscription.id)
        with pytest.raises(InvalidOperation):
            await cancel(shop, made.subscription.id)

    @pytest.mark.parametrize(
        ("given", "field"),
        [
            pytest.param({"type": "scheduled_date"}, "cancel_at", id="a date needs a date"),
            pytest.param({"cancel_at": "2026-06-01T00:00:00Z"}, "cancel_at", id="immediate is not later"),
            pytest.param({"cancel_at": "2026-04-01T00:00:00Z"}, "cancel_at", id="not before what is open"),
        ],
    )
    async def test_dates(self, shop: Shop, given: dict[str, str], field: str) -> None:
        made = await shop.subscribe(await shop.plan(fixed("20")))
        await shop.on("2026-04-10")
        with pytest.raises(ValidationFailed) as refused:
            await cancel(shop, made.subscription.id, **given)
        assert field in refused.value.details

    async def test_a_draft(self, shop: Shop) -> None:
        made = await shop.subscribe(await shop.plan(fixed("20")), subscription_status="draft")
        with pytest.raises(InvalidOperation) as refused:
            await cancel(shop, made.subscription.id)
        assert refused.value.details["subscription_status"] == "draft"

    async def test_an_inherited_one_ends_with_its_parent(self, shop: Shop) -> None:
        await shop.customer("child")
        made = await shop.subscribe(
            await shop.plan(fixed("1")), inheritance={"external_customer_ids_to_inherit_subscription": ["child"]}
        )
        found = await shop.account.get("/customers/external/child/subscriptions")
        child = found["items"][0]["id"]
        with pytest.raises(InvalidOperation):
            await cancel(shop, child)
        await cancel(shop, made.subscription.id)
        assert (await shop.account.get(f"/subscriptions/{child}"))["subscription_status"] == "cancelled"
