"""Revenue: how a line is explained, and on which days it lies."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from farthing.reporting.revenue.by_day import usage
from tests.billing.office import ARREAR
from tests.reporting.ledger import Ledger
from tests.subscriptions.shop import fixed

START = "2026-01-01T00:00:00Z"


async def revenue(ledger: Ledger, **asked: Any) -> dict[str, Any]:
    body = {"start_time": START, "end_time": "2027-01-01T00:00:00Z", **asked}
    answer = await ledger.account.http.post("/analytics/revenue", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = msgspec.json.Decoder(float_hook=Decimal).decode(answer.content)
    return found


async def tiered_books(ledger: Ledger) -> dict[str, Any]:
    """A fee of 50 a month in advance, and calls: 10 included, then 1 up to 100, then 0.5."""
    calls = await ledger.feature("calls")
    tiers = [{"up_to": 100, "unit_amount": "1"}, {"up_to": None, "unit_amount": "0.5"}]
    price = {k: v for k, v in ledger.usage(calls, "0").items() if k != "amount"}
    plan = await ledger.plan(fixed("50"), {**price, "billing_model": "TIERED", "tier_mode": "SLAB", "tiers": tiers})
    await ledger.entitle(plan, calls, usage_limit=10, usage_reset_period="MONTHLY")
    customer = await ledger.customer()
    await ledger.subscribed(plan, customer)
    await ledger.recorded("calls", customer, ("2026-01-05", 60), ("2026-01-20", 90))
    return customer


async def test_usage_is_explained_from_list_price_to_net(ledger: Ledger) -> None:
    await tiered_books(ledger)
    await ledger.run("2026-02-01")
    answer = await revenue(ledger, status="FINAL", end_time="2026-02-01T00:00:00Z")
    (fee, usage) = answer["rows"]
    assert (fee["group"], fee["net_amount"]) == ({"revenue_source": "fixed", "currency": "usd"}, 50)
    del usage["group"], usage["status"]
    assert usage == {
        "usage_at_list_rate": 150,
        "tier_delta": -20,
        "entitlement_qty": 10,
        "entitlement_amount": 10,
        "billable_qty": 140,
        "line_discount": 0,
        "invoice_discount": 0,
        "net_amount": 120,
    }


async def test_usage_lies_on_the_days_of_its_events(ledger: Ledger) -> None:
    await tiered_books(ledger)
    await ledger.run("2026-02-01")
    rows = (await revenue(ledger, granularity="day", status="FINAL", end_time="2026-02-01T00:00:00Z"))["rows"]
    earned = {(row["day"], row["group"]["revenue_source"]): row["net_amount"] for row in rows if row["net_amount"]}
    assert earned == {
        ("2026-01-01", "fixed"): 50,
        ("2026-01-05", "usage"): 50,
        ("2026-01-20", "usage"): 70,
    }


async def test_usage_is_measured_only_for_what_is_asked_about(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    await tiered_books(ledger)
    await ledger.run("2026-02-01")
    early = "2026-01-01T00:00:00Z", "2026-01-11T00:00:00Z"
    monkeypatch.setattr(usage, "MOST_DAYS_MEASURED", 3)
    rows = (await revenue(ledger, status="FINAL", start_time=early[0], end_time=early[1]))["rows"]
    assert [row["net_amount"] for row in rows] == [50, 50]
    for days, earned in (("2026-01-01..2026-01-11", "66.13"), ("2026-01-11..2026-02-01", "103.87")):
        assert await ledger.figure("recognized_revenue", range=days) == earned
    refused = await ledger.account.post("/analytics/revenue", {"start_time": START, "granularity": "day"}, 400)
    assert "more usage than can be laid on days" in str(refused)


async def test_a_fee_may_be_spread_over_its_days(ledger: Ledger) -> None:
    await ledger.subscribed(await ledger.plan(fixed("10")))
    rows = (
        await revenue(
            ledger, granularity="day", status="FINAL", allocation_policy="amortized", end_time="2026-02-01T00:00:00Z"
        )
    )["rows"]
    amounts = [row["net_amount"] for row in rows]
    assert (len(amounts), sum(amounts)) == (31, 10)
    assert {Decimal("0.32"), Decimal("0.33")} == set(map(Decimal, map(str, amounts)))


async def test_what_runs_now_is_provisional(ledger: Ledger) -> None:
    await tiered_books(ledger)
    await ledger.on("2026-01-10")
    rows = (await revenue(ledger, end_time="2026-02-01T00:00:00Z"))["rows"]
    shown = {(row["status"], row["group"]["revenue_source"]): row["net_amount"] for row in rows}
    assert shown == {("FINAL", "fixed"): 50, ("PROVISIONAL", "usage"): 120}


async def test_a_void_is_a_revert(ledger: Ledger) -> None:
    customer = await ledger.customer()
    invoice = await ledger.invoiced(customer, "100")
    await ledger.on("2026-02-03")
    await ledger.account.post(f"/invoices/{invoice['id']}/void", {}, expect=200)
    plain = (await revenue(ledger))["rows"]
    assert [(row["group"]["revenue_source"], row["net_amount"]) for row in plain] == [("one_off", 0)]
    rows = (await revenue(ledger, include_adjustments=True, granularity="day"))["rows"]
    assert [(row["day"], row.get("adjustment_type"), row["net_amount"]) for row in rows] == [
        ("2026-01-01", None, 100),
        ("2026-02-03", "revert", -100),
    ]


async def test_an_arrear_fee_is_booked_on_its_last_day(ledger: Ledger) -> None:
    await ledger.subscribed(await ledger.plan(fixed("31", **ARREAR)))
    await ledger.run("2026-02-01")
    answer = await revenue(ledger, granularity="day", status="FINAL")
    assert [(row["day"], row["net_amount"]) for row in answer["rows"]] == [("2026-01-31", 31)]
    assert answer["contains_allocated"] is True


async def test_usage_by_source_of_its_events(ledger: Ledger) -> None:
    calls = await ledger.feature("calls")
    customer = await ledger.customer()
    await ledger.subscribed(await ledger.plan(ledger.usage(calls, "2")), customer)
    event = {"event_name": "calls", "external_customer_id": customer["external_id"]}
    await ledger.events(
        [{**event, "timestamp": "2026-01-03T00:00:00Z", "source": name} for name in ("app", "app", "web")]
    )
    await ledger.run("2026-02-01")
    rows = (await revenue(ledger, group_by=["source"], customer_ids=[customer["id"]], status="FINAL"))["rows"]
    assert [(row["group"]["source"], row["net_amount"]) for row in rows] == [("app", 4), ("web", 2)]
