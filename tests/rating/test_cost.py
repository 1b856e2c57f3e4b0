"""What a quantity costs: the catalogue's worked numbers, and what must hold for any price."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.core import currency
from farthing.core.money import exact_sum, round_to
from farthing.rating.pricing.cost import explain, explain_values, price_quantity, price_values
from farthing.rating.pricing.price import BillingModel, PackageRounding, RatedPrice, Tier, TierMode

D = Decimal
SLAB, VOLUME = TierMode.SLAB, TierMode.VOLUME
UP, DOWN = PackageRounding.UP, PackageRounding.DOWN


def tiers(*rows: str) -> tuple[Tier, ...]:
    """`"10:5"` is up to 10 at 5, `"10:5+2"` adds a flat fee of 2, `"inf:3"` is the open tier."""
    made = []
    for row in rows:
        bound, _, amounts = row.partition(":")
        unit, _, flat = amounts.partition("+")
        made.append(Tier(None if bound == "inf" else D(bound), D(unit), D(flat or "0")))
    return tuple(made)


A = tiers("10:5", "20:4", "inf:3")
B = tiers("1000:0.02+5", "5000:0.015+10", "inf:0.01")
C = tiers("5:0+1", "10:1+2", "inf:2")
FREE_FIRST = tiers("5:0", "10:2", "inf:3")
NARROW = tiers("1:10", "2:20", "inf:30")
WITH_FLAT = tiers("10:1+2", "inf:0.5+3")


@pytest.mark.parametrize(
    ("amount", "code", "quantity", "raw", "rounded"),
    [
        ("0.0035", "usd", "1234567", "4320.9845", "4320.98"),
        ("0.0035", "jpy", "1234567", "4320.9845", "4321"),
        ("0.0035", "kwd", "1234567", "4320.9845", "4320.985"),
        ("49.99", "usd", "1.5", "74.985", "74.99"),
        ("19.99", "usd", "0", "0", "0"),
        ("0.005", "usd", "1", "0.005", "0.01"),
        ("0.005", "usd", "3", "0.015", "0.02"),
    ],
)
def test_a_flat_fee_is_rounded_once_not_per_unit(amount, code, quantity, raw, rounded):
    cost = price_quantity(RatedPrice.flat(D(amount)), D(quantity))
    assert cost == D(raw)
    assert round_to(cost, currency.digits(code)) == D(rounded)


PACKAGES = [
    ("0", "0", "0"),
    ("0.01", "2.5", "0"),
    ("1", "2.5", "0"),
    ("99", "2.5", "0"),
    ("100", "2.5", "2.5"),
    ("100.0001", "5", "2.5"),
    ("101", "5", "2.5"),
    ("250", "7.5", "5"),
    ("250.5", "7.5", "5"),
]


@pytest.mark.parametrize(("quantity", "up", "down"), PACKAGES)
def test_a_package_counts_when_begun_or_when_full(quantity, up, down):
    assert price_quantity(RatedPrice.package(D("2.5"), 100, UP), D(quantity)) == D(up)
    assert price_quantity(RatedPrice.package(D("2.5"), 100, DOWN), D(quantity)) == D(down)


def test_a_crumb_beyond_a_package_begins_the_next():
    assert price_quantity(RatedPrice.package(D(1), 3, UP), D("3.0000000000000000000000000000000000000001")) == 2
    assert price_quantity(RatedPrice.package(D(1), 3, DOWN), D("2.9999999999999999999999999999999999999999")) == 0


def test_a_package_shows_its_effective_and_its_list_unit_price():
    shown = explain(RatedPrice.package(D(50), 10), D(25))
    assert [(part.quantity, part.package_size, part.unit_amount, part.amount) for part in shown.parts] == [
        (D(3), 10, D(50), D(150))
    ]
    assert (shown.amount, shown.effective_unit_amount, shown.list_unit_amount) == (150, 6, 5)


TIERED = [
    *[
        (A, quantity, slab, volume)
        for quantity, slab, volume in [
            ("0", "0", "0"),
            ("1", "5", "5"),
            ("9.5", "47.5", "47.5"),
            ("10", "50", "50"),
            ("10.000001", "50.000004", "40.000004"),
            ("10.5", "52", "42"),
            ("15", "70", "60"),
            ("20", "90", "80"),
            ("20.5", "91.5", "61.5"),
            ("25", "105", "75"),
        ]
    ],
    *[
        (B, quantity, slab, volume)
        for quantity, slab, volume in [
            ("0", "0", "0"),
            ("1", "5.02", "5.02"),
            ("999.5", "24.99", "24.99"),
            ("1000", "25", "25"),
            ("1000.001", "35.000015", "25.000015"),
            ("1000.5", "35.0075", "25.0075"),
            ("1001", "35.015", "25.015"),
            ("5000", "95", "85"),
            ("5000.25", "95.0025", "50.0025"),
            ("12000", "165", "120"),
        ]
    ],
    *[(C, quantity, slab, None) for quantity, slab in [("3", "1"), ("5", "1"), ("7", "5"), ("10", "8"), ("12", "12")]],
    *[
        (FREE_FIRST, quantity, slab, None)
        for quantity, slab in [("3", "0"), ("7", "4"), ("10", "10"), ("11", "13"), ("15", "25")]
    ],
    *[(NARROW, quantity, slab, None) for quantity, slab in [("1", "10"), ("2", "30"), ("2.5", "45"), ("3", "60")]],
]


@pytest.mark.parametrize(("table", "quantity", "slab", "volume"), TIERED)
def test_tiers_include_their_upper_bound(table, quantity, slab, volume):
    assert price_quantity(RatedPrice.tiered(SLAB, table), D(quantity)) == D(slab)
    if volume is not None:
        assert price_quantity(RatedPrice.tiered(VOLUME, table), D(quantity)) == D(volume)


@pytest.mark.parametrize(
    ("quantity", "slab", "volume"),
    [
        ("1000.001", "35", "25"),
        ("1000.5", "35.01", "25.01"),
        ("1001", "35.02", "25.02"),
        ("5000.25", "95", "50"),
    ],
)
def test_a_tiered_cost_is_rounded_once(quantity, slab, volume):
    assert round_to(price_quantity(RatedPrice.tiered(SLAB, B), D(quantity)), 2) == D(slab)
    assert round_to(price_quantity(RatedPrice.tiered(VOLUME, B), D(quantity)), 2) == D(volume)


def test_tiers_without_an_open_end_go_on_at_the_last_one():
    bounded = tiers("100:1", "200:0.5")
    assert price_quantity(RatedPrice.tiered(SLAB, bounded), D(250)) == 175
    assert price_quantity(RatedPrice.tiered(VOLUME, bounded), D(250)) == 125
    assert explain(RatedPrice.tiered(SLAB, bounded), D(250)).parts[-1].up_to is None


def test_a_price_without_tiers_selects_none():
    assert explain(RatedPrice.flat(D(1)), D(3)).selected_tier == -1
    assert explain(RatedPrice.package(D(1), 2), D(3)).selected_tier == -1


def test_tiers_may_come_in_any_order():
    assert RatedPrice.tiered(SLAB, A[::-1]).tiers == A


@pytest.mark.parametrize(
    "price",
    [
        RatedPrice.flat(D(2)),
        RatedPrice.package(D("2.5"), 100, UP),
        RatedPrice.package(D("2.5"), 100, DOWN),
        RatedPrice.tiered(SLAB, B),
        RatedPrice.tiered(VOLUME, B),
    ],
    ids=["flat", "package up", "package down", "slab", "volume"],
)
@pytest.mark.parametrize("quantity", ["0", "-0.5", "-50"])
def test_a_quantity_that_is_not_positive_costs_nothing(price, quantity):
    shown = explain(price, D(quantity))
    assert (shown.amount, shown.parts, shown.selected_tier) == (0, (), -1)


def test_a_slab_cost_is_explained_slice_by_slice():
    shown = explain(RatedPrice.tiered(SLAB, A), D(15))
    assert [(p.tier, p.above, p.up_to, p.quantity, p.unit_amount, p.flat_amount, p.amount) for p in shown.parts] == [
        (0, 0, 10, 10, 5, 0, 50),
        (1, 10, 20, 5, 4, 0, 20),
    ]
    assert shown.amount == 70
    assert shown.effective_unit_amount == D("4.6666666666666667")
    assert (shown.list_unit_amount, shown.selected_tier) == (4, 1)


def test_a_volume_cost_is_explained_by_its_one_tier():
    shown = explain(RatedPrice.tiered(VOLUME, B), D(1001))
    assert [(p.tier, p.above, p.up_to, p.quantity, p.unit_amount, p.flat_amount, p.amount) for p in shown.parts] == [
        (1, 1000, 5000, 1001, D("0.015"), 10, D("25.015"))
    ]
    assert shown.selected_tier == 1


def test_without_a_quantity_flat_and_package_prices_still_have_a_list_price():
    assert explain(RatedPrice.flat(D("0.1")), D(0)).list_unit_amount == D("0.1")
    assert explain(RatedPrice.package(D(50), 10), D(0)).list_unit_amount == 5
    assert explain(RatedPrice.tiered(SLAB, A), D(0)).list_unit_amount == 0
    assert explain(RatedPrice.flat(D("0.1")), D(0)).effective_unit_amount == 0


UNTIL_10 = tiers("5:0", "10:2", "inf:3")


@pytest.mark.parametrize(
    ("price", "values", "cost"),
    [
        pytest.param(RatedPrice.flat(D("0.10")), "9 10 0", "1.90", id="a flat fee adds up"),
        pytest.param(RatedPrice.package(D(1), 10), "9 10", "2", id="packages of two buckets"),
        pytest.param(RatedPrice.package(D(1), 10), "5 5", "2", id="each bucket begins its own package"),
        pytest.param(RatedPrice.package(D(1), 10), "10", "1", id="one piece begins one package"),
        pytest.param(RatedPrice.tiered(SLAB, A), "3 12 0", "73", id="tiers restart in each bucket"),
        pytest.param(RatedPrice.tiered(SLAB, WITH_FLAT), "10 11", "27.5", id="slab flat fees per bucket"),
        pytest.param(RatedPrice.tiered(VOLUME, WITH_FLAT), "10 11", "20.5", id="volume flat fees per bucket"),
        pytest.param(RatedPrice.tiered(SLAB, WITH_FLAT), "10 0 11", "27.5", id="an empty bucket costs no flat fee"),
        pytest.param(RatedPrice.tiered(SLAB, UNTIL_10), "8 10", "16", id="hourly peaks of 8 and 10 in slabs"),
        pytest.param(RatedPrice.tiered(VOLUME, UNTIL_10), "8 10 12", "72", id="hourly peaks by volume"),
        pytest.param(RatedPrice.tiered(SLAB, UNTIL_10), "10 20 15", "75", id="each group of a bucket on its own"),
        pytest.param(RatedPrice.tiered(SLAB, UNTIL_10), "20 15", "65", id="the same usage without groups"),
        pytest.param(RatedPrice.package(D(2), 5), "7 6", "8", id="packages of 5 in two quarter hours"),
        pytest.param(RatedPrice.package(D(2), 5), "13", "6", id="packages of 5 in one piece"),
        pytest.param(RatedPrice.package(D(2), 5), "1 6", "6", id="packages of what an allowance left per bucket"),
        pytest.param(RatedPrice.flat(D(1)), "", "0", id="no bucket"),
    ],
)
def test_every_bucket_is_priced_on_its_own(price, values, cost):
    listed = [D(value) for value in values.split()]
    assert price_values(price, listed) == D(cost)
    assert explain_values(price, listed).amount == D(cost)
    assert explain_values(price, listed).quantity == sum(listed)


def test_buckets_are_explained_with_one_part_per_tier():
    shown = explain_values(RatedPrice.tiered(SLAB, WITH_FLAT), [D(10), D(0), D(11)])
    assert [(p.tier, p.quantity, p.flat_amount, p.amount) for p in shown.parts] == [(0, 20, 4, 24), (1, 1, 3, D("3.5"))]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RatedPrice.flat(D(-1)), "negative"),
        (lambda: RatedPrice.package(D(1), 0), "at least 1 unit"),
        (lambda: RatedPrice(BillingModel.TIERED, tiers=A), "tier mode"),
        (lambda: RatedPrice.tiered(SLAB, []), "at least one tier"),
        (lambda: RatedPrice.tiered(SLAB, tiers("10:1", "10:2", "inf:1")), "same upper bound 10"),
        (lambda: RatedPrice.tiered(SLAB, tiers("inf:1", "inf:2")), "only one tier"),
        (lambda: tiers("0:1"), "at least 1"),
        (lambda: tiers("10:-1"), "negative"),
        (lambda: tiers("10:1+-1"), "negative"),
    ],
)
def test_a_price_that_makes_no_sense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_empty_wire_text_rounds_packages_up():
    assert (PackageRounding.of(""), PackageRounding.of(None), PackageRounding.of("down")) == (UP, UP, DOWN)
    with pytest.raises(ValueError):
        PackageRounding.of("half")


amounts = st.decimals(0, 10**6, places=6)
quantities = st.decimals(0, 10**7, places=4)


@st.composite
def tier_tables(draw, flat=amounts):
    bounds = draw(st.lists(st.integers(1, 10**6), max_size=5, unique=True))
    return (
        *(Tier(D(bound), draw(amounts), draw(flat)) for bound in sorted(bounds)),
        Tier(None, draw(amounts), draw(flat)),
    )


prices = st.one_of(
    amounts.map(RatedPrice.flat),
    st.builds(RatedPrice.package, amounts, st.integers(1, 1000), st.sampled_from(PackageRounding)),
    st.builds(RatedPrice.tiered, st.sampled_from(TierMode), tier_tables()),
)
monotone_prices = st.one_of(
    amounts.map(RatedPrice.flat),
    st.builds(RatedPrice.package, amounts, st.integers(1, 1000), st.sampled_from(PackageRounding)),
    st.builds(RatedPrice.tiered, st.just(SLAB), tier_tables()),
)


@given(monotone_prices, quantities, quantities)
@settings(max_examples=200)
def test_more_never_costs_less_but_by_volume(price, one, other):
    less, more = sorted([one, other])
    assert price_quantity(price, less) <= price_quantity(price, more)


@given(prices, st.lists(quantities, max_size=6))
@settings(max_examples=200)
def test_the_parts_of_an_explanation_sum_to_the_cost(price, values):
    shown = explain_values(price, values)
    assert exact_sum([part.amount for part in shown.parts]) == shown.amount
    assert shown.amount == exact_sum([price_quantity(price, value) for value in values])
    assert all(part.quantity >= 0 and part.amount >= 0 for part in shown.parts)


@given(tier_tables(), quantities)
@settings(max_examples=200)
def test_the_slices_of_slab_tiers_make_up_the_quantity(table, quantity):
    parts = explain(RatedPrice.tiered(SLAB, table), quantity).parts
    assert exact_sum([part.quantity for part in parts]) == quantity
    assert [part.tier for part in parts] == list(range(len(parts)))


@given(tier_tables(flat=st.just(D(0))), st.data())
@settings(max_examples=200)
def test_slab_tiers_without_flat_fees_have_no_jump_at_a_boundary(table, data):
    price = RatedPrice.tiered(SLAB, table)
    bound = data.draw(st.sampled_from([tier.up_to for tier in table if tier.up_to is not None] or [D(1)]))
    crumb = D("0.000001")
    steepest = max(tier.unit_amount for tier in table)
    at, below, above = (price_quantity(price, bound + step) for step in (D(0), -crumb, crumb))
    assert 0 <= at - below <= crumb * steepest
    assert 0 <= above - at <= crumb * steepest


@given(tier_tables(), quantities)
@settings(max_examples=200)
def test_volume_prices_the_whole_quantity_at_one_tier(table, quantity):
    parts = explain(RatedPrice.tiered(VOLUME, table), quantity).parts
    assert [part.quantity for part in parts] == ([quantity] if quantity else [])
    for part in parts:
        assert part.above < quantity
        assert part.up_to is None or quantity <= part.up_to


@given(amounts, st.integers(1, 1000), st.integers(0, 1000))
@settings(max_examples=100)
def test_a_full_package_costs_the_same_both_ways_and_a_crumb_more_begins_the_next(amount, size, count):
    up, down = (RatedPrice.package(amount, size, rounding) for rounding in (UP, DOWN))
    full = D(size * count)
    assert price_quantity(up, full) == price_quantity(down, full) == amount * count
    assert price_quantity(up, full + D("1E-15")) == amount * (count + 1)
    assert price_quantity(down, full + D("1E-15")) == amount * count


@given(prices, quantities, st.sampled_from([0, 2, 3, 4]))
@settings(max_examples=100)
def test_rounding_to_a_currency_moves_a_cost_by_at_most_half_a_unit(price, quantity, digits):
    cost = price_quantity(price, quantity)
    rounded = round_to(cost, digits)
    assert abs(Fraction(rounded) - Fraction(cost)) <= Fraction(1, 2 * 10**digits)
    assert (Fraction(rounded) * 10**digits).denominator == 1


def test_long_amounts_and_quantities_are_multiplied_exactly():
    price = RatedPrice.flat(D("1234567890.123456789012345"))
    quantity = D("12345678901234567890.123456789012345")
    assert Fraction(price_quantity(price, quantity)) == Fraction(price.amount) * Fraction(quantity)
