"""Retention deletes nothing that an invoice to come measures: the same is billed as if every event were kept.

Rule: docs/rules/metering.md#retention
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from farthing.billing.needed_usage import find_earliest_needed
from farthing.billing.run.passes import Run, Summary
from farthing.billing.run.thresholds import invoice_thresholds
from farthing.core.clock import FixedClock
from farthing.events.upkeep.retention import retention
from tests.account import Account
from tests.billing.office import Office
from tests.subscriptions.shop import at, fixed

KEPT = timedelta(days=1)


@pytest.fixture
async def office(account: Account) -> Office:
    office = Office(account)
    await office.on("2026-01-01")
    return office


async def forget(office: Office, moment: str) -> int:
    """Run the duty to its end at a moment; how many events went."""
    await office.on(moment)
    duty, deleted = retention(KEPT), 0
    while True:
        async with office.transaction() as session:
            batch = await duty(session, office.now)
        if not batch:
            return deleted
        deleted += batch


async def needed_since(office: Office, moment: str) -> datetime | None:
    """From when on events are needed at a moment."""
    async with office.account.database.transaction(office.account.scope, clock=FixedClock(at(moment))) as session:
        return await find_earliest_needed(session, at(moment))


async def test_an_open_quarter_is_billed_whole(office: Office) -> None:
    calls = await office.feature("calls")
    customer = await office.customer()
    plan = await office.plan(office.usage(calls, "1", billing_period="QUARTERLY"))
    subscription = await office.subscribed(plan, customer, billing_period="QUARTERLY")
    await office.recorded("calls", customer, ("2026-01-10", 7), ("2026-03-10", 3))
    assert await forget(office, "2026-03-31") == 0
    await office.run("2026-04-02")
    assert await office.totals(subscription) == ["10.00"]
    await office.run("2026-04-03")  # the draft has become final
    assert await forget(office, "2026-04-04") == 10


@pytest.mark.parametrize(
    ("limit", "reset", "months", "totals"),
    [
        pytest.param(10, "ANNUAL", (7, 7), ["9.00", "9.00", "13.00"], id="ten a year: seven and seven are four over"),
        pytest.param(10, "NEVER", (7, 7), ["9.00", "9.00", "13.00"], id="ten for ever"),
        pytest.param(10, "QUARTERLY", (7, 7), ["9.00", "9.00", "13.00"], id="ten a quarter"),
        pytest.param(10, "MONTHLY", (7, 7), ["9.00", "9.00", "9.00"], id="ten a month"),
    ],
)
async def test_an_allowance_longer_than_a_period_is_drawn_down(
    office: Office, limit: int, reset: str, months: Sequence[int], totals: list[str]
) -> None:
    calls = await office.feature("calls")
    customer = await office.customer()
    plan = await office.plan(fixed("9"), office.usage(calls, "1"))
    await office.entitle(plan, calls, usage_limit=limit, usage_reset_period=reset)
    subscription = await office.subscribed(plan, customer)
    await office.recorded("calls", customer, ("2026-01-10", months[0]), ("2026-02-10", months[1]))
    await office.run("2026-02-02")
    await forget(office, "2026-02-20")
    await office.run("2026-03-02")
    assert await office.totals(subscription) == totals


async def test_a_commitment_longer_than_a_period_is_used_up(office: Office) -> None:
    # 60 a quarter: 50 in January, so that of February's 20 the last 10 cost double
    calls = await office.feature("calls")
    customer = await office.customer()
    plan = await office.plan(office.usage(calls, "1"))
    terms = {"commitment_amount": "60", "overage_factor": "2", "commitment_duration": "QUARTERLY"}
    subscription = await office.subscribed(plan, customer, **terms)
    await office.recorded("calls", customer, ("2026-01-10", 50), ("2026-02-10", 20))
    await office.run("2026-02-02")
    await office.run("2026-02-03")
    assert await forget(office, "2026-02-20") == 50
    await office.run("2026-03-02")
    assert await office.totals(subscription) == ["50.00", "30.00"]


async def test_a_draft_that_is_not_computed_yet_keeps_its_period(office: Office) -> None:
    calls = await office.feature("calls")
    customer = await office.customer()
    subscription = await office.subscribed(await office.plan(office.usage(calls, "1")), customer)
    await office.recorded("calls", customer, ("2026-01-10", 7))
    await office.on("2026-02-15")
    await Run(office.account.database, office.account.scope, office.now).roll(Summary())
    assert await needed_since(office, "2026-02-15") == at("2026-01-01")
    assert await forget(office, "2026-02-15") == 0
    await office.run("2026-02-16")
    assert await office.totals(subscription) == ["7.00"]


async def test_a_period_that_thresholds_cut_is_kept_from_its_true_start(office: Office) -> None:
    calls = await office.feature("calls")
    customer = await office.customer()
    plan = await office.plan(office.usage(calls, "1"))
    subscription = await office.subscribed(plan, customer, auto_invoice_threshold="5")
    await office.recorded("calls", customer, ("2026-01-05", 6))
    await office.on("2026-01-06")
    await invoice_thresholds(Run(office.account.database, office.account.scope, office.now), Summary())
    await office.recorded("calls", customer, ("2026-01-20", 3))
    await office.on("2026-02-15")
    await Run(office.account.database, office.account.scope, office.now).roll(Summary())
    assert await needed_since(office, "2026-02-15") == at("2026-01-01")
    await forget(office, "2026-02-15")
    await office.run("2026-02-16")
    assert await office.totals(subscription) == ["6.00", "3.00"]


@pytest.mark.parametrize(
    ("policy", "since"),
    [
        pytest.param("next_invoice", "2026-01-01", id="the month before is measured again for its late usage"),
        pytest.param("report", "2026-02-01", id="nothing is charged of it, so it may go"),
    ],
)
async def test_what_is_measured_again_for_late_usage_is_kept(office: Office, policy: str, since: str) -> None:
    await office.settings(late_usage_policy=policy)
    calls = await office.feature("calls")
    customer = await office.customer()
    await office.subscribed(await office.plan(fixed("9"), office.usage(calls, "1")), customer)
    await office.recorded("calls", customer, ("2026-01-10", 7))
    await office.run("2026-02-02")
    await office.run("2026-02-03")  # January has become final
    assert await needed_since(office, "2026-02-20") == at(since)


async def test_pauses_move_the_allowance_and_what_it_needs(office: Office) -> None:
    calls = await office.feature("calls")
    customer = await office.customer()
    plan = await office.plan(fixed("9"), office.usage(calls, "1"))
    await office.entitle(plan, calls, usage_limit=10, usage_reset_period="QUARTERLY")
    subscription = await office.subscribed(plan, customer)
    path = f"/subscriptions/{subscription.id}"
    await office.run("2026-02-02")
    await office.on("2026-02-10")
    await office.account.post(f"{path}/pause", {"pause_mode": "immediate"}, expect=200)
    await office.on("2026-04-10")
    await office.account.post(f"{path}/resume", {"resume_mode": "immediate"}, expect=200)
    needed = await needed_since(office, "2026-05-20")
    assert needed is not None
    assert needed <= at("2026-01-01")


@pytest.mark.parametrize(
    ("terms", "since"),
    [
        pytest.param({"trial_period_days": 14}, "2026-01-01", id="a trial"),
        pytest.param({}, "2026-01-01", id="a first period"),
    ],
)
async def test_what_is_open_is_kept_from_its_start(office: Office, terms: dict[str, Any], since: str) -> None:
    calls = await office.feature("calls")
    await office.subscribed(await office.plan(office.usage(calls, "1")), **terms)
    assert await needed_since(office, "2026-01-10") == at(since)


async def test_nothing_is_needed_where_nothing_is_billed(office: Office) -> None:
    assert await needed_since(office, "2026-01-10") is None
    calls = await office.feature("calls")
    subscription = await office.subscribed(await office.plan(office.usage(calls, "1")))
    await office.account.post(
        f"/subscriptions/{subscription.id}/cancel", {"cancellation_type": "immediate"}, expect=200
    )
    assert await needed_since(office, "2026-01-10") is None
