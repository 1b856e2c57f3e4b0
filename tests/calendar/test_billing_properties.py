"""What holds for periods of every rhythm, whenever they begin."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.calendar.billing import (
    BillingPeriod,
    Recurrence,
    calendar_anchor,
    next_billing_date,
    period_containing,
    periods_from,
    periods_until,
)
from farthing.calendar.period import Period
from farthing.calendar.zones import to_local, zone
from tests.calendar.rhythms import DAILY, HALF_YEARLY, MONTHLY, QUARTERLY, RECURRING

ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Havana",
    "America/Nuuk",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Antarctica/Casey",
    "Antarctica/Troll",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Chatham",
]


instants = st.datetimes(
    datetime.fromisoformat("2000-01-01"), datetime.fromisoformat("2035-01-01"), timezones=st.just(UTC)
)


recurrences = st.builds(
    Recurrence, st.sampled_from(RECURRING), instants, st.sampled_from(ZONES).map(zone), st.integers(1, 13)
)


@settings(max_examples=200)
@given(instants, recurrences)
def test_periods_tile_ten_years(start: datetime, recurrence: Recurrence) -> None:
    horizon = start + timedelta(days=3653)
    spans = list(periods_from(start, recurrence, horizon))
    assert spans[0].start == start
    assert spans[-1].end == horizon
    assert all(before.end == after.start for before, after in pairwise(spans))


@settings(max_examples=200)
@given(instants, recurrences)
def test_the_next_billing_date_is_later_and_on_the_grid(start: datetime, recurrence: Recurrence) -> None:
    first = next_billing_date(start, recurrence)
    assert start < first < next_billing_date(first, recurrence)
    assert first.microsecond == 0


@settings(max_examples=200)
@given(
    instants,
    st.sampled_from([MONTHLY, QUARTERLY, HALF_YEARLY]),
    st.sampled_from(["UTC", "Asia/Kolkata", "America/New_York"]),
    st.integers(1, 5),
)
def test_anchors_never_drift(anchor: datetime, period: BillingPeriod, tz: str, count: int) -> None:
    local = to_local(anchor, zone(tz))
    recurrence = Recurrence(period, anchor, zone(tz), count)
    for span in islice(periods_from(anchor, recurrence), 24):
        end = to_local(span.end, zone(tz))
        assert end.day == min(local.day, monthrange(end.year, end.month)[1])


@settings(max_examples=200)
@given(instants, st.sampled_from(ZONES))
def test_a_daily_period_is_about_a_day_even_where_a_boundary_is_skipped(anchor: datetime, tz: str) -> None:
    daily = Recurrence(DAILY, anchor, zone(tz))
    for span in islice(periods_from(daily.anchor, daily), 400):
        assert timedelta(hours=12) < span.duration < timedelta(hours=36)


@settings(max_examples=200)
@given(instants, recurrences, st.integers(0, 30))
def test_walking_back_finds_the_periods_that_led_here(start: datetime, recurrence: Recurrence, steps: int) -> None:
    grid = next_billing_date(start, recurrence)
    spans = list(islice(periods_from(grid, recurrence), steps + 1))
    target = spans[0]
    assert period_containing(target.start, spans[-1], recurrence) == target
    assert period_containing(spans[-1].end - timedelta(microseconds=1), target, recurrence) == spans[-1]


@settings(max_examples=100)
@given(instants, recurrences, st.lists(st.timedeltas(timedelta(0), timedelta(days=300)), max_size=4))
def test_one_run_after_many_missed_periods_equals_many_runs(
    start: datetime, recurrence: Recurrence, pauses: list[timedelta]
) -> None:
    first = Period(start, next_billing_date(start, recurrence))
    now, current = start, first
    completed: list[Period] = []
    for pause in pauses:
        now += pause
        progress = periods_until(current, recurrence, now)
        assert progress.current is not None
        completed += progress.completed
        current = progress.current
    assert (tuple(completed), current) == (
        periods_until(first, recurrence, now).completed,
        periods_until(first, recurrence, now).current,
    )


@settings(max_examples=200)
@given(instants, st.sampled_from(RECURRING), st.sampled_from(ZONES))
def test_a_calendar_anchor_ends_the_first_period(start: datetime, period: BillingPeriod, tz: str) -> None:
    anchor = calendar_anchor(start, period, zone(tz))
    assert start < anchor
    assert next_billing_date(start, Recurrence(period, anchor, zone(tz))) == anchor
