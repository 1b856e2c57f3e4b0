"""Times that clients send are cut, never rounded, and the largest and smallest of other languages are read."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from farthing.core.decoding import json_decoder
from farthing.core.times import Moment, read_time


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
