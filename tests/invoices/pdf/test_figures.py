from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.core.currency import digits
from farthing.invoices.pdf import figures
from farthing.invoices.pdf.document import Days


@pytest.mark.parametrize(
    ("amount", "currency", "written"),
    [
        pytest.param("1234.5", "usd", "$1,234.50", id="dollars have cents even when there are none"),
        pytest.param("1234567", "jpy", "¥1,234,567", id="yen have no decimals"),
        pytest.param("1.5", "kwd", "KWD\u00a01.500", id="dinars have three, and a code keeps its distance"),
        pytest.param("0.0001", "clf", "CLF\u00a00.0001", id="the Chilean unit of account has four"),
        pytest.param("12", "huf", "HUF\u00a012.00", id="forints have two by ISO though no one uses them"),
        pytest.param("-5", "eur", "−€5.00", id="a credit's minus stands before the symbol"),
        pytest.param("-0.00", "eur", "€0.00", id="nothing is never negative"),
        pytest.param("1E+3", "gbp", "£1,000.00", id="an exponent is spelled out"),
        pytest.param("0.0125", "usd", "$0.0125", id="a digit that is there is not rounded away"),
        pytest.param("10.00000000", "usd", "$10.00", id="a column's trailing zeros are not figures"),
        pytest.param(
            "-12345678901234567890.123456789012345",
            "usd",
            "−$12,345,678,901,234,567,890.123456789012345",
            id="and so they are below zero",
        ),
        pytest.param("7", "cny", "CN¥7.00", id="yuan are told from yen"),
        pytest.param("7", "zzz", "ZZZ\u00a07.00", id="an unknown code stands for itself"),
        pytest.param(
            "12345678901234567890.123456789012345",
            "usd",
            "$12,345,678,901,234,567,890.123456789012345",
            id="thirty-five digits are all printed",
        ),
    ],
)
def test_money(amount: str, currency: str, written: str) -> None:
    assert figures.money(Decimal(amount), currency) == written


@given(
    amount=st.decimals(min_value=Decimal("-1e20"), max_value=Decimal("1e20"), places=8),
    currency=st.sampled_from(["usd", "jpy", "kwd", "clf"]),
)
def test_what_is_printed_reads_back_as_the_amount(amount: Decimal, currency: str) -> None:
    written = figures.number(amount, currency)
    plain = written.replace(",", "").replace(figures.MINUS, "-")
    assert Decimal(plain) == amount
    assert len(plain.partition(".")[2]) >= digits(currency)


@pytest.mark.parametrize(
    ("vat", "written"),
    [
        ("0.19", "19%"),
        (" 0.055 ", "5.5%"),
        ("0", "0%"),
        ("1", "100%"),
        ("0." + "1" * 38, "11." + "1" * 36 + "%"),
        ("banana", ""),
        ("", ""),
        ("NaN", ""),
        ("Infinity", ""),
        ("-0.2", ""),
        ("19", ""),
        ("1e999999", ""),
        ("0." + "1" * 100, ""),
    ],
)
def test_a_vat_note_is_a_fraction_or_nothing(vat: str, written: str) -> None:
    assert figures.percent(vat) == written


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        pytest.param("a\x00b\x07c\x1b[31m", "abc[31m", id="control characters are dropped"),
        pytest.param("half \ud83d pair", "half  pair", id="half a surrogate pair is dropped"),
        pytest.param("total \u202e00.1$", "total 00.1$", id="what would turn figures round is dropped"),
        pytest.param("न\u200dम \u05d0\u200f", "न\u200dम \u05d0\u200f", id="joiners and plain direction marks stay"),
        pytest.param("one\r\ntwo\tthree", "one\ntwo three", id="lines stay, tabs become spaces"),
        pytest.param("x" * 20, "xxxxxxxx\u200bxxxxxxxx\u200bxxxx", id="a long word may be broken"),
        pytest.param("y" * 19, "y" * 19, id="a shorter one may not"),
        pytest.param("क" * 40, "क" * 40, id="a script that joins its letters is left whole"),
    ],
)
def test_text_fit_for_print(raw: str, shown: str) -> None:
    assert figures.text(raw) == shown


def test_a_text_over_its_limit_ends_in_an_ellipsis() -> None:
    assert figures.text("word " * 10, limit=12) == "word word w…"


@pytest.mark.parametrize(
    ("start", "end", "zone", "written"),
    [
        pytest.param("2026-11-01", "2026-12-01", "UTC", "Nov 1 – 30, 2026", id="a month ends on its last day"),
        pytest.param("2026-11-01", "2026-11-02", "UTC", "Nov 1, 2026", id="one day is one day"),
        pytest.param("2026-11-01", "2026-11-01", "UTC", "Nov 1, 2026", id="no time at all is its day"),
        pytest.param(
            "2026-11-01T18:30", "2026-11-30T18:30", "Asia/Kolkata", "Nov 2 – 30, 2026", id="days are local days"
        ),
        pytest.param(
            "2026-11-01T12:00", "2026-12-01T12:00", "UTC", "Nov 1 – Dec 1, 2026", id="a noon anchor touches the day"
        ),
    ],
)
def test_a_half_open_period_as_days(start: str, end: str, zone: str, written: str) -> None:
    days = Days.of(_utc(start), _utc(end), ZoneInfo(zone))
    assert figures.span(days, "en").replace("\u2009", " ") == written


@pytest.mark.parametrize(
    ("language", "written"),
    [
        ("de", ("30.11.2026", "1.–30. Nov. 2026")),
        ("fr", ("30 nov. 2026", "1–30 nov. 2026")),
        ("ja", ("2026/11/30", "2026年11月1日～30日")),
    ],
)
def test_days_are_written_as_the_language_has_them(language: str, written: tuple[str, str]) -> None:
    november = Days(date(2026, 11, 1), date(2026, 11, 30))
    assert (figures.day(november.last, language), figures.span(november, language)) == written


@given(
    start=st.integers(0, 4 * 10**9).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
    length=st.timedeltas(timedelta(0), timedelta(days=800)),
    zone=st.sampled_from(["UTC", "Asia/Kathmandu", "America/St_Johns", "Pacific/Apia"]),
)
def test_days_never_end_before_they_start(start: datetime, length: timedelta, zone: str) -> None:
    days = Days.of(start, start + length, ZoneInfo(zone))
    assert days.first <= days.last


def test_days_the_wrong_way_round_are_refused() -> None:
    with pytest.raises(ValueError, match="before they start"):
        Days(date(2026, 11, 2), date(2026, 11, 1))


def _utc(moment: str) -> datetime:
    return datetime.fromisoformat(moment).replace(tzinfo=UTC)
