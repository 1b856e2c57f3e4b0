"""Tables as CSV: numbers stay numbers, and no text becomes a formula."""

from __future__ import annotations

import time

import pytest

from farthing.core.encoding.csv_table import csv_bytes, inert


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"),
        ("+49 30 1", "'+49 30 1"),
        ("-x", "'-x"),
        ("@sum", "'@sum"),
        ("\tx", "'\tx"),
        ("-5", "-5"),
        ("+0.50", "+0.50"),
        ("-", "'-"),
        ("", ""),
        ("Acme", "Acme"),
        (" =1+1", "' =1+1"),
        ("\u200f\ufeff=1+1", "'\u200f\ufeff=1+1"),
        ("\u3000\uff1d1", "'\u3000\uff1d1"),
        ("a;b", "a;b"),
        ("a;=1+1;", "a;'=1+1;"),
        ("a; +1;-2", "a; '+1;'-2"),
        (";\uff1dx", ";'\uff1dx"),
        ("a - b = c", "a - b = c"),
    ],
)
def test_a_cell_is_no_formula_and_a_number_stays_one(cell: str, written: str) -> None:
    assert csv_bytes(["a", "b"], [[cell, "z"]]) == f"a,b\r\n{written},z\r\n".encode()


@pytest.mark.parametrize("name", ["=1+1", "+x", "-x", "@sum", "\tx", "\uff1dx"])
def test_a_column_that_anybody_named_is_no_formula_either(name: str) -> None:
    assert csv_bytes([name, "b"], []) == f"'{name},b\r\n".encode()


@pytest.mark.parametrize("text", ["-5", "+1", "=x"])
def test_a_text_that_begins_with_a_sign_is_not_even_a_number(text: str) -> None:
    assert inert(text) == f"'{text}"


@pytest.mark.parametrize(
    ("cell", "written"),
    [("a\n=1+1;", "a\n'=1+1;"), ("a\t@x", "a\t'@x"), ("a\r\n \u200b-1", "a\r\n \u200b'-1"), ('a;"=1"', 'a;"\'=1"')],
)
def test_a_spreadsheet_that_parts_cells_elsewhere_finds_no_formula_either(cell: str, written: str) -> None:
    assert inert(cell) == written
    assert inert(inert(cell)) == written


@pytest.mark.parametrize("filling", [";", "\n", " ", '"', "\u200b", "; "])
def test_making_a_long_text_harmless_takes_no_longer_than_reading_it(filling: str) -> None:
    text = "a" + filling * 200_000
    began = time.thread_time()
    assert inert(text) == text
    assert time.thread_time() - began < 2
