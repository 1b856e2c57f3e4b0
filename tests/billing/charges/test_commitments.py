"""Commitments through the engine: the worked examples, and lines that say how they came about."""

from __future__ import annotations

from typing import Any

import pytest

from tests.billing.office import Office


async def _charged(office: Office, usage: dict[str, tuple[str, int]], **terms: Any) -> list[tuple[str, str, str]]:
    """The lines of the January invoice: usage by feature as (unit price, count), under a subscription's terms."""
    features = {name: await office.feature(name) for name in usage}
    plan = await office.plan(*(office.usage(features[name], price) for name, (price, _) in usage.items()))
    customer = await office.customer()
    subscription = await office.subscribed(plan, customer, **terms)
    for name, (_, count) in usage.items():
        if count:
            await office.used(name, customer, count, "2026-01-15")
    await office.run("2026-02-01")
    (invoice,) = await office.invoices(subscription)
    return await office.lines(invoice)


@pytest.mark.parametrize(
    ("usage", "terms", "amounts"),
    [
        pytest.param(
            ("0.02", 1000), {"commitment_amount": "10", "overage_factor": "1.5"}, ["10", "15"], id="C1 half is overage"
        ),
        pytest.param(
            ("0.03", 500),
            {"commitment_amount": "10", "overage_factor": "2"},
            ["9.99", "10.02"],
            id="C2 only whole units fit",
        ),
        pytest.param(
            ("0.02", 1000),
            {"commitment_amount": "100", "overage_factor": "1.5", "enable_true_up": True},
            ["20", "80"],
            id="C3 the rest is trued up",
        ),
        pytest.param(
            ("0.02", 1000),
            {"commitment_amount": "100", "overage_factor": "1", "enable_true_up": True},
            ["20", "80"],
            id="a factor of one is honoured",
        ),
    ],
)
async def test_subscription_level(
    office: Office, usage: tuple[str, int], terms: dict[str, Any], amounts: list[str]
) -> None:
    lines = await _charged(office, {"calls": usage}, **terms)
    assert [amount for _, _, amount in lines] == amounts


async def test_cumulative_commitment_over_a_year(office: Office) -> None:
    # C4 with the months 30, 20, then 12: only 10 of it is within 60, and the rest costs twice
    calls = await office.feature("calls")
    plan = await office.plan(office.usage(calls, "1"))
    customer = await office.customer()
    subscription = await office.subscribed(
        plan,
        customer,
        commitment_amount="60",
        overage_factor="2",
        commitment_duration="ANNUAL",
        enable_true_up=True,
    )
    for month, count in (("01", 30), ("02", 20), ("03", 12)):
        await office.used("calls", customer, count, f"2026-{month}-10")
    await office.run("2026-04-01")
    assert await office.totals(subscription) == ["30.00", "20.00", "14.00"]
    await office.run("2027-01-01")
    assert await office.totals(subscription) == ["30.00", "20.00", "14.00"]


async def test_cumulative_commitment_trues_up_in_the_last_month(office: Office) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(office.usage(calls, "1"))
    customer = await office.customer()
    subscription = await office.subscribed(
        plan, customer, commitment_amount="60", overage_factor="2", commitment_duration="QUARTERLY", enable_true_up=True
    )
    await office.used("calls", customer, 12, "2026-01-10")
    await office.run("2026-07-01")
    # C7: 12 and no true-up in the first month; the window closes in March; the next window renews
    assert await office.totals(subscription) == ["12.00", "48.00", "60.00"]


@pytest.mark.parametrize(
    ("count", "true_up", "total"),
    [
        pytest.param(150, False, "175.00", id="C8 above the commitment"),
        pytest.param(60, True, "100.00", id="C9 trued up"),
        pytest.param(60, False, "60.00", id="C10 not trued up"),
    ],
)
async def test_line_item_level(office: Office, count: int, true_up: bool, total: str) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(office.usage(calls, "1"))
    customer = await office.customer()
    commitment = {"commitment_amount": "100", "overage_factor": "1.5", "enable_true_up": true_up}
    subscription = await office.subscribed(plan, customer, line_item_commitments={plan["prices"][0]["id"]: commitment})
    await office.used("calls", customer, count, "2026-01-15")
    await office.run("2026-02-01")
    assert await office.totals(subscription) == [total]


async def test_c11_windowed_by_day(office: Office) -> None:
    units = await office.feature("units", type="SUM", field="n", bucket_size="DAY")
    plan = await office.plan(office.usage(units, "2", billing_period="DAILY"))
    customer = await office.customer()
    commitment = {
        "commitment_amount": "10",
        "overage_factor": "2",
        "enable_true_up": True,
        "is_window_commitment": True,
    }
    subscription = await office.subscribed(
        plan,
        customer,
        billing_period="DAILY",
        billing_period_count=1,
        line_item_commitments={plan["prices"][0]["id"]: commitment},
    )
    await office.used("units", customer, 1, "2026-01-01T10:00", n=2)
    await office.used("units", customer, 1, "2026-01-02T10:00", n=8)
    await office.run("2026-01-03")
    assert await office.totals(subscription) == ["10.00", "22.00"]
