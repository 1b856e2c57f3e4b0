"""Which columns a file of each kind may have, and a row's cells as the fields of a request."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from farthing.core.encoding.decoding import holds_nul
from farthing.metering.canonical import json_number
from farthing.transfer.imports.files.repeated_keys import RepeatedKey, refuse_repeated_keys
from farthing.transfer.imports.files.rows import SourceRow, UnreadableFile
from farthing.transfer.tasks.problems import RowProblem

_JSON: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float_hook=json_number)
MOST_REMEMBERED = 10_000
_NOT_JSON = "is not valid JSON"
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


class BadCell(ValueError):
    """A cell that cannot be read; the message says why."""

    def __init__(self, column: str, reason: str) -> None:
        super().__init__(reason)
        self.column = column
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ColumnSet:
    """The columns of one kind of file. `maps` are objects whose entries may be columns of their own, `metadata.team`.

    `objects` hold JSON; every map is one too. `numbers` hold decimals.
    """

    required: Sequence[str]
    optional: Sequence[str]
    maps: Sequence[str] = ()
    objects: Sequence[str] = ()
    numbers: Sequence[str] = ()
    _owners: dict[str, str | None] = field(default_factory=dict, compare=False)
    """What `map_of` found out; a file asks for the same columns a million times."""

    @property
    def names(self) -> tuple[str, ...]:
        """Every column but the entries of maps."""
        return (*self.required, *self.optional, *self.maps)

    def knows(self, column: str) -> bool:
        """Whether a file may have this column."""
        return column in self.names or self.map_of(column) is not None

    def map_of(self, column: str) -> str | None:
        """The map that a column is an entry of."""
        if column in self._owners:
            return self._owners[column]
        owner = next(
            (each for each in self.maps if column.startswith(f"{each}.") and len(column) > len(each) + 1), None
        )
        if len(self._owners) < MOST_REMEMBERED:  # objects name columns of their own
            self._owners[column] = owner
        return owner

    def check(self, columns: Sequence[str]) -> None:
        """Raises UnreadableFile, naming every column that is unknown or missing."""
        unknown = [column for column in columns if not self.knows(column)]
        missing = [column for column in self.required if column not in columns]
        if not unknown and not missing:
            return
        parts = []
        if missing:
            parts.append(f"lacks the column {', '.join(missing)}")
        if unknown:
            parts.append(f"has columns that are not known: {', '.join(map(self._named, unknown[:20]))}")
        entries = "".join(f", {each}.<key>" for each in self.maps)
        raise UnreadableFile(f"{'; it '.join(parts)}. Known are {', '.join(self.names)}{entries}")

    def _named(self, column: str) -> str:
        close = difflib.get_close_matches(column.lower(), self.names, n=1)
        return f"{column} (is {close[0]} meant?)" if close else column

    def fields_of(self, row: SourceRow) -> dict[str, Any]:
        """The fields that the row gives; an empty cell gives none. Raises BadCell."""
        fields: dict[str, Any] = {}
        names = self.names
        for column, value in row.values.items():
            if value is None or value == "":
                continue
            owner = self.map_of(column)
            if owner is not None:
                fields.setdefault(owner, {})[column[len(owner) + 1 :]] = value
            elif column not in names:
                raise BadCell(column, f"is not known; {self._named(column)}")
            elif column in self.maps:
                fields[column] = {**_object(column, value), **fields.get(column, {})}
            elif column in self.objects and isinstance(value, str):
                fields[column] = _decoded(column, value)
            elif column in self.numbers and isinstance(value, str):
                fields[column] = plain_number(column, value)
            else:
                fields[column] = value
        return fields


def problems_of(row: SourceRow, details: Mapping[str, Any], message: str) -> list[RowProblem]:
    """What an error says of a row: each field that it names, else its message."""
    named = [row.problem(field, str(reason)) for field, reason in details.items() if isinstance(reason, str)]
    return named or [row.problem("", message)]


def plain_number(column: str, text: str) -> str:
    """A number as spreadsheets and programs agree on it: digits of ASCII, with a point before decimals. Raises BadCell.

    What else a decimal may be read from (digits of other scripts, underscores) would be taken for what was not meant.
    """
    number = text.strip()
    if not _NUMBER.fullmatch(number):
        raise BadCell(column, f"must be a number such as 1250.5, without separators of thousands; not '{text[:40]}'")
    return number


def _object(column: str, value: Any) -> dict[str, Any]:
    entries = _decoded(column, value) if isinstance(value, str) else value
    if not isinstance(entries, dict):
        raise BadCell(column, "must be a JSON object")
    return entries


def _decoded(column: str, value: str) -> Any:
    try:
        decoded = _JSON.decode(value)
        refuse_repeated_keys(value)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadCell(column, _NOT_JSON) from error
    except RepeatedKey as error:
        raise BadCell(column, f"'{error.key}' {error}") from error
    except ValueError as error:
        raise BadCell(column, str(error)) from error
    if holds_nul(value.encode()):
        raise BadCell(column, "must not contain NUL characters")
    return decoded
