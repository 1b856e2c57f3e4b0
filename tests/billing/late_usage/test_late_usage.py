"""Usage that comes after its invoice is final: reported, or charged on the next one, once."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from farthing.invoices.figures.derivation import all_differences
from farthing.reporting.line_explanation import explain_line
from tests.billing.late_usage.lateness import SLAB, VOLUME, charging, late, send, settled, watched
from tests.billing.office import Office
from tests.subscriptions.shop import fixed


async def test_by_default_late_usage_is_reported_and_not_charged(office: Office) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(office.usage(calls, "2"))
    await settled(office)
    customer = await office.customer()
    subscription = await office.subscribed(plan, customer)
    await office.used("calls", customer, 3, "2026-01-15")
    await office.run("2026-02-01")
    (january,) = await office.invoices(subscription)
    view = await office.account.get(f"/invoices/{january.id}/usage")
    assert (view["late_usage_policy"], view["usage_watermark"]) == ("report", str(january.usage_watermark))
    assert [(line["invoiced_usage"], line["current_usage"], line["late_usage"]) for line in view["lines"]] == [
        ("3", "3", "0")
    ]
    await office.used("calls", customer, 4, "2026-01-20")
    await office.used("calls", customer, 1, "2026-02-20")
    (line,) = (await office.account.get(f"/invoices/{january.id}/usage"))["lines"]
    assert (line["invoiced_usage"], line["current_usage"], line["late_usage"]) == ("3", "7", "4")
    assert (line["late_amount"], line["period_start"]) == ("8", "2026-01-01T00:00:00Z")
    assert "not_charged" not in line
    await office.run("2026-03-01")
    assert await office.totals(subscription) == ["6.00", "2.00"]


async def test_a_policy_to_ignore_measures_nothing(office: Office) -> None:
    await office.settings(late_usage_policy="ignore")
    calls = await office.feature("calls")
    customer = await office.customer()
    subscription = await office.subscribed(await office.plan(office.usage(calls, "2")), customer)
    await office.used("calls", customer, 3, "2026-01-15")
    await office.run("2026-02-01")
    (january,) = await office.invoices(subscription)
    assert await watched(office, january) == []


async def test_the_next_invoice_charges_what_came_late(office: Office) -> None:
    calls = await office.feature("calls")
    subscription, customer = await charging(office, await office.plan(fixed("50"), office.usage(calls, "2")))
    await office.used("calls", customer, 3, "2026-01-15")
    await office.run("2026-02-01")
    await office.used("calls", customer, 4, "2026-01-20")
    await office.used("calls", customer, 1, "2026-02-20")
    preview, _ = await office.previewed(subscription)
    await office.run("2026-03-01")
    assert await office.totals(subscription) == ["50.00", "56.00", "60.00"]
    assert preview == "60.00"
    _, january, february = await office.invoices(subscription)
    assert await office.lines(february) == [("calls", "1", "2"), ("Plan", "1", "50"), ("calls (Late Usage)", "4", "8")]
    row = next(row for row in await office.rows(february) if row.shown_metadata.get("late_usage"))
    charged = next(row for row in await office.rows(january) if row.meter_id)
    assert row.shown_metadata == {"late_usage": "true", "late_for_line": charged.id}
    assert (row.price_id, row.meter_id, row.subscription_line_item_id) == (
        charged.price_id,
        charged.meter_id,
        charged.subscription_line_item_id,
    )
    assert (row.period_start, row.period_end, row.raw_usage) == (charged.period_start, charged.period_end, Decimal(4))
    assert row.rating is not None
    assert (row.rating["current_usage"], row.rating["charged_before"]) == ("7", "6")
    assert await watched(office, january) == ["0"]
    assert february.net_usage == 10
    async with office.account.transaction(read_only=True) as session:
        assert await all_differences(session, [january, february]) == []
        assert (await explain_line(session, row.invoice_id, row.id, sees_events=True)).usage_agrees


async def test_the_month_after_is_charged_as_if_nothing_had_been_late(office: Office) -> None:
    # late lines lie in a window that another invoice has: neither is an obstacle to the other
    calls = await office.feature("calls")
    subscription, customer = await charging(office, await office.plan(office.usage(calls, "1")))
    for month, moment in enumerate(("2026-01-15", "2026-02-15", "2026-03-15"), 1):
        await office.used("calls", customer, month, moment)
        await office.run(f"2026-{month + 1:02}-01")
        await office.used("calls", customer, 10, moment)
    await office.run("2026-05-01")
    assert await office.totals(subscription) == ["1.00", "12.00", "13.00", "10.00"]


async def test_a_correction_counts_for_what_it_changed(office: Office) -> None:
    """A37: 7 are new, 3 are less, and 4 of it are late; then the 7 are deleted again."""
    calls = await office.feature("calls", type="SUM", field="x")
    subscription, customer = await charging(office, await office.plan(fixed("9"), office.usage(calls, "1")))
    await send(office, customer, "first", "2026-01-02", x="95")
    await send(office, customer, "second", "2026-01-03", x="5")
    await office.run("2026-02-01")
    await send(office, customer, "third", "2026-01-20", x="7")
    await send(office, customer, "second", "2026-01-03", x="2")
    january = (await office.invoices(subscription))[-1]
    assert await watched(office, january) == ["4"]
    await office.run("2026-03-01")
    february = (await office.invoices(subscription))[-1]
    assert await late(office, february) == [("01-01", "4", "4")]
    await office.account.delete("/events/third")
    assert await watched(office, january) == ["-7"]
    assert await watched(office, january, "not_charged") == ["negative"]
    await office.run("2026-04-01")
    assert await office.totals(subscription) == ["9.00", "109.00", "13.00", "9.00"]


@pytest.mark.parametrize(
    ("aggregation", "before", "after", "charged"),
    [
        pytest.param({"type": "MAX", "field": "x"}, ["5", "3"], ["4"], [], id="less than the largest is nothing new"),
        pytest.param({"type": "MAX", "field": "x"}, ["5", "3"], ["9"], [("01-01", "4", "4")], id="a new largest"),
        pytest.param({"type": "COUNT_UNIQUE", "field": "x"}, ["a", "b"], ["a", "b"], [], id="users seen before"),
        pytest.param(
            {"type": "COUNT_UNIQUE", "field": "x"}, ["a", "b"], ["b", "c", "c"], [("01-01", "1", "1")], id="a new user"
        ),
        pytest.param({"type": "AVG", "field": "x"}, ["2", "4"], ["9"], [("01-01", "2", "2")], id="a higher mean"),
        pytest.param({"type": "AVG", "field": "x"}, ["2", "4"], ["0"], [], id="a lower mean"),
        pytest.param({"type": "LATEST", "field": "x"}, ["2", "4"], ["9"], [("01-01", "5", "5")], id="a newer value"),
        pytest.param(
            {"type": "SUM", "field": "x", "bucket_size": "DAY"},
            ["2", "4"],
            ["9"],
            [("01-01", "9", "9")],
            id="another day's bucket",
        ),
        pytest.param(
            {"type": "MAX", "field": "x", "bucket_size": "MONTH"},
            ["2", "4"],
            ["9"],
            [("01-01", "5", "5")],
            id="more in the same bucket",
        ),
    ],
)
async def test_every_aggregation_is_measured_as_a_whole(
    office: Office,
    aggregation: dict[str, str],
    before: list[str],
    after: list[str],
    charged: list[tuple[str, str, str]],
) -> None:
    calls = await office.feature("calls", **aggregation)
    subscription, customer = await charging(office, await office.plan(fixed("9"), office.usage(calls, "1")))
    for hour, value in enumerate(before):
        await send(office, customer, f"before-{hour}", f"2026-01-10T{hour:02}:00", x=value)
    await office.run("2026-02-01")
    for hour, value in enumerate(after):
        await send(office, customer, f"after-{hour}", f"2026-01-11T{hour:02}:00", x=value)
    await office.run("2026-03-01")
    assert await late(office, (await office.invoices(subscription))[-1]) == charged


@pytest.mark.parametrize(
    ("before", "after", "charged"),
    [
        pytest.param(8, 1, [], id="what is left of the allowance is free"),
        pytest.param(8, 5, [("01-01", "3", "6")], id="only what is above the allowance costs"),
        pytest.param(12, 5, [("01-01", "5", "10")], id="a used up allowance leaves all of it"),
    ],
)
async def test_an_allowance_counts_once(
    office: Office, before: int, after: int, charged: list[tuple[str, str, str]]
) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(fixed("9"), office.usage(calls, "2"))
    await office.entitle(plan, calls, usage_limit=10, usage_reset_period="MONTHLY")
    subscription, customer = await charging(office, plan)
    await office.used("calls", customer, before, "2026-01-10")
    await office.run("2026-02-01")
    await office.used("calls", customer, after, "2026-01-11")
    await office.run("2026-03-01")
    assert await late(office, (await office.invoices(subscription))[-1]) == charged


@pytest.mark.parametrize(
    ("price", "charged"),
    [
        pytest.param(SLAB, [("01-01", "6", "2.4")], id="slabs: 8 cost 8, 14 cost 10.40"),
        pytest.param(VOLUME, [], id="volume: 8 cost 8, 14 cost 1.40 and nothing is given back"),
    ],
)
async def test_tiers_count_once(office: Office, price: dict[str, Any], charged: list[tuple[str, str, str]]) -> None:
    calls = await office.feature("calls")
    subscription, customer = await charging(office, await office.plan(fixed("9"), office.usage(calls, "0", **price)))
    await office.used("calls", customer, 8, "2026-01-10")
    await office.run("2026-02-01")
    await office.used("calls", customer, 6, "2026-01-11")
    await office.run("2026-03-01")
    assert await late(office, (await office.invoices(subscription))[-1]) == charged


async def test_what_was_taken_away_is_no_reason_to_charge_more(office: Office) -> None:
    # 11 cost 1.10 in volume tiers, and 10 cost 10
    calls = await office.feature("calls")
    subscription, customer = await charging(office, await office.plan(fixed("9"), office.usage(calls, "0", **VOLUME)))
    for number in range(11):
        await send(office, customer, f"call-{number}", "2026-01-10")
    await office.run("2026-02-01")
    await office.account.delete("/events/call-0")
    january = (await office.invoices(subscription))[-1]
    assert (await watched(office, january), await watched(office, january, "late_amount")) == (["-1"], ["8.9"])
    assert await watched(office, january, "not_charged") == ["negative"]
    await office.run("2026-03-01")
    assert await office.totals(subscription) == ["9.00", "10.10", "9.00"]


async def test_an_allowance_that_was_changed_since_is_nobodys_late_usage(office: Office) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(fixed("9"), office.usage(calls, "2"))
    await office.entitle(plan, calls, usage_limit=10, usage_reset_period="MONTHLY")
    subscription, customer = await charging(office, plan)
    await office.used("calls", customer, 8, "2026-01-10")
    await office.run("2026-02-01")
    (entitlement,) = (await office.account.get("/entitlements", plan_ids=plan["id"]))["items"]
    await office.account.put(f"/entitlements/{entitlement['id']}", {"usage_limit": 1})
    await office.run("2026-03-01")
    february = (await office.invoices(subscription))[-1]
    assert await late(office, february) == []
