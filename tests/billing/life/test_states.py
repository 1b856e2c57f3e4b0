"""What may happen to a subscription in which state: the whole table, through the endpoints."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.billing.counter import Body, do, modify, opened, read
from tests.billing.office import ARREAR, Office
from tests.subscriptions.shop import fixed

STATES = ("draft", "trialing", "incomplete", "active", "paused", "cancelled")
BEGINNINGS: dict[str, dict[str, Any]] = {
    "draft": {"subscription_status": "draft"},
    "trialing": {"trial_period_days": 30, "start_date": "2026-01-05T00:00:00Z"},
    "incomplete": {"payment_behavior": "default_incomplete", "collection_method": "send_invoice"},
}


async def one(office: Office, plan: Body, state: str) -> Body:
    """A subscription in a state."""
    made = await opened(office, plan, **BEGINNINGS.get(state, {}))
    if state == "paused":
        await do(office, made, "pause")
    if state == "cancelled":
        await do(office, made, "cancel", {"cancellation_type": "immediate"})
    made = await read(office, made)
    assert made["subscription_status"] == state
    return made


Event = Callable[[Office, Body, Body, int], Awaitable[Any]]
"""Something asked of a subscription, with the plan it may change to, and the answer expected."""


def asks(path: str, **body: Any) -> Event:
    async def ask(office: Office, subscription: Body, other: Body, expect: int) -> Any:
        given = {key: other["id"] if value == "other" else value for key, value in body.items()}
        return await do(office, subscription, path, given, expect)

    return ask


async def more_seats(office: Office, subscription: Body, other: Body, expect: int) -> Any:
    wanted = [{"id": subscription["line_items"][0]["id"], "quantity": "2"}]
    return await modify(office, subscription, "quantity_change", expect, line_items=wanted)


async def trial_over(office: Office, subscription: Body, other: Body, expect: int) -> Any:
    return await modify(office, subscription, "trial_end", expect, action="immediate")


async def set_cancelled(office: Office, subscription: Body, other: Body, expect: int) -> Any:
    return await office.account.put(f"/subscriptions/{subscription['id']}", {"status": "cancelled"}, expect)


CHANGE = {
    "target_plan_id": "other",
    "proration_behavior": "none",
    "billing_cadence": "RECURRING",
    "billing_period": "MONTHLY",
    "billing_cycle": "anniversary",
}
EVENTS: dict[str, tuple[Event, dict[str, str]]] = {
    "activate": (asks("activate", start_date="2026-01-11T00:00:00Z"), {"draft": "active"}),
    "cancel at once": (
        asks("cancel", cancellation_type="immediate"),
        dict.fromkeys(("trialing", "incomplete", "active", "paused"), "cancelled"),
    ),
    "cancel at the end of the period": (
        asks("cancel", cancellation_type="end_of_period"),
        {"trialing": "trialing", "active": "active"},
    ),
    "cancel on a date": (
        asks("cancel", cancellation_type="scheduled_date", cancel_at="2026-01-20T00:00:00Z"),
        {"trialing": "trialing", "active": "active"},
    ),
    "set to cancelled": (
        set_cancelled,
        dict.fromkeys(("trialing", "incomplete", "active", "paused", "cancelled"), "cancelled"),
    ),
    "pause": (asks("pause"), {"active": "paused"}),
    "pause at the end of the period": (asks("pause", pause_mode="period_end"), {"active": "active"}),
    "resume": (asks("resume"), {"paused": "active"}),
    "end the trial": (trial_over, {"trialing": "active"}),
    "change the plan by a new subscription": (
        asks("change/execute", **CHANGE),
        {"trialing": "cancelled", "active": "cancelled"},
    ),
    "change the plan in place": (
        asks("change/v2/execute", target_plan_id="other", proration_behavior="none"),
        {"trialing": "trialing", "active": "active"},
    ),
    "change a quantity": (more_seats, {"active": "active"}),
}


@pytest.mark.parametrize("state", STATES)
async def test_the_table(office: Office, state: str) -> None:
    plan, other = await office.plan(fixed("10")), await office.plan(fixed("20"), name="Other")
    await office.on("2026-01-10")
    untouched = await one(office, plan, state)
    for name, (event, legal) in EVENTS.items():
        if state in legal:
            subscription = await one(office, plan, state)
            await event(office, subscription, other, 200)
            after = (await read(office, subscription))["subscription_status"]
            assert after == legal[state], name
            continue
        refused = await event(office, untouched, other, 400)
        assert refused["code"] == "invalid_operation", (name, refused)
        details = refused["details"]
        assert details["subscription_status"] == state, (name, refused)
        assert details.get("requested_status") or details.get("allowed_statuses"), (name, refused)
        assert state in refused["message"], (name, refused)
        assert await read(office, untouched) == untouched, name


@pytest.mark.parametrize("state", STATES)
async def test_a_status_is_not_written_past_the_table(office: Office, state: str) -> None:
    subscription = await one(office, await office.plan(fixed("10")), state)
    for wanted in STATES:
        legal = wanted == state or (wanted == "cancelled" and state != "draft")
        if legal:
            continue
        refused = await office.account.put(f"/subscriptions/{subscription['id']}", {"status": wanted}, 400)
        assert refused["code"] == "invalid_operation"
        assert (refused["details"]["subscription_status"], refused["details"]["requested_status"]) == (state, wanted)
    assert await read(office, subscription) == subscription


@pytest.mark.parametrize(
    ("state", "billed"),
    [
        pytest.param("active", ["CREATE 10.00", "CYCLE 7.00"], id="the last period of an active one is billed"),
        pytest.param("paused", ["CREATE 10.00", "CYCLE 7.00"], id="so is that of a paused one, up to the pause"),
        pytest.param("trialing", ["TRIAL_START 0.00"], id="a trial that ends with it bills nothing"),
        pytest.param("incomplete", ["CREATE 10.00"], id="one never paid for is owed no more"),
    ],
)
async def test_the_end_date_ends_it(office: Office, state: str, billed: list[str]) -> None:
    calls, customer = await office.feature("calls"), await office.customer()
    plan = await office.plan(fixed("10"), office.usage(calls, "1"))
    made = await opened(
        office, plan, customer, end_date="2026-01-20T00:00:00Z",
        **({"trial_period_days": 19} if state == "trialing" else BEGINNINGS.get(state, {})),
    )  # fmt: skip
    await office.used("calls", customer, 7, "2026-01-05")
    if state == "paused":
        await office.on("2026-01-10")
        await do(office, made, "pause")
        await office.used("calls", customer, 5, "2026-01-15")
    await office.run("2026-01-20")
    after = await read(office, made)
    assert (after["subscription_status"], after["cancelled_at"]) == ("cancelled", "2026-01-20T00:00:00Z")
    assert [f"{reason} {total}" for reason, _, total in await office.billed()] == billed
    await office.run("2026-04-01")
    assert len(await office.billed()) == len(billed)


async def test_a_draft_waits_for_ever(office: Office) -> None:
    calls, customer = await office.feature("calls"), await office.customer()
    plan = await office.plan(fixed("10"), fixed("3", **ARREAR), office.usage(calls, "1"))
    made = await opened(
        office, plan, customer, subscription_status="draft", end_date="2026-02-15T00:00:00Z", trial_period_days=0
    )
    await office.used("calls", customer, 7, "2026-01-05")
    await office.run("2026-06-01")
    assert await office.billed() == []
    after = await read(office, made)
    assert (after["subscription_status"], after["current_period_start"]) == ("draft", "2026-01-01T00:00:00Z")
    assert "latest_invoice" not in made


async def test_a_draft_with_a_trial_begins_with_it(office: Office) -> None:
    made = await opened(office, await office.plan(fixed("10")), subscription_status="draft", trial_period_days=5)
    await office.on("2026-01-03")
    after = await do(office, made, "activate", {"start_date": "2026-01-03T00:00:00Z"})
    assert (after["subscription_status"], after["trial_end"]) == ("trialing", "2026-01-08T00:00:00Z")
    assert (await office.billed()) == [("TRIAL_START", "01-03..01-08", "0.00")]
