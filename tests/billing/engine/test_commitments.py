"""Commitments on real invoices: what is within, what is overage, what is trued up, and what the lines say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest

from farthing.core.money import plain
from farthing.subscriptions.tables import Subscription
from tests.billing.office import Office
from tests.subscriptions.shop import at

pytestmark = pytest.mark.usefixtures("proven")

SLAB = {
    "billing_model": "TIERED",
    "tier_mode": "SLAB",
    "tiers": [
        {"up_to": 10, "unit_amount": "5"},
        {"up_to": 20, "unit_amount": "4"},
        {"up_to": None, "unit_amount": "3"},
    ],
}


async def _told(office: Office, subscription: Subscription) -> list[tuple[str, str, str, dict[str, str]]]:
    """Name, quantity, amount and metadata of the newest invoice's lines."""
    newest = (await office.invoices(subscription))[-1]
    return [
        (row.display_name or "", plain(row.quantity), plain(row.amount), dict(row.shown_metadata))
        for row in await office.rows(newest)
    ]


async def _two(
    office: Office, prices: Sequence[str], **terms: Any
) -> tuple[Subscription, dict[str, Any], Sequence[str]]:
    """A subscription to as many counting features as prices, its customer, and the features' names."""
    names = [f"feature-{number}" for number, _ in enumerate(prices)]
    features = [await office.feature(name) for name in names]
    plan = await office.plan(*(office.usage(feature, price) for feature, price in zip(features, prices, strict=True)))
    customer = await office.customer()
    return await office.subscribed(plan, customer, **terms), customer, names


OVERAGE = {"is_overage": "true", "overage_factor": "2"}


async def test_within_and_over_are_lines_of_their_own(office: Office) -> None:
    # C2: 333 whole units fit into 10, and 0.01 of the commitment stays unused
    subscription, customer, (calls,) = await _two(office, ["0.03"], commitment_amount="10", overage_factor="2")
    await office.recorded(calls, customer, ("2026-01-15", 500))
    await office.run("2026-02-01")
    assert await _told(office, subscription) == [
        ("feature-0", "333", "9.99", {}),
        ("feature-0 (Overage)", "167", "10.02", OVERAGE),
    ]
    (invoice,) = await office.invoices(subscription)
    within, over = await office.rows(invoice)
    assert (plain(within.raw_usage or Decimal(0)), over.raw_usage) == ("500", None)
    assert within.price_id == over.price_id
    assert str(over.price_type) == "USAGE"
    assert (
        await office.previewed(subscription, period_start="2026-01-01T00:00:00Z", period_end="2026-02-01T00:00:00Z")
    )[0] == "20.01"


async def test_items_use_up_the_commitment_in_their_order(office: Office) -> None:
    subscription, customer, names = await _two(
        office, ["1", "2", "0.5"], commitment_amount="10", overage_factor="2", enable_true_up=True
    )
    # 4 within; of 5 at 2, three whole units within; the third item is over altogether
    for name, count in zip(names, (4, 5, 8), strict=True):
        await office.recorded(name, customer, ("2026-01-15", count))
    preview = await office.previewed(subscription)
    await office.run("2026-02-01")
    assert await _told(office, subscription) == [
        ("feature-0", "4", "4", {}),
        ("feature-1", "3", "6", {}),
        ("feature-1 (Overage)", "2", "8", OVERAGE),
        ("feature-2 (Overage)", "8", "8", OVERAGE),
    ]
    assert preview == ("26.00", await office.last_lines(subscription))


async def test_a_true_up_says_what_was_committed_and_used(office: Office) -> None:
    # C3
    subscription, customer, (calls,) = await _two(
        office, ["0.02"], commitment_amount="100", overage_factor="1.5", enable_true_up=True
    )
    await office.recorded(calls, customer, ("2026-01-15", 1000))
    await office.run("2026-02-01")
    told = {"is_commitment_trueup": "true", "commitment_amount": "100", "commitment_utilized": "20"}
    assert await _told(office, subscription) == [
        ("feature-0", "1000", "20", {}),
        ("Plan True Up", "1", "80", told),
    ]
    (invoice,) = await office.invoices(subscription)
    true_up = (await office.rows(invoice))[1]
    assert str(true_up.price_type) == "FIXED"
    # and a month without any usage owes all of it
    await office.run("2026-03-01")
    assert await office.last_lines(subscription) == [("feature-0", "0", "0"), ("Plan True Up", "1", "100")]


@pytest.mark.parametrize("wait", [pytest.param(False, id="claims at once"), pytest.param(True, id="drafts wait")])
async def test_a_year_of_a_cumulative_commitment_and_the_next(office: Office, wait: bool) -> None:
    if wait:
        await office.settings(compute_delay_seconds=0, finalization_delay_seconds=31_622_400)
    used = [5, 7, 0, 20, 10, 0, 6, 8, 14, 0, 3, 4] + [0, 0, 50] + [1] * 8 + [0]
    subscription, customer, (calls,) = await _two(
        office, ["1"], commitment_amount="60", overage_factor="2", commitment_duration="ANNUAL", enable_true_up=True
    )
    months = [f"{2026 + month // 12}-{month % 12 + 1:02d}" for month in range(24)]
    await office.recorded(calls, customer, *((f"{month}-15", n) for month, n in zip(months, used, strict=True) if n))
    expected = []
    for year in (used[:12], used[12:]):
        prior = 0
        for number, units in enumerate(year):
            within = min(units, max(60 - prior, 0))
            prior += units
            true_up = max(60 - prior, 0) if number == 11 else 0
            expected.append(within + (units - within) * 2 + true_up)
    # one step at a time through the first window, and then all that is left at once
    for month in months[1:9]:
        await office.run(f"{month}-01")
    statuses = {str(invoice.invoice_status) for invoice in await office.invoices(subscription)}
    assert statuses == {"DRAFT" if wait else "FINALIZED"}
    await office.run("2028-01-01")
    assert await office.totals(subscription) == [f"{amount}.00" for amount in expected if amount]


async def test_c6_shares_within_the_commitment_sum_to_it(office: Office) -> None:
    subscription, customer, (one, other) = await _two(
        office,
        ["5", "7"],
        commitment_amount="60",
        overage_factor="2",
        commitment_duration="ANNUAL",
        enable_true_up=True,
    )
    # 30 and 20 before; then 5 and 7
    await office.recorded(one, customer, ("2026-01-15", 6), ("2026-02-15", 4), ("2026-03-15", 1))
    await office.recorded(other, customer, ("2026-03-15", 1))
    preview = await office.previewed(
        subscription, period_start="2026-03-01T00:00:00Z", period_end="2026-04-01T00:00:00Z"
    )
    assert preview[0] == "12.00", "nothing was invoiced before, so all of it is within"
    await office.run("2026-04-01")
    assert await office.totals(subscription) == ["30.00", "20.00", "14.00"]
    told = await _told(office, subscription)
    assert [(name, amount, more) for name, _, amount, more in told] == [
        ("feature-0", "4.17", {}),
        ("feature-1", "5.83", {}),
        ("Plan Overage", "4", OVERAGE),
    ]
    assert [quantity for _, quantity, _, _ in told] == ["0.833333333333333", "0.833333333333333", "1"]


async def test_the_largest_line_takes_the_odd_cent(office: Office) -> None:
    # 10 left for 3 + 3 + 6: 2.5, 2.5, 5; for 1 + 1 + 1 of 2: thirds of 2, where the first of equals takes it
    subscription, customer, names = await _two(
        office, ["1", "1", "1"], commitment_amount="2", overage_factor="3", commitment_duration="QUARTERLY"
    )
    for name in names:
        await office.recorded(name, customer, ("2026-01-15", 1))
    await office.run("2026-02-01")
    amounts = [amount for _, _, amount in await office.last_lines(subscription)]
    assert sorted(amounts[:3]) == ["0.66", "0.67", "0.67"]
    assert (amounts[3], await office.totals(subscription)) == ("3", ["5.00"])


async def test_c5_a_month_that_is_over_altogether(office: Office) -> None:
    subscription, customer, (calls,) = await _two(
        office, ["1"], commitment_amount="60", overage_factor="2", commitment_duration="ANNUAL", enable_true_up=True
    )
    # the overage of March (10, charged 20) counts by what it cost before the factor
    await office.recorded(
        calls, customer, ("2026-01-15", 30), ("2026-02-15", 30), ("2026-03-15", 10), ("2026-04-15", 12)
    )
    await office.run("2026-05-01")
    assert await office.totals(subscription) == ["30.00", "30.00", "20.00", "24.00"]
    assert await office.last_lines(subscription) == [("feature-0", "0", "0"), ("Plan Overage", "1", "24")]


@pytest.mark.parametrize(
    ("rhythm", "steps"),
    [
        pytest.param({"billing_period": "WEEKLY"}, ["01-08", "01-15", "01-22", "01-29", "02-05"], id="weeks"),
        pytest.param(
            {"billing_period": "DAILY", "billing_period_count": 10}, ["01-11", "01-21", "01-31", "02-10"], id="ten days"
        ),
    ],
)
async def test_a_month_is_longer_than_weeks_and_days(office: Office, rhythm: dict[str, Any], steps: list[str]) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(office.usage(calls, "1", **rhythm))
    customer = await office.customer()
    subscription = await office.subscribed(
        plan,
        customer,
        commitment_amount="20",
        overage_factor="2",
        commitment_duration="MONTHLY",
        enable_true_up=True,
        **rhythm,
    )
    await office.recorded("calls", customer, ("2026-01-03", 8), ("2026-01-20", 7))
    await office.run(f"2026-{steps[-1]}")
    # the period that holds the first of February closes January's window
    assert await office.totals(subscription) == ["8.00", "7.00", "5.00"]


async def test_items_with_windows_of_their_own(office: Office) -> None:
    calls, seats = await office.feature("calls"), await office.feature("seats")
    plan = await office.plan(office.usage(calls, "1"), office.usage(seats, "1"))
    customer = await office.customer()
    quarter, year = (
        {"commitment_amount": "10", "overage_factor": "2", "commitment_duration": duration, "enable_true_up": True}
        for duration in ("QUARTERLY", "ANNUAL")
    )
    subscription = await office.subscribed(
        plan,
        customer,
        line_item_commitments={plan["prices"][0]["id"]: quarter, plan["prices"][1]["id"]: year},
    )
    await office.recorded("calls", customer, ("2026-01-15", 9), ("2026-04-15", 9))
    await office.recorded("seats", customer, ("2026-01-15", 3), ("2026-04-15", 9))
    await office.run("2026-05-01")
    # calls: 9, then the quarter's rest of 1, then 9 of a new 10; seats: 3, then 7 within and 2 over of one year's 10
    assert await office.totals(subscription) == ["12.00", "1.00", "20.00"]
    april = (await office.invoices(subscription))[-1]
    infos = [row.commitment_info or {} for row in await office.rows(april)]
    assert [
        (info["computed_commitment_utilized_amount"], info["computed_overage_amount"], info["duration"])
        for info in infos
    ] == [("9", "0", "QUARTERLY"), ("7", "4", "ANNUAL")]


def _info(**known: Any) -> Mapping[str, Any]:
    return {"is_windowed": False, **known}


@pytest.mark.parametrize(
    ("price", "commitment", "count", "total", "info"),
    [
        pytest.param(
            {},
            {"commitment_amount": "100", "overage_factor": "1.5"},
            150,
            "175",
            {"type": "amount", "amount": "100", "overage_factor": "1.5", "true_up_enabled": False, "is_windowed": False,
             "computed_commitment_utilized_amount": "100", "computed_overage_amount": "75",
             "computed_true_up_amount": "0"},
            id="C8 above an amount",
        ),
        pytest.param(
            {},
            {"commitment_amount": "100", "overage_factor": "1.5", "enable_true_up": True},
            60,
            "100",
            {"type": "amount", "amount": "100", "overage_factor": "1.5", "true_up_enabled": True, "is_windowed": False,
             "computed_commitment_utilized_amount": "60", "computed_overage_amount": "0",
             "computed_true_up_amount": "40"},
            id="C9 below it, trued up",
        ),
        pytest.param(
            SLAB,
            {"commitment_quantity": "15", "overage_factor": "2"},
            25,
            "140",
            {"type": "quantity", "quantity": "15", "amount": "70", "overage_factor": "2", "true_up_enabled": False,
             "is_windowed": False, "computed_commitment_utilized_amount": "70", "computed_overage_amount": "70",
             "computed_true_up_amount": "0"},
            id="a quantity is worth what its tiers charge for it",
        ),
    ],
)  # fmt: skip
async def test_the_line_says_how_its_commitment_came_out(
    office: Office, price: dict[str, Any], commitment: dict[str, Any], count: int, total: str, info: dict[str, Any]
) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(office.usage(calls, "1", **price))
    customer = await office.customer()
    subscription = await office.subscribed(plan, customer, line_item_commitments={plan["prices"][0]["id"]: commitment})
    await office.recorded("calls", customer, ("2026-01-15", count))
    preview = await office.previewed(subscription)
    await office.run("2026-02-01")
    (invoice,) = await office.invoices(subscription)
    (row,) = await office.rows(invoice)
    assert (plain(row.quantity), plain(row.amount), row.commitment_info) == (str(count), total, info)
    assert preview[1] == await office.lines(invoice)
    shown = (await office.account.get(f"/invoices/{invoice.id}"))["line_items"][0]
    assert shown["commitment_info"] == info
    assert sum(Decimal(info[f"computed_{part}_amount"]) for part in ("commitment_utilized", "overage", "true_up")) == (
        Decimal(total)
    )


async def test_a_new_price_keeps_to_the_year_that_was_committed(office: Office) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(office.usage(calls, "1"))
    customer = await office.customer()
    year = {"commitment_amount": "20", "overage_factor": "2", "commitment_duration": "ANNUAL"}
    subscription = await office.subscribed(plan, customer, line_item_commitments={plan["prices"][0]["id"]: year})
    await office.recorded("calls", customer, ("2026-01-15", 15), ("2026-03-15", 10))
    await office.run("2026-03-01")
    (item,) = (await office.account.get(f"/subscriptions/{subscription.id}"))["line_items"]
    await office.account.put(f"/subscriptions/lineitems/{item['id']}", {"amount": "2"})
    await office.run("2026-04-01")
    # 15 of 20 were used; of March's 20, five are within and fifteen cost twice
    assert await office.totals(subscription) == ["15.00", "35.00"]
    assert at("2026-03-01") == (await office.invoices(subscription))[-1].period_start


async def test_versions_of_an_item_are_trued_up_once(office: Office) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(office.usage(calls, "1"))
    customer = await office.customer()
    month = {"commitment_amount": "100", "overage_factor": "2", "enable_true_up": True}
    subscription = await office.subscribed(plan, customer, line_item_commitments={plan["prices"][0]["id"]: month})
    await office.recorded("calls", customer, ("2026-01-05", 30), ("2026-01-20", 20), ("2026-02-20", 60))
    await office.on("2026-01-11")
    (item,) = (await office.account.get(f"/subscriptions/{subscription.id}"))["line_items"]
    await office.account.put(f"/subscriptions/lineitems/{item['id']}", {"amount": "2"})
    await office.run("2026-03-01")
    january, february = await office.invoices(subscription)
    # 30 at 1 and 20 at 2 make 70 of one 100; February's 60 at 2 is above it by 20
    assert [amount for _, _, amount in await office.lines(january)] == ["30", "70"]
    assert [amount for _, _, amount in await office.lines(february)] == ["140"]
    infos = [(row.commitment_info or {})["computed_true_up_amount"] for row in await office.rows(january)]
    assert infos == ["0", "30"]


async def test_what_was_not_used_is_no_overage(office: Office) -> None:
    subscription, customer, (first, _) = await _two(office, ["1", "1"], commitment_amount="5", overage_factor="2")
    await office.recorded(first, customer, ("2026-01-15", 6))
    await office.run("2026-02-01")
    assert await office.last_lines(subscription) == [
        ("feature-0", "5", "5"),
        ("feature-0 (Overage)", "1", "2"),
        ("feature-1", "0", "0"),
    ]
