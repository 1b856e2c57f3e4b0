"""Checkouts under a test clock, and what the doctor says of one that is not as it should be."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from farthing.doctor.examination import audit
from tests.checkout.turnstile import Turnstile


async def test_a_clock_that_is_moved_on_stops_to_end_a_checkout(turnstile: Turnstile) -> None:
    opened = await turnstile.open("subscription")
    account = turnstile.account
    await account.post(f"/environments/{account.environment_id}/clock", {"frozen_time": "2026-01-18T00:00:00Z"}, 200)
    session = await turnstile.read(opened)
    assert session["checkout_status"] == "expired"
    assert (await turnstile.invoice(opened))["voided_at"] == session["expires_at"]
    assert await turnstile.had(opened) == "gone"
    await turnstile.require_sound()


async def test_a_month_of_billing_leaves_an_open_checkout_alone(turnstile: Turnstile) -> None:
    opened = await turnstile.open("subscription")
    async with turnstile.account.transaction() as session:
        await session.execute(text("UPDATE checkout_sessions SET expires_at = '2026-12-01'"))
    await turnstile.office.run("2026-02-20")
    assert (await turnstile.invoice(opened))["invoice_status"] == "DRAFT"
    await turnstile.act(opened)
    assert await turnstile.had(opened) == "active"


@pytest.mark.parametrize(
    ("kind", "paid", "fault", "figure"),
    [
        pytest.param(
            "invoice",
            False,
            "UPDATE checkout_sessions SET checkout_status = 'completed', completed_at = now()",
            "its payment",
            id="completed without its payment",
        ),
        pytest.param(
            "subscription",
            True,
            "UPDATE subscriptions SET subscription_status = 'draft'",
            "its effect, create_subscription",
            id="completed without its effect",
        ),
        pytest.param(
            "invoice",
            True,
            "UPDATE checkout_sessions SET checkout_status = 'pending', completed_at = NULL, entity_status = NULL",
            "its payment has ended",
            id="paid and still open",
        ),
        pytest.param(
            "credits",
            False,
            "UPDATE checkout_sessions SET expires_at = '2026-01-01'",
            "its time is over",
            id="open long after its end",
        ),
        pytest.param(
            "one-off",
            False,
            "UPDATE checkout_sessions SET checkout_status = 'expired'",
            "its checkout is expired",
            id="a draft that waits for nobody",
        ),
        pytest.param(
            "subscription",
            False,
            "UPDATE checkout_sessions SET checkout_status = 'failed'",
            "its checkout is failed",
            id="a subscription that nobody will pay for",
        ),
    ],
)
async def test_the_doctor_names_what_is_wrong(
    turnstile: Turnstile, kind: str, paid: bool, fault: str, figure: str
) -> None:
    opened = await turnstile.open(kind)
    if paid:
        await turnstile.act(opened)
    await turnstile.require_sound()
    async with turnstile.account.transaction() as session:
        await session.execute(text(fault))
    account = turnstile.account
    findings = await audit(account.database, only={account.environment_id})
    assert figure in [difference.figure for difference in findings.differences]
