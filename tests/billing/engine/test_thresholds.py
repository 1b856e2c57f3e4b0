"""Progressive billing: however often a threshold cuts a period, its invoices come to what one of the whole would."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from farthing.billing.run.passes import Run, Summary
from farthing.billing.run.thresholds import invoice_thresholds
from farthing.subscriptions.tables import Subscription
from tests.billing.office import Office
from tests.subscriptions.shop import at, fixed

pytestmark = pytest.mark.usefixtures("proven")

SLAB = {
    "billing_model": "TIERED",
    "tier_mode": "SLAB",
    "tiers": [
        {"up_to": 10, "unit_amount": "0.505"},
        {"up_to": 20, "unit_amount": "0.4", "flat_amount": "3"},
        {"up_to": None, "unit_amount": "0.333"},
    ],
}
PACKAGE = {"billing_model": "PACKAGE", "transform_quantity": {"divide_by": 7, "round": "up"}}


async def _check(office: Office, moment: str | datetime) -> None:
    """Look for thresholds that have been reached."""
    office.now = at(moment) if isinstance(moment, str) else moment
    run, done = Run(office.account.database, office.account.scope, office.now), Summary()
    await invoice_thresholds(run, done)
    assert done.failed == {}


async def _sum(office: Office, subscription: Subscription) -> Decimal:
    return sum((invoice.subtotal for invoice in await office.invoices(subscription)), Decimal(0))


async def test_a_cut_at_the_edge_of_a_tier_and_a_minor_unit_of_rounding(office: Office) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(office.usage(calls, "0", **SLAB))
    customer = await office.customer()
    subscription = await office.subscribed(plan, customer, auto_invoice_threshold="5")
    # ten units fill the first tier: 5.05. One more costs 3.40; two of them 3.80
    await office.recorded("calls", customer, ("2026-01-03", 10), ("2026-01-05", 1), ("2026-01-07", 12))
    for day in ("02", "04", "06", "08", "09"):
        await _check(office, f"2026-01-{day}")
    # 5.05 | 8.45 - 5.05 is under the threshold | 23 units: 5.05 + 7 + 0.999 = 13.05 (13.049)
    assert await office.totals(subscription) == ["5.05", "8.00"]
    await office.recorded("calls", customer, ("2026-01-20", 1))
    exact = await office.account.post(
        "/invoices/preview?exclude_invoiced=true", {"subscription_id": subscription.id}, expect=200
    )
    await office.run("2026-02-01")
    # 24 units: 13.382
    assert await office.totals(subscription) == ["5.05", "8.00", "0.33"]
    assert exact["total"] == "0.33"
    assert await office.billed(subscription) == [
        ("AUTO_INVOICE_THRESHOLD", "01-01..01-04", "5.05"),
        ("AUTO_INVOICE_THRESHOLD", "01-04..01-08", "8.00"),
        ("CYCLE", "01-08..02-01", "0.33"),
    ]


async def test_an_early_cut_counts_however_late_the_last_one_is(office: Office) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(office.usage(calls, "1"))
    await office.entitle(plan, calls, usage_limit=10, usage_reset_period="MONTHLY")
    customer = await office.customer()
    subscription = await office.subscribed(plan, customer, auto_invoice_threshold="5")
    await office.recorded("calls", customer, ("2026-01-03", 15), ("2026-01-30", 6), ("2026-01-31T23:30", 2))
    await _check(office, "2026-01-04")
    await _check(office, "2026-01-31T23:00")
    await office.run("2026-02-01")
    assert await office.totals(subscription) == ["5.00", "6.00", "2.00"]


async def test_items_that_ended_before_the_cut_still_count(office: Office) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(office.usage(calls, "1"))
    desk = await office.addon(fixed("31", invoice_cadence="ARREAR"), key="desk")
    customer = await office.customer()
    subscription = await office.subscribed(
        plan,
        customer,
        auto_invoice_threshold="5",
        commitment_amount="10",
        overage_factor="2",
        enable_true_up=True,
        addons=[{"addon_id": desk["id"]}],
    )
    await office.recorded("calls", customer, ("2026-01-03", 8), ("2026-01-20", 4))
    read = await office.account.get(f"/subscriptions/{subscription.id}")
    usage = next(line_item for line_item in read["line_items"] if line_item["price_type"] == "USAGE")
    fee = next(line_item for line_item in read["line_items"] if line_item["price_type"] == "FIXED")
    await office.on("2026-01-11")
    await office.account.put(f"/subscriptions/lineitems/{usage['id']}", {"amount": "3"})
    await office.account.put(f"/subscriptions/lineitems/{fee['id']}", {"amount": "62"})
    await _check(office, "2026-01-12")
    await office.run("2026-02-01")
    # 8 of 10 before the cut. After it 12.00, of which no whole unit of 3 fits into 2: 24.00 of overage.
    # The desk: 10 of 31 days at 31, 21 days at 62
    assert await office.totals(subscription) == ["8.00", "76.00"]


async def test_what_was_within_for_one_item_may_be_anothers_in_the_end(office: Office) -> None:
    first, second = await office.feature("first"), await office.feature("second")
    plan = await office.plan(office.usage(first, "1"), office.usage(second, "1"))
    customer = await office.customer()
    subscription = await office.subscribed(
        plan, customer, auto_invoice_threshold="8", commitment_amount="10", overage_factor="2"
    )
    await office.recorded("second", customer, ("2026-01-03", 10))
    await _check(office, "2026-01-04")
    await office.recorded("first", customer, ("2026-01-10", 10))
    await office.run("2026-02-01")
    # in the end the first item's 10 are within, and the second's 10 cost 20
    assert await office.totals(subscription) == ["10.00", "20.00"]


@pytest.mark.parametrize("seed", range(4))
async def test_the_sum_is_that_of_one_invoice(office: Office, seed: int) -> None:
    at_random = random.Random(seed)
    names = ["calls", "seats", "units"]
    features = [await office.feature(name) for name in names]
    # cut in whole units, a package that fills up makes each unit cheaper: what that would take off is not given back
    prices: list[dict[str, Any]] = [{}, {}, {}] if seed == 1 else [SLAB, PACKAGE, {}]
    plan = await office.plan(
        *(office.usage(feature, "0.777", **price) for feature, price in zip(features, prices, strict=True))
    )
    if seed % 2:
        await office.entitle(plan, features[0], usage_limit=12, usage_reset_period=["QUARTERLY", "WEEKLY"][seed // 2])
    every: list[dict[str, Any]] = [
        {"commitment_amount": "20", "overage_factor": "1.5", "commitment_duration": "QUARTERLY"},
        {"commitment_amount": "9", "overage_factor": "2", "enable_true_up": True},
        {},
        {"commitment_amount": "30", "overage_factor": "3", "commitment_duration": "ANNUAL", "enable_true_up": True},
    ]
    terms = every[seed]
    cut, whole = await office.customer(), await office.customer()
    progressive = await office.subscribed(plan, cut, auto_invoice_threshold="3", **terms)
    plain = await office.subscribed(plan, whole, **terms)
    start = at("2026-01-01")
    for name in names:
        seen = [
            ((start + timedelta(minutes=at_random.randrange(90 * 24 * 60))).isoformat()[:16], at_random.randint(1, 6))
            for _ in range(8)
        ]
        for customer in (cut, whole):
            await office.recorded(name, customer, *seen)
    moments = sorted(start + timedelta(minutes=at_random.randrange(90 * 24 * 60)) for _ in range(14))
    for moment in moments:
        await office.run(moment)
        await _check(office, moment)
    await office.run("2026-04-01")
    assert await _sum(office, progressive) == await _sum(office, plain)
    assert len(await office.invoices(progressive)) > len(await office.invoices(plain))
