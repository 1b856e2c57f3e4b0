"""What somebody typed into the search, as what it may mean: words, an amount. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from functools import cache

from babel.numbers import list_currencies

from farthing.core.money import parse
from farthing.invoices.pdf.figures import symbol

LONGEST = 200
_AMOUNT = re.compile(r"\d{1,3}(,\d{3})+(\.\d+)?|\d+(\.\d+)?")
_CODE = re.compile(r"[A-Za-z]{3}")


@dataclass(frozen=True, slots=True)
class TypedAmount:
    """An amount, in a currency if one was typed with it."""

    amount: Decimal
    currency: str | None


@dataclass(frozen=True, slots=True)
class TypedText:
    """A search as it was typed, trimmed."""

    text: str

    @classmethod
    def of(cls, text: str) -> TypedText:
        """The text without what no text holds, cut at a length that nobody types."""
        return cls(" ".join(text.replace("\x00", "").split())[:LONGEST])

    @property
    def amount(self) -> TypedAmount | None:
        """The amount that it is: "1,234.50", "$12", "12 eur"."""
        rest, code = _without_currency(self.text.removesuffix("."))
        if not _AMOUNT.fullmatch(rest):
            return None
        try:
            return TypedAmount(parse(rest.replace(",", "")), code)
        except ValueError:
            return None


def _without_currency(text: str) -> tuple[str, str | None]:
    """A text without the sign or the code of a currency at either end, and its code."""
    for sign, code in _signs():
        if text.startswith(sign) or text.endswith(sign):
            return text.removeprefix(sign).removesuffix(sign).strip(), code
    first, _, last = text.partition(" ")
    for word, other in ((first, last), (last, first)):
        if _CODE.fullmatch(word) and other:
            return other, word.lower()
    return text, None


@cache
def _signs() -> tuple[tuple[str, str], ...]:
    """Signs of currencies as English readers know them, the longest first: "CA$" before "$"."""
    signs = {symbol(code): code.lower() for code in sorted(list_currencies(locale="en")) if symbol(code) != code}
    return tuple(sorted(signs.items(), key=lambda item: (-len(item[0]), item[0])))
