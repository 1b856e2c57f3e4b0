"""Reading the euro reference rates as the European Central Bank publishes them: CSV or XML, one day or many. Pure.

Rule: docs/rules/currencies.md#market-rates
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction

from farthing.core.money import decimals, parse, round_to

EURO = "eur"
MOST_DAYS = 20_000
RATE_DECIMALS = 12
_CODE = re.compile(r"[A-Za-z]{3}")
_DATE_FORMATS = ("%Y-%m-%d", "%d %B %Y")
"""The historical file has the first, the daily one the second."""
_EMPTY = frozenset({"", "N/A"})


class UnusableReferenceFile(ValueError):
    """The text is no file of reference rates; the message says where and why."""


@dataclass(frozen=True, slots=True)
class ReferenceDay:
    """What one euro bought on a day, by currency in lower case; always above 0."""

    day: date
    units_per_euro: dict[str, Decimal]


def read_reference_file(content: str) -> list[ReferenceDay]:
    """The days of a file, oldest first. Raises UnusableReferenceFile."""
    text = content.removeprefix("\ufeff").lstrip()
    if not text:
        raise UnusableReferenceFile("the file is empty")
    days: dict[date, ReferenceDay] = {}
    for reference_day in _xml_days(text) if text.startswith("<") else _csv_days(text):
        if reference_day.day in days:
            raise UnusableReferenceFile(f"{reference_day.day} is in the file twice")
        days[reference_day.day] = reference_day
        if len(days) > MOST_DAYS:
            raise UnusableReferenceFile(f"the file has more than {MOST_DAYS} days")
    if not days:
        raise UnusableReferenceFile("the file has no day with rates")
    return [days[day] for day in sorted(days)]


def _csv_days(text: str) -> Iterator[ReferenceDay]:
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True))
    except csv.Error as error:
        raise UnusableReferenceFile(f"the file is no CSV: {error}") from error
    codes = _columns(rows[0])
    for number, row in enumerate(rows[1:], start=2):
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        if any(cells[len(codes) + 1 :]) or len(cells) < len(codes) + 1:
            raise UnusableReferenceFile(f"line {number} has {len(cells)} cells, the heading {len(codes) + 1}")
        day = _day(cells[0], f"line {number}")
        pairs = zip(codes, cells[1 : len(codes) + 1], strict=True)
        yield ReferenceDay(
            day, {code: _rate(cell, f"line {number}, {code.upper()}") for code, cell in pairs if cell not in _EMPTY}
        )


def _columns(heading: Sequence[str]) -> list[str]:
    """The currencies of the columns behind the date; a comma at the end of the line makes no column."""
    names = [name.strip() for name in heading]
    while names and not names[-1]:
        names.pop()
    if not names or names[0].lower() != "date":
        raise UnusableReferenceFile("line 1 must begin with the column Date, and name a currency for each other column")
    for name in names[1:]:
        if not _CODE.fullmatch(name):
            raise UnusableReferenceFile(f"line 1 has the column {name[:40]!r}, which is no currency")
    codes = [name.lower() for name in names[1:]]
    repeated = sorted({code for code in codes if codes.count(code) > 1})
    if repeated:
        raise UnusableReferenceFile(f"line 1 has the column {repeated[0].upper()} twice")
    return codes


def _xml_days(text: str) -> Iterator[ReferenceDay]:
    from lxml import etree  # large, and most files are CSV

    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(text.encode(), parser)
    except etree.XMLSyntaxError as error:
        raise UnusableReferenceFile(f"the file is no XML: {error}") from error
    for cube in root.iter("{*}Cube"):
        if "time" not in cube.attrib:
            continue
        where = f"day {str(cube.attrib['time'])[:40]}"
        rates: dict[str, Decimal] = {}
        for entry in cube.iterchildren("{*}Cube"):
            code, figure = str(entry.get("currency") or ""), str(entry.get("rate") or "").strip()
            if not _CODE.fullmatch(code):
                raise UnusableReferenceFile(f"{where} has the currency {code[:40]!r}, which is none")
            if code.lower() in rates:
                raise UnusableReferenceFile(f"{where} has {code} twice")
            if figure not in _EMPTY:
                rates[code.lower()] = _rate(figure, f"{where}, {code}")
        yield ReferenceDay(_day(str(cube.attrib["time"]), where), rates)


def _day(text: str, where: str) -> date:
    for date_format in _DATE_FORMATS:
        try:
            return datetime.strptime(text.strip(), date_format).date()  # noqa: DTZ007 (a day has no zone)
        except ValueError:
            continue
    raise UnusableReferenceFile(f"{where}: {text[:40]!r} is no date such as 2026-11-27 or 27 November 2026")


def _rate(text: str, where: str) -> Decimal:
    try:
        rate = parse(text)
    except ValueError:
        rate = Decimal(0)
    if rate <= 0 or rate.adjusted() >= 18 or decimals(rate) > RATE_DECIMALS:
        raise UnusableReferenceFile(f"{where}: {text[:40]!r} is no rate above 0 with at most 12 decimals")
    return rate


def cross_rate(from_units: Decimal, to_units: Decimal) -> Decimal:
    """Units of one currency for one of another, from what a euro buys of each; 12 decimals, half away from zero.

    Direct where `from_units` is 1, inverse where `to_units` is, else crossed through the euro.
    """
    return round_to(Fraction(to_units) / Fraction(from_units), RATE_DECIMALS)
