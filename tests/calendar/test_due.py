from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.calendar.due import (
    DueTerms,
    NumberDate,
    PaymentTerms,
    due_date,
    grace_is_over,
    number_date,
    payable_until,
)
from farthing.calendar.zones import to_local, zone, zone_or_abbreviation


def at(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("reference", "terms", "due_days", "tz", "expected"),
    [
        pytest.param("2025-02-01", "30 NET", None, "UTC", "2025-03-03", id="W33 thirty days"),
        pytest.param("2025-02-01", None, None, "UTC", "2025-02-02", id="W33 no terms and no setting: a day"),
        pytest.param("2025-02-01", "45 NET", None, "UTC", "2025-03-18", id="W33 forty-five days"),
        pytest.param("2024-02-01", "30 NET", None, "UTC", "2024-03-02", id="W33 thirty days in a leap year"),
        pytest.param("2025-02-01", None, 14, "UTC", "2025-02-15", id="the setting's days"),
        pytest.param("2025-02-01", None, 0, "UTC", "2025-02-01", id="due at once"),
        pytest.param("2025-02-01", "15 NET", 3, "UTC", "2025-02-16", id="terms go before the setting"),
        pytest.param(
            "2025-03-01T05:00Z",
            "30 NET",
            None,
            "America/New_York",
            "2025-03-31T04:00Z",
            id="thirty days on the calendar, although the clock is set forward",
        ),
        pytest.param(
            "2027-11-01T04:00Z",
            "30 NET",
            None,
            "America/New_York",
            "2027-12-01T05:00Z",
            id="thirty days on the calendar, although the clock is set back",
        ),
        pytest.param("2027-01-01", "30 NET", None, "UTC", "2027-01-31", id="a year in advance"),
        pytest.param("2027-01-16", "30 NET", None, "UTC", "2027-02-15", id="more seats in mid-month"),
        pytest.param(
            "2026-03-27T01:30Z",
            None,
            2,
            "Europe/Berlin",
            "2026-03-29T01:30Z",
            id="a time on the wall that is skipped moves on by the gap",
        ),
        pytest.param("2026-10-24T22:00Z", None, 1, "Europe/Berlin", "2026-10-25T23:00Z", id="a day of 25 hours"),
        pytest.param(
            "2026-03-30T22:00Z",
            "END_OF_MONTH",
            None,
            "Europe/Berlin",
            "2026-03-31T21:59:59.999999Z",
            id="the month in the subscription's zone",
        ),
        pytest.param(
            "2025-02-01", "END_OF_MONTH", None, "UTC", "2025-02-28T23:59:59.999999Z", id="the end of February"
        ),
        pytest.param(
            "2025-02-01",
            "END_OF_MONTH",
            None,
            "America/New_York",
            "2025-02-01T04:59:59.999999Z",
            id="still January in New York",
        ),
        pytest.param(
            "2025-01-31T20:00Z",
            "END_OF_NEXT_MONTH",
            None,
            "Asia/Kolkata",
            "2025-03-31T18:29:59.999999Z",
            id="already February in India, so the end of March",
        ),
        pytest.param("2025-12-15", "END_OF_NEXT_MONTH", None, "UTC", "2026-01-31T23:59:59.999999Z", id="over New Year"),
    ],
)
def test_due_dates(reference: str, terms: str | None, due_days: int | None, tz: str, expected: str) -> None:
    payment_terms = None if terms is None else PaymentTerms(terms)
    due_terms = DueTerms(payment_terms, 1 if due_days is None else due_days, zone(tz))
    assert payable_until(at(reference), due_terms) == at(expected)


@pytest.mark.parametrize(
    ("issued", "expected"),
    [
        pytest.param("2027-02-01T02:00", "2027-02-16", id="as the run issues it"),
        pytest.param("2027-02-04T00:00", "2027-02-16", id="72 hours after"),
        pytest.param("2027-02-04T00:00:01", "2027-02-19T00:00:01", id="more than 72 hours after"),
        pytest.param("2027-06-10", "2027-06-25", id="months after"),
        pytest.param("2027-01-30", "2027-02-16", id="before its reference date"),
    ],
)
def test_an_invoice_issued_late_is_due_from_its_issue(issued: str, expected: str) -> None:
    assert due_date(at("2027-02-01"), at(issued), DueTerms(PaymentTerms.NET_15)) == at(expected)


def test_patience_ends_after_the_last_instant_of_grace() -> None:
    """W34."""
    assert not grace_is_over(at("2025-03-01"), 3, at("2025-03-04T00:00:00Z"))
    assert grace_is_over(at("2025-03-01"), 3, at("2025-03-04T00:00:01Z"))


@pytest.mark.parametrize(
    ("finalized_at", "format", "tz", "expected"),
    [
        pytest.param("2025-01-15", "YYYYMM", "UTC", "202501", id="W31 January"),
        pytest.param("2025-02-01", "YYYYMM", "UTC", "202502", id="W31 February"),
        pytest.param("2025-01-31T23:30Z", "YYYYMM", "IST", "202502", id="W32 already February in India"),
        pytest.param("2025-02-01T03:00Z", "YYYYMM", "EST", "202501", id="W32 still January in New York"),
        pytest.param("2025-01-09", "YYYYMMDD", "UTC", "20250109", id="a day"),
        pytest.param("2025-01-09", "YYMMDD", "UTC", "250109", id="a short day"),
        pytest.param("2025-01-09", "YY", "UTC", "25", id="a short year"),
        pytest.param("2025-01-09", "YYYY", "UTC", "2025", id="a year"),
    ],
)
def test_the_date_part_of_an_invoice_number(finalized_at: str, format: str, tz: str, expected: str) -> None:
    assert number_date(at(finalized_at), NumberDate(format), zone_or_abbreviation(tz)) == expected


instants = st.datetimes(
    datetime.fromisoformat("2000-01-01"), datetime.fromisoformat("2040-01-01"), timezones=st.just(UTC)
)


@given(instants, st.sampled_from(["UTC", "America/Sao_Paulo", "Asia/Kolkata", "America/Havana"]))
def test_the_end_of_a_month_is_its_last_microsecond(period_end: datetime, tz: str) -> None:
    due = payable_until(period_end, DueTerms(PaymentTerms.END_OF_MONTH, zone=zone(tz)))
    local, last = to_local(period_end, zone(tz)), to_local(due, zone(tz))
    assert due >= period_end
    assert (last.year, last.month) == (local.year, local.month)
    assert last.day >= 28


@given(instants, st.sampled_from(list(PaymentTerms)))
def test_nothing_is_due_before_its_period_has_ended(period_end: datetime, terms: PaymentTerms) -> None:
    assert payable_until(period_end, DueTerms(terms)) >= period_end
