"""Amounts as labels: a symbol and the exact amount. For people; nothing is computed from a label."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from babel.numbers import get_currency_symbol

from farthing.core.money import plain

SYMBOLS: Mapping[str, str] = {
    "jpy": "¥",
    "vnd": "₫",
    "krw": "₩",
    "clp": "CLP$",
    "usd": "$",
    "eur": "€",
    "gbp": "£",
    "aud": "AUS",
    "cad": "CAD",
    "inr": "₹",
    "idr": "Rp",
    "sgd": "S$",
    "thb": "฿",
    "myr": "RM",
    "php": "₱",
    "hkd": "HK$",
    "nzd": "NZ$",
    "brl": "R$",
    "chf": "CHF",
    "cny": "CN¥",
    "czk": "CZK",
    "dkk": "DKK",
    "huf": "HUF",
    "ils": "₪",
    "mxn": "MX$",
    "nok": "NOK",
    "pln": "PLN",
    "ron": "RON",
    "rub": "₽",
    "sar": "SAR",
    "sek": "SEK",
    "try": "TRY",
    "twd": "NT$",
    "zar": "ZAR",
    "kwd": "KD",
    "clf": "CLF",
}
"""Rule: docs/rules/pricing.md#currency-symbols"""


def symbol(currency: str) -> str:
    """The symbol of a currency in stored form: the table's, else the locale data's, else its upper-case code."""
    return SYMBOLS.get(currency) or get_currency_symbol(currency.upper(), locale="en_US")


def display(amount: Decimal, sign: str) -> str:
    """`$10.5`: the symbol and every digit of the amount."""
    return f"{sign}{plain(amount)}"
