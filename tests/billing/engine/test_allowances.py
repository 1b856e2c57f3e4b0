"""What is included, over several invoices: every reset period, versions, stubs, levels, families and pauses."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select

from farthing.core.money import plain
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.invoices.tables import Invoice
from farthing.subscriptions.tables import Subscription
from tests.billing.office import ARREAR, Office
from tests.subscriptions.shop import fixed

pytestmark = pytest.mark.usefixtures("proven")


async def _selling(
    office: Office, limit: int | None, reset: str, price: Mapping[str, Any] | None = None, **aggregation: Any
) -> dict[str, Any]:
    """A plan that sells a feature at 1 and includes so much of it."""
    feature = await office.feature("calls", **aggregation)
    plan = await office.plan(office.usage(feature, "1", **(price or {})))
    await office.entitle(plan, feature, usage_limit=limit, usage_reset_period=reset)
    return plan


async def _billable(office: Office, subscription: Subscription) -> list[str]:
    """Billable quantities of all usage lines ever made, in order, those of skipped invoices too."""
    query = (
        select(InvoiceLineItem.quantity)
        .join(Invoice, Invoice.id == InvoiceLineItem.invoice_id)
        .where(
            Invoice.subscription_id == subscription.id,
            InvoiceLineItem.price_type == "USAGE",
            InvoiceLineItem.status == "published",
        )
        .order_by(Invoice.period_end, InvoiceLineItem.position)
    )
    async with office.account.transaction(read_only=True) as session:
        return [plain(quantity) for quantity in await session.scalars(query)]


@pytest.mark.parametrize(
    ("reset", "limit", "billable"),
    [
        # used: Jan 3 {8}, Jan 4 {7}, Jan 20 {5} | Feb 10 {12} | Mar 5 {6} | Apr 9 {4} | Jul 2 {9}
        pytest.param("DAILY", 6, [3, 6, 0, 0, 0, 0, 3], id="every day"),
        pytest.param("WEEKLY", 10, [5, 2, 0, 0, 0, 0, 0], id="every week from Monday"),
        pytest.param("MONTHLY", 10, [10, 2, 0, 0, 0, 0, 0], id="every month"),
        pytest.param("", 10, [10, 2, 0, 0, 0, 0, 0], id="every billing period"),
        pytest.param("QUARTERLY", 25, [0, 7, 6, 0, 0, 0, 0], id="every quarter"),
        pytest.param("HALF_YEARLY", 40, [0, 0, 0, 2, 0, 0, 0], id="every half year"),
        pytest.param("ANNUAL", 40, [0, 0, 0, 2, 0, 0, 9], id="every year"),
        pytest.param("NEVER", 45, [0, 0, 0, 0, 0, 0, 6], id="once"),
        pytest.param("MONTHLY", None, [0, 0, 0, 0, 0, 0, 0], id="without limit"),
    ],
)
async def test_reset_periods(office: Office, reset: str, limit: int | None, billable: list[int]) -> None:
    plan = await _selling(office, limit, reset)
    customer = await office.customer()
    subscription = await office.subscribed(plan, customer)
    await office.recorded(
        "calls",
        customer,
        ("2026-01-03T10:00", 8),
        ("2026-01-04T23:59", 7),
        ("2026-01-20", 5),
        ("2026-02-10", 12),
        ("2026-03-05", 6),
        ("2026-04-09", 4),
        ("2026-07-02", 9),
    )
    preview = await office.previewed(subscription)
    await office.run("2026-03-15")
    await office.run("2026-08-01")
    assert await _billable(office, subscription) == [str(units) for units in billable]
    assert preview[1] == [("calls", str(billable[0]), str(billable[0]))]
    assert await office.totals(subscription) == [f"{units}.00" for units in billable if units]


@pytest.mark.parametrize("soft", [True, False])
async def test_soft_and_hard_limits_bill_alike_and_the_line_says_what_was_free(office: Office, soft: bool) -> None:
    feature = await office.feature("calls")
    plan = await office.plan(office.usage(feature, "0.02"))
    await office.entitle(plan, feature, usage_limit=1000, usage_reset_period="MONTHLY", is_soft_limit=soft)
    customer = await office.customer()
    subscription = await office.subscribed(plan, customer)
    await office.recorded("calls", customer, ("2026-01-10", 1500))
    await office.run("2026-02-01")
    (invoice,) = await office.invoices(subscription)
    (row,) = await office.rows(invoice)
    told = [
        plain(value or Decimal(0))
        for value in (row.quantity, row.raw_usage, row.adjusted_entitlement_quantity, row.amount)
    ]
    assert (told, row.shown_metadata["usage_reset_period"]) == (["500", "1500", "1000", "10"], "MONTHLY")


async def test_the_free_part_consumes_no_tiers_and_packages(office: Office) -> None:
    tiers = [{"up_to": 10, "unit_amount": "5"}, {"up_to": 20, "unit_amount": "4"}, {"up_to": None, "unit_amount": "3"}]
    price = {"billing_model": "TIERED", "tier_mode": "SLAB", "tiers": tiers}
    plan = await _selling(office, 10, "MONTHLY", price)
    customer = await office.customer()
    subscription = await office.subscribed(plan, customer)
    await office.recorded("calls", customer, ("2026-01-10", 25))
    await office.run("2026-02-01")
    assert await office.last_lines(subscription) == [("calls", "15", "70")]


async def test_a42_versions_share_one_allowance(office: Office) -> None:
    await office.on("2026-04-01")
    plan = await _selling(office, 100, "MONTHLY")
    customer = await office.customer()
    subscription = await office.subscribed(plan, customer)
    await office.recorded("calls", customer, ("2026-04-05", 80), ("2026-04-20", 50))
    await office.on("2026-04-11")
    (item,) = (await office.account.get(f"/subscriptions/{subscription.id}"))["line_items"]
    await office.account.put(f"/subscriptions/lineitems/{item['id']}", {"amount": "2"})
    await office.run("2026-05-01")
    assert await office.last_lines(subscription) == [("calls", "0", "0"), ("calls", "30", "60")]


async def test_a44_months_of_the_anchor_in_a_quarter(office: Office) -> None:
    await office.on("2026-01-15T10:00")
    plan = await _selling(office, 10, "MONTHLY", {"billing_period": "QUARTERLY"})
    customer = await office.customer()
    subscription = await office.subscribed(plan, customer, billing_period="QUARTERLY")
    await office.recorded(
        "calls", customer, ("2026-01-20", 12), ("2026-02-15T09:59", 5), ("2026-02-15T10:00", 11), ("2026-04-14", 4)
    )
    await office.run("2026-04-15T10:00")
    assert await office.last_lines(subscription) == [("calls", "8", "8")]


async def test_a35_buckets_are_freed_in_their_order(office: Office) -> None:
    package = {"billing_model": "PACKAGE", "transform_quantity": {"divide_by": 5, "round": "up"}}
    feature = await office.feature("units", type="SUM", field="n", bucket_size="15MIN")
    plan = await office.plan(office.usage(feature, "2", **package))
    await office.entitle(plan, feature, usage_limit=6, usage_reset_period="MONTHLY")
    customer = await office.customer()
    subscription = await office.subscribed(plan, customer)
    seen = [("2026-01-05T10:01", {"n": 4}), ("2026-01-05T10:14", {"n": 3}), ("2026-01-05T10:15", {"n": 6})]
    await office.recorded("units", customer, *seen)
    await office.run("2026-02-01")
    assert await office.last_lines(subscription) == [("units", "7", "6")]


async def test_a_first_calendar_period_includes_its_share(office: Office) -> None:
    # 17 of 31 days: 548 of 1000; from February on 1000 again
    await office.on("2026-01-15")
    plan = await _selling(office, 1000, "MONTHLY")
    customer = await office.customer()
    subscription = await office.subscribed(
        plan, customer, billing_cycle="calendar", proration_behavior="create_prorations"
    )
    await office.recorded("calls", customer, ("2026-01-20", 600), ("2026-02-20", 1001))
    await office.run("2026-03-01")
    assert await _billable(office, subscription) == ["52", "1"]


@pytest.mark.parametrize(
    ("aggregation", "seen", "billable"),
    [
        pytest.param(
            {"type": "LATEST", "field": "n"},
            [("2026-01-05", 900), ("2026-01-30", 150), ("2026-02-28", 150)],
            ["50", "50", "0"],
            id="A43 the last value",
        ),
        pytest.param(
            {"type": "MAX", "field": "n"}, [("2026-01-05", 130), ("2026-02-09", 99)], ["30", "0"], id="the most"
        ),
        pytest.param(
            {"type": "AVG", "field": "n"}, [("2026-01-05", 90), ("2026-01-06", 130)], ["10", "0"], id="the mean"
        ),
        pytest.param(
            # 31 days at 124 is above by 24; the level does not outlive the period
            {"type": "WEIGHTED_SUM", "field": "n"},
            [("2026-01-01", 124), ("2026-02-15", 0)],
            ["24", "0"],
            id="a mean level",
        ),
    ],
)
async def test_levels_have_no_stock(
    office: Office, aggregation: dict[str, Any], seen: list[tuple[str, int]], billable: list[str]
) -> None:
    plan = await _selling(office, 100, "NEVER", None, **aggregation)
    customer = await office.customer()
    subscription = await office.subscribed(plan, customer)
    await office.recorded("calls", customer, *((moment, {"n": n}) for moment, n in seen))
    await office.run(f"2026-0{len(billable) + 1}-01")
    assert await _billable(office, subscription) == billable


async def test_users_are_counted_once_in_the_life_of_an_allowance(office: Office) -> None:
    # a, b | b, c, d: two of four free for good
    plan = await _selling(office, 2, "NEVER", None, type="COUNT_UNIQUE", field="user")
    customer = await office.customer()
    subscription = await office.subscribed(plan, customer)
    for day, users in (("2026-01-10", "ab"), ("2026-02-10", "bcd"), ("2026-03-10", "ae")):
        await office.recorded("calls", customer, *((day, {"user": user}) for user in users))
    await office.run("2026-04-01")
    assert await _billable(office, subscription) == ["0", "2", "1"]


async def _lasting(office: Office, type: str, reset: str, **more: Any) -> dict[str, Any]:
    """A plan that sells a feature at 1, whose meter resets like this."""
    feature = await office.account.post(
        "/features",
        {
            "name": "calls",
            "lookup_key": "calls",
            "type": "metered",
            "meter": {
                "name": "calls",
                "event_name": "calls",
                "aggregation": {"type": type, **more},
                "reset_usage": reset,
            },
        },
    )
    return await office.plan(office.usage(feature, "1"))


@pytest.mark.parametrize(
    ("meter", "values"),
    [
        pytest.param(("WEIGHTED_SUM", "NEVER", {"field": "n"}), ["5", "10", "10"], id="a level stands on"),
        pytest.param(("WEIGHTED_SUM", "BILLING_PERIOD", {"field": "n"}), ["5", "0", "0"], id="a level that does not"),
        # whatever the meter says, no event is charged in two periods
        pytest.param(("SUM", "NEVER", {"field": "n"}), ["10", "0", "0"], id="a sum"),
        pytest.param(("COUNT_UNIQUE", "NEVER", {"field": "u"}), ["1", "0", "0"], id="unique keys"),
        # the last day of January in New York ends at 05:00 of the next: one day's bucket, cut by nothing
        pytest.param(("MAX", "NEVER", {"field": "n", "bucket_size": "DAY"}), ["10", "0", "0"], id="buckets"),
    ],
)
async def test_what_lasts_beyond_a_period(
    office: Office, meter: tuple[str, str, dict[str, Any]], values: list[str]
) -> None:
    await office.on("2026-04-01")
    type, reset, more = meter
    plan = await _lasting(office, type, reset, **more)
    customer = await office.customer()
    subscription = await office.subscribed(plan, customer)
    # half of April at 10
    await office.recorded("calls", customer, ("2026-04-16", {"n": 10, "u": "a"}))
    await office.run("2026-07-01")
    assert await _billable(office, subscription) == values


async def test_a_bucket_that_a_boundary_cuts_is_charged_in_both_parts(office: Office) -> None:
    # periods begin at noon: the day of February 1 is in two periods, and each has the largest of its own half
    await office.on("2026-01-01T12:00")
    feature = await office.feature("units", type="MAX", field="n", bucket_size="DAY")
    plan = await office.plan(office.usage(feature, "1"))
    customer = await office.customer()
    subscription = await office.subscribed(plan, customer)
    seen = [("2026-02-01T11:59", {"n": 4}), ("2026-02-01T12:00", {"n": 9}), ("2026-02-01T13:00", {"n": 7})]
    await office.recorded("units", customer, *seen)
    await office.run("2026-03-01T12:00")
    assert await office.totals(subscription) == ["4.00", "9.00"]


async def test_a_family_counts_as_one_until_somebody_leaves(office: Office) -> None:
    plan = await _lasting(office, "COUNT_UNIQUE", "BILLING_PERIOD", field="user")
    owner, child, leaver = await office.customer(), await office.customer(), await office.customer()
    children = [child["external_id"], leaver["external_id"]]
    subscription = await office.subscribed(
        plan, owner, inheritance={"external_customer_ids_to_inherit_subscription": children}
    )
    await office.recorded("calls", owner, ("2026-01-05", {"user": "a"}), ("2026-01-25", {"user": "a"}))
    await office.recorded("calls", child, ("2026-01-06", {"user": "a"}), ("2026-01-27", {"user": "b"}))
    await office.recorded("calls", leaver, ("2026-01-08", {"user": "x"}), ("2026-01-26", {"user": "y"}))
    await office.on("2026-01-20")
    params = {"action": "remove", "external_customer_ids_to_remove": [leaver["external_id"]]}
    await office.account.post(
        f"/subscriptions/{subscription.id}/modify/execute",
        {"type": "inheritance", "inheritance_params": params},
        expect=200,
    )
    preview = await office.previewed(subscription)
    await office.run("2026-02-01")
    # a, b and x: a is seen before and after somebody leaves, y is nobody's any more
    assert await office.last_lines(subscription) == [("calls", "3", "3")]
    assert preview[0] == "3.00"


@pytest.mark.parametrize(
    ("type", "quantity"),
    [
        # paused from April 10 to 15, so the period is 35 days long, of which 30 count
        pytest.param("COUNT_UNIQUE", "2", id="a user before and after counts once"),
        pytest.param("SUM", "18", id="what was used meanwhile is left out"),
        pytest.param("MAX", "6", id="so is a peak"),
        pytest.param("LATEST", "3", id="the last is that of the open time"),
        pytest.param("AVG", "4.5", id="the mean is over the rest"),
        pytest.param("WEIGHTED_SUM", None, id="a level stands on, and its time stands still"),
    ],
)
async def test_pauses_are_cut_out(office: Office, type: str, quantity: str | None) -> None:
    await office.on("2026-04-01")
    plan = await _lasting(office, type, "BILLING_PERIOD", field="u" if type == "COUNT_UNIQUE" else "n")
    customer = await office.customer()
    subscription = await office.subscribed(plan, customer)
    await office.recorded(
        "calls",
        customer,
        ("2026-04-01", {"n": 6, "u": "a"}),
        ("2026-04-05", {"n": 6, "u": "b"}),
        ("2026-04-12", {"n": 100, "u": "c"}) if type != "WEIGHTED_SUM" else ("2026-04-12", {"n": 0, "u": "c"}),
        ("2026-04-20", {"n": 3, "u": "a"}),
        ("2026-05-05", {"n": 3, "u": "b"}),
    )
    await _paused(office, subscription, "2026-04-10", "2026-04-15")
    await office.run("2026-05-06")
    # levels: 6 for 4 days, 12 for 5 and 5, 15 for 15, 18 for the last
    mean = (6 * 4 + 12 * 5 + 12 * 5 + 15 * 15 + 18 * 1) / 30
    wanted = quantity or plain_float(mean)
    assert await _billable(office, subscription) == [wanted]


def plain_float(value: float) -> str:
    """A float that is exact in a few digits, as text."""
    return f"{value:.10f}".rstrip("0").rstrip(".")


async def _paused(office: Office, subscription: Subscription, start: str, back: str) -> None:
    await office.on(start)
    await office.account.post(f"/subscriptions/{subscription.id}/pause", {}, expect=200)
    await office.on(back)
    await office.account.post(f"/subscriptions/{subscription.id}/resume", {}, expect=200)


@pytest.mark.parametrize(("reset", "limit"), [("QUARTERLY", 10), ("ANNUAL", 10), ("NEVER", 10), ("MONTHLY", 10)])
async def test_a_pause_makes_no_second_allowance(office: Office, reset: str, limit: int) -> None:
    await office.on("2026-04-01")
    plan = await _selling(office, limit, reset)
    customer = await office.customer()
    subscription = await office.subscribed(plan, customer)
    await office.recorded("calls", customer, ("2026-04-02", 9), ("2026-04-20", 9))
    await _paused(office, subscription, "2026-04-10", "2026-04-15")
    await office.run("2026-05-06")
    assert await _billable(office, subscription) == ["8"]


async def test_a_paused_first_period_is_no_stub(office: Office) -> None:
    await office.on("2026-04-01")
    plan = await office.plan(fixed("100", **ARREAR))
    subscription = await office.subscribed(plan, proration_behavior="create_prorations")
    await _paused(office, subscription, "2026-04-10", "2026-04-15")
    await office.run("2026-06-06")
    assert await office.billed(subscription) == [
        ("CYCLE", "04-01..05-06", "100.00"),
        ("CYCLE", "05-06..06-06", "100.00"),
    ]
