"""A table of figures as CSV: a head of column names, then rows; no spreadsheet takes any of it for a formula."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence

CSV_MEDIA_TYPE = "text/csv"
"""The answer's charset, UTF-8, is added to it."""
_SIGNS = "=+\\-@\uff1d\uff0b\uff0d\uff20"
"""What makes a spreadsheet calculate a cell, signs of full width among it; a number may begin with a sign."""
_UNSEEN = " \x00-\x08\x0b\x0c\x0e-\x1f\x85\xa0\u1680\u2000-\u200f\u2028-\u202f\u205f-\u2069\u3000\ufeff"
"""What a spreadsheet may pass over before it looks for a sign."""
_SUSPECT = re.compile(rf"[\t\r\n{_SIGNS}]")
"""A cell that has none of these is as it is: most are ids and names, and one search of them is soon done."""
_BEGINS = re.compile(rf"[\t\r\n]|[{_UNSEEN}]*[{_SIGNS}]")
_BEGINS_WITHIN = re.compile(rf"([;\t\r\n][{_UNSEEN}\"]*)(?=[{_SIGNS}])")
"""Where a sign would begin a cell for a spreadsheet that parts cells by semicolons or tabs, as countries with
decimal commas do: it takes our quotes for text, so that also a line ends within a cell."""


def csv_bytes(head: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    """The table in UTF-8, lines ended as RFC 4180 says."""
    return "".join(csv_lines(head, rows)).encode()


def csv_lines(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """The same line by line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([inert(name) for name in head])
    yield text.getvalue()
    for row in rows:
        text.seek(0)
        text.truncate()
        writer.writerow([harmless(cell) for cell in row])
        yield text.getvalue()


def inert(cell: str) -> str:
    """A text that no spreadsheet takes for a formula, whole or in part, nor for a number if it begins with a sign."""
    if _SUSPECT.search(cell) is None:
        return cell
    written = _BEGINS_WITHIN.sub(r"\1'", cell)
    return f"'{written}" if _BEGINS.match(cell) else written


def harmless(cell: str) -> str:
    """A cell as it is, if it is a number, which may have a sign; else made inert."""
    return cell if _is_number(cell) else inert(cell)


def _is_number(cell: str) -> bool:
    digits = cell[1:] if cell[:1] in {"-", "+"} else cell
    return digits.replace(".", "", 1).isdigit()
