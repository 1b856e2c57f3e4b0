"""When a grant gives credits, how many and for how long: worked numbers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.calendar.billing import BillingPeriod, Recurrence, periods_from
from farthing.calendar.period import Period
from farthing.catalogue.plans.credit_grants import CreditGrantExpiryType, DurationUnit
from farthing.credits.rules.grants import (
    GrantExpiry,
    application_key,
    deferral,
    moment_after,
    prorated_credits,
    retry_delay,
    surplus,
)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("period", "count", "start", "starts"),
    [
        ("MONTHLY", 1, "2025-01-31", ["2025-01-31", "2025-02-28", "2025-03-31", "2025-04-30"]),
        ("MONTHLY", 2, "2024-12-31", ["2024-12-31", "2025-02-28", "2025-04-30", "2025-06-30"]),
        ("QUARTERLY", 1, "2025-11-30", ["2025-11-30", "2026-02-28", "2026-05-30", "2026-08-30"]),
        ("ANNUAL", 1, "2024-02-29", ["2024-02-29", "2025-02-28", "2026-02-28", "2027-02-28", "2028-02-29"]),
        ("WEEKLY", 2, "2025-01-01", ["2025-01-01", "2025-01-15", "2025-01-29"]),
        ("HALF_YEARLY", 1, "2025-08-31", ["2025-08-31", "2026-02-28", "2026-08-31"]),
        ("DAILY", 1, "2025-02-28", ["2025-02-28", "2025-03-01"]),
    ],
)
def test_periods_run_from_the_anchor(period: str, count: int, start: str, starts: list[str]) -> None:
    recurrence = Recurrence(BillingPeriod(period), at(start), count=count)
    found = [f"{period.start:%Y-%m-%d}" for period in islice(periods_from(at(start), recurrence), len(starts))]
    assert found == starts


@pytest.mark.parametrize(
    ("start", "count", "unit", "zone", "expiry"),
    [
        pytest.param("2025-01-31", 1, "MONTH", "UTC", "2025-02-28", id="a month after 31 January"),
        pytest.param("2024-01-31", 1, "MONTH", "UTC", "2024-02-29", id="in a leap year"),
        pytest.param("2024-02-29", 1, "YEAR", "UTC", "2025-02-28", id="a year after 29 February"),
        pytest.param("2025-08-31", 6, "MONTH", "UTC", "2026-02-28", id="half a year"),
        pytest.param("2025-01-31", 30, "DAY", "UTC", "2025-03-02", id="days are 24 hours"),
        pytest.param("2025-01-31", 2, "WEEK", "UTC", "2025-02-14", id="weeks are seven of them"),
        pytest.param(
            "2025-03-08T18:00", 1, "DAY", "America/New_York", "2025-03-09T18:00", id="through a change of clocks"
        ),
        pytest.param("2025-02-15T05:00", 1, "MONTH", "America/New_York", "2025-03-15T04:00", id="a month on the wall"),
    ],
)
def test_a_duration_ends_at_a_day_that_exists(start: str, count: int, unit: str, zone: str, expiry: str) -> None:
    assert moment_after(at(start), count, DurationUnit(unit), ZoneInfo(zone)) == at(expiry)


def test_a_duration_beyond_the_calendar_is_never() -> None:
    assert moment_after(at("2025-01-01"), 36_500, DurationUnit.YEAR) is None


@pytest.mark.parametrize(
    ("kind", "expiry"), [("NEVER", None), ("DURATION", at("2025-02-28")), ("BILLING_CYCLE", at("2025-02-10"))]
)
def test_each_kind_of_expiry(kind: str, expiry: datetime | None) -> None:
    duration, unit = (1, DurationUnit.MONTH) if kind == "DURATION" else (None, None)
    lasts = GrantExpiry(CreditGrantExpiryType(kind), duration, unit)
    assert lasts.of_lot(at("2025-01-31"), at("2025-02-10")) == expiry


@pytest.mark.parametrize(
    ("credits", "whole", "from_", "part"),
    [
        pytest.param("100", ("2025-01-01", "2025-02-01"), "2025-01-20", "38.70967742", id="twelve days of January"),
        pytest.param("1", ("2025-01-01", "2025-02-01"), "2025-01-31T23:59:30", "0.0000112", id="the last 30 seconds"),
        pytest.param("100", ("2025-02-01", "2025-03-01"), "2025-02-15", "50", id="half of February"),
        pytest.param("100", ("2024-02-01", "2024-03-01"), "2024-02-15", "51.72413793", id="of a leap year"),
        pytest.param("365", ("2025-01-01", "2026-01-01"), "2025-12-31", "1", id="a day of a year"),
        pytest.param("0.00000001", ("2025-01-01", "2025-02-01"), "2025-01-31", "0", id="nothing"),
        pytest.param("100", ("2025-01-01", "2025-02-01"), "2025-01-01", "100", id="all of it"),
    ],
)
def test_what_is_left_of_a_period_brings_its_share(credits: str, whole: tuple[str, str], from_: str, part: str) -> None:
    assert prorated_credits(Decimal(credits), Period(at(whole[0]), at(whole[1])), at(from_)) == Decimal(part)


def test_what_has_not_begun_is_deferred_longer_and_longer() -> None:
    minutes = [deferral(attempts) // timedelta(minutes=1) for attempts in range(6)]
    assert minutes == [30, 60, 120, 240, 480, 480]


def test_what_failed_is_tried_again_later_and_later_but_never_given_up() -> None:
    seconds = [retry_delay(failures).total_seconds() for failures in (1, 2, 3, 10, 12, 13, 10_000)]
    assert seconds == [10, 20, 40, 5120, 20480, 21600, 21600]


@pytest.mark.parametrize(
    ("left", "maximum", "beyond"),
    [("80", None, "0"), ("80", "50", "30"), ("80", "0", "80"), ("80", "80", "0"), ("0", "0", "0"), ("20", "50", "0")],
)
def test_what_rolls_over(left: str, maximum: str | None, beyond: str) -> None:
    assert surplus(Decimal(left), None if maximum is None else Decimal(maximum)) == Decimal(beyond)


@given(
    credits=st.decimals(min_value="0.01", max_value="1000000", places=2),
    minutes=st.lists(st.integers(min_value=1, max_value=44_639), min_size=1, max_size=5, unique=True),
)
def test_shares_fall_with_time_and_never_exceed_the_whole(credits: Decimal, minutes: list[int]) -> None:
    whole = Period(at("2025-01-01"), at("2025-02-01"))
    parts = [prorated_credits(credits, whole, whole.start + timedelta(minutes=m)) for m in sorted(minutes)]
    assert parts == sorted(parts, reverse=True)
    assert all(0 <= part <= credits for part in parts)


def test_a_key_names_a_grant_and_a_period() -> None:
    keys = {
        application_key(grant, start, end)
        for grant in ("cg_1", "cg_2")
        for start in (at("2025-01-01"), at("2025-02-01"))
        for end in (None, at("2025-03-01"))
    }
    assert len(keys) == 8
    assert all(key.startswith("credit_grant-") for key in keys)
