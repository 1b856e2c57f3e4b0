"""Statements that are made once and kept, asked in the driver's own words: several of them as one message.

To build a statement, to find what it was compiled to and to load its rows costs several times what PostgreSQL needs to
answer it. What every write reads before it changes anything is therefore kept here; the rows are the session's, as if
it had read them itself.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any, Generic, TypeVar, cast

import msgspec
from psycopg.rows import TupleRow
from sqlalchemy import JSON, BindParameter, ColumnElement, Numeric, Select, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.dialects.postgresql.psycopg import dialect
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import instance_state
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

from farthing.storage.connections.messages import Statement
from farthing.storage.postgres import ask_together
from farthing.storage.tables import Base

Row = TypeVar("Row", bound=Base)
Answer = TypeVar("Answer")
Convert = Callable[[Any], Any]

_DIALECT: Dialect = dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True, eq=False)
class KeptStatement:
    """SQL in the driver's words, the names of its parameters in their order, and what converts values both ways."""

    sql: str
    names: tuple[str, ...]
    constants: dict[str, Any]
    writers: dict[str, Convert]
    """Of parameters that do not travel as they are, by name."""
    readers: tuple[tuple[int, Convert], ...]
    """Of columns that are not read as they come, by place."""

    def with_values(self, **values: Any) -> Statement:
        """The statement with its parameters."""
        writers, constants = self.writers, self.constants
        parameters = [values[name] if name in values else constants[name] for name in self.names]
        if writers:
            for place, name in enumerate(self.names):
                write = writers.get(name)
                if write is not None and name in values and parameters[place] is not None:
                    parameters[place] = write(parameters[place])
        return Statement(self.sql, parameters)

    def asked(self, **values: Any) -> KeptQuestion[Any]:
        """The question for what the statement returns, as sequences of values."""
        return KeptQuestion(self.with_values(**values), self._values)

    def _values(self, _session: Session, rows: list[TupleRow]) -> list[Any]:
        return list(self.read(rows))

    def read(self, rows: list[TupleRow]) -> Sequence[Sequence[Any]]:
        """Rows as the driver gave them, with the values that the columns stand for."""
        if not self.readers:
            return rows
        return [self._converted(row) for row in rows]

    def _converted(self, row: TupleRow) -> list[Any]:
        values = list(row)
        for place, read in self.readers:
            if values[place] is not None:
                values[place] = read(values[place])
        return values


def kept(statement: Executable, columns: Sequence[str] | None = None) -> KeptStatement:
    """Keep a statement. Its parameters are named by `bindparam`; every other value in it stays what it is.

    One that inserts or updates has `columns` for parameters too. A list of values is an array (`in_given_array`).
    """
    compiled = cast("SQLCompiler", statement.compile(dialect=_DIALECT, column_keys=columns))  # type: ignore[attr-defined]
    names = tuple(compiled.positiontup or ())
    binds: dict[str, BindParameter[Any]] = {name: compiled.binds[name] for name in names}
    writers = {name: write for name, bind in binds.items() if (write := _writer_of(bind.type)) is not None}
    constants = {
        name: writers[name](bind.effective_value) if name in writers else bind.effective_value
        for name, bind in binds.items()
        if not bind.required
    }
    readers = [(place, _reader_of(column.type)) for place, column in enumerate(compiled._result_columns)]
    return KeptStatement(
        compiled.string,
        names,
        constants,
        writers,
        tuple((place, read) for place, read in readers if read is not None),
    )


def _writer_of(kind: TypeEngine[Any]) -> Convert | None:
    if isinstance(kind, JSON):
        return _json
    return kind.dialect_impl(_DIALECT).bind_processor(_DIALECT)


def _reader_of(kind: TypeEngine[Any]) -> Convert | None:
    if isinstance(kind, JSON | Numeric):
        return None  # the connection reads both
    return kind.dialect_impl(_DIALECT).result_processor(_DIALECT, None)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


@dataclass(frozen=True, slots=True, eq=False)
class KeptRows(Generic[Row]):
    """A kept SELECT of whole rows of a table. Where it `renews`, what a session holds of them is read anew."""

    statement: KeptStatement
    table: type[Row]
    attributes: tuple[str, ...]
    primary_key: tuple[str, ...]
    renews: bool

    def asked(self, **values: Any) -> KeptQuestion[Row]:
        """The question for the rows, with its parameters."""
        return KeptQuestion(self.statement.with_values(**values), self._load)

    def _load(self, session: Session, rows: list[TupleRow]) -> list[Row]:
        return [self._row(session, values) for values in self.statement.read(rows)]

    def _row(self, session: Session, values: Sequence[Any]) -> Row:
        mapper = self.table.__mapper__
        found = dict(zip(self.attributes, values, strict=True))
        key = mapper.identity_key_from_primary_key(tuple(found[name] for name in self.primary_key))
        row = session.identity_map.get(key)
        if row is None:
            row = mapper.class_manager.new_instance()
            row.__dict__.update(found)
            adopt(session, row)
        elif self.renews:
            row.__dict__.update(found)
            instance_state(row)._commit_all(row.__dict__, session.identity_map)
        elif missing := found.keys() - row.__dict__.keys():
            row.__dict__.update({name: found[name] for name in missing})
            instance_state(row)._commit(row.__dict__, missing)
        return cast("Row", row)


def adopt(session: Session, row: Base) -> None:
    """Make a row that stands in the database as it holds it one of the session's, as if it had been read."""
    # as `make_transient_to_detached` and `add` do, without looking at every attribute, and for what the row refers to
    state, held = instance_state(row), row.__dict__
    names, primary_key = _identity_of(type(row))
    state.key = row.__mapper__.identity_key_from_primary_key(tuple(held[name] for name in primary_key))
    state._commit_all(held)
    if missing := names.difference(held):
        state._expire_attributes(held, missing)
    session._save_or_update_impl(state)


@cache
def _identity_of(table: type[Base]) -> tuple[frozenset[str], tuple[str, ...]]:
    """The names of a table's attributes, and of those that make its primary key."""
    mapper = table.__mapper__
    primary_key = tuple(mapper.get_property_by_column(column).key for column in mapper.primary_key)
    return frozenset(mapper.class_manager), primary_key


@dataclass(frozen=True, slots=True, eq=False)
class KeptValues(Generic[Row]):
    """A kept SELECT of rows that are only read: values by the names of attributes, which the session does not hold."""

    statement: KeptStatement
    shape: type[Any]

    def asked(self, **values: Any) -> KeptQuestion[Row]:
        """The question for the rows, with its parameters."""
        return KeptQuestion(self.statement.with_values(**values), self._load)

    def _load(self, _session: Session, rows: list[TupleRow]) -> list[Row]:
        return [self.shape._make(values) for values in self.statement.read(rows)]


def kept_values(table: type[Row], *conditions: ColumnElement[bool], order: Sequence[Any] = ()) -> KeptValues[Row]:
    """Keep the SELECT of rows of a table that meet conditions, for hundreds that nobody changes."""
    pairs = [(attribute.key, attribute.columns[0]) for attribute in table.__mapper__.column_attrs]
    query: Select[Any] = select(*(column for _, column in pairs)).where(*conditions).order_by(*order)
    return KeptValues(kept(query), namedtuple(table.__name__, [name for name, _ in pairs]))


class RowLock(Enum):
    """How a SELECT locks the rows that it finds until the transaction ends."""

    UPDATE = "update"
    SHARE = "share"
    """Nobody can change them; holders do not wait for one another."""


def kept_rows(
    table: type[Row],
    *conditions: ColumnElement[bool],
    order: Sequence[Any] = (),
    distinct: Sequence[Any] = (),
    lock: RowLock | None = None,
    renews: bool = False,
) -> KeptRows[Row]:
    """Keep the SELECT of the rows of a table that meet conditions; one that locks them `renews` them too.

    Of rows that are equal in what is `distinct` it finds the first in the order.
    """
    pairs = [(attribute.key, attribute.columns[0]) for attribute in table.__mapper__.column_attrs]
    query: Select[Any] = select(*(column for _, column in pairs)).where(*conditions).order_by(*order)
    if distinct:
        query = query.ext(distinct_on(*distinct))
    if lock is not None:
        query = query.with_for_update(read=lock is RowLock.SHARE)
    names = {str(column.key): name for name, column in pairs}
    primary_key = tuple(names[str(column.key)] for column in table.__mapper__.primary_key)
    return KeptRows(kept(query), table, tuple(names.values()), primary_key, renews or lock is not None)


@dataclass(frozen=True, slots=True)
class KeptQuestion(Generic[Answer]):
    """A kept SELECT with its parameters, and what makes the answer of the rows that the driver gives."""

    statement: Statement
    load: Callable[[Session, list[TupleRow]], list[Answer]]


async def answer_to(session: AsyncSession, question: KeptQuestion[Answer]) -> list[Answer]:
    """What answers a question; what the session has changed is written before, as it is before any query."""
    await flush_changes(session)
    (rows,) = await ask_together(session, [question.statement])
    return question.load(session.sync_session, rows)


async def answers_to(session: AsyncSession, *questions: KeptQuestion[Any]) -> list[list[Any]]:
    """What answers each of several questions, asked in their order by one message."""
    await flush_changes(session)
    answers = await ask_together(session, [question.statement for question in questions])
    return [question.load(session.sync_session, rows) for question, rows in zip(questions, answers, strict=True)]


async def flush_changes(session: AsyncSession) -> None:
    """Flush as a query of the session's own would: not where there is nothing to, nor where that is switched off."""
    within = session.sync_session
    if within.autoflush and not within._is_clean():
        await session.flush()
