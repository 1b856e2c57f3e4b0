"""Monthly recurring revenue and its movements, with worked numbers."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from farthing.calendar.billing import BillingPeriod
from farthing.rating.totals.discounts import CouponType
from farthing.reporting.analytics.metrics.monthly_revenue import (
    ActiveTime,
    MonthlyDiscount,
    MonthlyFee,
    RecurringSubscription,
    brought_to_a_month,
    revenue_at,
    without_pauses,
)
from tests.reporting.ledger import Ledger
from tests.subscriptions.shop import at, fixed


@pytest.mark.parametrize(
    ("amount", "period", "count", "code", "monthly"),
    [
        pytest.param("120", BillingPeriod.ANNUAL, 1, "usd", "10.0000", id="a year by twelve"),
        pytest.param("30", BillingPeriod.QUARTERLY, 1, "usd", "10.0000", id="a quarter by three"),
        pytest.param("15", BillingPeriod.WEEKLY, 1, "usd", "65.2232", id="a week times 365.25 by 84"),
        pytest.param("1", BillingPeriod.DAILY, 1, "usd", "30.4375", id="a day times 365.25 by 12"),
        pytest.param("60", BillingPeriod.HALF_YEARLY, 1, "usd", "10.0000", id="half a year by six"),
        pytest.param("60", BillingPeriod.MONTHLY, 2, "usd", "30.0000", id="two months by two"),
        pytest.param("100", BillingPeriod.QUARTERLY, 1, "jpy", "33.33", id="two digits more than the currency"),
        pytest.param("1", BillingPeriod.ANNUAL, 1, "kwd", "0.08333", id="five digits for three"),
    ],
)
def test_an_amount_is_brought_to_a_month(
    amount: str, period: BillingPeriod, count: int, code: str, monthly: str
) -> None:
    assert str(brought_to_a_month(Decimal(amount), period, count, code)) == monthly


ALWAYS = ActiveTime(at("2026-01-01"), None)


def subscription(fees: dict[str, str], *discounts: MonthlyDiscount) -> RecurringSubscription:
    made = tuple(MonthlyFee(name, ALWAYS, Decimal(amount)) for name, amount in fees.items())
    return RecurringSubscription("subs_1", "cust_1", "plan_1", "usd", (ALWAYS,), made, discounts)


def off(kind: CouponType, amount: str, *items: str) -> MonthlyDiscount:
    return MonthlyDiscount(ALWAYS, kind, Decimal(amount), frozenset(items) or None)


@pytest.mark.parametrize(
    ("discounts", "worth"),
    [
        pytest.param((), "85.2232", id="without coupons"),
        pytest.param((off(CouponType.PERCENTAGE, "10", "year"),), "84.2232", id="ten per cent of the first"),
        pytest.param((off(CouponType.PERCENTAGE, "10"),), "76.7009", id="ten per cent of all, rounded once"),
        pytest.param((off(CouponType.FIXED, "12", "year"),), "75.2232", id="a line coupon takes at most its line"),
        pytest.param((off(CouponType.FIXED, "100"),), "0.0000", id="a coupon takes at most everything"),
        pytest.param(
            (off(CouponType.FIXED, "5", "year"), off(CouponType.PERCENTAGE, "50")), "40.1116", id="one after the other"
        ),
    ],
)
def test_lasting_coupons_lower_recurring_revenue(discounts: tuple[MonthlyDiscount, ...], worth: str) -> None:
    given = subscription({"year": "10.0000", "quarter": "10.0000", "week": "65.2232"}, *discounts)
    assert str(revenue_at(given, at("2026-02-01"))) == worth


def test_a_pause_cuts_a_life_in_two() -> None:
    pause = ActiveTime(at("2026-02-01"), at("2026-03-01"))
    assert without_pauses(ALWAYS, [pause]) == (
        ActiveTime(at("2026-01-01"), at("2026-02-01")),
        ActiveTime(at("2026-03-01"), None),
    )


async def test_the_worked_subscriptions(ledger: Ledger) -> None:
    customer = await ledger.customer()
    await ledger.account.post(
        "/coupons",
        {"name": "Ten", "type": "percentage", "cadence": "forever", "percentage_off": "10", "coupon_code": "ten"},
    )
    for amount, period, seats in (("120", "ANNUAL", 1), ("30", "QUARTERLY", 1), ("5", "WEEKLY", 3)):
        plan = await ledger.plan(fixed(amount, billing_period=period, min_quantity=seats), name=period)
        more = {"subscription_coupons": [{"coupon_code": "ten"}]} if period == "ANNUAL" else {}
        await ledger.subscribed(plan, customer, billing_period=period, **more)
    await ledger.on("2026-01-02")
    assert await ledger.figure("mrr") == "84.22"
    assert await ledger.figure("arr") == "1010.68"


async def test_movements_of_a_year(ledger: Ledger) -> None:
    customer = await ledger.customer()
    small = await ledger.plan(fixed("10"), name="Small")
    large = await ledger.plan(fixed("30"), name="Large")
    first = await ledger.subscribed(small, customer)
    await ledger.on("2026-02-10")
    second = await ledger.subscribed(large, customer)
    await ledger.account.post(f"/subscriptions/{first.id}/cancel", {"cancellation_type": "immediate"}, expect=200)
    await ledger.on("2026-04-10")
    await ledger.account.post(f"/subscriptions/{second.id}/cancel", {"cancellation_type": "immediate"}, expect=200)
    await ledger.on("2026-06-10")
    await ledger.subscribed(small, customer)
    await ledger.on("2026-07-01")
    figures = {
        kind: {day: amount for day, amount in (await ledger.over(f"mrr_{kind}")).items() if amount != "0"}
        for kind in ("new", "expansion", "contraction", "churn", "reactivation")
    }
    assert figures == {
        "new": {"2026-01-01": "10"},
        "expansion": {"2026-02-01": "20"},
        "contraction": {},
        "churn": {"2026-04-01": "30"},
        "reactivation": {"2026-06-01": "10"},
    }
    monthly = await ledger.over("mrr")
    assert list(monthly.values()) == ["10", "30", "30", "0", "0", "10", "10"]
    retention = await ledger.over("net_revenue_retention")
    assert (retention["2026-02-01"], retention["2026-04-01"], retention["2026-05-01"]) == ("300", "0", "")
    assert (await ledger.over("gross_churn_rate"))["2026-04-01"] == "100"


@pytest.mark.parametrize(
    ("more", "worth"),
    [
        pytest.param({"trial_period_days": 14}, "0", id="a trial is worth nothing"),
        pytest.param({"start_date": "2026-03-01T00:00:00Z"}, "0", id="nor is what has not begun"),
        pytest.param({}, "10", id="an active subscription is"),
    ],
)
async def test_who_counts(ledger: Ledger, more: dict[str, Any], worth: str) -> None:
    await ledger.subscribed(await ledger.plan(fixed("10")), **more)
    await ledger.on("2026-01-02")
    assert await ledger.figure("mrr") == worth


async def test_a_pause_is_a_churn_and_a_reactivation(ledger: Ledger) -> None:
    subscription = await ledger.subscribed(await ledger.plan(fixed("10")))
    await ledger.on("2026-01-10")
    await ledger.account.post(f"/subscriptions/{subscription.id}/pause", {}, expect=200)
    await ledger.on("2026-02-10")
    await ledger.account.post(f"/subscriptions/{subscription.id}/resume", {}, expect=200)
    await ledger.on("2026-02-11")
    assert (await ledger.over("mrr_churn"))["2026-01-01"] == "10"
    assert (await ledger.over("mrr_reactivation"))["2026-02-01"] == "10"
    assert (await ledger.over("active_customers", grain="day", range="2026-01-09..2026-01-12")) == {
        "2026-01-09": "1",
        "2026-01-10": "0",
        "2026-01-11": "0",
    }
