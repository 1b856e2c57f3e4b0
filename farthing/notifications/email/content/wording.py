"""The texts of mails in each language, and how amounts, numbers and days are written in it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path

from babel import Locale
from babel.dates import format_date
from babel.numbers import format_decimal

from farthing.core.currency import digits
from farthing.core.money import decimals
from farthing.core.standards.languages import FALLBACK, LANGUAGES


@dataclass(frozen=True, slots=True)
class CurrencyAmount:
    """An amount in the currency's major unit."""

    amount: Decimal
    currency: str


LetterValue = str | CurrencyAmount | Decimal | date
"""What a text can speak of; texts are placed as they are."""
Texts = Mapping[str, Mapping[str, str]]


@cache
def texts_of(language: str) -> Texts:
    """The texts of a language, by section and name; English ones for a language without."""
    known = language if language in LANGUAGES else FALLBACK
    with (Path(__file__).parent / "texts" / f"{known}.toml").open("rb") as file:
        texts: Texts = tomllib.load(file)
    return texts


def chosen_text(texts: Texts, section: str, name: str, variant: str) -> str:
    """A text of a section, in the variant that it has for this case."""
    return texts[section].get(f"{name}_{variant}") or texts[section][name]


def written(value: LetterValue, language: str) -> str:
    """A value as readers of the language write it. Nothing is rounded: a digit that is there is written."""
    locale = _locale(language)
    match value:
        case str():
            return value
        case CurrencyAmount(amount=amount, currency=currency):
            return _money(amount, currency, locale)
        case Decimal():
            return format_decimal(value, locale=locale, decimal_quantization=False)
        case date():
            return format_date(value, "long", locale)


@cache
def _locale(language: str) -> Locale:
    return Locale.parse(language if language in LANGUAGES else FALLBACK)


def _money(amount: Decimal, currency: str, locale: Locale) -> str:
    """With the digits of ISO 4217; locale data differs from it for a few currencies."""
    pattern = copy(locale.currency_formats["standard"])
    places = max(digits(currency), decimals(amount))
    pattern.frac_prec = (places, places)
    return str(pattern.apply(amount, locale, currency=currency.upper(), currency_digits=False))
