"""What always holds of figures, whatever the books are."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from farthing.core.money import exact_sum, round_to, share
from farthing.rating.pricing.price import RatedPrice
from farthing.reporting.analytics.metrics.monthly_revenue import (
    MovementKind,
    RevenueChange,
    day_ends,
    movements_of,
    value_before,
)
from farthing.reporting.proof import report_differences
from farthing.reporting.revenue.by_day.allocation import (
    DaysInARow,
    Recognized,
    UsageThrough,
    amounts_by_usage,
    amounts_evenly,
    by_usage,
    evenly,
)
from farthing.reporting.revenue.figures import added, figures_of_fee, figures_of_usage, list_rate
from tests.reporting.ledger import YEAR, Ledger
from tests.reporting.revenue.test_billed import noted, voided
from tests.subscriptions.shop import at, fixed

DAYS = tuple(at("2026-01-01") + timedelta(days=number) for number in range(31))
LOWERS = {MovementKind.CONTRACTION, MovementKind.CHURN}


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(st.integers(0, 29 * 24), st.sampled_from(["a", "b"]), st.integers(0, 500)), min_size=1, max_size=20
    )
)
def test_movements_lead_from_one_revenue_to_the_next(worths: list[tuple[int, str, int]]) -> None:
    now_worth = {"a": Decimal(0), "b": Decimal(0)}
    changes = []
    for hours, customer, worth in sorted(worths):
        by = Decimal(worth) / 10000 - now_worth[customer]
        now_worth[customer] = Decimal(worth) / 10000
        moment = DAYS[0] + timedelta(hours=hours)
        changes.append(RevenueChange(moment, "subs", customer, "plan", "usd", by))
    ends = day_ends(changes, DAYS)
    movements = movements_of(ends, DAYS)
    for first, last in ((0, 30), (3, 17), (10, 11)):
        before, after = (exact_sum([value_before(theirs, day) for theirs in ends.values()]) for day in (first, last))
        signed = [
            -movement.amount if movement.kind in LOWERS else movement.amount
            for movement in movements
            if DAYS[first] <= movement.at < DAYS[last]
        ]
        assert before + exact_sum(signed) == after
    assert all(movement.amount > 0 for movement in movements)
    assert sum(movement.kind is MovementKind.NEW for movement in movements) <= 2


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**7), st.integers(0, 100), st.integers(1, 62), st.integers(0, 4), st.integers(1, 1000))
def test_days_add_up_to_the_line(cents: int, discount: int, count: int, digits: int, covered: int) -> None:
    amount = Decimal(cents).scaleb(-digits)
    off = min(Decimal(discount).scaleb(-digits), amount)
    fee = figures_of_fee(amount, Decimal(1), off, Decimal(0))
    days = [date(2026, 1, 1) + timedelta(days=number) for number in range(count)]
    every = list(evenly(fee, DaysInARow(days[0], count), digits))
    assert added(part.figures for part in every) == fee
    assert [part.day for part in every] == days
    wanted = range(count // 3, count - count // 4)
    assert list(evenly(fee, DaysInARow(days[0], count), digits, wanted)) == every[wanted.start : wanted.stop]
    price = RatedPrice.package(Decimal("0.7"), 3)
    usage = figures_of_usage(amount - off, Decimal(1000), Decimal(covered), list_rate(price), off, Decimal(0))
    through = [UsageThrough(day, Decimal(1000 * (number + 1) // count)) for number, day in enumerate(days)]
    parts = list(by_usage(usage, price, through, digits))
    assert added(part.figures for part in parts) == usage
    assert usage.net_amount == amount - off
    assert exact_sum([part.figures.net_amount for part in parts]) == usage.net_amount
    nets = list(amounts_by_usage(usage.net_amount, Decimal(covered), price, through, digits))
    assert nets == [Recognized(part.day, part.figures.net_amount) for part in parts]
    nets = list(amounts_evenly(fee.net_amount, DaysInARow(days[0], count), digits))
    assert nets == [Recognized(part.day, part.figures.net_amount) for part in every]
    edges = [days[0] + timedelta(days=number) for number in range(-3, count + 9, 7)]
    at_edges = list(amounts_evenly(fee.net_amount, DaysInARow(days[0], count), digits, edges))
    for edge in edges:
        assert _before(at_edges, edge) == _before(nets, edge)


def _before(parts: Sequence[Recognized], day: date) -> Decimal:
    return exact_sum([part.amount for part in parts if part.day < day])


@given(st.decimals(-(10**12), 10**12, places=4), *(st.decimals(-(10**6), 10**6, places=3),) * 2, st.integers(0, 4))
def test_a_share_is_rounded_once(amount: Decimal, part: Decimal, whole: Decimal, digits: int) -> None:
    exact = Fraction(amount) * Fraction(part) / Fraction(whole) if whole else Fraction(0)
    assert share(amount, part, whole, digits) == round_to(exact, digits)


@pytest.mark.parametrize("seed", [1, 2])
async def test_random_books_add_up(ledger: Ledger, seed: int) -> None:
    chance = random.Random(seed)
    customers = [await ledger.customer(address_country=code) for code in ("DE", "FR")]
    plan = await ledger.plan(fixed("19.99"))
    await ledger.subscribed(plan, customers[0])
    for month in range(1, 5):
        await ledger.run(f"2026-{month:02}-01")
        for _ in range(3):
            await ledger.on(f"2026-{month:02}-{chance.randint(2, 27):02}")
            amount = f"{chance.randint(1, 9999) / 100:.2f}"
            code = chance.choice(["usd", "eur"])
            invoice = await ledger.invoiced(chance.choice(customers), amount, currency=code)
            match chance.randint(0, 3):
                case 0:
                    await ledger.paid(invoice, amount)
                case 1:
                    await noted(ledger, invoice, f"{Decimal(amount) / 2:.2f}")
                case 2:
                    await voided(ledger, invoice)
    await ledger.on("2026-05-01")
    for key in ("net_billing", "net_billing_issued", "invoice_total", "recognized_revenue"):
        for code in ("usd", "eur"):
            months = [Decimal(value) for value in (await ledger.over(key, currency=code, range=YEAR)).values()]
            whole = Decimal(await ledger.figure(key, code, range=YEAR))
            by_country = await ledger.by(key, "country", currency=code, range=YEAR)
            assert exact_sum(months) == whole == exact_sum([Decimal(value) for value in by_country.values()]), key
    assert await ledger.figure("net_billing") == await ledger.figure("net_billing_issued")
    async with ledger.account.transaction(read_only=True) as session:
        assert await report_differences(session, ledger.now) == []


async def test_a_rate_whose_tax_is_not_on_the_invoice_is_named(ledger: Ledger) -> None:
    vat = {"name": "VAT", "code": "VAT", "tax_rate_type": "percentage", "percentage_value": "25"}
    rate = await ledger.account.post("/taxes/rates", vat)
    await ledger.on("2026-01-10")
    invoice = await ledger.invoiced(await ledger.customer(), "100", tax_rates=[rate["id"]])
    await noted(ledger, invoice, "40")
    async with ledger.account.transaction() as session:
        assert await report_differences(session, ledger.now) == []
        await session.execute(text("UPDATE taxes_applied SET tax_amount = tax_amount + 1"))
        (found,) = await report_differences(session, ledger.now)
        assert (found.figure, found.stored, found.derived) == ("report tax_charged in usd", "18", "17")
        await session.rollback()
