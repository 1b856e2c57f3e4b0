from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.calendar.period import Period
from farthing.calendar.windows import (
    ELAPSED,
    OffsetSpan,
    WindowSize,
    anchor_day,
    next_window,
    offset_spans,
    window_containing,
    window_start,
    windows,
)
from farthing.calendar.zones import to_local, zone

HOUR = timedelta(hours=1)


def at(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("moment", "size", "tz", "start", "end"),
    [
        pytest.param(
            "2025-04-10T13:47:12.5Z", "MINUTE", "UTC", "2025-04-10T13:47Z", "2025-04-10T13:48Z", id="a minute"
        ),
        pytest.param(
            "2025-04-10T13:47Z", "15MIN", "UTC", "2025-04-10T13:45Z", "2025-04-10T14:00Z", id="a quarter of an hour"
        ),
        pytest.param("2025-04-10T13:47Z", "30MIN", "UTC", "2025-04-10T13:30Z", "2025-04-10T14:00Z", id="half an hour"),
        pytest.param("2025-04-10T13:47Z", "HOUR", "UTC", "2025-04-10T13:00Z", "2025-04-10T14:00Z", id="an hour"),
        pytest.param(
            "2025-04-10T13:47Z",
            "HOUR",
            "Asia/Kolkata",
            "2025-04-10T13:30Z",
            "2025-04-10T14:30Z",
            id="an Indian hour starts at half past",
        ),
        pytest.param(
            "2025-04-10T13:47Z",
            "HOUR",
            "Asia/Kathmandu",
            "2025-04-10T13:15Z",
            "2025-04-10T14:15Z",
            id="a Nepalese hour starts at a quarter past",
        ),
        pytest.param("2025-04-10T13:47Z", "3HOUR", "UTC", "2025-04-10T12:00Z", "2025-04-10T15:00Z", id="three hours"),
        pytest.param(
            "2025-04-10T13:47Z",
            "6HOUR",
            "Asia/Kolkata",
            "2025-04-10T12:30Z",
            "2025-04-10T18:30Z",
            id="six Indian hours from 18:00",
        ),
        pytest.param("2025-04-10T13:47Z", "12HOUR", "UTC", "2025-04-10T12:00Z", "2025-04-11T00:00Z", id="twelve hours"),
        pytest.param(
            "2025-04-10T20:00Z", "DAY", "Asia/Kolkata", "2025-04-10T18:30Z", "2025-04-11T18:30Z", id="tomorrow in India"
        ),
        pytest.param(
            "2025-04-13T23:00Z",
            "WEEK",
            "UTC",
            "2025-04-07T00:00Z",
            "2025-04-14T00:00Z",
            id="a Sunday belongs to the week from Monday",
        ),
        pytest.param(
            "2025-04-10T00:00Z", "MONTH", "UTC", "2025-04-01T00:00Z", "2025-05-01T00:00Z", id="a calendar month"
        ),
        pytest.param(
            "2025-03-30T12:00Z",
            "DAY",
            "Europe/Berlin",
            "2025-03-29T23:00Z",
            "2025-03-30T22:00Z",
            id="a day of 23 hours",
        ),
        pytest.param(
            "2025-10-26T12:00Z",
            "DAY",
            "Europe/Berlin",
            "2025-10-25T22:00Z",
            "2025-10-26T23:00Z",
            id="a day of 25 hours",
        ),
        pytest.param(
            "2025-04-05T20:00Z",
            "DAY",
            "Australia/Lord_Howe",
            "2025-04-05T13:00Z",
            "2025-04-06T13:30Z",
            id="a day of 24 and a half hours",
        ),
        pytest.param(
            "2018-11-04T12:00Z",
            "DAY",
            "America/Sao_Paulo",
            "2018-11-04T03:00Z",
            "2018-11-05T02:00Z",
            id="a day that begins at one o'clock",
        ),
        pytest.param(
            "2024-11-03T05:30Z",
            "DAY",
            "America/Havana",
            "2024-11-03T04:00Z",
            "2024-11-04T05:00Z",
            id="a day whose midnight comes twice begins at the first",
        ),
        pytest.param(
            "2011-11-06T03:00Z",
            "DAY",
            "America/St_Johns",
            "2011-11-06T02:30Z",
            "2011-11-07T03:30Z",
            id="an hour set back across midnight stays with the day begun",
        ),
        pytest.param(
            "2011-12-30T12:00Z",
            "DAY",
            "Pacific/Apia",
            "2011-12-30T10:00Z",
            "2011-12-31T10:00Z",
            id="after the 29th Samoa had the 31st",
        ),
        pytest.param(
            "2025-03-30T00:30Z",
            "3HOUR",
            "Europe/Berlin",
            "2025-03-29T23:00Z",
            "2025-03-30T01:00Z",
            id="midnight to three is two hours in spring",
        ),
        pytest.param(
            "2025-10-26T01:30Z",
            "3HOUR",
            "Europe/Berlin",
            "2025-10-25T22:00Z",
            "2025-10-26T02:00Z",
            id="midnight to three is four hours in autumn",
        ),
        pytest.param(
            "2025-10-26T00:30Z",
            "HOUR",
            "Europe/Berlin",
            "2025-10-26T00:00Z",
            "2025-10-26T01:00Z",
            id="the repeated hour, first time",
        ),
        pytest.param(
            "2025-10-26T01:30Z",
            "HOUR",
            "Europe/Berlin",
            "2025-10-26T01:00Z",
            "2025-10-26T02:00Z",
            id="the repeated hour, second time",
        ),
        pytest.param(
            "2025-04-05T15:10Z",
            "HOUR",
            "Australia/Lord_Howe",
            "2025-04-05T15:00Z",
            "2025-04-05T15:30Z",
            id="half an hour set back starts a window of its own",
        ),
        pytest.param(
            "2025-10-04T15:45Z",
            "HOUR",
            "Australia/Lord_Howe",
            "2025-10-04T15:30Z",
            "2025-10-04T16:00Z",
            id="after half an hour set forward the hour is half as long",
        ),
    ],
)
def test_the_window_that_holds_an_instant(moment: str, size: str, tz: str, start: str, end: str) -> None:
    window = window_containing(at(moment), WindowSize(size), zone(tz))
    assert window == Period(at(start), at(end))
    assert window_start(at(moment), WindowSize(size), zone(tz)) == window.start
    assert next_window(at(moment), WindowSize(size), zone(tz)) == window.end


def test_month_windows_follow_the_local_day_of_the_billing_anchor() -> None:
    day = anchor_day(at("2024-12-30T20:00Z"), zone("Asia/Kolkata"))
    assert day == 31
    starts = [
        window.start for window in windows(Period(at("2025-01-31"), at("2025-05-01")), WindowSize.MONTH, month_day=day)
    ]
    assert starts == [at("2025-01-31"), at("2025-02-28"), at("2025-03-31"), at("2025-04-30")]


def test_the_time_of_day_of_an_anchor_does_not_matter() -> None:
    moment, berlin = at("2025-05-20"), zone("Europe/Berlin")
    assert window_start(moment, WindowSize.MONTH, berlin, anchor_day(at("2024-01-15T17:11Z"), berlin)) == at(
        "2025-05-14T22:00Z"
    )


def test_the_first_window_keeps_its_full_start() -> None:
    april = list(windows(Period(at("2025-04-10T13:47Z"), at("2025-04-12")), WindowSize.DAY))
    assert april == [Period(at("2025-04-10"), at("2025-04-11")), Period(at("2025-04-11"), at("2025-04-12"))]


def test_a_skipped_hour_does_not_exist() -> None:
    span = Period(at("2025-03-30T00:00Z"), at("2025-03-30T03:00Z"))
    shown = [
        to_local(window.start, zone("Europe/Berlin")).hour
        for window in windows(span, WindowSize.HOUR, zone("Europe/Berlin"))
    ]
    assert shown == [1, 3, 4]


@pytest.mark.parametrize("day", [0, 32])
def test_a_month_has_31_days_at_most(day: int) -> None:
    with pytest.raises(ValueError):
        window_start(at("2025-04-10"), WindowSize.MONTH, month_day=day)


CHANGES = {
    "Europe/Berlin": "2025-10-26T01:00Z",
    "America/New_York": "2025-03-09T07:00Z",
    "America/Havana": "2024-11-03T05:00Z",
    "America/Nuuk": "2025-03-30T01:00Z",
    "America/Sao_Paulo": "2018-11-04T03:00Z",
    "America/St_Johns": "2011-11-06T02:31Z",
    "Africa/Casablanca": "2025-02-23T02:00Z",
    "Antarctica/Casey": "2009-10-17T18:00Z",
    "Antarctica/Troll": "2025-03-30T01:00Z",
    "Asia/Kathmandu": "2025-01-01T00:00Z",
    "Australia/Lord_Howe": "2025-04-05T15:00Z",
    "Pacific/Apia": "2011-12-30T10:00Z",
    "Pacific/Chatham": "2025-09-27T14:00Z",
}

zones = st.sampled_from(sorted(CHANGES)).map(zone)
near_changes = st.builds(
    lambda name, away: (zone(name), at(CHANGES[name]) + away),
    st.sampled_from(sorted(CHANGES)),
    st.timedeltas(timedelta(days=-2), timedelta(days=2)),
)
anywhere = st.tuples(
    zones,
    st.datetimes(datetime.fromisoformat("2000-01-01"), datetime.fromisoformat("2040-01-01"), timezones=st.just(UTC)),
)
sizes = st.sampled_from(list(WindowSize))


@settings(max_examples=200)
@given(near_changes | anywhere, sizes, st.integers(1, 31))
def test_windows_tile_across_changes_of_the_clock(
    place: tuple[ZoneInfo, datetime], size: WindowSize, month_day: int
) -> None:
    tz, moment = place
    found = list(islice(windows(Period(moment, moment + timedelta(days=4000)), size, tz, month_day), 60))
    assert found[0].contains(moment)
    assert all(before.end == after.start for before, after in pairwise(found))
    for window in found:
        assert window_containing(window.start, size, tz, month_day) == window
        assert window_containing(window.end - timedelta(microseconds=1), size, tz, month_day) == window


@settings(max_examples=200)
@given(near_changes | anywhere, sizes, st.integers(1, 31))
def test_windows_have_about_their_length(place: tuple[ZoneInfo, datetime], size: WindowSize, month_day: int) -> None:
    tz, moment = place
    nominal = {
        **ELAPSED,
        WindowSize.THREE_HOURS: 3 * HOUR,
        WindowSize.SIX_HOURS: 6 * HOUR,
        WindowSize.TWELVE_HOURS: 12 * HOUR,
        WindowSize.DAY: 24 * HOUR,
        WindowSize.WEEK: 168 * HOUR,
        WindowSize.MONTH: timedelta(days=31),
    }
    length = window_containing(moment, size, tz, month_day).duration
    # Samoa once dropped a day, and Casey three hours; elapsed windows are only ever cut short
    assert length <= nominal[size] + (timedelta(0) if size in ELAPSED else 3 * HOUR)
    if size is WindowSize.DAY:
        assert length >= 21 * HOUR


def binned(moment: datetime, size: timedelta, spans: list[OffsetSpan]) -> datetime:
    """What a query computes: greatest(date_bin(size, t, span.midnight), span.start)."""
    (span,) = [span for span in spans if span.start <= moment < span.end]
    return max(span.midnight + (moment - span.midnight) // size * size, span.start)


@settings(max_examples=200)
@given(near_changes | anywhere, st.sampled_from(list(ELAPSED)), st.timedeltas(timedelta(0), timedelta(days=400)))
def test_binning_within_one_offset_gives_the_same_elapsed_windows(
    place: tuple[ZoneInfo, datetime], size: WindowSize, back: timedelta
) -> None:
    tz, moment = place
    spans = offset_spans(Period(moment - back, moment + timedelta(days=3)), tz)
    assert all(before.end == after.start and before.offset != after.offset for before, after in pairwise(spans))
    for probe in (moment - back, moment, moment + timedelta(days=3) - timedelta(microseconds=1)):
        assert binned(probe, ELAPSED[size], spans) == window_start(probe, size, tz)
