"""How figures and text are written on the page. Nothing here rounds: a digit that is there is printed.

Symbols come from locale data, digits from ISO 4217: locale data differs from ISO for a few currencies. Days are
written as the language of whoever reads them has it, on papers and in the portal alike.
"""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from functools import cache

from babel.dates import format_date, format_interval
from babel.numbers import get_currency_symbol

from farthing.core.currency import digits
from farthing.core.money import EXACT, decimals, parse
from farthing.invoices.pdf.document import Days

MINUS = "−"
NO_BREAK_SPACE = "\u00a0"

MAX_TEXT = 500  # characters of one name or description
MAX_NOTES = 4000  # characters of the notes, about a page

# Control characters, halves of surrogate pairs, and the marks that turn the direction of what follows them.
_UNPRINTABLE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\ufffe\uffff]")
# Latin alone: scripts that join or stack their letters must not be cut anywhere, and those without spaces need no help.
_LONG_WORD = re.compile(r"[!-~\u00a1-\u024f]{20,}")


@cache
def symbol(currency: str) -> str:
    """What an English reader calls the currency: "$", "€", "CN¥", or the code itself ("KWD")."""
    return get_currency_symbol(currency.upper(), locale="en")


def grouped(amount: Decimal, least_decimals: int = 0) -> str:
    """ "1,234.5": thousands grouped, every decimal it has and at least `least_decimals` of them."""
    places = max(least_decimals, decimals(amount))
    return format(amount.copy_abs() if amount == 0 else amount, f",.{places}f").replace("-", MINUS)


def number(amount: Decimal, currency: str) -> str:
    """An amount without its currency, for a column whose head names it: "1,234.50", in yen "1,235"."""
    return grouped(amount, digits(currency))


def money(amount: Decimal, currency: str) -> str:
    """An amount with its currency: "$1,234.50", "−€5.00", "KWD 1.250"."""
    mark = symbol(currency)
    gap = NO_BREAK_SPACE if mark[-1:].isalpha() else ""
    sign = MINUS if amount < 0 else ""
    return f"{sign}{mark}{gap}{grouped(amount.copy_abs(), digits(currency))}"


def percent(fraction_text: str) -> str:
    """ "0.2" as "20%"; empty for text that is no fraction from 0 to 1, since notes must never stop an invoice."""
    try:
        fraction = parse(fraction_text.strip())
    except ValueError:
        return ""
    return f"{grouped(fraction.scaleb(2, EXACT))}%" if 0 <= fraction <= 1 else ""


def day(moment: date | None, language: str) -> str:
    """As readers of the language write it: "Nov 30, 2026", in German "30.11.2026"; empty for none."""
    return format_date(moment, "medium", language) if moment else ""


def span(days: Days | None, language: str) -> str:
    """ "Nov 1 – 30, 2026", in German "1.–30. Nov. 2026"; one day alone as itself, empty for none."""
    if days is None or days.first == days.last:
        return day(days.first if days else None, language)
    return str(format_interval(days.first, days.last, "yMMMd", locale=language))


def text(raw: str, limit: int = MAX_TEXT) -> str:
    """`raw` fit for print: nothing invisible that acts, at most `limit` characters, long words made breakable."""
    shown = _UNPRINTABLE.sub("", raw.replace("\r\n", "\n").replace("\t", " ")).strip()
    if len(shown) > limit:
        shown = shown[: limit - 1].rstrip() + "…"
    return _LONG_WORD.sub(lambda word: "\u200b".join(re.findall(".{1,8}", word[0])), shown)
