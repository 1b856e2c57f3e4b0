"""Trials: how long, what is billed for them, and how they end."""

from __future__ import annotations

import pytest

from tests.billing.counter import Body, cancel, modify, opened, read
from tests.billing.office import Office
from tests.subscriptions.shop import fixed


@pytest.mark.parametrize(
    ("asked", "ends"),
    [
        pytest.param({}, "2026-01-08T00:00:00Z", id="what the plan's fees agree on"),
        pytest.param({"trial_period_days": 3}, "2026-01-04T00:00:00Z", id="what is asked for goes first"),
        pytest.param({"trial_period_days": 0}, None, id="none, when none is asked for"),
    ],
)
async def test_its_length(office: Office, asked: Body, ends: str | None) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(
        fixed("10", trial_period_days=7),
        fixed("20", trial_period_days=7),
        fixed("30", billing_period="ONETIME"),
        office.usage(calls, "1"),
    )
    made = await opened(office, plan, **asked)
    assert made.get("trial_end") == ends
    assert made["subscription_status"] == ("active" if ends is None else "trialing")
    if ends is not None:
        assert (made["current_period_start"], made["current_period_end"]) == ("2026-01-01T00:00:00Z", ends)


async def test_fees_that_disagree_have_no_trial_in_common(office: Office) -> None:
    plan = await office.plan(fixed("10", trial_period_days=7), fixed("20"))
    refused = await opened(office, plan, expect=400)
    assert refused["code"] == "validation_error"
    assert "trial" in str(refused["details"])
    assert (await opened(office, plan, trial_period_days=5))["trial_end"] == "2026-01-06T00:00:00Z"


@pytest.mark.parametrize(("method", "status"), [("charge_automatically", "SUCCEEDED"), ("send_invoice", "PENDING")])
async def test_its_invoice_shows_the_first_period_for_nothing(office: Office, method: str, status: str) -> None:
    made = await opened(
        office, await office.plan(fixed("10"), fixed("20")), trial_period_days=14, collection_method=method
    )
    invoice = made["latest_invoice"]
    assert (invoice["billing_reason"], invoice["total"]) == ("SUBSCRIPTION_TRIAL_START", "0")
    assert [line["amount"] for line in invoice["line_items"]] == ["0", "0"]
    assert (invoice["invoice_status"], invoice["payment_status"]) == ("FINALIZED", status)
    await office.run("2026-01-15")
    assert (await read(office, made))["subscription_status"] == "active"
    assert await office.totals() == ["0.00", "30.00"]


@pytest.mark.parametrize("kind", ["immediate", "end_of_period"])
async def test_one_that_is_cancelled_bills_nothing(office: Office, kind: str) -> None:
    calls, customer = await office.feature("calls"), await office.customer()
    plan = await office.plan(fixed("10"), office.usage(calls, "1"))
    made = await opened(office, plan, customer, trial_period_days=14)
    await office.used("calls", customer, 5, "2026-01-02")
    await office.on("2026-01-05")
    more = {"cancel_immediately_invoice_policy": "generate_invoice", "proration_behavior": "create_prorations"}
    done = await cancel(office, made, kind, **more)
    assert (done["total_credit_amount"], done["proration_details"]) == ("0", [])
    await office.run("2026-06-01")
    over = await read(office, made)
    ends = {"immediate": "2026-01-05T00:00:00Z", "end_of_period": "2026-01-15T00:00:00Z"}[kind]
    assert (over["subscription_status"], over["cancelled_at"]) == ("cancelled", ends)
    assert await office.totals() == ["0.00"]


async def test_it_is_ended_early_and_paid_from_there(office: Office) -> None:
    calls, customer = await office.feature("calls"), await office.customer()
    plan = await office.plan(fixed("10"), office.usage(calls, "1"))
    made = await opened(office, plan, customer, trial_period_days=14)
    await office.used("calls", customer, 5, "2026-01-02")
    await office.used("calls", customer, 3, "2026-01-12")
    await office.on("2026-01-05")
    await modify(office, made, "trial_end", action="immediate")
    after = await read(office, made)
    assert (after["subscription_status"], after["trial_end"]) == ("active", "2026-01-05T00:00:00Z")
    assert after["billing_anchor"] == "2026-01-05T00:00:00Z"
    await office.run("2026-02-05")
    assert await office.billed() == [
        ("TRIAL_START", "01-01..01-15", "0.00"),
        ("TRIAL_END", "01-05..02-05", "10.00"),
        ("CYCLE", "01-05..02-05", "13.00"),
    ]


async def test_it_is_made_longer_or_shorter(office: Office) -> None:
    plan = await office.plan(fixed("10"))
    made = await opened(office, plan, trial_period_days=14, end_date="2026-03-01T00:00:00Z")
    for moment in ("2026-01-20T00:00:00Z", "2026-01-10T00:00:00Z"):
        await modify(office, made, "trial_end", action="scheduled_date", new_trial_end=moment)
        after = await read(office, made)
        assert after["trial_end"] == after["current_period_end"] == moment
    for wrong in ("2026-01-01T00:00:00Z", "2026-03-02T00:00:00Z"):
        refused = await modify(office, made, "trial_end", 400, action="scheduled_date", new_trial_end=wrong)
        assert "new_trial_end" in str(refused["details"])
    await office.run("2026-01-10")
    assert await office.totals() == ["0.00", "10.00"]


async def test_a_calendar_keeps_its_boundaries_and_prorates_what_is_left(office: Office) -> None:
    calls, customer = await office.feature("calls"), await office.customer()
    plan = await office.plan(fixed("31"), office.usage(calls, "1"))
    await office.account.post(
        "/entitlements",
        {
            "entity_type": "PLAN",
            "entity_id": plan["id"],
            "feature_id": calls["id"],
            "feature_type": "metered",
            "usage_limit": 31,
            "usage_reset_period": "MONTHLY",
        },
    )
    made = await opened(
        office,
        plan,
        customer,
        trial_period_days=14,
        billing_cycle="calendar",
        proration_behavior="create_prorations",
    )
    await office.used("calls", customer, 20, "2026-01-20")
    await office.run("2026-02-01")
    after = await read(office, made)
    assert (after["billing_anchor"], after["current_period_end"]) == ("2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z")
    # 17 of the 31 days: 17 in advance, 17 of 31 calls free, and then a whole month
    assert await office.billed() == [
        ("TRIAL_START", "01-01..01-15", "0.00"),
        ("TRIAL_END", "01-15..02-01", "17.00"),
        ("CYCLE", "01-15..02-01", "34.00"),
    ]
