"""Pauses: what they do to periods, to money, and to what was to happen meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import psycopg
import pytest
from sqlalchemy import select

from farthing.storage.migrations import upgrade
from farthing.storage.postgres import Database
from farthing.subscriptions.changes.tables import SubscriptionPause
from farthing.wiring import wire
from tests.account import Account
from tests.billing.counter import Body, cancel, do, opened, read
from tests.billing.office import Office
from tests.conftest import running, settings_for
from tests.storage.earlier import undo_after
from tests.subscriptions.shop import at, fixed


def span(subscription: Body) -> tuple[str, str]:
    return subscription["current_period_start"][:10], subscription["current_period_end"][:10]


async def stopped(office: Office, subscription: Body, since: str = "2026-01-10", until: str = "2026-01-15") -> Body:
    """A subscription that was paused and resumed."""
    await office.on(since)
    await do(office, subscription, "pause")
    await office.on(until)
    await do(office, subscription, "resume")
    return await read(office, subscription)


@pytest.mark.parametrize(
    ("cycle", "next_end"),
    [
        pytest.param("anniversary", "2026-03-06", id="an anniversary moves for good"),
        pytest.param("calendar", "2026-03-01", id="a calendar's boundaries stay"),
    ],
)
async def test_the_period_is_as_much_longer_as_the_pause(office: Office, cycle: str, next_end: str) -> None:
    made = await opened(office, await office.plan(fixed("10")), billing_cycle=cycle)
    assert span(await stopped(office, made)) == ("2026-01-01", "2026-02-06")
    await office.run("2026-02-06")
    assert span(await read(office, made)) == ("2026-02-06", next_end)
    assert await office.totals() == ["10.00", "10.00"]


@pytest.mark.parametrize(
    ("asked", "begins", "usage"),
    [
        pytest.param({"pause_mode": "immediate"}, "2026-01-10", "23.00", id="immediate"),
        pytest.param(
            {"pause_mode": "scheduled", "pause_start": "2026-01-20T00:00:00Z"}, "2026-01-20", "21.00", id="scheduled"
        ),
        pytest.param({"pause_mode": "period_end"}, "2026-02-01", "17.00", id="at the end of the period"),
    ],
)
async def test_each_mode(office: Office, asked: Body, begins: str, usage: str) -> None:
    """The ten days of the pause are free, and everything after is ten days later."""
    calls, customer = await office.feature("calls"), await office.customer()
    plan = await office.plan(fixed("10"), office.usage(calls, "1"))
    made = await opened(office, plan, customer)
    for day, count in (("2026-01-09", 1), ("2026-01-12", 2), ("2026-01-22", 4), ("2026-02-02", 8), ("2026-02-20", 16)):
        await office.used("calls", customer, count, day)
    await office.on("2026-01-10")
    answer = await do(office, made, "pause", asked | {"pause_days": 10, "reason": "holiday"})
    assert (answer["pause"]["pause_start"], answer["pause"]["reason"]) == (f"{begins}T00:00:00Z", "holiday")
    at_once = begins == "2026-01-10"
    assert answer["subscription"]["subscription_status"] == ("paused" if at_once else "active")
    assert answer["subscription"]["pause_status"] == ("active" if at_once else "scheduled")
    await office.run(begins)
    assert (await read(office, made))["subscription_status"] == "paused"
    await office.run("2026-03-11")
    assert await office.billed() == [
        ("CREATE", "01-01..02-01", "10.00"),
        ("CYCLE", "01-01..02-11", usage),
        ("CYCLE", "02-11..03-11", "26.00"),
    ]


async def test_one_called_off_before_it_began_moves_nothing(office: Office) -> None:
    made = await opened(office, await office.plan(fixed("10")))
    await do(office, made, "pause", {"pause_mode": "scheduled", "pause_start": "2026-01-20T00:00:00Z"})
    refused = await do(office, made, "pause", expect=400)
    assert refused["code"] == "invalid_operation"
    await office.on("2026-01-10")
    answer = await do(office, made, "resume")
    assert answer["pause"]["pause_status"] == "cancelled"
    impact = answer["billing_impact"]
    assert (impact["pause_duration_days"], impact["adjusted_period_end"]) == (0, "2026-02-01T00:00:00Z")
    after = await read(office, made)
    assert (after["subscription_status"], after["pause_status"], span(after)) == (
        "active", "none", ("2026-01-01", "2026-02-01"),
    )  # fmt: skip
    await office.run("2026-01-25")
    assert (await read(office, made))["subscription_status"] == "active"


async def test_its_figures_are_those_of_the_real_fees(office: Office) -> None:
    addon = await office.addon(fixed("6"))
    plan = await office.plan(fixed("25"), fixed("100", invoice_cadence="ARREAR"), fixed("7", billing_period="ONETIME"))
    made = await opened(office, plan, addons=[{"addon_id": addon["id"]}])
    await office.on("2026-01-11")
    dry = await do(office, made, "pause", {"pause_days": 5, "dry_run": True})
    assert (await read(office, made))["subscription_status"] == "active"
    assert (await office.account.get(f"/subscriptions/{made['id']}/pauses")) in ([], {"items": []}, {"pauses": []})
    # 31 a month in advance, 21 of 31 days left
    assert dry["billing_impact"] == {
        "period_adjustment_amount": "-21",
        "next_billing_amount": "31",
        "next_billing_date": "2026-02-06T00:00:00Z",
        "original_period_start": "2026-01-01T00:00:00Z",
        "original_period_end": "2026-02-01T00:00:00Z",
        "adjusted_period_start": "2026-01-01T00:00:00Z",
        "adjusted_period_end": "2026-02-06T00:00:00Z",
        "pause_duration_days": 5,
    }
    real = await do(office, made, "pause", {"pause_days": 5})
    assert real["billing_impact"] == dry["billing_impact"]
    assert (dry["dry_run"], real["dry_run"]) == (True, False)


async def test_priced_usage_leaves_the_pause_out_like_the_invoice(office: Office) -> None:
    calls, customer = await office.feature("calls"), await office.customer()
    made = await opened(office, await office.plan(office.usage(calls, "1")), customer)
    for day, count in (("2026-01-09", 1), ("2026-01-10", 2), ("2026-01-14T23:59:59", 4), ("2026-01-15", 8)):
        await office.used("calls", customer, count, day)
    await stopped(office, made)
    priced = await office.account.post("/subscriptions/usage", {"subscription_id": made["id"]}, 200)
    assert (priced["amount"], [charge["quantity"] for charge in priced["charges"]]) == (9.0, [9.0])
    preview = await office.account.post("/invoices/preview", {"subscription_id": made["id"]}, 200)
    assert preview["total"] == "9"
    await office.run("2026-02-06")
    assert await office.totals() == ["9.00"]


async def test_a_plan_change_at_the_end_of_the_period_waits_for_the_moved_end(office: Office) -> None:
    plan, other = await office.plan(fixed("10")), await office.plan(fixed("30"), name="Other")
    one, two = await opened(office, plan), await opened(office, plan)
    later = {"target_plan_id": other["id"], "proration_behavior": "none", "change_at": "end_of_period"}
    await do(office, one, "change/v2/execute", later)
    replacing = {"billing_cadence": "RECURRING", "billing_period": "MONTHLY", "billing_cycle": "anniversary"}
    await do(office, two, "change/execute", later | replacing)
    for made in (one, two):
        await stopped(office, made)
        (schedule,) = (await office.account.get(f"/subscriptions/{made['id']}/schedules"))["schedules"]
        assert schedule["scheduled_at"] == "2026-02-06T00:00:00Z"
    await office.run("2026-02-01")
    assert (await read(office, one))["plan_id"] == plan["id"]
    await office.run("2026-02-06")
    assert (await read(office, one))["plan_id"] == other["id"]
    assert (await read(office, two))["subscription_status"] == "cancelled"
    # the one in place bills the new fee, and so does the successor of the other
    assert sorted(await office.totals()) == ["10.00", "10.00", "30.00", "30.00"]


async def test_a_cancellation_at_the_end_of_the_period_waits_too_and_can_be_taken_back(office: Office) -> None:
    plan = await office.plan(fixed("10"))
    going, kept = await opened(office, plan), await opened(office, plan)
    for made in (going, kept):
        await cancel(office, made, "end_of_period")
        after = await stopped(office, made)
        assert after["cancel_at"] == after["current_period_end"] == "2026-02-06T00:00:00Z"
    body = {"subscription_id": kept["id"], "schedule_type": "cancellation"}
    await office.account.post("/subscriptions/schedules/cancel", body, 200)
    assert span(await read(office, kept)) == ("2026-01-01", "2026-02-06")
    await office.run("2026-02-06")
    over = await read(office, going)
    assert (over["subscription_status"], over["cancelled_at"]) == ("cancelled", "2026-02-06T00:00:00Z")
    assert await office.totals() == ["10.00", "10.00", "10.00"]


async def test_no_pause_outlasts_the_end(office: Office) -> None:
    made = await opened(office, await office.plan(fixed("10")), end_date="2026-02-01T00:00:00Z")
    assert span(await stopped(office, made)) == ("2026-01-01", "2026-02-01")
    await office.run("2026-02-01")
    assert (await read(office, made))["subscription_status"] == "cancelled"


async def test_it_resumes_by_itself_and_catches_up(office: Office) -> None:
    made = await opened(office, await office.plan(fixed("10")))
    await office.on("2026-01-10")
    await do(office, made, "pause", {"pause_end": "2026-01-20T00:00:00Z"})
    await office.run("2026-03-15")
    after = await read(office, made)
    assert (after["subscription_status"], span(after)) == ("active", ("2026-03-11", "2026-04-11"))
    assert [period for _, period, _ in await office.billed()] == ["01-01..02-01", "01-01..02-11", "02-11..03-11"]


async def test_the_period_after_a_pause_is_a_whole_one_for_a_whole_fee(office: Office) -> None:
    """From 15 February, paused for 20 days of the period from 15 March: to 5 May, then to 5 June."""
    await office.on("2026-02-15")
    made = await opened(office, await office.plan(fixed("100")))
    await office.run("2026-03-15")
    await office.on("2026-03-20")
    await do(office, made, "pause", {"pause_mode": "immediate", "resume_mode": "immediate"})
    await office.on("2026-04-09")
    await do(office, made, "resume", {"resume_mode": "immediate"})
    await office.run("2026-05-05")
    await office.run("2026-05-20")
    after = await read(office, made)
    assert (after["current_period_start"][:10], after["current_period_end"][:10]) == ("2026-05-05", "2026-06-05")
    assert await office.totals() == ["100.00", "100.00", "100.00"]


async def _moved_anchors(account: Account) -> list[datetime]:
    async with account.transaction(read_only=True) as session:
        pauses = await session.scalars(select(SubscriptionPause).order_by(SubscriptionPause.pause_start))
        return [pause.original_billing_anchor for pause in pauses]


async def test_an_upgrade_finds_the_anchors_that_pauses_moved(new_database: Callable[..., str]) -> None:
    url = new_database()
    database, settings = Database(url, wire()), settings_for(url)
    try:
        async with running(settings, database) as base_url, Account(base_url, settings, database) as account:
            office = Office(account)
            await office.on("2026-01-01")
            await office.settings(compute_delay_seconds=0, finalization_delay_seconds=0)
            made = await opened(office, await office.plan(fixed("10")))
            await stopped(office, made, "2026-01-10", "2026-01-15")
            await stopped(office, made, "2026-01-20", "2026-01-22")
            before = await _moved_anchors(account)
            assert before == [at("2026-01-01"), at("2026-01-06")]
            with psycopg.connect(url) as connection:
                connection.execute(undo_after("0028"))
            upgrade(url)
            assert await _moved_anchors(account) == before
    finally:
        await database.close()
