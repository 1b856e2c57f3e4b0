"""Rows of a CSV file, however it was broken on its way.

A quote that is opened and never closed would swallow the rest of the file. Here it costs its own row: reading goes on
in the line after it. Quotes in the middle of a cell are taken as they are, and short rows are filled with nothing.
Rule: docs/rules/imports-and-exports.md#csv-files
"""

from __future__ import annotations

import csv
from collections import Counter, deque
from collections.abc import Iterator, Sequence

from farthing.transfer.imports.files.content import FileContent, FileLine
from farthing.transfer.imports.files.rows import (
    LONGEST_CELL,
    LONGEST_ROW_BYTES,
    SourceRow,
    UnreadableFile,
)
from farthing.transfer.tasks.problems import RowProblem

MOST_COLUMNS = 1000
MOST_UNCLOSED = 1000
"""Rows whose quote is never closed; for each of them a row's length is read twice."""
_DELIMITERS = (",", ";", "\t")
_NUL, _MARK = "\x00", "\ufeff"
_TOO_LONG = f"the row is longer than {LONGEST_ROW_BYTES} bytes"
_FOREIGN = "\udc80"
"""Bytes that are no UTF-8 are read as characters from here on, which stand in no text."""
_LAST_FOREIGN = "\udcff"


class _Unclosed(Exception):
    """A quote was opened in the row at hand and is not closed in time."""


class _Surplus(Exception):
    """Text stands between a closing quote and the end of its cell."""


class CsvRows:
    """The rows below the header. Raises UnreadableFile for a file without a header that can be used."""

    def __init__(self, content: FileContent) -> None:
        csv.field_size_limit(2 * LONGEST_ROW_BYTES)  # the library's own is smaller than a row may be
        self._records = _Records(content)
        self.columns: Sequence[str] = self._read_header()

    def __iter__(self) -> Iterator[SourceRow]:
        for number, (line, record) in enumerate(self._records, start=1):
            if isinstance(record, str):
                yield SourceRow(number, line, {}, [RowProblem(number, line, "", record)])
            else:
                yield self._row(number, line, record)

    def _row(self, number: int, line: int, cells: list[str]) -> SourceRow:
        columns = self.columns
        problems = _problems_of(number, line, columns, cells) if _is_odd(cells) else []
        if len(cells) > len(columns) and any(cells[len(columns) :]):
            reason = f"the row has {len(cells)} cells, the header {len(columns)} columns; is a quote missing?"
            problems.append(RowProblem(number, line, "", reason))
        return SourceRow(number, line, dict(zip(columns, cells, strict=False)), problems)

    def _read_header(self) -> list[str]:
        for line, record in self._records:
            if isinstance(record, str):
                raise UnreadableFile(f"has no header that can be read: in line {line}, {record}")
            if _is_odd(record):
                problem = _problems_of(0, line, record, record)[0]
                raise UnreadableFile(f"has no header that can be read: {problem.reason}")
            return _checked_header([cell.strip() for cell in record])
        raise UnreadableFile("is empty; the first row must name the columns")


def _checked_header(columns: list[str]) -> list[str]:
    while columns and not columns[-1]:
        columns.pop()  # spreadsheets leave separators behind the last column
    if not columns:
        raise UnreadableFile("has an empty first row; it must name the columns")
    if len(columns) > MOST_COLUMNS:
        raise UnreadableFile(f"has more than {MOST_COLUMNS} columns")
    if "" in columns:
        raise UnreadableFile(f"has no name for column {columns.index('') + 1}")
    repeated = [name for name, count in Counter(columns).items() if count > 1]
    if repeated:
        raise UnreadableFile(f"has more than one column named {', '.join(repeated)}")
    return columns


class _Records:
    """The records with the line they begin in: cells, or a text that says why there are none. Blank lines are none."""

    def __init__(self, content: FileContent) -> None:
        self._lines = content.lines()
        first = next(self._lines, None)
        self._delimiter = _delimiter_of(first.content) if first is not None else ","
        self._again = deque([first] if first is not None else [])
        """Lines that were looked at and are still to be read."""
        self._pulled: list[FileLine] = []
        """Lines of the record at hand."""
        self._size = 0
        self._unclosed = 0
        self._reader = self._new_reader()

    def __iter__(self) -> Iterator[tuple[int, list[str] | str]]:
        while (record := self._next()) is not None:
            line = self._pulled[0].number
            self._pulled.clear()
            self._size = 0
            if record:
                yield line, record

    def _next(self) -> list[str] | str | None:
        """The next record; empty for a blank line, None at the end."""
        try:
            record = next(self._reader, None)
            if len(self._pulled) > 1 or any(b'"' in line.content for line in self._pulled):
                self._require_closed()
        except _Surplus:
            return "text follows a closing quote; a quote within a quoted cell is written twice"
        except _Unclosed:
            self._unclosed += 1
            if self._unclosed > MOST_UNCLOSED:
                raise UnreadableFile(f"has more than {MOST_UNCLOSED} rows with a quote that is never closed") from None
            first, *after = self._pulled
            self._again.extendleft(reversed(after))
            self._pulled = [first]
            self._reader = self._new_reader()
            return _TOO_LONG if first.is_cut else "a quote is opened and never closed"
        except csv.Error as error:
            self._reader = self._new_reader()
            if "new-line" in str(error):
                return "lines end with a carriage return alone; save the file with LF or CRLF"
            return f"the row cannot be read: {error}"
        return _TOO_LONG if record is not None and any(line.is_cut for line in self._pulled) else record

    def _require_closed(self) -> None:
        """Raises _Unclosed when a cell over several lines ends in the middle: the quote of another cell closed it; in a
        row of one line _Surplus, because what was meant cannot be told."""
        lines = (line.content.decode("utf-8", "surrogateescape") for line in self._pulled)
        try:
            next(csv.reader(lines, delimiter=self._delimiter, strict=True))
        except csv.Error as error:
            raise (_Unclosed if len(self._pulled) > 1 else _Surplus) from error

    def _new_reader(self) -> Iterator[list[str]]:
        return csv.reader(self._texts(), delimiter=self._delimiter)

    def _texts(self) -> Iterator[str]:
        """The lines as text, for one reader. Raises _Unclosed when it asks for more than a record may have."""
        while True:
            line = self._again.popleft() if self._again else next(self._lines, None)
            if line is None:
                if self._pulled:
                    raise _Unclosed
                return
            self._pulled.append(line)
            self._size += len(line.content)
            if len(self._pulled) > 1 and self._size > LONGEST_ROW_BYTES:
                raise _Unclosed
            yield line.content.decode("utf-8", "surrogateescape")


def _delimiter_of(header: bytes) -> str:
    """What separates cells: a comma, unless the header has none but the separators of other spreadsheets."""
    return next((each for each in _DELIMITERS if each.encode() in header), ",")


def _is_odd(cells: Sequence[str]) -> bool:
    """Whether a row may hold what no cell may; nearly none does."""
    return any(
        (not cell.isascii() and (cell.startswith(_MARK) or _holds_foreign(cell)))
        or _NUL in cell
        or len(cell) > LONGEST_CELL
        for cell in cells
    )


def _holds_foreign(cell: str) -> bool:
    return any(_FOREIGN <= character <= _LAST_FOREIGN for character in cell)


def _problems_of(number: int, line: int, columns: Sequence[str], cells: Sequence[str]) -> list[RowProblem]:
    problems = []
    for place, cell in enumerate(cells):
        column = columns[place] if place < len(columns) and not _holds_foreign(columns[place]) else f"#{place + 1}"
        foreign = next((character for character in cell if _FOREIGN <= character <= _LAST_FOREIGN), None)
        reason = None
        if cell.startswith(_MARK):
            reason = "begins with a byte-order mark; was the file put together of several?"
        elif foreign is not None:
            byte = ord(foreign) - 0xDC00
            reason = f"is not UTF-8 (byte 0x{byte:02X}); save the file as UTF-8"
        elif _NUL in cell:
            reason = "must not contain NUL characters"
        elif len(cell) > LONGEST_CELL:
            reason = f"is longer than {LONGEST_CELL} characters"
        if reason is not None:
            problems.append(RowProblem(number, line, column, reason))
    return problems
