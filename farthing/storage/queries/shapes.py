"""Rows in the form in which they travel, straight from columns: no entity is made of what is only shown.

A `RowShape` says how the columns of a table become the fields of an answer. The database writes decimals and times as
text, which is cheaper than making values of them only to write them again; documents stay the JSON they are. What
follows from several columns by a rule is left to the rule, and read only where a row has it (`extras`).
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import UnionType
from typing import Any, Generic, TypeVar

import msgspec
from sqlalchemy import Numeric

from farthing.core.encoding.wire import Response, Timestamp
from farthing.storage.tables import Base

Answer = TypeVar("Answer", bound=Response)
Completion = Callable[[dict[str, Any], Sequence[str | None]], None]
"""Changes the fields of an answer by its extras, of which some are not None."""


class _Instants(dict[str | None, str | None]):
    """Times as the database writes them in UTC, and as they travel; a page has many of the same."""

    def __missing__(self, text: str) -> str:
        # "2026-01-31 09:30:00.5+00"
        self[text] = instant = f"{text[:10]}T{text[11:-3]}Z"
        return instant


class _Documents(dict[str | None, Any]):
    """What the database writes as JSON, which travels as it is."""

    def __missing__(self, text: str) -> msgspec.Raw:
        self[text] = document = msgspec.Raw(text.encode())
        return document


@dataclass(slots=True)
class Texts:
    """What was made of the texts of one page."""

    instants: _Instants = field(default_factory=lambda: _Instants({None: None}))
    documents: _Documents = field(default_factory=lambda: _Documents({None: None, "null": None}))


@dataclass(frozen=True, eq=False)
class RowShape(Generic[Answer]):
    """How a row of `table` becomes an `answer`, field by field, from the attribute of its name.

    `expressions` gives the SQL of fields that are no plain column, over the row `r`. `documents` names the
    attribute that a field begins with, where a rule adds to it. `left_out` are fields that somebody else fills in.
    `extras` are texts that most rows have not, for `complete`.
    """

    answer: type[Answer]
    table: type[Base]
    expressions: Mapping[str, str] = field(default_factory=dict)
    documents: Mapping[str, str] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()
    extras: tuple[str, ...] = ()
    complete: Completion | None = None

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The fields that are read, in the order of `columns`. Raises TypeError for one that needs an expression."""
        columns = self.table.__mapper__.columns
        found = []
        for name in self.answer.__struct_fields__:
            attribute = self._attribute(name)
            if name in self.left_out:
                continue
            if name in self.expressions or attribute in columns:
                found.append(name)
            elif hasattr(self.table, attribute):
                raise TypeError(f"{self.answer.__name__}.{name} is no column of {self.table.__tablename__}")
        return tuple(found)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The SQL of each field and then of each extra, all of them texts."""
        return (*(self._column(name) for name in self.fields), *self.extras)

    def _attribute(self, name: str) -> str:
        return self.documents.get(name) or self.answer.renamed.get(name, name)

    def _column(self, name: str) -> str:
        if name in self.expressions:
            return f"({self.expressions[name]})::text"
        column = self.table.__mapper__.columns[self._attribute(name)]
        quoted = f'r."{column.name}"'
        # as `money.plain` writes it
        return f"trim_scale({quoted})::text" if isinstance(column.type, Numeric) else f"{quoted}::text"

    @cached_property
    def _times(self) -> tuple[str, ...]:
        hints = typing.get_type_hints(self.answer, include_extras=True)
        return tuple(name for name in self.fields if _is_time(hints[name]))

    @cached_property
    def _json(self) -> tuple[str, ...]:
        """The fields whose text is JSON: documents, numbers and truths."""
        hints = typing.get_type_hints(self.answer)
        return tuple(name for name in self.fields if not _is_text(hints[name]))

    def answers(self, rows: Sequence[Sequence[str | None]], texts: Texts) -> list[Answer]:
        """The answers that rows of `columns` stand for."""
        kind, fields, times, json = self.answer, self.fields, self._times, self._json
        instants, documents = texts.instants, texts.documents
        first, last, complete = len(fields), len(self.columns), self.complete
        made = []
        for row in rows:
            values: dict[str, Any] = dict(zip(fields, row, strict=False))
            for name in times:
                values[name] = instants[values[name]]
            for name in json:
                values[name] = documents[values[name]]
            if complete is not None and any(extras := row[first:last]):
                complete(values, extras)
            made.append(kind(**values))
        return made


def _is_time(hint: Any) -> bool:
    return Timestamp in _kinds(hint)


def _is_text(hint: Any) -> bool:
    return all(
        typing.get_origin(kind) is typing.Literal
        or (isinstance(kind, type) and issubclass(kind, _TEXT_OR_NONE) and typing.get_origin(kind) is None)
        for kind in _kinds(hint)
    )


_TEXT_OR_NONE = (str, type(None), msgspec.UnsetType)


def _kinds(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, UnionType) else (hint,)


def merged(document: Any, more: Mapping[str, str]) -> dict[str, Any]:
    """A JSON object of a row with entries that are shown beside its own."""
    return {**msgspec.json.decode(document), **more}
