"""Few rows of several tables written by one message, without a flush: new ones, and ones that the session holds.

A flush writes row after row and waits for each. What is written here is the session's afterwards, as if it had been
flushed; statements are kept as those of `kept` are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import cast

from psycopg.rows import TupleRow
from sqlalchemy import ColumnDefault, String, Table, bindparam, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.attributes import instance_state

from farthing.storage.connections.messages import Statement
from farthing.storage.postgres import apply_defaults, ask_together
from farthing.storage.queries.bulk import insertion_of, records_of, stamp
from farthing.storage.queries.changes import changed_attributes, note_changed, note_new
from farthing.storage.queries.kept import KeptStatement, adopt, kept
from farthing.storage.tables import Base

_ID = "id_of_row"


async def write_together(session: AsyncSession, new: Sequence[Base], changed: Sequence[Base] = ()) -> bool:
    """Insert new rows in their order, then write what was changed of locked ones, all by one message.

    False if a unique index refuses one of the new ones. That one is not written, while the others are: whoever wrote
    more than one undoes the transaction then. An insert waits for a rival that is being written, as any does, and
    needs no savepoint.
    """
    for row in new:
        apply_defaults(session, row)
    answers = await _write(session, [_insertion(row, refusable=True) for row in new], changed)
    written = [(row, answer[0]) for row, answer in zip(new, answers, strict=True) if answer]
    for row, values in written:
        _adopt(session, row, values)
    note_new(session.sync_session, [row for row, _ in written])
    return len(written) == len(new)


async def _write(
    session: AsyncSession, insertions: Sequence[Statement], changed: Sequence[Base]
) -> list[list[TupleRow]]:
    """What the insertions return."""
    stamp_changed(session, changed)
    updates = [update_ for row in changed if (update_ := _update_of(row)) is not None]
    answers = await ask_together(session, [*insertions, *updates]) if insertions or updates else []
    note_changed(session.sync_session, changed)
    for row in changed:
        instance_state(row)._commit_all(row.__dict__, session.sync_session.identity_map)
    return answers[: len(insertions)]


async def write_pending(session: AsyncSession) -> None:
    """Write what waits in the session, as a flush would, by one message.

    What rows refer to is written before them, and several of a table by one statement. A unique index that refuses a
    row raises IntegrityError.
    """
    within = session.sync_session
    if within._is_clean():
        return
    tables: set[type[Base]] = {type(row) for row in within.new}
    if within.deleted or not all(_is_insertable(table) for table in tables):
        await session.flush()
        return
    new = sorted(within.new, key=lambda row: (type(row).__mapper__._sort_key, instance_state(row).insert_order))
    changed = list(within.dirty)
    for row in new:
        session.expunge(row)
        apply_defaults(session, row)
    groups = [list(rows) for _, rows in groupby(new, key=type)]
    answers = await _write(
        session,
        [
            _insertion(rows[0], refusable=False) if len(rows) == 1 else insertion_of(type(rows[0]), records_of(rows))
            for rows in groups
        ],
        changed,
    )
    for rows, answer in zip(groups, answers, strict=True):
        if answer:
            _adopt(session, rows[0], answer[0])
        else:
            for row in rows:
                adopt(within, row)
    note_new(within, new)


@cache
def _is_insertable(table: type[Base]) -> bool:
    """Whether the program knows every value of a new row, but for those that are computed from others."""
    columns = (attribute.columns[0] for attribute in table.__mapper__.column_attrs)
    return all(
        column.computed is not None
        or isinstance(column.default, ColumnDefault)
        or (column.default is None and column.server_default is None)
        for column in columns
    )


def stamp_changed(session: AsyncSession, rows: Sequence[Base]) -> None:
    """Stamp those of the rows that differ from what is stored."""
    stamp(session, (row for row in rows if changed_attributes(row)))


@dataclass(frozen=True, slots=True)
class _Insertion:
    """How rows of a table are inserted."""

    statement: KeptStatement
    given: tuple[tuple[str, str], ...]
    """Attribute and column of what the row brings."""
    computed: tuple[str, ...]
    """Attributes that the database fills; returned after the id."""


@cache
def _insertion_of(table: type[Base], refusable: bool) -> _Insertion:
    columns = [(attribute.key, attribute.columns[0]) for attribute in table.__mapper__.column_attrs]
    computed = [(name, column) for name, column in columns if column.computed is not None]
    given = tuple((name, column.key) for name, column in columns if column.computed is None)
    # of the table, not of the class: values come by column, and rows of the class are made elsewhere
    insertion = insert(cast("Table", table.__table__))
    if refusable:
        insertion = insertion.on_conflict_do_nothing()
    statement = insertion.returning(table.__table__.c.id, *(column for _, column in computed))
    return _Insertion(kept(statement, [column for _, column in given]), given, tuple(name for name, _ in computed))


def _insertion(row: Base, *, refusable: bool) -> Statement:
    insertion, held = _insertion_of(type(row), refusable), row.__dict__
    # what nobody set is NULL, and known to be
    values = {column: held.setdefault(attribute, None) for attribute, column in insertion.given}
    return insertion.statement.with_values(**values)


def _adopt(session: AsyncSession, row: Base, returned: Sequence[object]) -> None:
    """Make a row that was inserted one that the session holds; its insertion returned the id and what is computed."""
    row.__dict__.update(zip(_insertion_of(type(row), True).computed, returned[1:], strict=True))
    adopt(session.sync_session, row)


def _update_of(row: Base) -> Statement | None:
    """The statement that writes what was changed of a row; None where nothing was."""
    names = tuple(sorted(changed_attributes(row)))
    if not names:
        return None
    held = row.__dict__
    statement, columns = _kept_update(type(row), names)
    values = {column: held[name] for name, column in zip(names, columns, strict=True)}
    return statement.with_values(**{_ID: held["id"]}, **values)


@cache
def _kept_update(table: type[Base], names: tuple[str, ...]) -> tuple[KeptStatement, tuple[str, ...]]:
    by_name = {attribute.key: attribute.columns[0].key for attribute in table.__mapper__.column_attrs}
    columns, of = tuple(by_name[name] for name in names), cast("Table", table.__table__)
    return kept(update(of).where(of.c.id == bindparam(_ID, type_=String)), columns), columns
