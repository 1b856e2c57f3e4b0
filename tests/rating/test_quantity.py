"""Default quantities, entitlement allowances and custom price units."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.core.enums import PriceType
from farthing.core.money import round_to
from farthing.rating.commitments.allowance import (
    ResetWindow,
    billable_buckets,
    billable_quantity,
    covered_quantity,
    grant_overage,
)
from farthing.rating.pricing.cost import price_quantity, price_values
from farthing.rating.pricing.price import RatedPrice, Tier, TierMode
from farthing.rating.pricing.quantity import below_minimum, default_quantity
from farthing.rating.pricing.units import in_units, tiers_to_currency, to_currency

D = Decimal


def decimals(text: str) -> list[Decimal]:
    return [D(word) for word in text.split()]


@pytest.mark.parametrize(
    ("price_type", "given_", "minimum", "expected"),
    [
        pytest.param(PriceType.USAGE, "5", "3", "0", id="a usage line starts at 0"),
        pytest.param(PriceType.FIXED, "5", "3", "5", id="a given quantity stands"),
        pytest.param(PriceType.FIXED, None, "3", "3", id="absent takes the minimum"),
        pytest.param(PriceType.FIXED, "0", "3", "3", id="zero takes the minimum"),
        pytest.param(PriceType.FIXED, None, "0", "0", id="a minimum of 0 is a minimum"),
        pytest.param(PriceType.FIXED, None, None, "1", id="else 1"),
    ],
)
def test_the_quantity_of_a_new_line(price_type, given_, minimum, expected):
    got = default_quantity(price_type, D(given_) if given_ else None, D(minimum) if minimum else None)
    assert got == D(expected)


def test_a_later_quantity_below_the_minimum_is_told():
    assert below_minimum(D(2), D(3))
    assert not below_minimum(D(3), D(3))
    assert not below_minimum(D(0), None)


def months(*usage: str) -> list[ResetWindow]:
    """One charge per month over one long reset window: each sees what earlier months used."""
    used, windows = D(0), []
    for month in usage:
        windows.append(ResetWindow(used + D(month), used))
        used += D(month)
    return windows


@pytest.mark.parametrize(
    ("windows", "limit", "billable"),
    [
        pytest.param([ResetWindow(D(1500))], "1000", "500", id="monthly limit on a month"),
        pytest.param([ResetWindow(D(1000))], "1000", "0", id="exactly the limit is free"),
        pytest.param([ResetWindow(D(1500))], "0", "1500", id="a limit of 0 frees nothing"),
        pytest.param([ResetWindow(D(1500))], None, "0", id="unlimited is free"),
        pytest.param([ResetWindow(D(x)) for x in (80, 150, 100, 230)], "100", "180", id="daily 100 over four days"),
        pytest.param([ResetWindow(D(x)) for x in (50, 90, 70)], "60", "40", id="daily 60 over three days"),
        pytest.param([ResetWindow(D(x)) for x in (17, 11, 4)], "10", "8", id="monthly 10 on a quarter"),
    ],
)
def test_usage_above_the_limit_of_each_window_is_billed(windows, limit, billable):
    assert billable_quantity(windows, None if limit is None else D(limit)) == D(billable)


@pytest.mark.parametrize(
    ("windows", "limit", "billable"),
    [
        pytest.param(months("900", "900", "50"), "1000", "0 800 50", id="an allowance that never resets"),
        pytest.param(months("80", "50", "20"), "100", "0 30 20", id="a quarterly one within its quarter"),
        pytest.param([*months("900", "900", "50"), *months("900")], "1000", "0 800 50 0", id="and in the next quarter"),
        pytest.param(months("80", "50"), "100", "0 30", id="two versions of one line share one allowance"),
        pytest.param([ResetWindow(D(150)), ResetWindow(D(150))], "100", "50 50", id="a level has no stock"),
    ],
)
def test_an_allowance_longer_than_the_charge_is_used_up_once(windows, limit, billable):
    assert [billable_quantity([window], D(limit)) for window in windows] == decimals(billable)


def test_the_free_part_does_not_consume_tiers():
    price = RatedPrice.tiered(TierMode.SLAB, [Tier(D(10), D(5)), Tier(D(20), D(4)), Tier(None, D(3))])
    assert price_quantity(price, billable_quantity([ResetWindow(D(25))], D(10))) == 70


@pytest.mark.parametrize(
    ("values", "limit", "used_before", "billable"),
    [
        pytest.param("7 6", "6", "0", "1 6", id="the first bucket uses it up"),
        pytest.param("7 6", "10", "0", "0 3", id="it lasts into the second"),
        pytest.param("7 6", "10", "8", "5 6", id="an earlier charge used most of it"),
        pytest.param("7 6", "10", "12", "7 6", id="nothing was left"),
        pytest.param("7 6", None, "0", "0 0", id="unlimited"),
    ],
)
def test_an_allowance_is_used_up_bucket_by_bucket(values, limit, used_before, billable):
    got = billable_buckets(decimals(values), None if limit is None else D(limit), D(used_before))
    assert got == decimals(billable)


def test_what_an_allowance_left_of_each_bucket_is_priced_on_its_own():
    assert price_values(RatedPrice.package(D(2), 5), billable_buckets(decimals("7 6"), D(6))) == 6


def test_usage_beyond_the_quota_of_each_grant_window_is_billed():
    windows = [(D(120), D(100)), (D(80), D(100)), (D(150), D(100))]
    assert grant_overage(windows) == 70
    assert price_quantity(RatedPrice.flat(D("0.5")), grant_overage(windows)) == 35


def test_the_covered_quantity_is_what_was_not_billed():
    assert covered_quantity(D(560), D(180)) == 380
    assert covered_quantity(D(10), D(12)) == 0


def test_usage_that_shrinks_within_a_window_is_refused():
    with pytest.raises(ValueError, match="shrink"):
        ResetWindow(D(5), D(6))


usages = st.lists(st.decimals(0, 10**6, places=3), min_size=1, max_size=8)
limits = st.decimals(0, 10**6, places=0)


@given(usages, limits)
@settings(max_examples=150)
def test_cutting_a_window_into_charges_never_changes_what_is_billed(parts, limit):
    windows = months(*(str(part) for part in parts))
    billed = [billable_quantity([window], limit) for window in windows]
    assert sum(billed) == max(sum(parts) - limit, 0)
    assert all(0 <= bill <= part for bill, part in zip(billed, parts, strict=True))


@given(usages, limits, limits)
@settings(max_examples=150)
def test_buckets_bill_what_their_window_bills(values, limit, used_before):
    billed = billable_buckets(values, limit, used_before)
    assert sum(billed) == billable_quantity([ResetWindow(used_before + sum(values), used_before)], limit)
    assert all(0 <= bill <= value for bill, value in zip(billed, values, strict=True))


def test_a_price_in_custom_units_becomes_a_price_in_the_currency():
    assert to_currency(D(250), D("0.01")) == D("2.50")
    amount = to_currency(D(3), D("0.00333"))
    assert amount == D("0.00999")
    line = round_to(price_quantity(RatedPrice.flat(amount), D(100)), 2)
    assert line == D("1.00")
    assert in_units(line, D("0.00333"), 2) == D("300.30")


def test_tiers_in_custom_units_keep_their_bounds():
    converted = tiers_to_currency([Tier(D(10), D(3), D(100)), Tier(None, D(1))], D("0.01"))
    assert converted == (Tier(D(10), D("0.03"), D(1)), Tier(None, D("0.01")))


@pytest.mark.parametrize(("amount", "rate", "shown"), [("10.00", "0.03", "333.33"), ("2.50", "0.01", "250")])
def test_a_line_is_shown_in_custom_units(amount, rate, shown):
    assert in_units(D(amount), D(rate), 2) == D(shown)


def test_a_rate_must_be_positive():
    with pytest.raises(ValueError, match="positive"):
        in_units(D(1), D(0), 2)
