"""Few rows of several tables written by one message, without a flush: new ones, and ones that the session holds.

A flush writes row after row and waits for each. What is written here is the session's afterwards, as if it had been
flushed; statements are kept as those of `kept` are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import cast

from sqlalchemy import ColumnDefault, String, Table, bindparam, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.attributes import instance_state

from farthing.storage.connections.messages import Statement
from farthing.storage.postgres import apply_defaults, ask_together, clock_of, scope_of
from farthing.storage.queries.changes import note_changed, note_new
from farthing.storage.queries.kept import KeptStatement, adopt, kept
from farthing.storage.tables import Base, Tracked

_ID = "id_of_row"


async def write_together(session: AsyncSession, new: Sequence[Base], changed: Sequence[Base] = ()) -> bool:
    """Insert new rows in their order, then write what was changed of locked ones, all by one message.

    False if a unique index refuses one of the new ones. That one is not written, while the others are: whoever wrote
    more than one undoes the transaction then. An insert waits for a rival that is being written, as any does, and
    needs no savepoint.
    """
    return await _write(session, new, changed, refusable=True)


async def _write(session: AsyncSession, new: Sequence[Base], changed: Sequence[Base], *, refusable: bool) -> bool:
    for row in new:
        apply_defaults(session, row)
    stamp_changed(session, changed)
    updates = [update_ for row in changed if (update_ := _update_of(row)) is not None]
    statements = [*(_insertion(row, refusable=refusable) for row in new), *updates]
    answers = await ask_together(session, statements) if statements else []
    note_changed(session.sync_session, changed)
    for row in changed:
        instance_state(row)._commit_all(row.__dict__, session.sync_session.identity_map)
    written = [row for row, answer in zip(new, answers, strict=False) if answer]
    for row, answer in zip(new, answers, strict=False):
        if answer:
            _adopt(session, row, answer[0][1:])
    note_new(session.sync_session, written)
    return len(written) == len(new)


async def write_pending(session: AsyncSession) -> None:
    """Write what waits in the session, as a flush would, by one message.

    What rows refer to is written before them. A unique index that refuses a row raises psycopg's IntegrityError.
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
    await _write(session, new, changed, refusable=False)


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
    """Say on rows that differ from what is stored who changed them and when, as a flush would."""
    now, author = clock_of(session).now(), scope_of(session).user_id
    for row in rows:
        if isinstance(row, Tracked) and changed_attributes(row):
            row.updated_at, row.updated_by = now, author


def changed_attributes(row: Base) -> list[str]:
    """What a row holds otherwise than it was read; what it has not held before counts as changed."""
    held = row.__dict__
    before = instance_state(row).committed_state
    return [name for name, value in before.items() if name in held and not _is_same(value, held[name])]


def _is_same(before: object, held: object) -> bool:
    return before is held or bool(before == held)


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


def _adopt(session: AsyncSession, row: Base, computed: Sequence[object]) -> None:
    """Make a row that was inserted one that the session holds."""
    row.__dict__.update(zip(_insertion_of(type(row), True).computed, computed, strict=True))
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
