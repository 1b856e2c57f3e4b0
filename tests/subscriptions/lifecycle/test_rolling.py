"""Bringing subscriptions to the present."""

from __future__ import annotations

from typing import Any

import pytest

from farthing.subscriptions import roll_forward
from farthing.subscriptions.changes.planned_terms import PlannedChangeInPlace
from farthing.subscriptions.enums import InvoiceTrigger
from farthing.subscriptions.lifecycle import activation, pausing
from farthing.subscriptions.lifecycle.cancellation import CancelSubscriptionRequest, cancel
from farthing.subscriptions.lifecycle.pausing import PauseSubscriptionRequest, ResumeSubscriptionRequest
from farthing.subscriptions.outcome import Billable
from farthing.subscriptions.plan_change import in_place
from tests.subscriptions.shop import Shop, at, fixed, of_wire


async def run(shop: Shop) -> list[Billable]:
    """One run of the job: everything that is due, brought to now; what is to be billed, in order."""
    found: list[Billable] = []
    for _, id in await shop.do(roll_forward.due, shop.now, 100):

        async def one(session: Any, id: str = id) -> list[Billable]:
            subscription = await roll_forward.lock_due(session, id, shop.now)
            return (
                []
                if subscription is None
                else (await roll_forward.advance_to(session, subscription, shop.now)).billables
            )

        found += await shop.do(one)
    return found


def periods(billables: list[Billable]) -> list[tuple[str, str]]:
    return [
        (billable.period.start.date().isoformat(), billable.period.end.date().isoformat()) for billable in billables
    ]


class TestPeriods:
    async def test_a_boundary_hit_exactly_rolls_and_a_second_run_does_nothing(self, shop: Shop) -> None:
        made = await shop.subscribe(await shop.plan(fixed("1")))
        assert await run(shop) == []
        await shop.on("2026-05-01")
        assert periods(await run(shop)) == [("2026-04-01", "2026-05-01")]
        assert await run(shop) == []
        assert (await shop.read(made))["current_period_end"] == "2026-06-01T00:00:00Z"

    async def test_every_missed_period_is_billed_in_order(self, shop: Shop) -> None:
        """I7: down from May 1 to July 3."""
        made = await shop.subscribe(await shop.plan(fixed("100")))
        await shop.on("2026-07-03")
        assert periods(await run(shop)) == [
            ("2026-04-01", "2026-05-01"), ("2026-05-01", "2026-06-01"), ("2026-06-01", "2026-07-01"),
        ]  # fmt: skip
        assert (await shop.read(made))["current_period_start"] == "2026-07-01T00:00:00Z"

    async def test_the_last_period_is_billed_before_it_ends(self, shop: Shop) -> None:
        """D27: quarters from May 30 with an end; active until the last has passed."""
        await shop.on("2025-05-30")
        made = await shop.subscribe(
            await shop.plan(fixed("1", billing_period="QUARTERLY")),
            billing_period="QUARTERLY",
            end_date="2026-05-30T00:00:00Z",
        )
        await shop.on("2026-05-28T15:00:00")
        assert periods(await run(shop)) == [
            ("2025-05-30", "2025-08-30"), ("2025-08-30", "2025-11-30"), ("2025-11-30", "2026-02-28"),
        ]  # fmt: skip
        read = await shop.read(made)
        assert (read["subscription_status"], read["current_period_end"]) == ("active", "2026-05-30T00:00:00Z")
        await shop.on("2026-05-30")
        assert periods(await run(shop)) == [("2026-02-28", "2026-05-30")]
        read = await shop.read(made)
        assert (read["subscription_status"], read["cancelled_at"]) == ("cancelled", "2026-05-30T00:00:00Z")

    @pytest.mark.parametrize("stops", [["2026-08-15"], ["2026-05-01", "2026-06-20", "2026-08-15"]])
    async def test_once_after_n_periods_is_the_same_as_n_times(self, shop: Shop, stops: list[str]) -> None:
        await shop.subscribe(await shop.plan(fixed("1")))
        found = []
        for stop in stops:
            await shop.on(stop)
            found += periods(await run(shop))
        assert found == [
            ("2026-04-01", "2026-05-01"), ("2026-05-01", "2026-06-01"),
            ("2026-06-01", "2026-07-01"), ("2026-07-01", "2026-08-01"),
        ]  # fmt: skip

    async def test_drafts_and_incomplete_ones_do_not_roll(self, shop: Shop) -> None:
        plan = await shop.plan(fixed("1"))
        await shop.subscribe(plan, subscription_status="draft")
        await shop.subscribe(plan, payment_behavior="allow_incomplete")
        await shop.on("2026-08-01")
        assert await run(shop) == []

    async def test_grouped_children_advance_with_their_parent(self, shop: Shop) -> None:
        await shop.customer("one")
        seat = await shop.plan(fixed("10"))
        made = await shop.subscribe(
            await shop.plan(fixed("100")),
            inheritance={
                "grouped_invoicing_children_to_create": [{"plan_id": seat["id"], "external_customer_id": "one"}]
            },
        )
        await shop.on("2026-05-02")
        assert [rolled.subscription_id for rolled in await run(shop)] == [made.subscription.id]
        found = await shop.account.get("/customers/external/one/subscriptions")
        assert found["items"][0]["current_period_start"] == "2026-05-01T00:00:00Z"


class TestEnds:
    async def test_end_of_period_bills_the_period_and_ends(self, shop: Shop) -> None:
        """I6."""
        made = await shop.subscribe(await shop.plan(fixed("99")))
        await shop.on("2026-04-10")
        request = of_wire(CancelSubscriptionRequest, {"cancellation_type": "end_of_period"})
        await shop.do(cancel, made.subscription.id, request, shop.now)
        await shop.on("2026-05-01")
        assert periods(await run(shop)) == [("2026-04-01", "2026-05-01")]
        read = await shop.read(made)
        assert (read["subscription_status"], read["end_date"]) == ("cancelled", "2026-05-01T00:00:00Z")
        (done,) = (await shop.account.get(f"/subscriptions/{read['id']}/schedules"))["schedules"]
        assert done["status"] == "executed"

    async def test_a_date_closes_the_period_short(self, shop: Shop) -> None:
        made = await shop.subscribe(await shop.plan(fixed("99")))
        request = of_wire(
            CancelSubscriptionRequest,
            {"cancellation_type": "scheduled_date", "cancel_at": "2026-05-20T00:00:00Z"},
        )
        await shop.do(cancel, made.subscription.id, request, shop.now)
        await shop.on("2026-06-15")
        assert periods(await run(shop)) == [("2026-04-01", "2026-05-01"), ("2026-05-01", "2026-05-20")]
        assert (await shop.read(made))["subscription_status"] == "cancelled"


class TestTrials:
    async def test_the_first_paid_period_begins_where_the_trial_ends(self, shop: Shop) -> None:
        """T1."""
        await shop.on("2026-01-10")
        made = await shop.subscribe(await shop.plan(fixed("1")), trial_period_days=14)
        await shop.on("2026-01-24")
        (billable,) = await run(shop)
        assert billable.occasion is InvoiceTrigger.TRIAL_END
        assert periods([billable]) == [("2026-01-24", "2026-02-24")]
        read = await shop.read(made)
        assert (read["subscription_status"], read["billing_anchor"]) == ("active", "2026-01-24T00:00:00Z")

    async def test_a_calendar_keeps_its_boundaries(self, shop: Shop) -> None:
        await shop.on("2026-01-10")
        await shop.subscribe(await shop.plan(fixed("1")), trial_period_days=14, billing_cycle="calendar")
        await shop.on("2026-01-24")
        assert periods(await run(shop)) == [("2026-01-24", "2026-02-01")]

    async def test_it_waits_for_its_payment_when_told_to(self, shop: Shop) -> None:
        made = await shop.subscribe(
            await shop.plan(fixed("1")), trial_period_days=14, payment_behavior="allow_incomplete"
        )
        await shop.on("2026-04-15")
        (billable,) = await run(shop)
        assert billable.activating
        assert (await shop.read(made))["subscription_status"] == "incomplete"
        await shop.do(activation.paid_for, made.subscription.id, paid=True)
        assert (await shop.read(made))["subscription_status"] == "active"
        assert (await shop.events(made.subscription.id))[-1] == "subscription.activated"

    async def test_it_can_end_early_or_later(self, shop: Shop) -> None:
        made = await shop.subscribe(await shop.plan(fixed("1")), trial_period_days=14)
        await shop.do(activation.change_trial_end, made.subscription.id, at("2026-04-20"), shop.now)
        assert (await shop.read(made))["current_period_end"] == "2026-04-20T00:00:00Z"
        await shop.on("2026-04-05")
        done = await shop.do(activation.change_trial_end, made.subscription.id, None, shop.now)
        assert periods(list(done.billables)) == [("2026-04-05", "2026-05-05")]


class TestPauses:
    async def test_the_period_and_the_anchor_move_by_the_pause(self, shop: Shop) -> None:
        """Z1, and the period after it is whole."""
        made = await shop.subscribe(await shop.plan(fixed("1")))
        await shop.on("2026-04-10")
        await shop.do(pausing.pause, made.subscription.id, PauseSubscriptionRequest(), shop.now)
        read = await shop.read(made)
        assert (read["subscription_status"], read["pause_status"]) == ("paused", "active")
        assert len(read["pauses"]) == 1
        await shop.on("2026-04-15")
        await shop.do(pausing.resume, made.subscription.id, ResumeSubscriptionRequest(), shop.now)
        read = await shop.read(made)
        assert (read["subscription_status"], read["current_period_end"]) == ("active", "2026-05-06T00:00:00Z")
        await shop.on("2026-06-06")
        assert periods(await run(shop)) == [("2026-04-01", "2026-05-06"), ("2026-05-06", "2026-06-06")]
        assert "subscription.resumed" in await shop.events(read["id"])

    async def test_it_does_not_roll_while_it_is_paused_and_resumes_by_itself(self, shop: Shop) -> None:
        made = await shop.subscribe(await shop.plan(fixed("1")))
        await shop.on("2026-04-10")
        request = of_wire(PauseSubscriptionRequest, {"pause_end": "2026-06-10T00:00:00Z"})
        await shop.do(pausing.pause, made.subscription.id, request, shop.now)
        await shop.on("2026-06-09")
        assert await run(shop) == []
        await shop.on("2026-07-05")
        assert periods(await run(shop)) == [("2026-04-01", "2026-07-01")]

    async def test_a_scheduled_pause_begins_and_one_not_begun_moves_nothing(self, shop: Shop) -> None:
        plan = await shop.plan(fixed("1"))
        begun, called_off = await shop.subscribe(plan), await shop.subscribe(plan)
        request = of_wire(PauseSubscriptionRequest, {"pause_mode": "scheduled", "pause_start": "2026-05-10T00:00:00Z"})
        for made in (begun, called_off):
            await shop.do(pausing.pause, made.subscription.id, request, shop.now)
        await shop.do(pausing.resume, called_off.subscription.id, ResumeSubscriptionRequest(), shop.now)
        await shop.on("2026-05-20")
        assert periods(await run(shop)) == [("2026-04-01", "2026-05-01")] * 2
        assert (await shop.read(begun))["subscription_status"] == "paused"
        read = await shop.read(called_off)
        assert (read["subscription_status"], read["current_period_end"]) == ("active", "2026-06-01T00:00:00Z")

    async def test_a_rehearsal_changes_nothing(self, shop: Shop) -> None:
        made = await shop.subscribe(await shop.plan(fixed("1")))
        request = of_wire(PauseSubscriptionRequest, {"pause_days": 5, "dry_run": True})
        _, _, impact = await shop.do(pausing.pause, made.subscription.id, request, shop.now)
        assert impact.adjusted.end == at("2026-05-06")
        assert (await shop.read(made))["subscription_status"] == "active"


class TestScheduledPlanChange:
    async def test_it_happens_before_the_boundary_is_billed(self, shop: Shop) -> None:
        small, large = await shop.plan(fixed("20")), await shop.plan(fixed("50"), name="Large")
        made = await shop.subscribe(small)
        configuration = PlannedChangeInPlace(target_plan_id=large["id"])
        await shop.do(in_place.schedule_change, made.subscription.id, large["id"], configuration, shop.now)
        await shop.on("2026-05-01")
        await run(shop)
        read = await shop.read(made)
        assert read["plan_id"] == large["id"]
        assert [(item["price"]["amount"], item["start_date"], item["end_date"]) for item in read["line_items"]] == [
            ("20", "2026-04-01T00:00:00Z", "2026-05-01T00:00:00Z"),
            ("50", "2026-05-01T00:00:00Z", None),
        ]
        (done,) = (await shop.account.get(f"/subscriptions/{read['id']}/schedules"))["schedules"]
        assert done["status"] == "executed"
        assert done["execution_details"]["plan_change"]["change_type"] == "upgrade"

    async def test_one_that_cannot_be_made_fails_and_the_period_rolls(self, shop: Shop) -> None:
        small, large = await shop.plan(fixed("20")), await shop.plan(fixed("50"), name="Large")
        made = await shop.subscribe(small)
        configuration = PlannedChangeInPlace(target_plan_id=large["id"])
        await shop.do(in_place.schedule_change, made.subscription.id, large["id"], configuration, shop.now)
        price = large["prices"][0]["id"]
        await shop.account.http.request("DELETE", f"/prices/{price}", json={})
        await shop.on("2026-05-01")
        assert periods(await run(shop)) == [("2026-04-01", "2026-05-01")]
        (done,) = (await shop.account.get(f"/subscriptions/{made.subscription.id}/schedules"))["schedules"]
        assert done["status"] == "failed"
        assert done["error_message"]
        assert (await shop.read(made))["plan_id"] == small["id"]
