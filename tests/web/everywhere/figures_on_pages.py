"""Which figures a page shows, which ones answers hold, and what a page shows beside them."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, DecimalException
from typing import Any

from farthing.core import currency
from farthing.core.clock import instant
from farthing.invoices.pdf.figures import grouped
from farthing.web.rendering.words.wording import money

_MAIN = re.compile(r"<main.*?</main>", re.DOTALL)
_UNSEEN = re.compile(r"<(script|svg|select|style|datalist|form).*?</\1>", re.DOTALL)
_CUT = re.compile(r'<span title="([^"]*)">≈[^<]*</span>')
_INSTANT = re.compile(r'<time datetime="([^"]+)"')
_SPAN = re.compile(r'<span title="(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) to (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC">')
_DATE = r"\b\d{1,2} [A-Z][a-z]{2,8} \d{4}|\b[A-Z][a-z]{2,8} \d{1,2}, \d{4}"
_TIME = re.compile(rf'<time.*?</time>|<span title="[^"]* UTC">.*?</span>|{_DATE}', re.DOTALL)
_CELL = re.compile(r'<td class="[^"]*\bnumber\b[^"]*">(.*?)</td>|<dd(?: class="bad")?>(.*?)</dd>', re.DOTALL)
_FIGURES = re.compile(r'<dl class="figures">.*?</dl>|<table.*?</table>', re.DOTALL)
_TAG = re.compile(r"<[^>]+>")
_CODES = "|".join(code.upper() for code in currency.DIGITS)
_AMOUNT = re.compile(rf"-?(?:[$€£¥₹]|\b(?:{_CODES}|USD|EUR|GBP) ?)\d[\d,]*(?:\.\d+)?")
_TABLE = re.compile(r"<table(?: [^>]*)?>.*?</table>", re.DOTALL)
_ROW = re.compile(r"<tr[^>]*>(.*?)</tr>", re.DOTALL)
_ANY_CELL = re.compile(r"<t[hd][^>]*>(.*?)</t[hd]>", re.DOTALL)
_ARROW = re.compile(r'<span aria-hidden="true">.*?</span>')
NOTHING = re.compile(r"[^1-9]*")
"""A figure that is nothing, or none."""
_NUMBER = re.compile(r"(?<![\w.,-])-?\d[\d,]*(?:\.\d+)?(?![\w,.]*\d)")


@dataclass(frozen=True, slots=True)
class Figures:
    """Amounts of money and other numbers with their signs, as pages write them, and instants as they travel."""

    amounts: frozenset[str]
    numbers: frozenset[str]
    instants: frozenset[str]

    def __sub__(self, other: Figures) -> Figures:
        return Figures(self.amounts - other.amounts, self.numbers - other.numbers, self.instants - other.instants)

    def __bool__(self) -> bool:
        return bool(self.amounts or self.numbers or self.instants)


def _plain(text: str) -> str:
    """A text with one kind of minus, and one kind of space."""
    return re.sub(r"\s", " ", html.unescape(text).replace("\u2212", "-"))


def shown_figures(page: str) -> Figures:
    """What the main part of a page shows: all amounts, the numbers in columns of figures, all times."""
    main = _MAIN.search(page)
    assert main is not None, page[:1000]
    seen = _CUT.sub(r"\1", _UNSEEN.sub("|", main[0]))
    instants = {_instant(found) for found in _INSTANT.findall(seen)}
    instants |= {_instant(f"{moment}+00:00") for pair in _SPAN.findall(seen) for moment in pair}
    timeless = _TIME.sub("|", seen)
    numbers: set[str] = set()
    for block in _FIGURES.findall(timeless):
        for cell in _CELL.findall(block):
            text = _AMOUNT.sub("|", _plain(_TAG.sub("|", "".join(cell))))
            numbers |= {number.replace(",", "") for number in _NUMBER.findall(text)}
    amounts = frozenset(_AMOUNT.findall(_plain(_TAG.sub("|", timeless))))
    return Figures(amounts, frozenset(numbers), frozenset(instants))


def _instant(text: str) -> str:
    """An instant as it travels, to the second: titles of periods say no more."""
    return instant(datetime.fromisoformat(text).astimezone(UTC).replace(microsecond=0))


TAKEN_AWAY = frozenset(
    {"total_discount", "prepaid_credits_applied", "total_prepaid_credits_applied", "adjustment_amount", "amount_paid"}
)
"""Fields of answers that pages show with a minus, as what is taken off something else."""


def answered_figures(code: str, *answers: Any) -> Figures:
    """Every number and every time in answers, as pages write them; `code` is the currency where none is named.

    What an answer says of a debit is shown with a minus, and so may be what is `TAKEN_AWAY`; all else has its own sign.
    """
    amounts: set[str] = set()
    numbers: set[str] = set()
    instants: set[str] = set()
    for found in _values(answers, code):
        if (number := _number(found.value)) is None:
            if isinstance(found.value, str) and (moment := _moment(found.value)) is not None:
                instants.add(moment)
            continue
        for signed in (number, -number) if found.may_be_less else (number,):
            amounts.add(_plain(money(signed, found.currency)))
            numbers.add(_plain(grouped(signed)).replace(",", ""))
    return Figures(frozenset(amounts), frozenset(numbers), frozenset(instants))


@dataclass(frozen=True, slots=True)
class _Value:
    """A value of an answer, the currency that it is said to be in, and whether pages may show it with a minus."""

    value: Any
    currency: str
    may_be_less: bool = False


def _values(value: Any, code: str, *, may_be_less: bool = False) -> Iterator[_Value]:
    if isinstance(value, dict):
        is_debit = value.get("type") == "debit"
        for field, inner in value.items():
            its = value.get("currency") or code
            yield from _values(inner, its, may_be_less=is_debit or field in TAKEN_AWAY)
    elif isinstance(value, (list, tuple, set)):
        for inner in value:
            yield from _values(inner, code, may_be_less=may_be_less)
    elif isinstance(value, (str, int, float, Decimal)) and not isinstance(value, bool):
        yield _Value(value, code, may_be_less)


def _number(value: Any) -> Decimal | None:
    try:
        number = Decimal(str(value))
    except DecimalException:
        return None
    return number if number.is_finite() and abs(number) < 10**15 else None


def _moment(text: str) -> str | None:
    try:
        return _instant(text) if len(text) > 18 else None
    except (ValueError, TypeError):
        return None


@dataclass(frozen=True, slots=True)
class ShownTable:
    """The table of a page: its heads, the rows of its body, those of its foot; a row is its cells as text."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    totals: Sequence[Sequence[str]]

    def column(self, head: str) -> Counter[str]:
        """How often each figure that is not nothing stands in a column."""
        place = self.heads.index(head)
        return Counter(row[place] for row in self.rows if not NOTHING.fullmatch(row[place]))


def shown_table(page: str) -> ShownTable | None:
    """The first table of a page; None where there is nothing to show."""
    table = _TABLE.search(page)
    if table is None:
        return None
    parts = re.split(r"<tbody>|<tfoot>", table[0])
    rows = [[as_text(cell) for cell in _ANY_CELL.findall(row)] for part in parts for row in _ROW.findall(part)]
    counts = [len(_ROW.findall(part)) for part in parts]
    return ShownTable(rows[0], rows[1 : 1 + counts[1]], rows[1 + counts[1] :])


def as_text(cell: str) -> str:
    """What a cell says, a long fraction as it is in full."""
    return html.unescape(_TAG.sub("", _ARROW.sub("", _CUT.sub(r"\1", cell)))).strip()
