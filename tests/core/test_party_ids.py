"""Numbers of official registers: each right one is taken, and with another digit refused."""

from __future__ import annotations

import pytest

from farthing.core.standards.party_ids import is_creditor_id, number_problem
from farthing.core.standards.trade_codes import vat_id_of

RIGHT = [
    ("0007", "5560360793"),
    ("0007", "2021005489"),
    ("0088", "7300010000001"),
    ("0106", "27375186"),
    ("0151", "51824753556"),
    ("0184", "DK13585628"),
    ("0190", "00000001003214345000"),
    ("0192", "974760673"),
    ("0196", "4504013150"),
    ("0201", "UFY9MH"),
    ("0208", "0202239951"),
    ("0210", "RSSMRA80A01H501U"),
    ("0210", "00743110157"),
    ("0211", "IT00743110157"),
    ("9933", "090000045"),
    ("9944", "NL004495445B01"),
    ("9930", "anything, because it has no form"),
]
WITH_CHECK_DIGITS = {"0007", "0088", "0151", "0192", "0208", "0211", "9933"}


@pytest.mark.parametrize(("scheme", "number"), RIGHT)
def test_right_numbers_are_taken(scheme: str, number: str) -> None:
    assert number_problem(scheme, number) is None


@pytest.mark.parametrize(("scheme", "number"), [case for case in RIGHT if case[0] in WITH_CHECK_DIGITS])
def test_another_last_digit_is_refused(scheme: str, number: str) -> None:
    others = {f"{number[:-1]}{digit}" for digit in "0123456789"} - {number}
    assert [other for other in others if number_problem(scheme, other) is None] == []


@pytest.mark.parametrize(("scheme", "number"), RIGHT[:-1])
@pytest.mark.parametrize("wrong", ["", "1{}", "{}0", " {}", "{}\n", "٣{}"], ids=repr)
def test_what_is_too_short_too_long_or_no_number_is_refused(scheme: str, number: str, wrong: str) -> None:
    assert (number_problem(scheme, wrong.format(number)) or "").endswith(f"under scheme {scheme}")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("GR 090000045", "EL090000045"),
        ("el090000045", "EL090000045"),
        ("CHE-116.281.710 MWST", "CHE116281710MWST"),
        ("NO 974 760 673 MVA", "NO974760673MVA"),
        ("NO974760673", None),
        ("CHE-116.281.71 MWST", None),
    ],
)
def test_vat_identifiers_beyond_the_community(said: str, expected: str | None) -> None:
    assert vat_id_of(said) == expected


@pytest.mark.parametrize(
    ("text", "right"), [("DE98ZZZ09999999999", True), ("DE98ABC09999999999", True), ("DE99ZZZ09999999999", False)]
)
def test_a_creditor_identifier_has_check_digits_that_skip_its_business_code(text: str, right: bool) -> None:
    assert is_creditor_id(text) is right
