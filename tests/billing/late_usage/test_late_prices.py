"""A subscription that is back-dated over the start of its prices says what nobody will be charged for."""

from __future__ import annotations

from typing import Any

import pytest

from tests.billing.office import Office
from tests.subscriptions.shop import fixed

MARCH = "2026-03-10T09:30:00Z"
JUNE = "2026-06-01T00:00:00Z"
JANUARY = "2026-01-01T00:00:00Z"
GAP = f"from {JANUARY} until {MARCH}"


def fee(amount: str, **more: Any) -> dict[str, Any]:
    """A fee whose price begins when it is made, unless said otherwise."""
    return {name: value for name, value in {**fixed(amount), "start_date": None, **more}.items() if value is not None}


@pytest.mark.parametrize(
    ("prices", "start", "warned"),
    [
        pytest.param([fee("10", display_name="Seat")], JANUARY, ["Seat"], id="made after the start"),
        pytest.param([fee("10")], MARCH, [], id="begun when the price begins"),
        pytest.param([fee("10", start_date=JANUARY)], JANUARY, [], id="a price that reaches back"),
        pytest.param(
            [fee("1", display_name="Seat"), fee("2", display_name="Support"), fee("3", start_date=JANUARY)],
            JANUARY,
            ["Seat", "Support"],
            id="each price that begins later",
        ),
        pytest.param(
            [fee("1", start_date=JANUARY, end_date=MARCH), fee("2", start_date=MARCH)],
            JANUARY,
            [],
            id="a price that continues another",
        ),
        pytest.param([fee("1", start_date=JANUARY), fee("2", start_date=JUNE)], JANUARY, [], id="one meant for later"),
    ],
)
async def test_a_subscription_back_dated_over_its_prices_says_so(
    office: Office, prices: list[dict[str, Any]], start: str, warned: list[str]
) -> None:
    """Rule: docs/rules/subscriptions.md#prices-that-begin-later"""
    await office.on(MARCH.removesuffix("Z"))
    plan, customer = await office.plan(*prices), await office.customer()
    await office.on("2026-03-12")
    body = {"customer_id": customer["id"], "plan_id": plan["id"], "currency": "usd", "billing_period": "MONTHLY"}
    begun = await office.account.post("/subscriptions", {**body, "start_date": start})
    warnings = begun.get("warnings", [])
    assert len(warnings) == len(warned)
    for warning, name in zip(warnings, warned, strict=True):
        assert name in warning
        assert GAP in warning
    assert "warnings" not in await office.account.get(f"/subscriptions/{begun['id']}")


async def test_a_draft_that_is_activated_in_the_past_says_so_too(office: Office) -> None:
    """Rule: docs/rules/subscriptions.md#prices-that-begin-later"""
    await office.on(MARCH.removesuffix("Z"))
    plan, customer = await office.plan(fee("10")), await office.customer()
    body = {"customer_id": customer["id"], "plan_id": plan["id"], "currency": "usd", "billing_period": "MONTHLY"}
    draft = await office.account.post("/subscriptions", {**body, "subscription_status": "draft"})
    assert "warnings" not in draft
    path = f"/subscriptions/{draft['id']}/activate"
    active = await office.account.post(path, {"start_date": JANUARY}, expect=200)
    assert [GAP in warning for warning in active["warnings"]] == [True]
