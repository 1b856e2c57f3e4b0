"""The languages of pages for customers: which one a reader gets, its texts, and how it writes values."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from pathlib import Path

from babel.dates import format_date, format_skeleton, format_time
from babel.numbers import format_percent

from farthing.calendar.zones import zone_or_abbreviation
from farthing.core.money import decimals
from farthing.core.standards.languages import FALLBACK, LANGUAGES
from farthing.invoices.pdf import figures
from farthing.invoices.pdf.document import Days
from farthing.notifications.email.content.wording import CurrencyAmount, written

Texts = Mapping[str, str]


CHECKOUT, PORTAL = "checkout", "portal"
"""The packages that have texts of their own."""
LANGUAGE_COOKIE = "farthing_language"
"""What a reader has chosen on a page."""


@cache
def page_texts(package: str, language: str) -> Texts:
    """The texts of a package's pages in one of the languages."""
    with (Path(__file__).parents[1] / package / "texts" / f"{language}.toml").open("rb") as file:
        texts: Texts = tomllib.load(file)
    return texts


def choose_language(*asked: str | None, accepted: str) -> str:
    """The first of `asked` that we have, else what an Accept-Language header weighs most of those we have."""
    for language in asked:
        if language in LANGUAGES:
            return str(language)
    weighed = []
    for position, part in enumerate(accepted.split(",")[:20]):
        tag, _, parameters = part.strip().partition(";")
        language = tag.split("-")[0].lower()
        if language in LANGUAGES:
            weighed.append((-_weight(parameters), position, language))
    return min(weighed)[2] if weighed else FALLBACK


def _weight(parameters: str) -> int:
    """The thousandths that `q=0.8` stands for; 1000 without."""
    text = parameters.replace(" ", "")
    if not text.startswith("q="):
        return 1000
    whole, _, fraction = text[2:].partition(".")
    if not whole.isdecimal() or (fraction and not fraction.isdecimal()):
        return 0
    return min(int(whole[:2]) * 1000 + int((fraction + "000")[:3]), 1000)


def moment_in(at: datetime, zone: str, language: str) -> str:
    """A moment on the wall of `zone`, as readers of the language write it, with the zone's short name."""
    local = at.astimezone(zone_or_abbreviation(zone))
    date, time = format_date(local, "long", language), format_time(local, "short", locale=language)
    return f"{date}, {time} {local.tzname()}"


@dataclass(frozen=True, slots=True)
class LocalWords:
    """The texts of a package's pages in a language, and values as its readers write them."""

    language: str
    texts: Texts

    def text(self, name: str, **values: object) -> str:
        """A text with values in its places."""
        return self.texts[name].format(**values)

    def money(self, amount: Decimal | str, currency: str) -> str:
        return written(CurrencyAmount(Decimal(amount), currency), self.language)

    def number(self, value: Decimal | str) -> str:
        """With at most six decimals."""
        exact = Decimal(value)
        return written(exact if decimals(exact) <= _MOST_DECIMALS else round(exact, _MOST_DECIMALS), self.language)

    def percent(self, share: Decimal) -> str:
        """A share of 1 in whole per cent."""
        return format_percent(share, "#,##0%", self.language)

    def day(self, at: datetime | None, zone: str) -> str:
        """A day on the wall of `zone`; "" for none."""
        return figures.day(at and at.astimezone(zone_or_abbreviation(zone)).date(), self.language)

    def short_day(self, local: datetime) -> str:
        """A day without its year, for an axis."""
        return format_skeleton("MMMd", local, locale=self.language)

    def moment(self, at: datetime, zone: str) -> str:
        return moment_in(at, zone, self.language)

    def period(self, start: datetime | None, end: datetime | None, zone: str) -> str:
        """The first and the last day from `start` to `end`, which is exclusive."""
        if start is None or end is None or end <= start:
            return self.day(start, zone)
        return figures.span(Days.of(start, end, zone_or_abbreviation(zone)), self.language)


_MOST_DECIMALS = 6
