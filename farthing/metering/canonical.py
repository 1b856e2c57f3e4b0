"""Reading a property's value: as a number, and as the one text that filters, unique counts and groups compare.

Values are JSON as decoded with exact numbers: str, int, Decimal, bool, None, list, dict. A float is a programming
error, because its digits are already wrong.
"""

from __future__ import annotations

import hashlib
import re
from decimal import Decimal, DecimalException
from enum import StrEnum

from farthing.core.money import ZERO, plain

# Magnitudes a number may have, as powers of ten: those of IEEE decimal128. Wider than any quantity, and narrow enough
# that neither the plain text of a number nor arithmetic on it can grow without bound.
MAX_MAGNITUDE = 6144
# PostgreSQL's jsonb keeps at most this many digits after the decimal point.
MAX_FRACTION_DIGITS = 16_383
# Keys live in an index, whose rows are small; a longer key is replaced by its digest.
MAX_KEY_BYTES = 255

_WHITESPACE = " \t\n\r\f\v"
_DIGEST_MARK = "sha256:"
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_WORD = 1 << 63


class QuantityError(StrEnum):
    """Why a measured row counts 0 although its property was present."""

    NOT_NUMERIC = "not_numeric"
    OUT_OF_RANGE = "out_of_range"


def json_number(text: str) -> Decimal:
    """Decode a JSON number with a fraction or exponent: the `float_hook` of every decoder that reads events.

    Raises ValueError for numbers that no store could keep: beyond 10^6144, or with more than 16,383 decimals.
    """
    try:
        number = Decimal(text)
    except DecimalException as error:
        raise ValueError("number out of range") from error
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or number.adjusted() > MAX_MAGNITUDE or exponent < -MAX_FRACTION_DIGITS:
        raise ValueError("number out of range")
    return number


def read_number(value: object) -> Decimal | QuantityError:
    """The exact decimal that `value` is or spells.

    A string may have surrounding ASCII whitespace, a sign, a fraction and an exponent; nothing else reads as a number.
    Booleans, null, objects and lists are not numbers. Magnitudes beyond 10^6144 or below 10^-6144 are out of range.
    Rule: docs/rules/metering.md#numbers-in-properties
    """
    if isinstance(value, bool):
        return QuantityError.NOT_NUMERIC
    if isinstance(value, int):
        return Decimal(value)
    if isinstance(value, Decimal):
        return _within_magnitude(value)
    if isinstance(value, str):
        return _spelled(value)
    _refuse_float(value)
    return QuantityError.NOT_NUMERIC


def canonical_text(value: object) -> str | None:
    """The text that stands for `value` in filters, unique counts and groups; None for what never matches.

    A string is itself, untrimmed. A number is its shortest plain decimal, so 5, 5.0 and 5e0 are all "5". Null, objects
    and lists have no text, nor has a number beyond 10^6144.
    Rule: docs/rules/metering.md#meter-filters
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        # Python refuses to print very long ints; Decimal does not
        return str(value) if -_WORD < value < _WORD else plain(Decimal(value))
    if isinstance(value, Decimal):
        number = _within_magnitude(value)
        return plain(number) if isinstance(number, Decimal) else None
    _refuse_float(value)
    return None


def stored_key(text: str) -> str:
    """The key of a meter usage row for a canonical text: the text, or a digest of it when it is too long to index.

    Different texts have different keys: a text that looks like a digest is digested too.
    """
    encoded = text.encode(errors="surrogatepass")
    if len(encoded) <= MAX_KEY_BYTES and not text.startswith(_DIGEST_MARK):
        return text
    return _DIGEST_MARK + hashlib.sha256(encoded).hexdigest()


def _spelled(text: str) -> Decimal | QuantityError:
    trimmed = text.strip(_WHITESPACE)
    # Decimal alone would also take "1_000", "NaN", "Infinity" and digits of other scripts
    if _DECIMAL.fullmatch(trimmed) is None:
        return QuantityError.NOT_NUMERIC
    try:
        return _within_magnitude(Decimal(trimmed))
    except DecimalException:
        return QuantityError.OUT_OF_RANGE


def _within_magnitude(number: Decimal) -> Decimal | QuantityError:
    if not number.is_finite():
        return QuantityError.NOT_NUMERIC
    if not number:
        return ZERO
    return number if -MAX_MAGNITUDE <= number.adjusted() <= MAX_MAGNITUDE else QuantityError.OUT_OF_RANGE


def _refuse_float(value: object) -> None:
    if isinstance(value, float):
        raise TypeError(f"{value!r} is a float: decode JSON numbers as decimals")
