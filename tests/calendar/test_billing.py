from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest

from farthing.calendar.billing import (
    BillingPeriod,
    Recurrence,
    calendar_anchor,
    natural_period_start,
    next_billing_date,
    period_containing,
    periods_from,
    periods_until,
)
from farthing.calendar.period import Period
from farthing.calendar.zones import zone
from farthing.core.errors import InvalidOperation, ValidationFailed
from tests.calendar.rhythms import ANNUAL, DAILY, HALF_YEARLY, MONTHLY, QUARTERLY, RECURRING, WEEKLY

SAME, CALENDAR = "same", "calendar"


def at(text: str) -> datetime:
    """An instant; UTC and midnight go without saying."""
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


WORKED_DATES = [
    # start, anchor, period, count, zone, the boundaries that follow
    pytest.param(
        "2024-01-31",
        SAME,
        MONTHLY,
        1,
        "UTC",
        ["2024-02-29", "2024-03-31", "2024-04-30", "2024-05-31", "2024-06-30"],
        id="D1 the 31st clamps and recovers in a leap year",
    ),
    pytest.param(
        "2023-01-31",
        SAME,
        MONTHLY,
        1,
        "UTC",
        ["2023-02-28", "2023-03-31", "2023-04-30", "2023-05-31"],
        id="D2 the 31st clamps and recovers in a common year",
    ),
    pytest.param(
        "2024-01-31T00:00+05:30", SAME, MONTHLY, 1, "Asia/Kolkata", ["2024-02-28T18:30Z"], id="D3 the 31st in India"
    ),
    pytest.param(
        "2023-12-31T10:37Z",
        "2023-12-31T00:00Z",
        MONTHLY,
        2,
        "UTC",
        ["2024-02-29T00:00Z"],
        id="D4 two months from the 31st, on the anchor's clock",
    ),
    pytest.param(
        "2024-04-29T10:37Z",
        "2024-02-29T10:37Z",
        MONTHLY,
        2,
        "UTC",
        ["2024-06-29T10:37Z"],
        id="D5 two months from the 29th",
    ),
    pytest.param(
        "2024-04-01T00:00Z",
        "2024-01-15T12:00Z",
        MONTHLY,
        1,
        "UTC",
        ["2024-04-15T12:00Z"],
        id="D6 a past anchor on the 15th gives a short first month",
    ),
    pytest.param(
        "2026-01-10",
        "2026-01-20",
        MONTHLY,
        1,
        "UTC",
        ["2026-01-20", "2026-02-20"],
        id="D7 a custom anchor ten days ahead",
    ),
    pytest.param(
        "2024-02-29",
        SAME,
        ANNUAL,
        1,
        "UTC",
        ["2025-02-28", "2026-02-28", "2027-02-28", "2028-02-29"],
        id="D8 a leap day every year",
    ),
    pytest.param("2024-02-29", SAME, ANNUAL, 4, "UTC", ["2028-02-29"], id="D8 a leap day every four years"),
    pytest.param(
        "2024-01-15",
        "2024-06-15T12:00Z",
        ANNUAL,
        1,
        "UTC",
        ["2024-06-15T12:00Z", "2025-06-15T12:00Z"],
        id="D9 an annual anchor later this year ends the first period",
    ),
    pytest.param(
        "2024-03-04T10:00Z",
        "2024-01-03T14:00Z",
        WEEKLY,
        1,
        "UTC",
        ["2024-03-06T14:00Z"],
        id="D10 Monday to the anchor's Wednesday",
    ),
    pytest.param(
        "2024-12-29",
        "2024-01-04T15:30Z",
        WEEKLY,
        3,
        "UTC",
        ["2025-01-16T15:30Z"],
        id="D11 Sunday to the third Thursday",
    ),
    pytest.param(
        "2024-03-10T08:00Z",
        "2024-01-01T14:30Z",
        DAILY,
        1,
        "UTC",
        ["2024-03-11T14:30Z"],
        id="D12 the next day at the anchor's clock",
    ),
    pytest.param("2024-03-31", SAME, DAILY, 5, "UTC", ["2024-04-05"], id="D13 five days"),
    pytest.param(
        "2026-03-22",
        CALENDAR,
        QUARTERLY,
        1,
        "UTC",
        ["2026-04-01", "2026-07-01", "2026-10-01", "2027-01-01"],
        id="D14 calendar quarters",
    ),
    pytest.param("2026-03-22", SAME, QUARTERLY, 1, "UTC", ["2026-06-22"], id="D15 anniversary quarters"),
    pytest.param(
        "2026-01-15", "2026-06-01", QUARTERLY, 1, "UTC", ["2026-03-01", "2026-06-01", "2026-09-01"], id="anchor ahead"
    ),
    pytest.param("2027-01-15", "2028-01-01", QUARTERLY, 1, "UTC", ["2027-04-01", "2027-07-01"], id="a year ahead"),
    pytest.param(
        "2027-01-15", "2031-01-31", QUARTERLY, 1, "UTC", ["2027-01-31", "2027-04-30", "2027-07-31"], id="clamped points"
    ),
    pytest.param("2027-03-01", "2027-06-01", QUARTERLY, 1, "UTC", ["2027-06-01"], id="from a point of the grid"),
    pytest.param(
        "2027-01-15", "2028-01-01", QUARTERLY, 2, "UTC", ["2027-07-01", "2028-01-01"], id="every two quarters"
    ),
    pytest.param("2027-01-15", "2027-09-01", HALF_YEARLY, 1, "UTC", ["2027-03-01", "2027-09-01"], id="halves ahead"),
    pytest.param(
        "2027-01-15", "2029-02-28T23:00Z", HALF_YEARLY, 1, "Europe/Berlin", ["2027-02-28T23:00Z"], id="halves in Berlin"
    ),
    pytest.param(
        "2026-06-01",
        "2026-04-01",
        QUARTERLY,
        1,
        "UTC",
        ["2026-09-01"],
        id="D16 a quarter from the start when the anchor is past",
    ),
    pytest.param("2026-10-05", CALENDAR, HALF_YEARLY, 1, "UTC", ["2027-01-01"], id="D17 calendar halves"),
    pytest.param("2024-01-15", CALENDAR, MONTHLY, 2, "UTC", ["2024-03-01"], id="D18 two calendar months"),
    pytest.param(
        "2024-12-30T10:37Z", CALENDAR, MONTHLY, 1, "UTC", ["2025-01-01T00:00Z"], id="D19 a stub over New Year"
    ),
    pytest.param("2024-03-06", CALENDAR, WEEKLY, 1, "UTC", ["2024-03-11"], id="D20 to the next Monday"),
    pytest.param("2024-03-06", CALENDAR, WEEKLY, 2, "UTC", ["2024-03-18"], id="D20 to the Monday after next"),
    pytest.param("2024-03-11", CALENDAR, WEEKLY, 1, "UTC", ["2024-03-18"], id="D21 a Monday start runs a whole week"),
    pytest.param(
        "2026-03-02T07:58:45.337Z", CALENDAR, DAILY, 1, "UTC", ["2026-03-03T00:00Z"], id="D22 the rest of the day"
    ),
    pytest.param(
        "2024-01-31T20:00Z",
        CALENDAR,
        MONTHLY,
        1,
        "Asia/Kolkata",
        ["2024-02-29T18:30Z"],
        id="D23 January in UTC is February in India",
    ),
    pytest.param(
        "2024-03-01T05:00Z",
        SAME,
        MONTHLY,
        1,
        "America/New_York",
        ["2024-04-01T04:00Z"],
        id="D24 New York goes to summer time",
    ),
    pytest.param(
        "2024-03-01T08:00Z",
        SAME,
        MONTHLY,
        1,
        "America/Los_Angeles",
        ["2024-04-01T07:00Z"],
        id="D25 Los Angeles goes to summer time",
    ),
    pytest.param(
        "2024-02-29T18:30Z",
        SAME,
        MONTHLY,
        1,
        "Asia/Kolkata",
        ["2024-03-31T18:30Z"],
        id="D26 the first of the month in India",
    ),
    pytest.param("2025-11-30", SAME, QUARTERLY, 1, "UTC", ["2026-02-28"], id="D28 a quarter to the end of February"),
    pytest.param(
        "2026-03-02T07:58:45.337Z",
        SAME,
        MONTHLY,
        1,
        "UTC",
        ["2026-04-02T07:58:45Z"],
        id="sub-seconds of the anchor are dropped",
    ),
    pytest.param(
        "2024-03-30T01:30Z",
        SAME,
        DAILY,
        1,
        "Europe/Berlin",
        ["2024-03-31T01:30Z", "2024-04-01T00:30Z"],
        id="half past two does not exist on the day of the change",
    ),
    pytest.param(
        "2024-03-30T00:30Z",
        SAME,
        DAILY,
        1,
        "America/Nuuk",
        ["2024-03-31T00:30Z", "2024-03-31T23:30Z"],
        id="a boundary pushed past midnight takes no day away",
    ),
    pytest.param(
        "2011-11-06T03:00Z",
        "2011-11-01T02:30:30Z",
        DAILY,
        1,
        "America/St_Johns",
        ["2011-11-07T03:30:30Z"],
        id="a clock set back across midnight",
    ),
]


@pytest.mark.parametrize(("start", "anchor", "period", "count", "tz", "expected"), WORKED_DATES)
def test_worked_dates(
    *, start: str, anchor: str, period: BillingPeriod, count: int, tz: str, expected: list[str]
) -> None:
    named = zone(tz)
    anchored = {SAME: at(start), CALENDAR: calendar_anchor(at(start), period, named)}.get(anchor) or at(anchor)
    recurrence = Recurrence(period, anchored, named, count)
    ends = [span.end for span in islice(periods_from(at(start), recurrence), len(expected))]
    assert ends == [at(text) for text in expected]


@pytest.mark.parametrize(
    ("start", "period", "tz", "expected"),
    [
        pytest.param("2024-03-10", DAILY, "UTC", "2024-03-11", id="the next day"),
        pytest.param("2024-03-06", WEEKLY, "UTC", "2024-03-11", id="the next Monday"),
        pytest.param("2024-03-11", WEEKLY, "UTC", "2024-03-18", id="from a Monday the Monday after"),
        pytest.param("2024-01-01", MONTHLY, "UTC", "2024-02-01", id="from a first the next first"),
        pytest.param("2024-12-30T10:37Z", MONTHLY, "UTC", "2025-01-01", id="over New Year"),
        pytest.param("2026-03-22", QUARTERLY, "UTC", "2026-04-01", id="the second quarter"),
        pytest.param("2026-10-01", QUARTERLY, "UTC", "2027-01-01", id="from a quarter's start the next quarter"),
        pytest.param("2026-06-30T23:59:59Z", HALF_YEARLY, "UTC", "2026-07-01", id="the second half"),
        pytest.param("2026-10-05", HALF_YEARLY, "UTC", "2027-01-01", id="the first half of next year"),
        pytest.param("2026-01-01", ANNUAL, "UTC", "2027-01-01", id="next year"),
        pytest.param("2024-01-31T20:00Z", MONTHLY, "Asia/Kolkata", "2024-02-29T18:30Z", id="already February in India"),
        pytest.param(
            "2024-03-09T12:00Z", MONTHLY, "America/New_York", "2024-04-01T04:00Z", id="midnight of summer time"
        ),
        pytest.param(
            "2018-11-03T12:00Z", DAILY, "America/Sao_Paulo", "2018-11-04T03:00Z", id="a midnight that is skipped"
        ),
    ],
)
def test_the_calendars_anchor_is_the_next_natural_boundary(
    start: str, period: BillingPeriod, tz: str, expected: str
) -> None:
    assert calendar_anchor(at(start), period, zone(tz)) == at(expected)


@pytest.mark.parametrize(
    ("boundary", "anchor", "period", "count", "tz", "expected"),
    [
        pytest.param("2026-02-01", SAME, MONTHLY, 1, "UTC", "2026-01-01", id="the month before"),
        pytest.param(
            "2024-02-29T18:30Z",
            SAME,
            MONTHLY,
            1,
            "Asia/Kolkata",
            "2024-01-31T18:30Z",
            id="the month before in India, not January 28",
        ),
        pytest.param("2024-03-31", SAME, MONTHLY, 1, "UTC", "2024-02-29", id="clamped in February"),
        pytest.param("2024-02-29", "2024-01-31", MONTHLY, 1, "UTC", "2024-01-31", id="recovered from February"),
        pytest.param("2028-02-29", SAME, ANNUAL, 1, "UTC", "2027-02-28", id="a year before a leap day"),
        pytest.param("2024-03-11", SAME, WEEKLY, 2, "UTC", "2024-02-26", id="two weeks before"),
        pytest.param("2024-03-11", SAME, DAILY, 3, "UTC", "2024-03-08", id="three days before"),
        pytest.param(
            "2024-04-01T04:00Z", SAME, QUARTERLY, 1, "America/New_York", "2024-01-01T05:00Z", id="across summer time"
        ),
    ],
)
def test_a_period_before_a_boundary(
    *, boundary: str, anchor: str, period: BillingPeriod, count: int, tz: str, expected: str
) -> None:
    anchored = at(boundary) if anchor == SAME else at(anchor)
    assert natural_period_start(at(boundary), Recurrence(period, anchored, zone(tz), count)) == at(expected)


def test_no_period_reaches_past_the_end_of_the_subscription() -> None:
    monthly = Recurrence(MONTHLY, at("2026-01-01"))
    assert next_billing_date(at("2026-01-01"), monthly, at("2026-01-20")) == at("2026-01-20")
    assert next_billing_date(at("2026-01-01"), monthly, at("2026-02-01")) == at("2026-02-01")
    assert list(periods_from(at("2026-01-01"), monthly, at("2026-02-10")))[-1] == Period(
        at("2026-02-01"), at("2026-02-10")
    )
    with pytest.raises(ValidationFailed):
        next_billing_date(at("2026-01-01"), monthly, at("2026-01-01"))


@pytest.mark.parametrize(
    ("period", "count", "field"),
    [
        pytest.param(MONTHLY, 0, "billing_period_count", id="no count"),
        pytest.param(WEEKLY, -1, "billing_period_count", id="a negative count"),
        pytest.param(BillingPeriod.ONETIME, 1, "billing_period", id="something that happens once"),
    ],
)
def test_a_rhythm_that_makes_no_sense_is_refused(period: BillingPeriod, count: int, field: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        Recurrence(period, at("2026-01-01"), count=count)
    assert list(refused.value.details) == [field]


def test_a_boundary_beyond_all_calendars_is_refused() -> None:
    for period in RECURRING:
        with pytest.raises(ValidationFailed):
            next_billing_date(at("2026-01-01"), Recurrence(period, at("2026-01-01"), count=10**9))
    with pytest.raises(ValidationFailed):
        calendar_anchor(at("2026-01-01"), BillingPeriod.ONETIME)


class TestProgress:
    """D27: quarterly from 2025-05-30, ending 2026-05-30."""

    start, end = at("2025-05-30"), at("2026-05-30")
    quarterly = Recurrence(QUARTERLY, start)
    first = Period(start, at("2025-08-30"))

    def test_entering_the_last_period_does_not_end_the_subscription(self) -> None:
        progress = periods_until(self.first, self.quarterly, at("2026-05-28T15:00Z"), self.end)
        assert [period.end for period in progress.completed] == [at("2025-08-30"), at("2025-11-30"), at("2026-02-28")]
        assert progress.current == Period(at("2026-02-28"), self.end)

    def test_the_run_at_the_end_completes_the_last_period(self) -> None:
        progress = periods_until(self.first, self.quarterly, self.end, self.end)
        assert progress.completed[-1] == Period(at("2026-02-28"), self.end)
        assert progress.current is None

    def test_a_period_is_over_at_its_end_exactly(self) -> None:
        assert periods_until(self.first, self.quarterly, at("2025-08-30")).completed == (self.first,)
        assert periods_until(self.first, self.quarterly, at("2025-08-29T23:59:59Z")).completed == ()

    def test_an_end_moved_before_the_open_periods_end_lets_nothing_follow(self) -> None:
        assert periods_until(self.first, self.quarterly, at("2027-01-01"), at("2025-07-01")).current is None

    def test_ten_thousand_periods_are_enough(self) -> None:
        daily = Recurrence(DAILY, at("1990-01-01"))
        with pytest.raises(InvalidOperation):
            periods_until(Period(at("1990-01-01"), at("1990-01-02")), daily, at("2026-01-01"))

    def test_months_missed_while_down_are_all_there(self) -> None:
        april = Period(at("2026-04-01"), at("2026-05-01"))
        progress = periods_until(april, Recurrence(MONTHLY, april.start), at("2026-07-03"))
        assert [period.start.month for period in progress.completed] == [4, 5, 6]
        assert progress.current == Period(at("2026-07-01"), at("2026-08-01"))


def test_240_periods_are_walked_either_way_and_no_more() -> None:
    daily, known = Recurrence(DAILY, at("2026-01-01")), Period(at("2026-01-01"), at("2026-01-02"))
    for days in (240, -240):
        there = known.start + timedelta(days=days)
        assert period_containing(there, known, daily) == Period(there, there + timedelta(days=1))
    for days in (241, -241):
        with pytest.raises(InvalidOperation):
            period_containing(known.start + timedelta(days=days), known, daily)


def test_before_a_stub_whole_periods_are_counted_back_from_its_end() -> None:
    stub, monthly = Period(at("2026-01-15"), at("2026-02-01")), Recurrence(MONTHLY, at("2026-02-01"))
    assert period_containing(at("2026-01-05"), stub, monthly) == Period(at("2026-01-01"), at("2026-01-15"))
    assert period_containing(at("2025-12-05"), stub, monthly) == Period(at("2025-12-01"), at("2026-01-01"))
