from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from farthing.calendar.period import Period

NOON = datetime(2026, 4, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)

instants = st.datetimes(
    datetime.fromisoformat("2000-01-01"), datetime.fromisoformat("2040-01-01"), timezones=st.just(UTC)
)
lengths = st.timedeltas(timedelta(microseconds=2), timedelta(days=4000))
periods = st.builds(lambda start, length: Period(start, start + length), instants, lengths)


def span(first: int, last: int) -> Period:
    """From `first` to `last` hours after noon."""
    return Period(NOON + first * HOUR, NOON + last * HOUR)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        pytest.param(NOON, NOON, id="an empty span"),
        pytest.param(NOON, NOON - HOUR, id="a span that ends before it starts"),
        pytest.param(NOON.replace(tzinfo=None), NOON, id="a naive start"),
        pytest.param(NOON, (NOON + HOUR).replace(tzinfo=None), id="a naive end"),
    ],
)
def test_nonsense_is_refused(start: datetime, end: datetime) -> None:
    with pytest.raises(ValueError):
        Period(start, end)


def test_bounds_in_another_zone_are_kept_in_utc_so_lengths_are_elapsed_time() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    day = Period(datetime(2024, 3, 31, tzinfo=berlin), datetime(2024, 4, 1, tzinfo=berlin))
    assert day.duration == 23 * HOUR
    assert str(day) == "[2024-03-30T23:00:00Z, 2024-03-31T22:00:00Z)"


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        pytest.param(span(2, 4), span(2, 4), id="inside"),
        pytest.param(span(-2, 2), span(0, 2), id="reaching in from before"),
        pytest.param(span(9, 12), span(9, 10), id="reaching out behind"),
        pytest.param(span(-1, 11), span(0, 10), id="around"),
        pytest.param(span(10, 11), None, id="touching the end"),
        pytest.param(span(-1, 0), None, id="touching the start"),
        pytest.param(span(11, 12), None, id="apart"),
    ],
)
def test_overlap(other: Period, expected: Period | None) -> None:
    assert span(0, 10).overlap(other) == other.overlap(span(0, 10)) == expected


def test_the_start_belongs_to_a_period_and_the_end_does_not() -> None:
    assert span(0, 1).contains(NOON)
    assert not span(0, 1).contains(NOON + HOUR)


def test_an_open_line_item_is_active_from_its_start_to_the_end_of_the_period() -> None:
    assert span(0, 10).clip(NOON + 3 * HOUR, None) == span(3, 10)
    assert span(0, 10).clip(None, NOON + 3 * HOUR) == span(0, 3)
    assert span(0, 10).clip(NOON + 10 * HOUR, None) is None


def test_a_split_outside_is_refused() -> None:
    for at in (NOON, NOON + HOUR):
        with pytest.raises(ValueError):
            span(0, 1).split(at)


@settings(max_examples=200)
@given(periods, st.data())
def test_the_parts_of_a_period_sum_to_the_whole(period: Period, data: st.DataObject) -> None:
    at = data.draw(st.datetimes(*(bound.replace(tzinfo=None) for bound in (period.start, period.end)))).replace(
        tzinfo=UTC
    )
    assume(period.start < at < period.end)
    before, after = period.split(at)
    assert before.end == after.start
    assert before.fraction_of(period) + after.fraction_of(period) == 1
    assert before.overlap(after) is None


@settings(max_examples=200)
@given(periods, periods)
def test_a_fraction_lies_between_nothing_and_one(part: Period, whole: Period) -> None:
    fraction = part.fraction_of(whole)
    assert 0 <= fraction <= 1
    assert (fraction == 0) == (part.overlap(whole) is None)
    assert whole.fraction_of(whole) == Fraction(1)
