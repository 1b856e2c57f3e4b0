"""A table of figures as CSV: a head of column names, then text that no spreadsheet takes for a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

CSV_MEDIA_TYPE = "text/csv"
"""The answer's charset, UTF-8, is added to it."""
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""What makes a spreadsheet calculate a cell; a number may begin with a sign."""


def csv_bytes(head: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    """The table in UTF-8, lines ended as RFC 4180 says."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(head)
    writer.writerows([harmless(cell) for cell in row] for row in rows)
    return text.getvalue().encode()


def inert(cell: str) -> str:
    """A text that no spreadsheet takes for a formula, nor for a number where it begins with a sign."""
    return f"'{cell}" if cell.startswith(FORMULA_STARTS) else cell


def harmless(cell: str) -> str:
    """A cell as it is, if it is a number, which may have a sign; else made inert."""
    return cell if _is_number(cell) else inert(cell)


def _is_number(cell: str) -> bool:
    digits = cell[1:] if cell[:1] in {"-", "+"} else cell
    return digits.replace(".", "", 1).isdigit()
