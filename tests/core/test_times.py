"""Times that clients send are cut, never rounded, and the largest and smallest of other languages are read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from farthing.calendar.windows import WindowSize, window_containing
from farthing.calendar.zones import to_local, zone
from farthing.core.clock import FIRST_INSTANT, LAST_INSTANT, shifted
from farthing.core.encoding.decoding import json_decoder
from farthing.core.encoding.times import Moment, read_time, read_typed_time


class Holder(msgspec.Struct):
    at: Moment | None = None
    more: list[Moment] = []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "2026-01-31T23:59:59.999999999Z", datetime(2026, 1, 31, 23, 59, 59, 999999, UTC), id="nanoseconds"
        ),
        pytest.param("2026-01-31T23:59:59.9999999Z", datetime(2026, 1, 31, 23, 59, 59, 999999, UTC), id="ticks"),
        pytest.param(
            "2026-12-31T23:59:59.9999996+00:00", datetime(2026, 12, 31, 23, 59, 59, 999999, UTC), id="a year's last"
        ),
        pytest.param(
            "2026-02-01T04:59:59.999999999+05:00", datetime(2026, 1, 31, 23, 59, 59, 999999, UTC), id="an offset"
        ),
        pytest.param("2026-01-31T23:59:59.5Z", datetime(2026, 1, 31, 23, 59, 59, 500000, UTC), id="one digit"),
        pytest.param(
            "9999-12-31T23:59:59.9999999Z", datetime(9999, 12, 31, 23, 59, 59, 999999, UTC), id="the last of .NET"
        ),
        pytest.param("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC), id="the zero time of Go"),
        pytest.param("0001-01-01T00:00:00.0000000+00:00", datetime(1, 1, 1, tzinfo=UTC), id="the first of .NET"),
    ],
)
def test_digits_beyond_the_microsecond_are_dropped(text: str, expected: datetime) -> None:
    """Rule: docs/rules/conventions.md#times"""
    assert read_time(text) == expected
    held = json_decoder(Holder).decode(msgspec.json.encode({"at": text, "more": [text]}))
    assert (held.at, held.more) == (expected, [expected])
    assert type(held.at) is datetime


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026",
        "2026-01-31",
        "2026-01-31T23:59:59",
        "2026-13-01T00:00:00Z",
        "2026-01-31T25:00:00Z",
        "1700000000",
        "9999-12-31T23:59:59-01:00",
        "0001-01-01T00:00:00+01:00",
        "2026-01-31T23:59:59.Z",
    ],
)
def test_what_is_no_time_of_one_instant_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must|out of range"):
        read_time(text)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        pytest.param("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC), id="a date"),
        pytest.param("2026-11-01T10:30", datetime(2026, 11, 1, 10, 30, tzinfo=UTC), id="as browsers write it"),
        pytest.param(" 2026-11-01 10:30:05 ", datetime(2026, 11, 1, 10, 30, 5, tzinfo=UTC), id="with a blank"),
        pytest.param("2026-11-01T10:30+02:00", datetime(2026, 11, 1, 8, 30, tzinfo=UTC), id="with an offset"),
        pytest.param(
            "2026-10-31T23:59:59.999999999", datetime(2026, 10, 31, 23, 59, 59, 999999, UTC), id="cut, not rounded"
        ),
    ],
)
def test_what_a_person_types_is_utc_and_may_have_no_time_of_day(typed: str, expected: datetime) -> None:
    """Rule: docs/rules/conventions.md#times"""
    assert read_typed_time(typed) == expected


@pytest.mark.parametrize("typed", ["", "nonsense", "2026-02-30", "01.11.2026", "2026-11-01T25:00", "2026-11"])
def test_what_a_person_types_and_is_no_time_is_refused(typed: str) -> None:
    with pytest.raises(ValueError, match="must be a"):
        read_typed_time(typed)


@pytest.mark.parametrize(
    ("moment", "by", "expected"),
    [
        pytest.param(LAST_INSTANT, timedelta(milliseconds=1), LAST_INSTANT, id="beyond the last"),
        pytest.param(FIRST_INSTANT, -timedelta(days=7), FIRST_INSTANT, id="before the first"),
        pytest.param(FIRST_INSTANT, timedelta(days=1), datetime(1, 1, 2, tzinfo=UTC), id="inward"),
        pytest.param(
            datetime(2026, 1, 1, tzinfo=UTC), timedelta(days=31), datetime(2026, 2, 1, tzinfo=UTC), id="plain"
        ),
    ],
)
def test_a_time_is_moved_to_the_end_of_the_calendar_at_most(
    moment: datetime, by: timedelta, expected: datetime
) -> None:
    """Rule: docs/rules/conventions.md#times"""
    assert shifted(moment, by) == expected


@pytest.mark.parametrize("name", ["UTC", "Asia/Tokyo", "America/New_York", "Pacific/Apia"])
@pytest.mark.parametrize("moment", [FIRST_INSTANT, LAST_INSTANT - timedelta(milliseconds=1)], ids=["first", "last"])
def test_a_window_of_every_size_holds_the_first_and_the_last_instant(name: str, moment: datetime) -> None:
    """Rule: docs/rules/conventions.md#times"""
    for size in WindowSize:
        window = window_containing(moment, size, zone(name))
        assert window.start <= moment < window.end
        assert to_local(moment, zone(name)).year in {1, 9999}
