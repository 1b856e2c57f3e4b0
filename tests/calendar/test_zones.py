from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.calendar.zones import ABBREVIATIONS, first_instant_at, to_local, to_utc, zone, zone_or_abbreviation
from farthing.core.errors import ValidationFailed

# Zones with whole-hour, half-hour, three-hour and whole-day jumps, jumps at and across midnight, and none at all.
ODD_ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Havana",
    "America/Nuuk",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Africa/Casablanca",
    "Antarctica/Casey",
    "Antarctica/Troll",
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Chatham",
]


@pytest.mark.parametrize(
    ("local", "name", "expected"),
    [
        pytest.param("2024-07-01T00:00", "Europe/Berlin", "2024-06-30T22:00Z", id="an ordinary time"),
        pytest.param(
            "2024-03-31T02:30", "Europe/Berlin", "2024-03-31T01:30Z", id="a skipped time moves forward an hour"
        ),
        pytest.param(
            "2024-10-27T02:30", "Europe/Berlin", "2024-10-27T00:30Z", id="a repeated time is its first occurrence"
        ),
        pytest.param("2024-10-06T02:15", "Australia/Lord_Howe", "2024-10-05T15:45Z", id="Lord Howe skips half an hour"),
        pytest.param("2011-12-30T12:00", "Pacific/Apia", "2011-12-30T22:00Z", id="Samoa skipped a day"),
    ],
)
def test_the_wall_becomes_an_instant(local: str, name: str, expected: str) -> None:
    assert to_utc(datetime.fromisoformat(local), zone(name)) == datetime.fromisoformat(expected)


@pytest.mark.parametrize(
    ("local", "name", "expected"),
    [
        pytest.param(
            "2018-11-04T00:00", "America/Sao_Paulo", "2018-11-04T03:00Z", id="a midnight skipped is one o'clock"
        ),
        pytest.param(
            "2024-03-31T02:30", "Europe/Berlin", "2024-03-31T01:00Z", id="inside a gap: the first instant after it"
        ),
        pytest.param(
            "2024-11-03T00:00", "America/Havana", "2024-11-03T04:00Z", id="a midnight that comes twice: the first"
        ),
        pytest.param(
            "2009-10-18T03:00", "Antarctica/Casey", "2009-10-17T18:00Z", id="three hours skipped at two o'clock"
        ),
    ],
)
def test_an_edge_is_the_first_instant_at_which_the_wall_has_come_so_far(local: str, name: str, expected: str) -> None:
    assert first_instant_at(datetime.fromisoformat(local), zone(name)) == datetime.fromisoformat(expected)


def test_every_abbreviation_names_a_zone() -> None:
    assert len(ABBREVIATIONS) == 21
    for letters, name in ABBREVIATIONS.items():
        assert zone_or_abbreviation(letters) == zone(name)


def test_the_empty_name_is_utc_and_est_has_summer_time_only_as_an_abbreviation() -> None:
    july = datetime(2024, 7, 1, 12, tzinfo=UTC)
    assert zone("") == zone_or_abbreviation("") == zone("UTC")
    assert to_local(july, zone_or_abbreviation("EST")) == datetime.fromisoformat("2024-07-01T08:00")
    assert to_local(july, zone("EST")) == datetime.fromisoformat("2024-07-01T07:00")


@pytest.mark.parametrize(
    "name", ["IST", "Mars/Olympus", "utc", "europe/berlin", "localtime", "posixrules", "../passwd", "/", "Factory", " "]
)
def test_a_name_that_is_no_zone_is_refused_with_the_fields_name(name: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        zone(name, "customer.timezone")
    assert list(refused.value.details) == ["customer.timezone"]


wall_times = st.datetimes(datetime.fromisoformat("2000-01-01"), datetime.fromisoformat("2040-01-01"))


@settings(max_examples=200)
@given(st.sampled_from(ODD_ZONES), wall_times, st.timedeltas(timedelta(0), timedelta(days=2)))
def test_edges_never_run_backwards(name: str, local: datetime, later: timedelta) -> None:
    assert first_instant_at(local, zone(name)) <= first_instant_at(local + later, zone(name))


@settings(max_examples=200)
@given(st.sampled_from(ODD_ZONES), wall_times)
def test_only_a_skipped_time_comes_back_changed_and_then_later(name: str, local: datetime) -> None:
    instant, edge = to_utc(local, zone(name)), first_instant_at(local, zone(name))
    shown = to_local(instant, zone(name))
    assert shown >= local
    if shown == local:
        assert edge == instant
    else:
        # the jump lies at the edge: just before it the wall had not come so far, and at it the wall is already past
        assert edge <= instant
        assert (
            to_local(edge - timedelta(microseconds=1), zone(name)) < local < to_local(edge, zone(name))
            or edge == instant
        )
