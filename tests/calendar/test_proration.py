from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.calendar.billing import (
    BillingPeriod,
    Recurrence,
    calendar_anchor,
    next_billing_date,
)
from farthing.calendar.period import Period
from farthing.calendar.proration import coefficient, first_period_coefficient
from farthing.calendar.zones import UTC as UTC_ZONE
from farthing.calendar.zones import zone
from farthing.core.money import round_to


def at(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def span(start: str, end: str) -> Period:
    return Period(at(start), at(end))


APRIL = span("2026-04-01", "2026-05-01")
MARCH_2024 = span("2024-03-01", "2024-04-01")


@pytest.mark.parametrize(
    ("period", "moment", "price", "digits", "expected"),
    [
        pytest.param(APRIL, "2026-04-01", "20", 2, "20.00", id="P1 the whole of April"),
        pytest.param(APRIL, "2026-04-11", "20", 2, "13.33", id="P1 twenty of thirty days"),
        pytest.param(APRIL, "2026-04-21", "20", 2, "6.67", id="P1 ten of thirty days"),
        pytest.param(APRIL, "2026-04-30", "20", 2, "0.67", id="P1 the last day"),
        pytest.param(APRIL, "2026-04-16T12:00Z", "99", 2, "47.85", id="P2 half a day counts"),
        pytest.param(APRIL, "2026-04-11", "50", 2, "33.33", id="P3 five seats back"),
        pytest.param(APRIL, "2026-04-11", "100", 2, "66.67", id="P3 and P4 ten seats"),
        pytest.param(APRIL, "2026-04-11", "40", 2, "26.67", id="P4 four seats"),
        pytest.param(
            span("2026-02-01", "2026-05-01"),
            "2026-04-11",
            "60",
            2,
            "13.48",
            id="P8 the item's own quarter, 20 of 89 days",
        ),
        pytest.param(
            span("2026-02-01", "2026-03-01"), "2026-02-15", "45", 2, "22.50", id="P10 half of a common February"
        ),
        pytest.param(
            span("2024-02-01", "2024-03-01"), "2024-02-15", "45", 2, "23.28", id="P10 fifteen days of a leap February"
        ),
        pytest.param(
            span("2026-01-01", "2027-01-01"), "2026-07-01", "1200", 2, "604.93", id="P11 the second half of a year"
        ),
        pytest.param(
            span("2026-03-01T05:00Z", "2026-04-01T04:00Z"),
            "2026-03-16T04:00Z",
            "100",
            2,
            "51.68",
            id="P12 March in New York has 743 hours",
        ),
        pytest.param(APRIL, "2026-04-11", "1000", 0, "667", id="P13 yen have no fraction"),
        pytest.param(MARCH_2024, "2024-03-15", "10", 2, "5.48", id="P14 17 of 31 days of 10"),
        pytest.param(MARCH_2024, "2024-03-15", "20", 2, "10.97", id="P14 17 of 31 days of 20"),
        pytest.param(MARCH_2024, "2024-03-15", "100", 2, "54.84", id="P15 17 of 31 days of 100"),
        pytest.param(MARCH_2024, "2024-03-15", "30", 2, "16.45", id="P15 17 of 31 days of 30"),
        pytest.param(MARCH_2024, "2024-03-15", "25", 2, "13.71", id="P16 17 of 31 days of 25"),
        pytest.param(MARCH_2024, "2024-03-15", "40", 2, "21.94", id="P16 17 of 31 days of 40"),
        pytest.param(APRIL, "2026-04-11", "60", 2, "40.00", id="P19 three seats cancelled on the 11th"),
        pytest.param(APRIL, "2026-05-02", "60", 2, "0.00", id="nothing is left after the end"),
        pytest.param(APRIL, "2026-03-20", "60", 2, "60.00", id="never more than the whole"),
    ],
)
def test_what_is_left_of_a_period_costs(period: Period, moment: str, price: str, digits: int, expected: str) -> None:
    assert str(round_to(coefficient(period, at(moment)) * Fraction(Decimal(price)), digits)) == expected


@pytest.mark.parametrize(
    ("period", "moment", "exact", "shown"),
    [
        pytest.param(APRIL, "2026-04-16T12:00Z", Fraction(29, 60), "0.4833333333333333", id="P2"),
        pytest.param(
            span("2026-03-01T05:00Z", "2026-04-01T04:00Z"),
            "2026-03-16T04:00Z",
            Fraction(384, 743),
            "0.5168236877523553",
            id="P12",
        ),
        pytest.param(MARCH_2024, "2024-03-15", Fraction(17, 31), "0.5483870967741935", id="P14"),
    ],
)
def test_a_coefficient_is_exact_and_has_sixteen_decimals_only_where_it_is_shown(
    period: Period, moment: str, exact: Fraction, shown: str
) -> None:
    assert coefficient(period, at(moment)) == exact
    assert str(round_to(exact, 16)) == shown


def test_two_versions_of_a_line_item_share_the_period() -> None:
    """V1: 100 a month until April 11, 130 from then on."""
    before, after = APRIL.split(at("2026-04-11"))
    amounts = [round_to(before.fraction_of(APRIL) * 100, 2), round_to(after.fraction_of(APRIL) * 130, 2)]
    assert amounts == [Decimal("33.33"), Decimal("86.67")]


@pytest.mark.parametrize(
    ("start", "anchor", "period", "count", "tz", "exact"),
    [
        pytest.param(
            "2026-01-15",
            "calendar",
            BillingPeriod.MONTHLY,
            1,
            "UTC",
            Fraction(17, 31),
            id="P17 and P22 17 of 31 days of January",
        ),
        pytest.param(
            "2025-08-15",
            "calendar",
            BillingPeriod.MONTHLY,
            1,
            "UTC",
            Fraction(17, 31),
            id="P18 17 of 31 days of August",
        ),
        pytest.param(
            "2024-02-14T18:30Z",
            "calendar",
            BillingPeriod.MONTHLY,
            1,
            "Asia/Kolkata",
            Fraction(15, 29),
            id="the natural month is counted in India",
        ),
        pytest.param(
            "2026-01-10",
            "2026-01-20",
            BillingPeriod.MONTHLY,
            1,
            "UTC",
            Fraction(10, 31),
            id="a custom anchor ten days ahead",
        ),
        pytest.param(
            "2026-01-15",
            "calendar",
            BillingPeriod.MONTHLY,
            2,
            "UTC",
            Fraction(45, 59),
            id="two months to the first of March",
        ),
        pytest.param(
            "2024-01-15T10:00Z",
            "2024-01-15T12:00Z",
            BillingPeriod.MONTHLY,
            1,
            "UTC",
            Fraction(1),
            id="two hours over a whole month are free",
        ),
        pytest.param(
            "2026-01-01",
            "calendar",
            BillingPeriod.MONTHLY,
            1,
            "UTC",
            Fraction(1),
            id="from the boundary itself the month is whole",
        ),
    ],
)
def test_a_first_period_costs_its_share_of_a_whole_one(
    *, start: str, anchor: str, period: BillingPeriod, count: int, tz: str, exact: Fraction
) -> None:
    anchored = calendar_anchor(at(start), period, zone(tz)) if anchor == "calendar" else at(anchor)
    recurrence = Recurrence(period, anchored, zone(tz), count)
    first = Period(at(start), next_billing_date(at(start), recurrence))
    assert first_period_coefficient(first, recurrence, first.start) == exact


def test_the_cents_of_the_first_period() -> None:
    monthly = Recurrence(BillingPeriod.MONTHLY, at("2026-02-01"))
    share = first_period_coefficient(span("2026-01-15", "2026-02-01"), monthly, at("2026-01-15"))
    assert str(round_to(share, 16)) == "0.5483870967741935"
    assert [str(round_to(share * price, digits)) for price, digits in ((100, 2), (310, 2), (1000, 0))] == [
        "54.84",
        "170.00",
        "548",
    ]
    later = first_period_coefficient(span("2026-01-15", "2026-02-01"), monthly, at("2026-01-22"))
    assert later == Fraction(10, 31)
    cut_short = first_period_coefficient(span("2026-01-15", "2026-01-25"), monthly, at("2026-01-15"))
    assert cut_short == share


instants = st.datetimes(
    datetime.fromisoformat("2000-01-01"), datetime.fromisoformat("2035-01-01"), timezones=st.just(UTC)
)


@settings(max_examples=200)
@given(instants, st.timedeltas(timedelta(seconds=1), timedelta(days=800)), st.lists(instants, max_size=6))
def test_splitting_a_period_keeps_the_sum_of_its_coefficients(
    start: datetime, length: timedelta, cuts: list[datetime]
) -> None:
    whole = Period(start, start + length)
    parts, rest = [], whole
    for cut in sorted(set(cuts)):
        if rest.start < cut < rest.end:
            part, rest = rest.split(cut)
            parts.append(part)
    assert sum((part.fraction_of(whole) for part in [*parts, rest]), Fraction(0)) == 1
    for part in parts:
        assert coefficient(whole, part.start) - coefficient(whole, part.end) == part.fraction_of(whole)


@settings(max_examples=200)
@given(instants, st.timedeltas(timedelta(seconds=1), timedelta(days=800)), instants, instants)
def test_less_is_left_later(start: datetime, length: timedelta, one: datetime, other: datetime) -> None:
    whole = Period(start, start + length)
    assert 0 <= coefficient(whole, max(one, other)) <= coefficient(whole, min(one, other)) <= 1


@settings(max_examples=200)
@given(
    instants,
    instants,
    st.sampled_from([period for period in BillingPeriod if period is not BillingPeriod.ONETIME]),
    st.integers(1, 4),
)
def test_a_first_period_never_costs_more_than_a_whole_one(
    start: datetime, anchor: datetime, period: BillingPeriod, count: int
) -> None:
    recurrence = Recurrence(period, anchor, UTC_ZONE, count)
    first = Period(start, next_billing_date(start, recurrence))
    assert 0 < first_period_coefficient(first, recurrence, start) <= 1
