"""What is recognized, deferred and unbilled, with worked numbers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal

import pytest

from farthing.core.money import plain
from farthing.reporting.revenue.by_day import usage
from farthing.reporting.revenue.by_day.allocation import Recognized
from farthing.reporting.revenue.schedule import LineSchedule, RevertOfLine, UndoneRevert, with_reverts
from tests.billing.office import ARREAR
from tests.reporting.ledger import Ledger
from tests.subscriptions.shop import at, fixed


async def test_a_year_billed_ahead(ledger: Ledger) -> None:
    await ledger.on("2027-01-01")
    await ledger.subscribed(await ledger.plan(fixed("120", billing_period="ANNUAL")), billing_period="ANNUAL")
    await ledger.on("2027-06-01")
    first_quarter = "2027-01-01..2027-04-01"
    assert await ledger.figure("recognized_revenue", range=first_quarter) == "29.59"
    assert await ledger.figure("deferred_revenue", range=first_quarter) == "90.41"
    assert await ledger.figure("unbilled_revenue", range=first_quarter) == "0"


async def test_usage_that_is_not_invoiced_yet_is_unbilled(ledger: Ledger) -> None:
    calls = await ledger.feature("calls")
    customer = await ledger.customer()
    await ledger.subscribed(await ledger.plan(ledger.usage(calls, "1")), customer)
    await ledger.recorded("calls", customer, ("2026-01-03", 4), ("2026-01-20", 6))
    await ledger.on("2026-01-21")
    january = "2026-01-01..2026-02-01"
    assert await ledger.figure("unbilled_revenue", range=january) == "10"
    await ledger.run("2026-02-01")
    await ledger.on("2026-02-02")
    assert await ledger.figure("recognized_revenue", range=january) == "10"
    assert await ledger.figure("unbilled_revenue", range="2026-01-01..2026-01-11") == "4"
    assert await ledger.figure("unbilled_revenue", range="2026-01-01..2026-03-01") == "0"


async def test_usage_over_the_turn_of_a_month_lies_where_its_days_do(ledger: Ledger) -> None:
    """Months are measured up to their ends alone, days up to each of them."""
    await ledger.on("2026-01-15")
    customer = await ledger.customer()
    calls, seats = await ledger.feature("calls"), await ledger.feature("seats", type="MAX", field="n")
    plan = await ledger.plan(ledger.usage(calls, "0.37"), ledger.usage(seats, "10"))
    await ledger.subscribed(plan, customer, billing_cycle="anniversary")
    await ledger.recorded("calls", customer, ("2026-01-20", 3), ("2026-01-31", 5), ("2026-02-03", 7))
    await ledger.recorded("seats", customer, ("2026-01-16", {"n": 2}), ("2026-02-10", {"n": 6}))
    await ledger.run("2026-02-15")
    await ledger.on("2026-02-20")
    spring = "2026-01-01..2026-03-01"
    for metric in ("recognized_revenue", "deferred_revenue", "unbilled_revenue"):
        by_month = await ledger.over(metric, range=spring)
        by_day = await ledger.over(metric, "day", range=spring)
        if metric == "recognized_revenue":
            days = [(day, Decimal(figure)) for day, figure in by_day.items()]
            january = sum(figure for day, figure in days if day < "2026-02")
            february = sum(figure for day, figure in days if day >= "2026-02")
            assert [Decimal(figure) for figure in by_month.values()] == [january, february]
            assert january > 0
            assert january + february == Decimal("65.55")  # 15 calls at 0.37 and 6 seats at 10
        else:
            assert by_month["2026-01-01"] == by_day["2026-01-31"]


LEVELS = [("LATEST", ((20, 4), (25, 2))), ("WEIGHTED_SUM", ((20, 4), (25, -4)))]


@pytest.mark.parametrize(("aggregation", "events"), LEVELS)
async def test_a_level_is_measured_up_to_the_ends_of_months(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, aggregation: str, events: Sequence[tuple[int, int]]
) -> None:
    await ledger.on("2026-01-15")
    customer = await ledger.customer()
    store = await ledger.feature("store", type=aggregation, field="n")
    await ledger.subscribed(await ledger.plan(ledger.usage(store, "10")), customer, billing_cycle="anniversary")
    await ledger.recorded("store", customer, *((f"2026-01-{day}", {"n": n}) for day, n in events))
    await ledger.run("2026-02-15")
    await ledger.on("2026-02-16")
    spring = "2026-01-01..2026-03-01"
    by_day = await ledger.over("recognized_revenue", "day", range=spring)
    monkeypatch.setattr(usage, "MOST_DAYS_MEASURED", 10)
    by_month = await ledger.over("recognized_revenue", range=spring)
    assert by_month == monthly(by_day)
    assert Decimal(by_month["2026-01-01"]) > 0


def monthly(by_day: Mapping[str, str]) -> dict[str, str]:
    """Days added up by month."""
    found: defaultdict[str, Decimal] = defaultdict(Decimal)
    for day, figure in by_day.items():
        found[f"{day[:7]}-01"] += Decimal(figure)
    return {month: plain(figure) for month, figure in found.items()}


async def test_a_level_that_came_to_nothing_lies_where_its_days_do(ledger: Ledger) -> None:
    """Both ends of the month show nothing, and the committed amount is all that is charged."""
    await ledger.on("2026-01-15")
    customer = await ledger.customer()
    seats = await ledger.feature("seats", type="LATEST", field="n")
    committed = {"commitment_type": "amount", "commitment_amount": "50", "commitment_true_up_enabled": True}
    price = ledger.usage(seats, "10", **committed)
    await ledger.subscribed(await ledger.plan(price), customer, billing_cycle="anniversary")
    for day, n in (("2026-01-20", 4), ("2026-01-25", 0), ("2026-02-10", 3), ("2026-02-12", 0)):
        await ledger.recorded("seats", customer, (day, {"n": n}))
    await ledger.run("2026-02-15")
    await ledger.on("2026-02-20")
    spring = "2026-01-01..2026-03-01"
    by_day = await ledger.over("recognized_revenue", "day", range=spring)
    assert await ledger.over("recognized_revenue", range=spring) == monthly(by_day)


async def test_lines_never_offset_one_another(ledger: Ledger) -> None:
    customer = await ledger.customer()
    await ledger.subscribed(await ledger.plan(fixed("31"), name="Ahead"), customer)
    await ledger.subscribed(await ledger.plan(fixed("62", **ARREAR), name="After"), customer)
    await ledger.on("2026-01-11")
    ten_days = "2026-01-01..2026-01-11"
    assert await ledger.figure("deferred_revenue", range=ten_days) == "21"
    assert await ledger.figure("unbilled_revenue", range=ten_days) == "20"


async def test_bought_credits_are_deferred_until_used_and_given_ones_never(ledger: Ledger) -> None:
    customer = await ledger.customer()
    wallet = await ledger.account.post(
        "/wallets",
        {"customer_id": customer["id"], "currency": "usd", "name": "Credits", "wallet_type": "PRE_PAID"},
        expect=200,
    )
    for reason, amount in (("PURCHASED_CREDIT_DIRECT", "30"), ("FREE_CREDIT_GRANT", "8")):
        await ledger.account.post(
            f"/wallets/{wallet['id']}/top-up",
            {"credits_to_add": amount, "transaction_reason": reason, "idempotency_key": reason},
            expect=200,
        )
    assert await ledger.figure("deferred_revenue") == "30"
    calls = await ledger.feature("calls")
    await ledger.subscribed(await ledger.plan(ledger.usage(calls, "1")), customer)
    await ledger.recorded("calls", customer, ("2026-01-03", 20))
    await ledger.run("2026-02-01")
    await ledger.on("2026-02-02")
    sold, used = await ledger.figure("credit_topups"), await ledger.figure("credit_consumption")
    assert (sold, used) == ("30", "20")
    held = Decimal(await ledger.figure("deferred_revenue"))
    recognized = Decimal(await ledger.figure("recognized_revenue"))
    # what was given is a discount: what was bought is either earned or still held
    assert held + recognized == 30


@pytest.mark.parametrize(
    ("amount", "day", "left"),
    [
        pytest.param("20", 10, [10, 10, 0, 0], id="what is still to come goes first"),
        pytest.param("25", 10, [10, 5, 0, 0], id="then what was earned, on the day itself"),
        pytest.param("10", 10, [10, 10, 5, 5], id="a part of what is to come, evenly"),
        pytest.param("15", 20, [10, 10, 5, 0], id="later, less is to come"),
        pytest.param("40", 30, [10, 10, 10, -30], id="nothing is to come any more"),
    ],
)
def test_reverts_follow_their_line(amount: str, day: int, left: list[int]) -> None:
    months = [1, 5, 15, 30] if day == 10 else [1, 5, 20, 30]
    parts = [Recognized(date(2026, 1, number), Decimal(10)) for number in months]
    back = RevertOfLine(date(2026, 1, day), at(f"2026-01-{day}"), Decimal(amount))
    schedule = with_reverts(parts, [back], 2)
    by_day = {number: Decimal(0) for number in months}
    for part in schedule:
        nearest = max(number for number in months if number <= part.day.day)
        by_day[nearest] += part.amount
    assert [int(value) for value in by_day.values()] == left
    assert sum(part.amount for part in schedule) == 40 - Decimal(amount)


@pytest.mark.parametrize(
    ("undone", "left"),
    [
        pytest.param(12, [10, 0, 10, 10], id="while the rest is to come: as it was"),
        pytest.param(25, [10, 5, 5, 10], id="later: made up for on the day"),
    ],
)
def test_a_note_that_became_void_took_nothing(undone: int, left: list[int]) -> None:
    parts = [Recognized(date(2026, 1, number), Decimal(10)) for number in (1, 20, 30)]
    void = UndoneRevert(date(2026, 1, undone), at(f"2026-01-{undone}"))
    back = RevertOfLine(date(2026, 1, 10), at("2026-01-10"), Decimal(10), void)
    schedule = LineSchedule(with_reverts(parts, [back], 2), at("2026-01-01"), Decimal(30), (back,))
    days = [date(2026, 1, number) for number in (1, 10, undone, 30)]
    assert schedule.recognized_before(date(2026, 2, 1)) == schedule.billed_before(at("2026-02-01")) == 30
    assert schedule.billed_before(at("2026-01-11")) == 20
    for number, day in enumerate(days):
        after = days[number + 1] if number < 3 else date(2026, 2, 1)
        assert int(schedule.recognized_between(day, after)) == left[number], day


async def test_what_is_billed_again_leaves_closed_months_as_they_were(ledger: Ledger) -> None:
    """A fee of 31 for January and 10 of usage: both invoices are voided and made anew on 5 March, the second with three
    calls more, and once again in April. The void ones stand until then."""
    calls = await ledger.feature("calls")
    customer = await ledger.customer()
    plan = await ledger.plan(fixed("31"), ledger.usage(calls, "1"))
    subscription = await ledger.subscribed(plan, customer)
    await ledger.recorded("calls", customer, ("2026-01-03", 10))
    await ledger.run("2026-02-01")
    await ledger.run("2026-03-01")
    await ledger.on("2026-03-05")
    spring = "2026-01-01..2026-05-01"
    metrics = ("recognized_revenue", "deferred_revenue", "unbilled_revenue")
    closed = {metric: await ledger.over(metric, range=spring) for metric in metrics}
    assert [closed["recognized_revenue"][month] for month in ("2026-01-01", "2026-02-01")] == ["41", "31"]

    await ledger.recorded("calls", customer, ("2026-01-20", 3))
    body = {"subscription_id": subscription.id, "limit": 100}
    opening, january = (await ledger.account.post("/invoices/search", body, expect=200))["items"][::-1][:2]
    for invoice in (opening, january):
        await ledger.account.post(f"/invoices/{invoice['id']}/recalculate", {}, expect=202)
    for metric in metrics:
        again = await ledger.over(metric, range=spring)
        assert [again[month] for month in ("2026-01-01", "2026-02-01")] == [
            closed[metric][month] for month in ("2026-01-01", "2026-02-01")
        ]
    # five days of March's fee; what was taken back and billed again differs by the three calls
    assert await ledger.figure("recognized_revenue", range="2026-03-01..2026-04-01") == str(5 + 3)
    assert await ledger.figure("recognized_revenue", range=spring) == str(41 + 31 + 5 + 3)

    replaced = (await ledger.account.get(f"/invoices/{january['id']}"))["recalculated_invoice_id"]
    await ledger.on("2026-04-02")
    until_april = await ledger.over("recognized_revenue", "day", range=spring)
    await ledger.account.post(f"/invoices/{replaced}/recalculate", {}, expect=202)
    again = await ledger.over("recognized_revenue", "day", range=spring)
    assert {day: figure for day, figure in again.items() if figure != until_april[day]} == {}
