"""Tables as CSV: numbers stay numbers, and no text becomes a formula."""

from __future__ import annotations

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
