"""The calendar on real invoices: anchors at the ends of months, clocks that change, stubs, ends; nothing twice."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from farthing.core.money import plain
from farthing.invoices.tables import Invoice
from farthing.subscriptions.tables import Subscription
from tests.billing.office import ARREAR, Office
from tests.subscriptions.shop import at, fixed

pytestmark = pytest.mark.usefixtures("proven")


def _tile(invoices: Sequence[Invoice]) -> None:
    """Cycle invoices follow one another without gap or overlap."""
    cycles = [invoice for invoice in invoices if str(invoice.billing_reason) == "SUBSCRIPTION_CYCLE"]
    for earlier, later in pairwise(cycles):
        assert earlier.period_end == later.period_start


async def _fees_tile(office: Office, invoices: Sequence[Invoice]) -> list[tuple[datetime, datetime]]:
    """The windows that fees were charged for, in order; no moment is in two of one line item."""
    windows = [
        (row.subscription_line_item_id, row.period_start, row.period_end)
        for invoice in invoices
        for row in await office.rows(invoice)
        if str(row.price_type) == "FIXED"
    ]
    for (item, _, end), (other, start, _) in pairwise(sorted(windows, key=lambda one: (one[0] or "", one[1] or UTC))):
        assert item != other or (end is not None and start is not None and end <= start)
    return [(start, end) for _, start, end in windows if start is not None and end is not None]


@pytest.mark.parametrize(
    ("day", "zone"),
    [(29, "UTC"), (30, "Asia/Kolkata"), (31, "UTC"), (31, "Asia/Kolkata"), (31, "America/New_York")],
)
async def test_fourteen_months_from_the_end_of_one(office: Office, day: int, zone: str) -> None:
    local = datetime(2025, 12, day, 0, 30, tzinfo=ZoneInfo(zone))
    await office.on(local.astimezone(UTC).isoformat()[:19])
    calls = await office.feature("calls")
    plan = await office.plan(fixed("10"), office.usage(calls, "1"))
    customer = await office.customer(timezone=zone)
    subscription = await office.subscribed(plan, customer)
    wanted = []
    for number in range(15):
        year, month = divmod(2025 * 12 + 11 + number, 12)
        clamped = min(day, monthrange(year, month + 1)[1])
        wanted.append(local.replace(year=year, month=month + 1, day=clamped, fold=0).astimezone(UTC))
    # in the first and in the last moment of each period
    moment = timedelta(milliseconds=1)
    seen = [instant for start, end in pairwise(wanted) for instant in (start, end - moment)]
    await office.recorded("calls", customer, *((instant.replace(tzinfo=None).isoformat(), 1) for instant in seen))
    await office.run(wanted[5])
    await office.run(wanted[-1])
    invoices = await office.invoices(subscription)
    _tile(invoices)
    assert [
        invoice.period_end for invoice in invoices if str(invoice.billing_reason) == "SUBSCRIPTION_CYCLE"
    ] == wanted[1:]
    assert await office.totals(subscription) == ["10.00"] + ["12.00"] * 14
    fees = await _fees_tile(office, invoices)
    assert fees[:-1] == list(pairwise(wanted))


@pytest.mark.parametrize(
    ("start", "boundaries"),
    [
        pytest.param(
            "2026-03-06T07:30",
            ["03-07T07:30", "03-08T07:30", "03-09T06:30", "03-10T06:30"],
            id="half past two is skipped on March 8",
        ),
        pytest.param(
            "2026-10-30T05:30",
            ["10-31T05:30", "11-01T05:30", "11-02T06:30", "11-03T06:30"],
            id="half past one comes twice on November 1",
        ),
    ],
)
async def test_every_half_hour_is_billed_once_when_clocks_change(
    office: Office, start: str, boundaries: list[str]
) -> None:
    await office.on(start)
    calls = await office.feature("calls")
    plan = await office.plan(office.usage(calls, "1", billing_period="DAILY"))
    customer = await office.customer(timezone="America/New_York")
    subscription = await office.subscribed(plan, customer, billing_period="DAILY")
    begun, over = at(start), at(f"2026-{boundaries[-1]}")
    halves = [begun + number * timedelta(minutes=30) for number in range((over - begun) // timedelta(minutes=30))]
    await office.recorded("calls", customer, *((half.isoformat()[:16], 1) for half in halves))
    await office.run(f"2026-{boundaries[-1]}")
    invoices = await office.invoices(subscription)
    assert [f"{invoice.period_end:%m-%dT%H:%M}" for invoice in invoices] == boundaries
    ends = [begun, *(at(f"2026-{boundary}") for boundary in boundaries)]
    assert [int(invoice.subtotal) for invoice in invoices] == [
        (end - since) // timedelta(minutes=30) for since, end in pairwise(ends)
    ]
    assert sum(int(invoice.subtotal) for invoice in invoices) == len(halves)


async def test_a_leap_day_every_year(office: Office) -> None:
    await office.on("2024-02-29")
    subscription = await office.subscribed(
        await office.plan(fixed("100", billing_period="ANNUAL", **ARREAR)), billing_period="ANNUAL"
    )
    await office.run("2028-02-29")
    invoices = await office.invoices(subscription)
    assert [f"{invoice.period_end:%Y-%m-%d}" for invoice in invoices] == [
        "2025-02-28",
        "2026-02-28",
        "2027-02-28",
        "2028-02-29",
    ]
    assert {f"{invoice.subtotal:.2f}" for invoice in invoices} == {"100.00"}


async def test_a_month_a_quarter_and_a_year_from_the_31st(office: Office) -> None:
    await office.on("2026-01-31")
    plan = await office.plan(fixed("10", **ARREAR))
    quarter = await office.addon(fixed("100", billing_period="QUARTERLY", **ARREAR), key="q")
    year = await office.addon(fixed("1000", billing_period="ANNUAL"), key="a")
    subscription = await office.subscribed(plan, addons=[{"addon_id": quarter["id"]}, {"addon_id": year["id"]}])
    await office.run("2027-03-31")
    invoices = await office.invoices(subscription)
    assert [(f"{invoice.period_end:%m-%d}", f"{invoice.subtotal:.0f}") for invoice in invoices] == [
        ("02-28", "1000"), ("02-28", "10"), ("03-31", "10"), ("04-30", "110"), ("05-31", "10"), ("06-30", "10"),
        ("07-31", "110"), ("08-31", "10"), ("09-30", "10"), ("10-31", "110"), ("11-30", "10"), ("12-31", "10"),
        ("01-31", "1110"), ("02-28", "10"), ("03-31", "10"),
    ]  # fmt: skip


async def test_i5_a_quarter_from_the_first_of_january_2024(office: Office) -> None:
    await office.on("2024-01-01")
    plan = await office.plan(fixed("10", **ARREAR))
    quarter = await office.addon(fixed("300", billing_period="QUARTERLY", **ARREAR), key="q")
    subscription = await office.subscribed(plan, addons=[{"addon_id": quarter["id"]}])
    await office.run("2024-05-01")
    march, april = (await office.invoices(subscription))[-2:]
    assert [(row.period_start, row.period_end) for row in await office.rows(march) if row.amount == 300] == [
        (at("2024-01-01"), at("2024-04-01"))
    ]
    assert [plain(row.amount) for row in await office.rows(april)] == ["10"]


async def test_an_end_inside_a_period(office: Office) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(fixed("10"), fixed("20", **ARREAR), office.usage(calls, "1"))
    customer = await office.customer()
    subscription = await office.subscribed(plan, customer, end_date="2026-02-11T06:00:00Z")
    seen = [("2026-02-11T05:59:59", 3), ("2026-02-11T06:00", 5)]
    await office.recorded("calls", customer, *seen)
    await office.run("2026-06-01")
    assert await office.billed(subscription) == [
        ("CREATE", "01-01..02-01", "10.00"),
        ("CYCLE", "01-01..02-01", "30.00"),
        ("CYCLE", "02-01..02-11", "23.00"),
    ]
    await _fees_tile(office, await office.invoices(subscription))


@pytest.mark.parametrize(
    ("prorated", "totals"),
    [
        # January 10 to 20 is 10 of the 31 days from December 20
        pytest.param(True, ["32.26", "116.13", "150.00"], id="a short first period costs its share"),
        pytest.param(False, ["100.00", "150.00", "150.00"], id="or all, if nothing prorates"),
    ],
)
async def test_d7_an_anchor_of_its_own(office: Office, prorated: bool, totals: list[str]) -> None:
    await office.on("2026-01-10")
    plan = await office.plan(fixed("100"), fixed("50", **ARREAR))
    more: dict[str, Any] = {"proration_behavior": "create_prorations"} if prorated else {}
    subscription = await office.subscribed(plan, billing_anchor="2026-01-20T00:00:00Z", **more)
    await office.run("2026-02-20")
    assert [period for _, period, _ in await office.billed(subscription)] == [
        "01-10..01-20",
        "01-10..01-20",
        "01-20..02-20",
    ]
    assert await office.totals(subscription) == totals


@pytest.mark.parametrize(
    ("start", "rhythm", "ends"),
    [
        pytest.param(
            "2026-02-10",
            {"billing_period": "QUARTERLY", "billing_period_count": 2, "billing_cycle": "calendar"},
            ["2026-04-01", "2026-10-01", "2027-04-01"],
            id="two quarters of the calendar",
        ),
        pytest.param(
            "2026-01-07",
            {"billing_period": "WEEKLY", "billing_period_count": 2, "billing_cycle": "calendar"},
            # D20: the Monday after the next
            ["2026-01-19", "2026-02-02", "2026-02-16"],
            id="fortnights from Mondays",
        ),
        pytest.param(
            "2026-01-29T10:00",
            {"billing_period": "DAILY", "billing_period_count": 5},
            ["2026-02-03", "2026-02-08", "2026-02-13"],
            id="five days",
        ),
        pytest.param(
            "2026-01-15",
            {"billing_period": "MONTHLY", "billing_period_count": 2, "billing_cycle": "calendar"},
            # D18
            ["2026-03-01", "2026-05-01", "2026-07-01"],
            id="two months of the calendar",
        ),
    ],
)
async def test_more_than_one_at_a_time(office: Office, start: str, rhythm: dict[str, Any], ends: list[str]) -> None:
    await office.on(start)
    price = {name: rhythm[name] for name in ("billing_period", "billing_period_count")}
    subscription: Subscription = await office.subscribed(await office.plan(fixed("7", **price, **ARREAR)), **rhythm)
    await office.run(f"{ends[-1]}T12:00")
    invoices = await office.invoices(subscription)
    assert [f"{invoice.period_end:%Y-%m-%d}" for invoice in invoices] == ends
    assert await office.totals(subscription) == ["7.00"] * len(ends)
    _tile(invoices)
