"""A row of a file, and what is wrong with one."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from farthing.transfer.tasks.problems import RowProblem

MOST_ROWS = 10_000_000
LONGEST_ROW_BYTES = 1024 * 1024
LONGEST_CELL = 256 * 1024


class UnreadableFile(Exception):
    """The file cannot be read, from here on or at all; the message says why, in words for whoever sent it."""


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A row of a file: its number from 1, the line it begins in, its values by column, and what is wrong already."""

    number: int
    line: int
    values: Mapping[str, Any]
    problems: Sequence[RowProblem] = ()

    def column_of(self, values: Collection[Any]) -> str:
        """The column that holds one of these values; empty where none does."""
        return next((column for column, value in self.values.items() if value in values), "")

    def problem(self, column: str, reason: str) -> RowProblem:
        """What is wrong with a column of this row."""
        return RowProblem(self.number, self.line, column, reason)


class RowSource(Protocol):
    """A file that is read row by row. Iterating raises UnreadableFile where nothing after can be read."""

    @property
    def columns(self) -> Sequence[str] | None:
        """The columns of every row; None where each row names its own."""

    def __iter__(self) -> Iterator[SourceRow]: ...
