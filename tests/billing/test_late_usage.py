"""Usage that comes after its invoice is final: reported, or charged on the next one, once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import func, select

from farthing.catalogue.products.tables import Meter
from farthing.core.money import plain
from farthing.customers.tables import Customer
from farthing.events.arrival import watermark
from farthing.events.backfill import backfill
from farthing.events.tables import MeterBackfill, StoredEvent
from farthing.invoices.derivation import all_differences
from farthing.invoices.tables import Invoice, InvoiceLineItem
from farthing.metering.event import Event
from farthing.subscriptions.tables import Subscription
from farthing.web.explanation import explain
from tests.billing.office import ARREAR, Office
from tests.events.books import Books, opened
from tests.subscriptions.shop import fixed

Body = Mapping[str, Any]

SLAB = {
    "billing_model": "TIERED",
    "tier_mode": "SLAB",
    "tiers": [{"up_to": 10, "unit_amount": "1"}, {"up_to": None, "unit_amount": "0.1"}],
}
VOLUME = {**SLAB, "tier_mode": "VOLUME"}
WEEKLY = {"billing_period": "WEEKLY"}


async def settled(office: Office) -> None:
    """Let every meter come to the end of its backfill, and all that was in flight until now, of whomever, to its own:
    from here on everything recorded so far counts as having been there."""
    while True:
        async with office.transaction() as session:
            if not await backfill(session, office.now):
                break
    async with office.account.transaction(read_only=True) as session:
        filled = await session.scalar(select(func.max(MeterBackfill.finished_sequence)))
        recorded = await session.scalar(select(func.max(StoredEvent.sequence)))
        highest = max(filled or 0, recorded or 0)
    for _ in range(600):
        async with office.account.transaction(read_only=True) as session:
            if await watermark(session) >= highest:
                return
        await asyncio.sleep(0.05)
    raise AssertionError("a transaction was in flight for half a minute")


async def charging(office: Office, plan: Body, **more: Any) -> tuple[Subscription, dict[str, Any]]:
    """A subscription whose late usage goes on the next invoice."""
    await office.settings(late_usage_policy="next_invoice")
    await settled(office)
    customer = await office.customer()
    return await office.subscribed(plan, customer, **more), customer


async def send(
    office: Office, customer: Body, id: str, moment: str, event_name: str = "calls", **properties: Any
) -> None:
    """One event with an id, which can be corrected and deleted."""
    event = {
        "event_id": id,
        "event_name": "calls",
        "external_customer_id": customer["external_id"],
        "timestamp": datetime.fromisoformat(moment).replace(tzinfo=UTC).isoformat(),
        "properties": properties,
    }
    await office.account.post("/events", event, expect=202)


async def late(office: Office, invoice: Invoice) -> list[tuple[str, str, str]]:
    """The late lines of an invoice: start of the window, quantity, amount."""
    return [
        (f"{row.period_start:%m-%d}", plain(row.quantity), plain(row.amount))
        for row in await office.rows(invoice)
        if row.meta.get("late_usage") == "true"
    ]


async def watched(office: Office, invoice: Invoice, field: str = "late_usage") -> list[Any]:
    """One field of the lines of an invoice's usage view."""
    view = await office.account.get(f"/invoices/{invoice.id}/usage")
    return [line.get(field) for line in view["lines"]]


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
    row = next(row for row in await office.rows(february) if row.meta.get("late_usage"))
    charged = next(row for row in await office.rows(january) if row.meter_id)
    assert row.meta == {"late_usage": "true", "late_for_line": charged.id}
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
        owner, meter = await session.get(Customer, customer["id"]), await session.get(Meter, row.meter_id)
        assert (await explain(session, row, None, meter, owner)).usage_agrees


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


async def test_two_waves_are_charged_one_after_the_other(office: Office) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(office.usage(calls, "1", **WEEKLY))
    subscription, customer = await charging(office, plan, **WEEKLY)
    await office.used("calls", customer, 1, "2026-01-02")
    await office.run("2026-01-08")
    await office.used("calls", customer, 2, "2026-01-03")
    await office.run("2026-01-15")
    await office.used("calls", customer, 4, "2026-01-04")
    await office.run("2026-01-22")
    await office.run("2026-01-29")
    first, second, third = await office.invoices(subscription)
    assert await office.totals(subscription) == ["1.00", "2.00", "4.00"]
    assert [await late(office, one) for one in (second, third)] == [[("01-01", "2", "2")], [("01-01", "4", "4")]]
    assert await watched(office, first, "invoiced_usage") == ["7"]


async def test_after_35_days_it_is_reported_only(office: Office) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(fixed("9", **WEEKLY), office.usage(calls, "1", **WEEKLY))
    subscription, customer = await charging(office, plan, **WEEKLY)
    await office.used("calls", customer, 1, "2026-01-02")
    await office.run("2026-02-12")
    await office.used("calls", customer, 2, "2026-01-03")
    # periods end on the 8th, 15th, 22nd, 29th, on Feb 5, 12 and 19: the first is 42 days before the last
    await office.run("2026-02-19")
    assert await late(office, (await office.invoices(subscription))[-1]) == []
    first = (await office.invoices(subscription))[1]
    assert (await watched(office, first), await watched(office, first, "late_amount")) == (["2"], ["2"])


async def test_35_days_are_not_too_long(office: Office) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(fixed("9", **WEEKLY), office.usage(calls, "1", **WEEKLY))
    subscription, customer = await charging(office, plan, **WEEKLY)
    await office.used("calls", customer, 1, "2026-01-02")
    await office.run("2026-02-05")
    await office.used("calls", customer, 2, "2026-01-03")
    await office.run("2026-02-12")
    assert await late(office, (await office.invoices(subscription))[-1]) == [("01-01", "2", "2")]


async def test_a_draft_computed_again_charges_it_once_on_the_same_line(office: Office) -> None:
    calls = await office.feature("calls")
    subscription, customer = await charging(office, await office.plan(fixed("9"), office.usage(calls, "1")))
    await office.used("calls", customer, 1, "2026-01-02")
    await office.run("2026-02-01")
    await office.settings(finalization_delay_seconds=7200)
    await office.used("calls", customer, 2, "2026-01-03")
    await office.run("2026-03-01")
    draft = (await office.invoices(subscription))[-1]
    (first,) = [row for row in await office.rows(draft) if row.meta.get("late_usage")]
    await office.account.post(f"/invoices/{draft.id}/compute", expect=200)
    assert await late(office, draft) == [("01-01", "2", "2")]
    await office.used("calls", customer, 4, "2026-01-04")
    await office.run("2026-03-01T02:01")
    claim = (await office.invoices(subscription))[-1]
    assert (claim.id, str(claim.invoice_status)) == (draft.id, "FINALIZED")
    (last,) = [row for row in await office.rows(claim) if row.meta.get("late_usage")]
    assert (last.id, last.amount, last.raw_usage) == (first.id, Decimal(6), Decimal(6))
    assert f"{claim.subtotal:.2f}" == "15.00"


async def test_two_drafts_of_one_batch_charge_it_once(office: Office) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(fixed("9", **WEEKLY), office.usage(calls, "1", **WEEKLY))
    subscription, customer = await charging(office, plan, **WEEKLY)
    await office.used("calls", customer, 1, "2026-01-02")
    await office.run("2026-01-08")
    await office.used("calls", customer, 2, "2026-01-03")
    await office.settings(finalization_delay_seconds=7200)
    await office.run("2026-01-29")
    assert await office.totals(subscription) == ["9.00", "10.00", "11.00", "9.00", "9.00"]
    await office.used("calls", customer, 4, "2026-01-04")
    await office.run("2026-01-29T03:00")
    assert await office.totals(subscription) == ["9.00", "10.00", "15.00", "9.00", "9.00"]
    assert {str(one.invoice_status) for one in await office.invoices(subscription)} == {"FINALIZED"}


async def test_in_one_go_as_week_by_week(office: Office) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(fixed("9", **WEEKLY), office.usage(calls, "1", **WEEKLY))
    steady, one = await charging(office, plan, **WEEKLY)
    slow, two = await charging(office, plan, **WEEKLY)
    for customer in (one, two):
        await office.used("calls", customer, 3, "2026-01-02")
        await office.used("calls", customer, 4, "2026-01-20")
    await office.run("2026-01-08")
    for customer in (one, two):
        await office.used("calls", customer, 5, "2026-01-03")
    for day in ("15", "22", "29"):
        await office.run(f"2026-01-{day}")
    assert await office.totals(steady) == await office.totals(slow) == ["9.00", "12.00", "14.00", "13.00", "9.00"]


@pytest.mark.parametrize(
    ("terms", "price"),
    [
        pytest.param({"commitment_amount": "5", "overage_factor": "2"}, {}, id="the subscription's"),
        pytest.param(
            {},
            {"commitment_amount": "5", "commitment_type": "amount", "overage_factor": "2"},
            id="the line item's",
        ),
    ],
)
async def test_under_a_commitment_it_is_reported_only(
    office: Office, terms: dict[str, Any], price: dict[str, Any]
) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(fixed("9"), office.usage(calls, "1"))
    if price:
        terms = {"line_item_commitments": {plan["prices"][1]["id"]: price}}
    subscription, customer = await charging(office, plan, **terms)
    await office.used("calls", customer, 7, "2026-01-02")
    await office.run("2026-02-01")
    january = (await office.invoices(subscription))[-1]
    await office.used("calls", customer, 2, "2026-01-03")
    assert set(await watched(office, january, "not_charged")) == {"commitment"}
    assert set(await watched(office, january, "late_amount")) == {None}
    await office.run("2026-03-01")
    february = (await office.invoices(subscription))[-1]
    assert (await late(office, february), f"{february.subtotal:.2f}") == ([], "9.00")


async def test_what_a_widened_meter_finds_is_reported_only(office: Office) -> None:
    calls = await office.account.post(
        "/features",
        {
            "name": "calls",
            "lookup_key": "calls",
            "type": "metered",
            "meter": {
                "name": "calls",
                "event_name": "calls",
                "aggregation": {"type": "COUNT"},
                "filters": [{"key": "model", "values": ["small"]}],
                "reset_usage": "BILLING_PERIOD",
            },
        },
    )
    subscription, customer = await charging(office, await office.plan(fixed("9"), office.usage(calls, "1")))
    await office.used("calls", customer, 1, "2026-01-02", model="small")
    await office.used("calls", customer, 2, "2026-01-02", model="large")
    await office.run("2026-02-01")
    january = (await office.invoices(subscription))[-1]
    wider = {"filters": [{"key": "model", "values": ["large"]}]}
    await office.account.put(f"/meters/{calls['meter_id']}", wider)
    await office.used("calls", customer, 4, "2026-01-03", model="small")
    for expected in ("4", "6"):
        assert await watched(office, january) == [expected]
        assert await watched(office, january, "not_charged") == ["meter_widened"]
        await settled(office)
    await office.run("2026-03-01")
    february = (await office.invoices(subscription))[-1]
    assert await late(office, february) == []
    # invoices that were computed with the wider meter are charged for what comes late again
    await office.used("calls", customer, 5, "2026-02-10", model="large")
    await office.run("2026-04-01")
    assert await late(office, (await office.invoices(subscription))[-1]) == [("02-01", "5", "5")]


async def test_a_line_that_was_edited_stays_as_it_was_edited(office: Office) -> None:
    await office.settings(finalization_delay_seconds=7200)
    calls = await office.feature("calls")
    subscription, customer = await charging(office, await office.plan(fixed("9"), office.usage(calls, "1")))
    await office.used("calls", customer, 8, "2026-01-02")
    await office.run("2026-02-01")
    draft = (await office.invoices(subscription))[-1]
    (line,) = [row for row in await office.rows(draft) if row.meter_id]
    params = {"action": "update", "line_item_id": line.id, "update": {"amount": "5"}}
    await office.account.post(
        f"/invoices/{draft.id}/modify/execute", {"type": "line_item", "line_item_params": params}, expect=200
    )
    await office.run("2026-02-02")
    await office.used("calls", customer, 1, "2026-01-03")
    assert await watched(office, draft, "not_charged") == ["edited_by_hand"]
    await office.run("2026-03-02")
    assert await late(office, (await office.invoices(subscription))[-1]) == []


async def test_a_period_that_came_to_nothing_is_charged_for_what_comes_late(office: Office) -> None:
    calls = await office.feature("calls")
    subscription, customer = await charging(office, await office.plan(office.usage(calls, "1")))
    await office.run("2026-02-01")
    assert await office.invoices(subscription) == []
    await office.used("calls", customer, 3, "2026-01-20")
    await office.run("2026-03-01")
    (february,) = await office.invoices(subscription)
    assert await late(office, february) == [("01-01", "3", "3")]


async def test_voiding_the_invoice_with_the_late_line_gives_the_right_to_charge_it_again(office: Office) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(fixed("9", **WEEKLY), office.usage(calls, "1", **WEEKLY))
    subscription, customer = await charging(office, plan, **WEEKLY)
    await office.used("calls", customer, 1, "2026-01-02")
    await office.run("2026-01-08")
    await office.used("calls", customer, 2, "2026-01-03")
    await office.run("2026-01-15")
    carrying = (await office.invoices(subscription))[-1]
    assert await late(office, carrying) == [("01-01", "2", "2")]
    await office.account.post(f"/invoices/{carrying.id}/void", expect=200)
    await office.run("2026-01-22")
    assert await late(office, (await office.invoices(subscription))[-1]) == [("01-01", "2", "2")]


async def test_a_period_billed_afresh_does_not_charge_again_what_was_charged_late(office: Office) -> None:
    calls = await office.feature("calls")
    subscription, customer = await charging(office, await office.plan(fixed("9"), office.usage(calls, "1")))
    await office.used("calls", customer, 1, "2026-01-02")
    await office.run("2026-02-01")
    january = (await office.invoices(subscription))[-1]
    await office.used("calls", customer, 2, "2026-01-03")
    await office.run("2026-03-01")
    await office.used("calls", customer, 4, "2026-01-04")
    await office.account.post(f"/invoices/{january.id}/recalculate", expect=202)
    _, again, february = await office.invoices(subscription)
    assert again.id != january.id
    # 7 calls in all: 2 stand on February's invoice
    assert [amount for name, _, amount in await office.lines(again) if name == "calls"] == ["5"]
    assert await late(office, february) == [("01-01", "2", "2")]
    assert await watched(office, again) == ["0"]


@pytest.mark.parametrize(
    "amount",
    [
        pytest.param("5", id="when a dearer plan has followed"),
        pytest.param("1", id="when the charge was carried to a plan that bills alike"),
    ],
)
async def test_the_price_is_the_one_that_the_line_was_charged_at(office: Office, amount: str) -> None:
    calls = await office.feature("calls")
    old = await office.plan(fixed("9"), office.usage(calls, "1"), name="Old")
    new = await office.plan(fixed("9"), office.usage(calls, amount), name="New")
    subscription, customer = await charging(office, old)
    await office.used("calls", customer, 1, "2026-01-02")
    await office.run("2026-02-01")
    body = {"target_plan_id": new["id"], "proration_behavior": "none"}
    await office.account.post(f"/subscriptions/{subscription.id}/change/v2/execute", body, expect=200)
    await office.used("calls", customer, 2, "2026-01-03")
    await office.run("2026-03-01")
    february = (await office.invoices(subscription))[-1]
    assert await late(office, february) == [("01-01", "2", "2")]
    (row,) = [row for row in await office.rows(february) if row.meta.get("late_usage")]
    assert row.price_id == old["prices"][1]["id"]


async def test_late_usage_of_a_grouped_child_is_charged_to_its_parent(office: Office) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(fixed("9"), office.usage(calls, "1"))
    child = await office.customer("child")
    children = [{"plan_id": plan["id"], "external_customer_id": "child"}]
    subscription, _ = await charging(office, plan, inheritance={"grouped_invoicing_children_to_create": children})
    await office.used("calls", child, 1, "2026-01-02")
    await office.run("2026-02-01")
    await office.used("calls", child, 2, "2026-01-03")
    await office.run("2026-03-01")
    february = (await office.invoices(subscription))[-1]
    (row,) = [row for row in await office.rows(february) if row.meta.get("late_usage")]
    assert (row.amount, row.meta["child_customer_id"]) == (Decimal(2), child["id"])
    assert row.subscription_id != subscription.id


async def test_after_threshold_invoices_the_whole_period_is_looked_at(office: Office) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(office.usage(calls, "1"))
    subscription, customer = await charging(office, plan, auto_invoice_threshold="10")
    await office.used("calls", customer, 10, "2026-01-02")
    clock = f"/environments/{office.account.environment_id}/clock"
    await office.account.post(clock, {"frozen_time": "2026-02-01T00:00:00Z"}, expect=200)
    await office.used("calls", customer, 3, "2026-01-05")
    january = (await office.invoices(subscription))[0]
    assert january.billing_reason == "AUTO_INVOICE_THRESHOLD"
    await office.run("2026-03-01")
    assert await office.totals(subscription) == ["10.00", "3.00"]


async def test_an_invoice_says_up_to_where_its_usage_was_read(office: Office) -> None:
    calls = await office.feature("calls")
    subscription, customer = await charging(office, await office.plan(fixed("9"), office.usage(calls, "1")))
    await office.used("calls", customer, 1, "2026-01-02")
    async with opened(office.account.database) as books:
        books.scope = office.account.scope
        async with books.connection.transaction():
            await _append(books, customer)
            await office.run("2026-02-01")
        opening, january = await office.invoices(subscription)
        async with office.account.transaction(read_only=True) as session:
            (in_flight,) = await session.scalars(select(StoredEvent.sequence).where(StoredEvent.id == "in-flight"))
    assert opening.usage_watermark is None
    assert january.usage_watermark is not None
    assert january.usage_watermark < in_flight
    assert f"{january.subtotal:.2f}" == "10.00"
    await office.run("2026-03-01")
    assert await late(office, (await office.invoices(subscription))[-1]) == [("01-01", "1", "1")]


async def _append(books: Books, customer: Body) -> None:
    event = Event(
        id="in-flight",
        event_name="calls",
        external_customer_id=customer["external_id"],
        timestamp=datetime(2026, 1, 3, tzinfo=UTC),
        properties={},
    )
    await books.send([event])


async def test_an_invoice_of_before_there_were_watermarks_is_reported_only(office: Office) -> None:
    calls = await office.feature("calls")
    subscription, customer = await charging(office, await office.plan(fixed("9"), office.usage(calls, "1")))
    await office.run("2026-02-01")
    january = (await office.invoices(subscription))[-1]
    async with office.transaction() as session:
        (await session.get_one(Invoice, january.id)).usage_watermark = None
    await office.used("calls", customer, 2, "2026-01-03")
    assert await watched(office, january, "not_charged") == ["no_watermark"]
    await office.run("2026-03-01")
    assert await office.totals(subscription) == ["9.00", "9.00", "9.00"]


async def test_the_usage_of_what_has_none(office: Office, stranger: Any) -> None:
    subscription = await office.subscribed(await office.plan(fixed("9"), fixed("3", **ARREAR)))
    await office.run("2026-02-01")
    for invoice in await office.invoices(subscription):
        view = await office.account.get(f"/invoices/{invoice.id}/usage")
        assert view == {
            "invoice_id": invoice.id,
            "currency": "usd",
            "late_usage_policy": "report",
            "lines": [],
        }
        await stranger.get(f"/invoices/{invoice.id}/usage", expect=404)


async def test_every_cent_of_late_usage_is_on_exactly_one_invoice(office: Office) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(fixed("9", **WEEKLY), office.usage(calls, "0.333", **WEEKLY))
    subscription, customer = await charging(office, plan, **WEEKLY)
    for week in range(1, 5):
        for past in range(week):
            await office.used("calls", customer, 1 + week * past, f"2026-01-{2 + 7 * past:02}")
        await office.run(f"2026-01-{1 + 7 * week:02}")
    await office.run("2026-02-05")
    async with office.account.transaction(read_only=True) as session:
        line = InvoiceLineItem
        charged = await session.execute(
            select(line.period_start, func.sum(line.amount), func.sum(line.quantity), func.sum(line.raw_usage))
            .where(line.subscription_id == subscription.id, line.meter_id.is_not(None), line.status == "published")
            .group_by(line.period_start)
            .order_by(line.period_start)
        )
        found = [(quantity, raw, amount) for _, amount, quantity, raw in charged]
    used = [sum(1 + week * past for week in range(past + 1, 5)) for past in range(4)] + [0]
    # each window, whatever came when, costs what it would have cost at once
    assert found == [(Decimal(count), Decimal(count), round(count * Decimal("0.333"), 2)) for count in used]
