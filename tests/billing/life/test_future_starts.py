"""Subscriptions that start later: nothing is charged before, and the run opens them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.billing.counter import Body, cancel, do, opened, read
from tests.billing.office import ARREAR, Office
from tests.subscriptions.shop import at, fixed

MARCH: dict[str, Any] = {"start_date": "2026-03-01T00:00:00Z"}


async def _invoices(office: Office) -> list[tuple[str, str, str]]:
    return await office.billed()


@pytest.mark.parametrize(
    ("terms", "before", "after"),
    [
        pytest.param({}, "active", "active", id="active at once"),
        pytest.param({"payment_behavior": "allow_incomplete"}, "incomplete", "incomplete", id="until it is paid"),
        pytest.param(
            {"payment_behavior": "default_incomplete", "collection_method": "send_invoice"},
            "incomplete",
            "incomplete",
            id="sent and not paid",
        ),
    ],
)
async def test_it_is_charged_when_it_starts(office: Office, terms: Body, before: str, after: str) -> None:
    made = await opened(office, await office.plan(fixed("100")), **MARCH, **terms)
    assert (made["subscription_status"], made.get("latest_invoice")) == (before, None)
    await office.run("2026-02-28T23:59:59")
    assert await _invoices(office) == []
    await office.run("2026-03-01")
    assert await _invoices(office) == [("CREATE", "03-01..04-01", "100.00")]
    (opening,) = await office.invoices()
    assert (opening.reference_date, opening.due_date) == (at("2026-03-01"), at("2026-03-02"))
    assert (await read(office, made))["subscription_status"] == after
    await office.run("2026-03-01T00:05")
    assert len(await office.invoices()) == 1


async def test_downtime_over_the_start_opens_and_renews(office: Office) -> None:
    await opened(office, await office.plan(fixed("100"), fixed("30", **ARREAR)), **MARCH)
    await office.run("2026-05-02")
    assert await _invoices(office) == [
        ("CREATE", "03-01..04-01", "100.00"),
        ("CYCLE", "03-01..04-01", "130.00"),
        ("CYCLE", "04-01..05-01", "130.00"),
    ]


async def test_a_trial_opens_at_its_start(office: Office) -> None:
    made = await opened(office, await office.plan(fixed("100")), **MARCH, trial_period_days=10)
    assert made["subscription_status"] == "trialing"
    await office.run("2026-02-20")
    assert await _invoices(office) == []
    await office.run("2026-03-12")
    assert await _invoices(office) == [("TRIAL_START", "03-01..03-11", "0.00"), ("TRIAL_END", "03-11..04-11", "100.00")]


@pytest.mark.parametrize("trial", [0, 10])
async def test_cancelled_before_its_start_it_has_no_invoice(office: Office, trial: int) -> None:
    made = await opened(office, await office.plan(fixed("100")), **MARCH, trial_period_days=trial)
    await office.on("2026-02-01")
    policy = {"proration_behavior": "create_prorations", "cancel_immediately_invoice_policy": "generate_invoice"}
    await cancel(office, made, **policy)
    await office.run("2026-05-01")
    assert await _invoices(office) == []
    assert (await read(office, made))["subscription_status"] == "cancelled"


async def test_the_preview_shows_the_opening(office: Office) -> None:
    made = await opened(office, await office.plan(fixed("100"), fixed("30", **ARREAR)), **MARCH)
    shown = await office.account.post("/invoices/preview", {"subscription_id": made["id"]}, expect=200)
    assert (shown["billing_reason"], shown["total"], shown["due_date"]) == (
        "SUBSCRIPTION_CREATE",
        "100",
        "2026-03-02T00:00:00Z",
    )
    assert await _invoices(office) == []


async def test_what_must_be_paid_at_once_cannot_start_later(office: Office) -> None:
    plan = await office.plan(fixed("100"))
    refused = await opened(office, plan, expect=400, **MARCH, payment_behavior="error_if_incomplete")
    assert refused["code"] == "validation_error"
    assert "payment_behavior" in str(refused["details"])


async def test_it_cannot_be_paused_before_it_starts(office: Office) -> None:
    made = await opened(office, await office.plan(fixed("100")), **MARCH)
    await do(office, made, "pause", {"pause_mode": "immediate"}, expect=400)
