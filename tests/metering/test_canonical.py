"""Reading property values as numbers and as canonical text."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.core.money import plain
from farthing.metering.canonical import QuantityError, canonical_text, json_number, read_number, stored_key

NOT_NUMERIC, OUT_OF_RANGE = QuantityError.NOT_NUMERIC, QuantityError.OUT_OF_RANGE
DECODER = msgspec.json.Decoder(dict[str, Any], float_hook=json_number)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(5, Decimal(5), id="an integer"),
        pytest.param(9007199254740993, Decimal(9007199254740993), id="an integer no double holds"),
        pytest.param(Decimal("0.1"), Decimal("0.1"), id="a fraction no double holds"),
        pytest.param("5", Decimal(5), id="text of an integer"),
        pytest.param("-2.50", Decimal("-2.5"), id="text with sign and fraction"),
        pytest.param("+7", Decimal(7), id="text with a plus"),
        pytest.param("1e3", Decimal(1000), id="text with an exponent"),
        pytest.param(".5", Decimal("0.5"), id="text that starts with its point"),
        pytest.param("5.", Decimal(5), id="text that ends with its point"),
        pytest.param(" \t7\r\n", Decimal(7), id="ASCII whitespace around is ignored"),
        pytest.param("\u00a07", NOT_NUMERIC, id="other whitespace is not"),
        pytest.param("1 000", NOT_NUMERIC, id="whitespace inside"),
        pytest.param("1_000", NOT_NUMERIC, id="underscores, which Decimal would take"),
        pytest.param("٣", NOT_NUMERIC, id="digits of other scripts, which Decimal would take"),
        pytest.param("0x10", NOT_NUMERIC, id="hexadecimal"),
        pytest.param("1,5", NOT_NUMERIC, id="a decimal comma"),
        pytest.param("", NOT_NUMERIC, id="empty text"),
        pytest.param("NaN", NOT_NUMERIC, id="not a number"),
        pytest.param("inf", NOT_NUMERIC, id="infinity"),
        pytest.param("abc", NOT_NUMERIC, id="words"),
        pytest.param(True, NOT_NUMERIC, id="true is not 1"),
        pytest.param(None, NOT_NUMERIC, id="null"),
        pytest.param({}, NOT_NUMERIC, id="an object"),
        pytest.param([1], NOT_NUMERIC, id="a list"),
        pytest.param("1e6145", OUT_OF_RANGE, id="text beyond every magnitude"),
        pytest.param("1e99999999999999999999", OUT_OF_RANGE, id="text beyond what Decimal can hold"),
        pytest.param(Decimal("-1e-999999999"), OUT_OF_RANGE, id="a number below every magnitude"),
        pytest.param("0e99999", Decimal(0), id="zero, whatever its exponent"),
    ],
)
def test_reading_a_number(value: object, expected: Decimal | QuantityError) -> None:
    read = read_number(value)
    assert read == expected
    assert type(read) is type(expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(" a ", " a ", id="a string is itself, untrimmed"),
        pytest.param("", "", id="an empty string has a text: the empty one"),
        pytest.param("5.0", "5.0", id="a string of digits stays a string"),
        pytest.param(5, "5", id="an integer"),
        pytest.param(Decimal("5.0"), "5", id="an integral value loses its fraction"),
        pytest.param(Decimal("2.50"), "2.5", id="trailing zeros go"),
        pytest.param(Decimal("1E+6"), "1000000", id="no exponent form"),
        pytest.param(Decimal("1E-7"), "0.0000001", id="no exponent form for small numbers either"),
        pytest.param(Decimal("-0.0"), "0", id="zero has no sign"),
        pytest.param(-12, "-12", id="a negative integer"),
        pytest.param(10**4299, "1" + "0" * 4299, id="a very long integer"),
        pytest.param(10**5000, "1" + "0" * 5000, id="an integer too long for int's own text"),
        pytest.param(True, "true", id="true"),
        pytest.param(False, "false", id="false"),
        pytest.param(None, None, id="null has none"),
        pytest.param({"a": 1}, None, id="an object has none"),
        pytest.param([], None, id="a list has none"),
        pytest.param(Decimal("1e999999999"), None, id="a number beyond every magnitude has none"),
    ],
)
def test_canonical_text(value: object, expected: str | None) -> None:
    assert canonical_text(value) == expected


@pytest.mark.parametrize("read", [read_number, canonical_text])
def test_a_float_is_a_programming_error(read: Any) -> None:
    with pytest.raises(TypeError, match="decode JSON numbers as decimals"):
        read(0.1)


def test_json_numbers_survive_decoding_exactly() -> None:
    decoded = DECODER.decode(b'{"a": 0.1, "b": 9007199254740993, "c": 1e3, "d": 123456789012345678901234567890.5}')
    assert [read_number(value) for value in decoded.values()] == [
        Decimal("0.1"),
        Decimal(9007199254740993),
        Decimal(1000),
        Decimal("123456789012345678901234567890.5"),
    ]


@pytest.mark.parametrize("number", ["1e6145", "1e99999999999999999999", "1e-16384", "-1e999999999"])
def test_a_json_number_no_store_can_keep_is_refused(number: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="number out of range"):
        DECODER.decode(f'{{"x": {number}}}')


@given(st.decimals(allow_nan=False, allow_infinity=False, places=None))
@settings(max_examples=200)
def test_a_number_and_its_text_read_alike(number: Decimal) -> None:
    read = read_number(number)
    assert read == read_number(str(number))
    if isinstance(read, Decimal):
        assert canonical_text(number) == plain(number)
        assert read_number(canonical_text(number)) == number


@given(st.text())
@settings(max_examples=200)
def test_any_text_reads_as_a_number_or_an_error(text: str) -> None:
    assert isinstance(read_number(text), Decimal | QuantityError)
    assert canonical_text(text) == text


def test_a_long_key_is_replaced_by_its_digest_and_keys_stay_distinct() -> None:
    longest = "ü" * 127
    assert stored_key(longest) == longest
    texts = ["", "a", "a" * 256, "b" * 256, "ü" * 128, "\ud800" * 100, stored_key("a" * 256)]
    keys = [stored_key(text) for text in texts]
    assert len(set(keys)) == len(texts)
    assert all(len(key.encode()) <= 255 for key in keys)
