"""Currencies: a lower-case three-letter code, and how many minor digits ISO 4217 gives it.

Locale data is never asked for digits: CLDR differs from ISO for a few currencies.
"""

from __future__ import annotations

from collections.abc import Mapping

DEFAULT_DIGITS = 2

_NO_MINOR_UNIT = "bif clp djf gnf isk jpy kmf krw pyg rwf ugx uyi vnd vuv xaf xof xpf"
_THREE_DIGITS = "bhd iqd jod kwd lyd omr tnd"
_FOUR_DIGITS = "clf uyw"

DIGITS: Mapping[str, int] = {
    code: count
    for count, codes in ((0, _NO_MINOR_UNIT), (3, _THREE_DIGITS), (4, _FOUR_DIGITS))
    for code in codes.split(" ")
}


def normalise(code: str) -> str:
    """The stored form of a currency code: lower case. Raises ValueError unless it is three ASCII letters."""
    if len(code) != 3 or not code.isascii() or not code.isalpha():
        raise ValueError("must be a three-letter currency code")
    return code.lower()


def digits(currency: str) -> int:
    """Minor digits of a currency in stored form; any code that is not an ISO exception has two."""
    return DIGITS.get(currency, DEFAULT_DIGITS)
