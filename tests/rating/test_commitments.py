"""Commitments of a subscription, of a line item, and per window."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.core.money import exact_sum, round_to
from farthing.rating.commitments.line_commitment import CommitmentCharge, LineCommitment, item_commitment, total_charge
from farthing.rating.commitments.subscription_commitment import UsageCharge, cumulative_commitment, split_commitment
from farthing.rating.commitments.windows import TimeOfDayBucket, WindowTerms, WindowUsage, charge_windows
from farthing.rating.pricing.price import RatedPrice, Tier, TierMode

D = Decimal


def calls(quantity: str, unit: str, id_: str = "calls") -> UsageCharge:
    """A flat-fee usage charge, rounded to cents."""
    return UsageCharge(id_, D(quantity), round_to(D(quantity) * D(unit), 2), D(unit))


def split(*charges: UsageCharge, commitment: str, factor: str, true_up: bool = False):
    return split_commitment(charges, D(commitment), D(factor), true_up=true_up, digits=2)


def rows(lines) -> list[tuple[Decimal, Decimal, bool]]:
    return [(line.quantity, line.amount, line.overage) for line in lines]


class TestSubscriptionCommitment:
    def test_what_exceeds_the_commitment_costs_the_factor(self):
        got = split(calls("1000", "0.02"), commitment="10", factor="1.5", true_up=True)
        assert rows(got.lines) == [(500, D("10.00"), False), (500, D("15.00"), True)]
        assert (got.amount, got.unused, got.true_up) == (25, 0, 0)

    def test_only_whole_units_fit_and_the_crumb_stays_unused(self):
        got = split(calls("500", "0.03"), commitment="10", factor="2", true_up=True)
        assert rows(got.lines) == [(333, D("9.99"), False), (167, D("10.02"), True)]
        assert (got.unused, got.true_up) == (D("0.01"), 0)

    def test_the_unused_rest_is_trued_up(self):
        got = split(calls("1000", "0.02"), commitment="100", factor="1.5", true_up=True)
        assert rows(got.lines) == [(1000, D("20.00"), False)]
        assert (got.true_up, got.amount) == (80, 100)
        assert split(calls("1000", "0.02"), commitment="100", factor="1.5").amount == 20

    def test_a_factor_of_one_still_commits(self):
        got = split(calls("1000", "0.02"), commitment="10", factor="1")
        assert rows(got.lines) == [(500, 10, False), (500, 10, True)]
        assert split(calls("10", "0.02"), commitment="10", factor="1", true_up=True).amount == 10

    def test_charges_use_it_up_in_order_and_all_after_the_cut_is_overage(self):
        got = split(
            calls("300", "0.03", "a"), calls("100", "0.03", "b"), calls("1", "0.01", "c"), commitment="10", factor="2"
        )
        assert [(line.charge_id, *row) for line, row in zip(got.lines, rows(got.lines), strict=True)] == [
            ("a", 300, D("9.00"), False),
            ("b", 33, D("0.99"), False),
            ("b", 67, D("4.02"), True),
            ("c", 1, D("0.02"), True),
        ]

    def test_a_commitment_met_exactly_leaves_only_overage(self):
        got = split(calls("500", "0.02", "a"), calls("10", "1", "b"), commitment="10", factor="2", true_up=True)
        assert rows(got.lines) == [(500, 10, False), (10, 20, True)]
        assert got.true_up == 0

    def test_after_it_is_used_up_the_rounded_amount_is_multiplied(self):
        got = split(calls("500", "0.02", "a"), calls("1", "0.0145", "b"), commitment="10", factor="2")
        assert rows(got.lines)[1:] == [(1, D("0.02"), True)]  # not the 0.03 of 0.0145 x 2

    def test_other_models_are_cut_at_amount_by_quantity(self):
        got = split(UsageCharge("tiered", D(30), D(10)), commitment="1", factor="3")  # a third each
        assert rows(got.lines) == [(3, 1, False), (27, 27, True)]

    def test_a_unit_dearer_than_the_commitment_is_overage(self):
        got = split(calls("1", "50"), commitment="10", factor="2")
        assert rows(got.lines) == [(1, 100, True)]
        assert got.unused == 10

    def test_an_amount_without_units_is_cut_as_money(self):
        got = split(UsageCharge("grant", D(0), D(15)), commitment="10", factor="2")
        assert rows(got.lines) == [(0, 10, False), (0, 10, True)]

    def test_a_charge_rounded_up_fits_when_its_units_do(self):
        got = split(calls("1", "10.005"), commitment="10.005", factor="2")
        assert rows(got.lines) == [(1, D("10.01"), False)]

    @pytest.mark.parametrize(("commitment", "factor"), [("-1", "2"), ("1", "0.5")])
    def test_terms_that_make_no_sense_are_refused(self, commitment, factor):
        with pytest.raises(ValueError):
            split(calls("1", "1"), commitment=commitment, factor=factor)


def cumulative(*charges: UsageCharge, commitment="60", factor="2", prior="0", closes=False, true_up=False):
    return cumulative_commitment(
        charges,
        D(commitment),
        D(factor),
        prior=D(prior),
        closes_window=closes,
        true_up=true_up,
        digits=2,
    )


class TestCumulativeCommitment:
    def test_the_month_that_crosses_it(self):
        got = cumulative(calls("12", "1"), prior="50", closes=True, true_up=True)
        assert rows(got.lines) == [(10, 10, False)]
        assert (got.overage, got.overage_base, got.true_up, got.amount) == (4, 2, 0, 14)

    def test_a_month_after_it_was_crossed_is_all_overage(self):
        got = cumulative(calls("12", "1"), prior="80")
        assert (exact_sum([line.amount for line in got.lines]), got.amount) == (0, 24)

    def test_two_charges_share_what_is_within(self):
        got = cumulative(calls("5", "1", "a"), calls("7", "1", "b"), prior="50")
        assert [(line.charge_id, line.amount) for line in got.lines] == [("a", D("4.17")), ("b", D("5.83"))]
        assert [line.quantity for line in got.lines] == [D("4.166666666666667"), D("5.833333333333333")]
        assert (got.overage, got.amount) == (4, 14)

    def test_the_first_month_is_not_trued_up(self):
        got = cumulative(calls("12", "1"), true_up=True)
        assert (got.amount, got.true_up) == (12, 0)

    def test_the_last_month_is_trued_up(self):
        assert cumulative(calls("12", "1"), prior="40", closes=True, true_up=True).true_up == 8
        assert cumulative(prior="40", closes=True, true_up=True).amount == 20

    def test_many_small_lines_never_go_negative(self):
        got = cumulative(*(calls("1", "0.01", str(i)) for i in range(100)), commitment="0.5")
        assert exact_sum([line.amount for line in got.lines]) == D("0.50")
        assert {line.amount for line in got.lines} == {D("0.00"), D("0.01")}

    @given(
        st.lists(st.lists(st.decimals(0, 1000, places=2), max_size=4), min_size=1, max_size=12),
        st.decimals(0, 5000, places=2),
        st.decimals(1, 5, places=2),
        st.booleans(),
    )
    @settings(max_examples=150)
    def test_over_a_window_the_charges_are_the_commitments_formula(self, periods, commitment, factor, true_up):
        prior = charged = D(0)
        for number, amounts in enumerate(periods, start=1):
            got = cumulative_commitment(
                [UsageCharge(str(i), D(1), amount) for i, amount in enumerate(amounts)],
                commitment,
                factor,
                prior=prior,
                closes_window=number == len(periods),
                true_up=true_up,
                digits=2,
            )
            assert exact_sum([*(line.base for line in got.lines), got.overage_base]) == sum(amounts)
            assert all(line.amount >= 0 for line in got.lines)
            prior += sum(amounts)
            charged += got.amount
        whole = min(prior, commitment) + round_to(max(prior - commitment, D(0)) * factor, 2)
        whole += max(commitment - prior, D(0)) if true_up else 0
        assert abs(charged - whole) <= D("0.005") * (len(periods) + 1)  # the overage of each period is rounded


@given(
    st.lists(st.tuples(st.decimals(0, 500, places=1), st.decimals(0, 5, places=4)), max_size=6),
    st.decimals(0, 3000, places=2),
    st.decimals(1, 4, places=2),
    st.booleans(),
)
@settings(max_examples=200)
def test_a_split_keeps_every_unit_and_every_cent(charges, commitment, factor, true_up):
    listed = [
        UsageCharge(str(i), quantity, round_to(quantity * unit, 2), unit) for i, (quantity, unit) in enumerate(charges)
    ]
    got = split_commitment(listed, commitment, factor, true_up=true_up, digits=2)
    for charge in listed:
        own = [line for line in got.lines if line.charge_id == charge.id]
        assert exact_sum([line.quantity for line in own]) == charge.quantity
        assert exact_sum([line.base for line in own]) == charge.amount
        assert all(line.amount >= 0 and line.base >= 0 and line.quantity >= 0 for line in own)
    assert 0 <= got.unused <= commitment
    if true_up and not any(line.overage for line in got.lines):
        assert got.amount == max(commitment, exact_sum([charge.amount for charge in listed]))


@pytest.mark.parametrize(
    ("usage", "true_up", "expected"),
    [
        pytest.param("150", False, CommitmentCharge(D(100), D(75), D(0)), id="overage above it"),
        pytest.param("60", True, CommitmentCharge(D(60), D(0), D(40)), id="true-up below it"),
        pytest.param("60", False, CommitmentCharge(D(60), D(0), D(0)), id="usage alone without true-up"),
        pytest.param("100", True, CommitmentCharge(D(100), D(0), D(0)), id="met exactly"),
    ],
)
def test_a_line_item_commitment(usage, true_up, expected):
    assert item_commitment(D(usage), LineCommitment(D(100), D("1.5"), true_up)) == expected


def test_a_committed_quantity_is_priced():
    price = RatedPrice.tiered(TierMode.SLAB, [Tier(D(10), D(5)), Tier(None, D(4))])
    assert LineCommitment.of_quantity(price, D(15), D(2), true_up=True) == LineCommitment(D(70), D(2), true_up=True)


@pytest.mark.parametrize(("amount", "factor"), [("-1", "1"), ("1", "0.99")])
def test_a_line_commitment_that_makes_no_sense_is_refused(amount, factor):
    with pytest.raises(ValueError):
        LineCommitment(D(amount), D(factor))


@given(st.tuples(*[st.decimals(0, 1000, places=5)] * 4), st.sampled_from([0, 2, 3]))
@settings(max_examples=100)
def test_a_rounded_charge_is_the_sum_of_its_rounded_parts(parts, digits):
    exact = CommitmentCharge(*parts)
    rounded = exact.rounded(digits)
    assert rounded.amount == round_to(exact.amount, digits)
    for part, shown in zip(
        parts, (rounded.utilized, rounded.overage, rounded.true_up, rounded.uncommitted), strict=True
    ):
        assert abs(part - shown) < D("1.5").scaleb(-digits)  # the whole moves by half a unit, a part by one more
        assert part or not shown


MIDNIGHT = datetime(2025, 4, 1, tzinfo=UTC)


def hours(**usage: str) -> list[WindowUsage]:
    """`h9="10"` is a window that starts at 09:00 with one value of 10."""
    return [WindowUsage(MIDNIGHT + timedelta(hours=int(hour[1:])), [D(value)]) for hour, value in usage.items()]


class TestWindows:
    def test_a_daily_commitment_holds_for_each_day(self):
        terms = WindowTerms(RatedPrice.flat(D(2)), LineCommitment(D(10), D(2), true_up=True))
        days = [WindowUsage(MIDNIGHT, [D(2)]), WindowUsage(MIDNIGHT + timedelta(days=1), [D(8)])]
        charges = charge_windows(days, terms)
        assert [charge.charge.amount for charge in charges] == [10, 22]
        assert total_charge(charge.charge for charge in charges).amount == 32

    def test_a_bucket_brings_its_own_price_and_commitment(self):
        own = WindowTerms(RatedPrice.flat(D(1)), LineCommitment(D(10), true_up=True))
        peak = TimeOfDayBucket("peak", 9 * 60, 17 * 60, WindowTerms(RatedPrice.flat(D(2)), LineCommitment(D(5), D(2))))
        charges = charge_windows(hours(h9="10", h16="1", h17="3"), own, [peak])
        assert [(charge.bucket_id, charge.charge.amount) for charge in charges] == [
            ("peak", 35),
            ("peak", 2),
            (None, 10),
        ]
        whole = total_charge(charge.charge for charge in charges)
        assert (whole.utilized, whole.overage, whole.true_up, whole.amount) == (10, 30, 7, 47)

    def test_outside_the_buckets_without_a_commitment_the_base_rate_holds(self):
        committed = LineCommitment.of_quantity(RatedPrice.flat(D(1)), D(4), D(2))
        night = TimeOfDayBucket("night", 22 * 60, 6 * 60, WindowTerms(RatedPrice.flat(D(1)), committed))
        charges = charge_windows(hours(h23="10", h12="5"), WindowTerms(RatedPrice.flat(D(3))), [night])
        assert [charge.charge.amount for charge in charges] == [16, 15]
        whole = total_charge(charge.charge for charge in charges)
        assert (whole.amount, whole.uncommitted) == (31, 15)

    def test_an_empty_window_is_charged_only_by_a_true_up(self):
        price = RatedPrice.tiered(TierMode.SLAB, [Tier(None, D(1), D(7))])
        empty = [WindowUsage(MIDNIGHT)]
        trued = charge_windows(empty, WindowTerms(price, LineCommitment(D(10), true_up=True)))
        assert trued[0].charge == CommitmentCharge(true_up=D(10))
        assert charge_windows(empty, WindowTerms(price, LineCommitment(D(10))))[0].charge.amount == 0

    def test_the_groups_of_a_window_are_priced_apart_and_committed_together(self):
        terms = WindowTerms(RatedPrice.package(D(1), 10), LineCommitment(D(3), D(2)))
        (charge,) = charge_windows([WindowUsage(MIDNIGHT, [D(1), D(11), D(10)])], terms)
        assert (charge.quantity, charge.cost, charge.charge.amount) == (22, 4, 5)

    @pytest.mark.parametrize(
        ("start", "end", "inside", "outside"),
        [
            pytest.param(540, 1020, [(9, 0), (16, 59)], [(8, 59), (17, 0)], id="office hours"),
            pytest.param(1320, 360, [(22, 0), (0, 0), (5, 59)], [(6, 0), (21, 59)], id="over midnight"),
            pytest.param(1080, 1440, [(18, 0), (23, 59)], [(0, 0), (17, 59)], id="until 24:00"),
            pytest.param(1080, 0, [(18, 0), (23, 59)], [(0, 0), (17, 59)], id="until 00:00"),
            pytest.param(1440, 60, [(0, 0), (0, 59)], [(1, 0), (23, 59)], id="from 24:00"),
            pytest.param(0, 1440, [(0, 0), (23, 59)], [], id="the whole day"),
        ],
    )
    def test_a_bucket_is_half_open_on_the_utc_day(self, start, end, inside, outside):
        bucket = TimeOfDayBucket("b", start, end, WindowTerms(RatedPrice.flat(D(1))))
        assert all(bucket.holds(MIDNIGHT.replace(hour=hour, minute=minute)) for hour, minute in inside)
        assert not any(bucket.holds(MIDNIGHT.replace(hour=hour, minute=minute)) for hour, minute in outside)

    @pytest.mark.parametrize(("start", "end"), [(60, 60), (1440, 0), (-1, 60), (0, 1441)])
    def test_a_bucket_that_makes_no_sense_is_refused(self, start, end):
        with pytest.raises(ValueError):
            TimeOfDayBucket("b", start, end, WindowTerms(RatedPrice.flat(D(1))))


@given(
    st.lists(st.decimals(0, 100, places=2), max_size=10),
    st.decimals(0, 100, places=2),
    st.decimals(1, 4, places=2),
    st.booleans(),
)
@settings(max_examples=150)
def test_a_windowed_charge_is_at_least_its_cost_and_at_least_a_trued_up_commitment(values, commitment, factor, true_up):
    terms = WindowTerms(RatedPrice.flat(D("1.5")), LineCommitment(commitment, factor, true_up))
    charges = charge_windows([WindowUsage(MIDNIGHT + timedelta(hours=i), [v]) for i, v in enumerate(values)], terms)
    whole = total_charge(charge.charge for charge in charges).amount
    assert whole >= exact_sum([charge.cost for charge in charges])
    if true_up:
        assert whole >= commitment * len(values)
