"""What somebody typed into the search, as what it may mean: words, an amount, an id. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from farthing.core import currency
from farthing.core.money import parse
from farthing.invoices.pdf.figures import symbol

LONGEST = 200
_AMOUNT = re.compile(r"\d{1,3}(,\d{3})+(\.\d+)?|\d+(\.\d+)?")
_SIGNS = {symbol(code): code for code in sorted(currency.DIGITS) if not symbol(code).isalpha()}
_ID = re.compile(r"[a-z_]+_[0-9A-Za-z]{20,}")


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
    def is_id(self) -> bool:
        """Whether it looks like the id of something."""
        return _ID.fullmatch(self.text) is not None

    @property
    def amount(self) -> TypedAmount | None:
        """The amount that it is: "1,234.50", "$12", "12 eur"."""
        rest, code = self.text.removesuffix(".").strip(), None
        for sign in sorted(_SIGNS, key=len, reverse=True):
            if rest.startswith(sign) or rest.endswith(sign):
                rest, code = rest.removeprefix(sign).removesuffix(sign).strip(), _SIGNS[sign]
                break
        else:
            first, _, last = rest.partition(" ")
            for word, other in ((first, last), (last, first)):
                if word.lower() in currency.DIGITS and other:
                    rest, code = other, word.lower()
        if not _AMOUNT.fullmatch(rest):
            return None
        try:
            return TypedAmount(parse(rest.replace(",", "")), code)
        except ValueError:
            return None
