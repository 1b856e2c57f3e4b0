"""Many rows of one table written by one statement: they travel as one JSON document and are typed by the table itself.

A flush writes row by row: statement triggers fire for each, and most of the time goes to the protocol. What is written
here is the session's afterwards, as if it had been flushed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import msgspec
from sqlalchemy import TextClause, inspect, text
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.attributes import instance_state

from farthing.storage.connections.messages import Statement
from farthing.storage.ports import CompanionStatement
from farthing.storage.postgres import apply_defaults, clock_of, scope_of
from farthing.storage.queries.changes import changed_attributes, note_changed, note_new
from farthing.storage.queries.kept import KeptStatement, adopt, kept
from farthing.storage.tables import Base, Tracked


async def insert_all(session: AsyncSession, rows: Sequence[Base]) -> None:
    """Write new rows of one table, in their order. Raises IntegrityError, and none is written."""
    if not rows:
        return
    for row in rows:
        apply_defaults(session, row)
    connection = await session.connection()
    await connection.run_sync(insert_records, type(rows[0]), records_of(rows))
    note_new(session.sync_session, rows)
    for row in rows:
        adopt(session.sync_session, row)


def records_of(rows: Sequence[Base]) -> list[dict[str, Any]]:
    """New rows of one table, which have their defaults, by column; what nobody set is NULL, and known to be."""
    columns = _columns(type(rows[0]))
    return [{column: row.__dict__.setdefault(attribute, None) for attribute, column in columns} for row in rows]


def is_new(row: Base) -> bool:
    """Whether a row was neither read nor written yet, nor added to a session."""
    return inspect(row).transient


def insert_records(
    connection: Connection,
    table: type[Base],
    records: Sequence[Mapping[str, Any]],
    *,
    computed: tuple[tuple[str, str], ...] = (),
) -> None:
    """The same for values by column, all of the same columns.

    `computed`: columns that the database fills, and the expressions of it, in which `new` is the record.
    """
    statement = _insertion(table.__tablename__, tuple(records[0]), computed)
    connection.execute(statement, {"records": _document(records)})


def insertion_of(
    table: type[Base],
    records: Sequence[Mapping[str, Any]],
    *,
    computed: tuple[tuple[str, str], ...] = (),
    beside: CompanionStatement | None = None,
) -> Statement:
    """The statement that does that; `beside` is written by it too."""
    statement = _kept_insertion(
        table.__tablename__, tuple(records[0]), computed, None if beside is None else beside.sql
    )
    return statement.with_values(records=_document(records), **({} if beside is None else beside.parameters))


async def update_all(session: AsyncSession, rows: Iterable[Base]) -> None:
    """Write what changed of rows of one table that are in the session and locked; the others stay as they are."""
    changed = [row for row in rows if changed_attributes(row)]
    if not changed:
        return
    columns = dict(_columns(type(changed[0])))
    attributes = {name for row in changed for name in changed_attributes(row) if name in columns}
    stamp(session, changed)
    if isinstance(changed[0], Tracked):
        attributes |= {"updated_at", "updated_by"}
    names = {attribute: columns[attribute] for attribute in sorted(attributes)}
    records = [
        {"id": row.__dict__["id"], **{column: row.__dict__[attribute] for attribute, column in names.items()}}
        for row in changed
    ]
    statement = _change(type(changed[0]).__tablename__, tuple(names.values()))
    await (await session.connection()).execute(statement, {"records": _document(records)})
    note_changed(session.sync_session, changed)
    for row in changed:
        # nothing is left for a flush, which would look at every attribute to find that out
        instance_state(row)._commit_all(row.__dict__, session.sync_session.identity_map)


def stamp(session: AsyncSession, changed: Iterable[Base]) -> None:
    """Say on rows that differ from what is stored who changed them and when, as a flush would."""
    now, author = clock_of(session).now(), scope_of(session).user_id
    for row in changed:
        if isinstance(row, Tracked):
            row.updated_at, row.updated_by = now, author


def _document(records: Sequence[Mapping[str, Any]]) -> str:
    """Decimals as text, which loses nothing, times in UTC, enums as their values."""
    return msgspec.json.encode(records).decode()


@cache
def _columns(table: type[Base]) -> tuple[tuple[str, str], ...]:
    """Attribute and column of everything that is not computed by the database."""
    pairs = ((attribute.key, attribute.columns[0]) for attribute in table.__mapper__.column_attrs)
    return tuple((name, column.name) for name, column in pairs if column.computed is None)


@cache
def _kept_insertion(
    table: str, columns: tuple[str, ...], computed: tuple[tuple[str, str], ...], beside: str | None
) -> KeptStatement:
    return kept(_insertion(table, columns, computed, beside))


@cache
def _insertion(
    table: str, columns: tuple[str, ...], computed: tuple[tuple[str, str], ...] = (), beside: str | None = None
) -> TextClause:
    names = ", ".join(f'"{column}"' for column in (*columns, *dict(computed)))
    values = ", ".join((*(f'new."{column}"' for column in columns), *dict(computed).values()))
    companion = "" if beside is None else f"WITH beside AS ({beside}) "
    return text(f"{companion}INSERT INTO {table} ({names}) SELECT {values} FROM {_typed(table)}")


@cache
def _change(table: str, columns: tuple[str, ...]) -> TextClause:
    values = ", ".join(f'"{column}" = new."{column}"' for column in columns)
    return text(f"UPDATE {table} SET {values} FROM {_typed(table)} WHERE {table}.id = new.id")


def _typed(table: str) -> str:
    return f"json_populate_recordset(CAST(NULL AS {table}), CAST(:records AS json)) AS new"
