"""What pauses, cancellations, trials, payments and changes of plan do to what a subscription is granted."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.billing.counter import cancel, do, opened
from tests.credits.grants.granting import MONTHLY, GrantingOffice
from tests.subscriptions.shop import fixed

OWN = {**MONTHLY, "scope": "SUBSCRIPTION"}


async def test_what_would_fall_into_a_pause_is_skipped(office: GrantingOffice) -> None:
    made = await office.started("2025-01-01")
    await office.on("2025-01-10")
    await do(office, made, "pause", {"pause_mode": "immediate", "pause_end": "2025-02-20T00:00:00Z"})
    await office.moved("2025-03-02")
    assert await office.became(made) == [
        "01-01 applied 100",
        "02-01 skipped 100",
        "03-01 applied 100",
        "04-01 pending 100",
    ]


async def test_a_cancelled_subscription_is_granted_no_more(office: GrantingOffice) -> None:
    made = await office.started("2025-01-01")
    await office.on("2025-01-10")
    await cancel(office, made)
    await office.moved("2025-04-01")
    assert await office.became(made) == ["01-01 applied 100", "02-01 cancelled 100"]
    (grant,) = (await office.account.get("/creditgrants", subscription_ids=made["id"]))["items"]
    assert (grant["end_date"], grant["status"]) == ("2025-01-10T00:00:00Z", "published")
    assert await office.balance(made) == "100"


@pytest.mark.parametrize("sweep_first", [True, False])
async def test_nothing_is_granted_at_the_instant_of_a_scheduled_end(office: GrantingOffice, sweep_first: bool) -> None:
    made = await office.started("2025-01-01")
    await cancel(office, made, "end_of_period")
    if sweep_first:
        await office.swept("2025-02-01")
        await office.run()
    else:
        await office.moved("2025-02-01")
    await office.swept()
    assert await office.became(made) == ["01-01 applied 100", "02-01 cancelled 100"]


async def test_grants_end_with_the_subscription_and_with_their_own_end(office: GrantingOffice) -> None:
    plan = await office.plan(fixed("10"))
    ends = await office.started("2025-01-01", await office.granting_plan(), end_date="2025-03-15T00:00:00Z")
    own = await opened(office, plan, credit_grants=[{**OWN, "end_date": "2025-03-01T00:00:00Z"}])
    await office.moved("2025-05-01")
    assert await office.became(ends) == ["01-01 applied 100", "02-01 applied 100"]
    assert await office.became(own) == ["01-01 applied 100", "02-01 applied 100"]


async def test_a_trial_is_granted_credits_at_once(office: GrantingOffice) -> None:
    made = await office.started("2025-01-01", trial_period_days=14)
    assert (made["subscription_status"], await office.balance(made)) == ("trialing", "100")
    await office.moved("2025-02-02")
    assert await office.balance(made) == "200"


async def test_a_draft_waits_longer_and_longer_and_its_grants_move_with_its_start(office: GrantingOffice) -> None:
    made = await office.started("2025-01-01", subscription_status="draft")
    seen = []
    for moment in ("00:30", "01:30", "03:30", "07:30", "15:30", "23:30"):
        (waiting,) = await office.applications(made)
        seen.append((waiting["scheduled_for"][11:16], waiting["retry_count"]))
        await office.moved(f"2025-01-01T{moment}")
    assert seen == [("00:30", 1), ("01:30", 2), ("03:30", 3), ("07:30", 4), ("15:30", 5), ("23:30", 6)]
    assert await office.balance(made) == "none"
    await office.on("2025-01-10")
    await do(office, made, "activate", {"start_date": "2025-01-05T00:00:00Z"})
    assert await office.became(made) == ["01-05 applied 100", "02-05 pending 100"]
    assert await office.differences() == []


async def test_a_subscription_that_waits_for_its_payment_is_granted_credits_with_it(office: GrantingOffice) -> None:
    terms: dict[str, Any] = {"collection_method": "send_invoice", "payment_behavior": "default_incomplete"}
    made = await office.started("2025-01-01", **terms)
    assert (made["subscription_status"], await office.balance(made)) == ("incomplete", "none")
    (invoice,) = await office.invoices()
    body = {"payment_status": "SUCCEEDED", "amount": "10"}
    await office.account.put(f"/invoices/{invoice.id}/payment", body)
    assert await office.became(made) == ["01-01 applied 100", "02-01 pending 100"]


@pytest.mark.parametrize(
    ("behaviour", "became"),
    [
        ("create_prorations", ["01-01 applied 100", "02-01 cancelled 100", "01-16 applied 31", "02-01 pending 62"]),
        ("none", ["01-01 applied 100", "02-01 cancelled 100", "02-01 pending 62"]),
    ],
)
async def test_a_plan_change_in_place_ends_one_plans_grants_and_begins_the_others(
    office: GrantingOffice, behaviour: str, became: list[str]
) -> None:
    larger = await office.plan(fixed("20"))
    await office.grant(larger, credits="62")
    made = await office.started("2025-01-01")
    await office.on("2025-01-16T12:00")
    body = {"target_plan_id": larger["id"], "proration_behavior": behaviour}
    await office.account.post(f"/subscriptions/{made['id']}/change/v2/execute", body, expect=200)
    assert await office.became(made) == became
    assert await office.differences() == []


async def test_a_replaced_subscription_goes_on_with_grants_that_are_not_the_plans(office: GrantingOffice) -> None:
    small, large = await office.granting_plan(), await office.plan(fixed("20"))
    await office.grant(large, credits="300")
    addon = await office.addon(fixed("5"))
    await office.grant(addon, credits="7")
    made = await office.started("2025-01-01", small, addons=[{"addon_id": addon["id"]}])
    assert await office.balance(made) == "107"
    await office.on("2025-01-11")
    target = {
        "target_plan_id": large["id"],
        "proration_behavior": "none",
        "billing_cadence": "RECURRING",
        "billing_period": "MONTHLY",
        "billing_period_count": 1,
        "billing_cycle": "anniversary",
    }
    changed = await office.account.post(f"/subscriptions/{made['id']}/change/execute", target, expect=200)
    fresh = {"id": changed["new_subscription"]["id"], "customer_id": made["customer_id"]}
    assert await office.balance(made) == "407"
    assert sorted(await office.became(fresh)) == ["01-11 applied 300", "02-01 pending 7", "02-11 pending 300"]
    await office.moved("2025-02-12")
    assert await office.balance(fresh) == "714"
    assert await office.differences() == []


async def test_a_grant_that_many_end_at_once_ends_once(office: GrantingOffice) -> None:
    subscription = await office.started("2026-01-31")
    grant = (await office.account.get("/creditgrants", subscription_ids=subscription["id"]))["items"][0]
    path = f"/creditgrants/{grant['id']}"
    answers = await asyncio.gather(*(office.account.http.delete(path) for _ in range(32)))
    assert {answer.status_code for answer in answers} == {200}
    assert await office.became(subscription) == ["01-31 applied 100", "02-28 cancelled 100"]
    assert await office.differences() == []
