"""What happens by itself: notices, pauses, daily computation, cancellation of the unpaid, schedules that fail."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import select, update

from farthing.billing.run.automatic_cancellation import cancel_unpaid
from farthing.billing.run.passes import Run, Summary
from farthing.billing.run.recompute import recompute_drafts
from farthing.billing.run.renewal_notice import announce_renewals
from farthing.storage.record.outbox import SystemEvent
from farthing.subscriptions.tables import Subscription
from tests.billing.office import Office
from tests.subscriptions.shop import at, fixed


async def duty(office: Office, one: Any, moment: str | None = None) -> Summary:
    """Run one duty, as of the office's time."""
    if moment is not None:
        await office.on(moment)
    done = Summary()
    await one(Run(office.account.database, office.account.scope, office.now), done)
    assert done.failed == {}
    return done


async def events(office: Office, subscription_id: str, name: str) -> list[dict[str, Any]]:
    """What was told of a subscription under this name, oldest first."""
    async with office.account.transaction(read_only=True) as session:
        rows = await session.scalars(
            select(SystemEvent.payload)
            .where(SystemEvent.entity_id == subscription_id, SystemEvent.event_name == name)
            .order_by(SystemEvent.id)
        )
        return list(rows)


async def read(office: Office, subscription: Subscription) -> dict[str, Any]:
    found: dict[str, Any] = await office.account.get(f"/subscriptions/{subscription.id}")
    return found


async def ask(office: Office, subscription: Subscription, what: str, **body: Any) -> dict[str, Any]:
    path = f"/subscriptions/{subscription.id}/{what}"
    answer: dict[str, Any] = await office.account.post(path, body, expect=200)
    return answer


class TestRenewalNotices:
    async def test_everyone_is_told_once_page_by_page_whatever_becomes_of_the_outbox(self, office: Office) -> None:
        plan = await office.plan(fixed("10"))
        subscriptions = [await office.subscribed(plan) for _ in range(5)]
        before = await read(office, subscriptions[0])
        await office.on("2026-01-31T06:00")
        run = Run(office.account.database, office.account.scope, office.now, batch=2)
        for told in (5, 0):
            done = Summary()
            await announce_renewals(run, done)
            assert (done.failed, done.rolled) == ({}, told)
            async with office.account.transaction() as session:
                handed_on = update(SystemEvent).where(SystemEvent.event_name == "subscription.renewal.due")
                await session.execute(handed_on.values(dispatched_at=office.now))
        # a notice is no change of the subscription
        after = await read(office, subscriptions[0])
        assert (after["version"], after["updated_at"]) == (before["version"], before["updated_at"])

    async def test_one_is_told_once_a_day_before_each_renewal(self, office: Office) -> None:
        subscription = await office.subscribed(await office.plan(fixed("10")))
        told = []
        for moment in ("2026-01-30T23:59", "2026-01-31", "2026-01-31T12:00", "2026-02-01", "2026-02-27", "2026-02-28"):
            await office.run(moment)
            await duty(office, announce_renewals)
            told.append(len(await events(office, subscription.id, "subscription.renewal.due")))
        assert told == [0, 1, 1, 1, 1, 2]
        ends = [
            event["subscription"]["current_period_end"]
            for event in await events(office, subscription.id, "subscription.renewal.due")
        ]
        assert ends == ["2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"]

    @pytest.mark.parametrize(
        ("what", "body"),
        [
            pytest.param("cancel", {"cancellation_type": "end_of_period"}, id="cancelled at the end of the period"),
            pytest.param(
                "cancel",
                {"cancellation_type": "scheduled_date", "cancel_at": "2026-01-31T18:00:00Z"},
                id="cancelled on a date before it",
            ),
            pytest.param("pause", {}, id="paused"),
        ],
    )
    async def test_none_for_one_that_will_not_renew(self, office: Office, what: str, body: dict[str, Any]) -> None:
        subscription = await office.subscribed(await office.plan(fixed("10")))
        await ask(office, subscription, what, **body)
        await duty(office, announce_renewals, "2026-01-31T06:00")
        assert await events(office, subscription.id, "subscription.renewal.due") == []

    async def test_none_for_one_that_ends(self, office: Office) -> None:
        plan = await office.plan(fixed("10"))
        subscription = await office.subscribed(plan, end_date="2026-02-01T00:00:00Z")
        await duty(office, announce_renewals, "2026-01-31T06:00")
        assert await events(office, subscription.id, "subscription.renewal.due") == []

    async def test_the_end_that_a_pause_has_moved_counts(self, office: Office) -> None:
        subscription = await office.subscribed(await office.plan(fixed("10")))
        await office.on("2026-01-31T06:00")
        await duty(office, announce_renewals)
        await ask(office, subscription, "pause")
        await office.on("2026-02-05T06:00")
        await ask(office, subscription, "resume")
        await duty(office, announce_renewals, "2026-02-05T07:00")
        ends = [
            event["subscription"]["current_period_end"]
            for event in await events(office, subscription.id, "subscription.renewal.due")
        ]
        assert ends == ["2026-02-01T00:00:00Z", "2026-02-06T00:00:00Z"]


class TestPauses:
    @pytest.mark.parametrize(
        ("body", "begins", "ends", "period_end"),
        [
            pytest.param(
                {"pause_mode": "scheduled", "pause_start": "2026-01-10T00:00:00Z", "pause_days": 5},
                "2026-01-10",
                "2026-01-15",
                "2026-02-06",
                id="scheduled, for five days",
            ),
            pytest.param(
                {
                    "pause_mode": "scheduled",
                    "pause_start": "2026-01-10T00:00:00Z",
                    "pause_end": "2026-01-12T12:00:00Z",
                },
                "2026-01-10",
                "2026-01-12T12:00",
                "2026-02-03T12:00",
                id="scheduled, until a moment",
            ),
            pytest.param(
                {"pause_mode": "period_end", "pause_days": 10},
                "2026-02-01",
                "2026-02-11",
                "2026-03-11",
                id="at the end of the period, for ten days",
            ),
            pytest.param(
                {"pause_mode": "immediate", "pause_days": 3},
                "2026-01-01",
                "2026-01-04",
                "2026-02-04",
                id="at once, for three days",
            ),
        ],
    )
    async def test_the_run_begins_and_ends_it(
        self, office: Office, body: dict[str, Any], begins: str, ends: str, period_end: str
    ) -> None:
        subscription = await office.subscribed(await office.plan(fixed("10")))
        await ask(office, subscription, "pause", **body)
        await office.run(begins)
        paused = await read(office, subscription)
        assert (paused["subscription_status"], paused["pause_status"]) == ("paused", "active")
        await office.run(ends)
        again = await read(office, subscription)
        assert (again["subscription_status"], again["pause_status"]) == ("active", "none")
        assert again["current_period_end"] == at(period_end).isoformat().replace("+00:00", "Z")
        assert len(await events(office, subscription.id, "subscription.paused")) == 1
        assert len(await events(office, subscription.id, "subscription.resumed")) == 1

    async def test_without_an_end_it_waits_to_be_resumed(self, office: Office) -> None:
        subscription = await office.subscribed(await office.plan(fixed("10")))
        await ask(office, subscription, "pause", pause_mode="scheduled", pause_start="2026-01-10T00:00:00Z")
        await office.run("2026-06-01")
        assert (await read(office, subscription))["subscription_status"] == "paused"
        assert await office.totals(subscription) == ["10.00"]

    async def test_resumed_before_it_began_it_never_begins(self, office: Office) -> None:
        subscription = await office.subscribed(await office.plan(fixed("10")))
        await ask(
            office, subscription, "pause", pause_mode="scheduled", pause_start="2026-01-10T00:00:00Z", pause_days=5
        )
        await office.on("2026-01-05")
        await ask(office, subscription, "resume")
        await office.run("2026-02-01")
        again = await read(office, subscription)
        assert (again["subscription_status"], again["current_period_start"]) == ("active", "2026-02-01T00:00:00Z")
        assert await events(office, subscription.id, "subscription.paused") == []

    async def test_a_run_that_comes_late_resumes_when_it_was_to_end(self, office: Office) -> None:
        subscription = await office.subscribed(await office.plan(fixed("10")))
        await ask(office, subscription, "pause", pause_days=5)
        await office.run("2026-02-20")
        again = await read(office, subscription)
        assert again["current_period_start"] == "2026-02-06T00:00:00Z"
        assert await office.billed(subscription) == [
            ("CREATE", "01-01..02-01", "10.00"),
            ("CYCLE", "01-01..02-06", "10.00"),
        ]


class TestDailyComputation:
    async def _draft(self, office: Office, *, enabled: bool) -> tuple[Subscription, dict[str, Any]]:
        await office.settings(compute_delay_seconds=0, finalization_delay_seconds=3 * 86400)
        value = {"value": {"enabled": enabled}}
        await office.account.put("/settings/draft_invoice_recompute_config", value)
        calls = await office.feature("calls")
        customer = await office.customer()
        subscription = await office.subscribed(await office.plan(office.usage(calls, "1")), customer)
        await office.used("calls", customer, 3, "2026-01-31T23:00")
        await office.run("2026-02-01")
        await office.used("calls", customer, 2, "2026-01-31T23:30")
        return subscription, customer

    async def test_drafts_take_what_came_late(self, office: Office) -> None:
        subscription, _ = await self._draft(office, enabled=True)
        assert await office.totals(subscription) == ["3.00"]
        done = await duty(office, recompute_drafts, "2026-02-01T02:00")
        assert done.computed == 1
        assert await office.totals(subscription) == ["5.00"]

    async def test_the_time_for_corrections_goes_on(self, office: Office) -> None:
        subscription, _ = await self._draft(office, enabled=True)
        for day in ("02-01", "02-02", "02-03"):
            await duty(office, recompute_drafts, f"2026-{day}T02:00")
        await office.run("2026-02-04T00:01")
        (claim,) = await office.invoices(subscription)
        assert str(claim.invoice_status) == "FINALIZED"
        assert (await duty(office, recompute_drafts, "2026-02-05T02:00")).computed == 0

    async def test_what_was_edited_by_hand_stays(self, office: Office) -> None:
        subscription, _ = await self._draft(office, enabled=True)
        (draft,) = await office.invoices(subscription)
        async with office.account.transaction() as session:
            row = await session.get_one(type(draft), draft.id)
            row.is_manually_edited = True
        assert (await duty(office, recompute_drafts, "2026-02-01T02:00")).computed == 0

    async def test_nothing_where_it_is_off(self, office: Office) -> None:
        subscription, _ = await self._draft(office, enabled=False)
        assert (await duty(office, recompute_drafts, "2026-02-01T02:00")).computed == 0
        assert await office.totals(subscription) == ["3.00"]

    async def test_it_begins_no_draft(self, office: Office) -> None:
        await self._draft(office, enabled=True)
        before = len(await office.invoices())
        await duty(office, recompute_drafts, "2026-03-02T02:00")
        assert len(await office.invoices()) == before


class TestGrace:
    async def _unpaid(self, office: Office, *, enabled: bool = True) -> Subscription:
        value = {"auto_cancellation_enabled": enabled, "grace_period_days": 3}
        await office.account.put("/settings/subscription_config", {"value": value})
        return await office.subscribed(await office.plan(fixed("10")))

    # the opening of January falls due on the second of January; three days of grace
    @pytest.mark.parametrize(
        ("moment", "status"), [("2026-01-05", "active"), ("2026-01-05T00:00:01", "cancelled")], ids=["within", "after"]
    )
    async def test_an_unpaid_invoice_ends_it_after_the_grace(self, office: Office, moment: str, status: str) -> None:
        subscription = await self._unpaid(office)
        await duty(office, cancel_unpaid, moment)
        found = await read(office, subscription)
        assert found["subscription_status"] == status
        assert len(await events(office, subscription.id, "subscription.cancelled")) == (status == "cancelled")

    async def test_everyone_is_found_page_by_page(self, office: Office) -> None:
        subscriptions = [await self._unpaid(office) for _ in range(5)]
        await office.on("2026-02-06")
        done = Summary()
        await cancel_unpaid(Run(office.account.database, office.account.scope, office.now, batch=2), done)
        assert (done.failed, done.rolled) == ({}, 5)
        statuses = {(await read(office, subscription))["subscription_status"] for subscription in subscriptions}
        assert statuses == {"cancelled"}

    async def test_not_where_it_is_off(self, office: Office) -> None:
        subscription = await self._unpaid(office, enabled=False)
        await duty(office, cancel_unpaid, "2026-03-05")
        assert (await read(office, subscription))["subscription_status"] == "active"

    async def test_not_when_it_was_paid_in_time(self, office: Office) -> None:
        subscription = await self._unpaid(office)
        (opening,) = await office.invoices(subscription)
        payment = {
            "destination_type": "INVOICE",
            "destination_id": opening.id,
            "payment_method_type": "OFFLINE",
            "amount": "10",
            "currency": "usd",
            "process_payment": True,
        }
        await office.account.post("/payments", payment)
        await duty(office, cancel_unpaid, "2026-02-20")
        assert (await read(office, subscription))["subscription_status"] == "active"

    async def test_a_cancellation_that_was_to_come_gives_way_even_after_periods_have_rolled(
        self, office: Office
    ) -> None:
        subscription = await self._unpaid(office)
        later = {"cancellation_type": "scheduled_date", "cancel_at": "2026-04-17T09:00:00Z"}
        await ask(office, subscription, "cancel", **later)
        await office.run("2026-02-04")
        await duty(office, cancel_unpaid, "2026-02-06")
        found = await read(office, subscription)
        assert (found["subscription_status"], found["end_date"]) == ("cancelled", "2026-02-06T00:00:00Z")


async def test_a_cancellation_taken_back_in_the_last_period_gives_it_its_own_end(office: Office) -> None:
    subscription = await office.subscribed(await office.plan(fixed("10")))
    await ask(office, subscription, "cancel", cancellation_type="scheduled_date", cancel_at="2026-03-17T09:00:00Z")
    await office.run("2026-03-02")
    assert (await read(office, subscription))["current_period_end"] == "2026-03-17T09:00:00Z"
    (schedule,) = (await office.account.get(f"/subscriptions/{subscription.id}/schedules"))["schedules"]
    await office.account.post(f"/subscriptions/schedules/{schedule['id']}/cancel", expect=200)
    found = await read(office, subscription)
    assert found["current_period_end"] == "2026-04-01T00:00:00Z"
    assert (found.get("end_date"), found.get("cancel_at")) == (None, None)


@pytest.mark.parametrize("kind", ["v1", "v2"])
async def test_a_plan_change_that_cannot_be_made_fails_and_says_why(office: Office, kind: str) -> None:
    small, large = await office.plan(fixed("20")), await office.plan(fixed("50"), name="Large")
    subscription = await office.subscribed(small)
    change: dict[str, Any] = {
        "target_plan_id": large["id"],
        "proration_behavior": "none",
        "change_at": "end_of_period",
    }
    if kind == "v1":
        change |= {"billing_cadence": "RECURRING", "billing_period": "MONTHLY", "billing_cycle": "anniversary"}
    await ask(office, subscription, "change/execute" if kind == "v1" else "change/v2/execute", **change)
    price = large["prices"][0]["id"]
    await office.account.http.request("DELETE", f"/prices/{price}", json={})
    done = await office.run("2026-02-01")
    assert done.failed == {}
    (schedule,) = (await office.account.get(f"/subscriptions/{subscription.id}/schedules"))["schedules"]
    assert schedule["status"] == "failed"
    assert "price" in schedule["error_message"]
    told = [event for event in await events(office, subscription.id, "subscription.updated") if "schedule" in event]
    assert [(event["schedule"]["id"], event["schedule"]["status"]) for event in told] == [(schedule["id"], "failed")]
    assert told[0]["schedule"]["error_message"] == schedule["error_message"]
    # the period rolled on the plan as it was
    assert await office.totals(subscription) == ["20.00", "20.00"]
    await office.run(datetime.fromisoformat("2026-03-01T00:00:00+00:00"))
    assert (
        len([event for event in await events(office, subscription.id, "subscription.updated") if "schedule" in event])
        == 1
    )
