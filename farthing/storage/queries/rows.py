"""Reading one row by id, with the one answer for a row that is not there, foreign or deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import ARRAY, ColumnElement, Executable, String, all_, any_, bindparam, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncResult, AsyncSession
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.orm.attributes import instance_state

from farthing.core.enums import Status
from farthing.core.errors import FarthingError, NotFound
from farthing.storage.queries.kept import KeptQuestion, KeptRows, RowLock, answer_to, kept_rows
from farthing.storage.queries.writing import write_together
from farthing.storage.tables import Base

Row = TypeVar("Row", bound=Base)


def not_found(table: type[Base], id: str) -> NotFound:
    """The 404 for an id: alike for an unknown, a foreign and a deleted row."""
    key = table.label.lower().replace(" ", "_").replace("-", "_") + "_id"
    return NotFound(f"{table.label} with ID {id} was not found", {key: id})


async def missing(session: AsyncSession, table: type[Base], id: str) -> NotFound:
    """As `not_found`; it says so when the id is really what the tenant itself calls a row of its own."""
    error = not_found(table, id)
    columns = table.__table__.columns
    if "external_id" not in columns or "status" not in columns:
        return error
    own = select(table.id).where(columns["external_id"] == id, columns["status"] == Status.PUBLISHED)
    held_by = await session.scalar(own.limit(1))
    if held_by is None:
        return error
    label = table.label.lower()
    return NotFound(
        f"{error.message}: that is the external id of the {label} {held_by}; send the id, "
        "or use the field or path for external ids",
        {**error.details, f"{label}_with_this_external_id": held_by},
    )


async def find(session: AsyncSession, table: type[Row], id: str) -> Row:
    """The row with this id, archived ones included. Raises NotFound."""
    return await _one(session, table, id, lock=False)


async def lock_row(session: AsyncSession, table: type[Row], id: str) -> Row:
    """The row with this id, fresh from the database and locked until the transaction ends. Raises NotFound."""
    return await _one(session, table, id, lock=True)


async def lock_if_there(session: AsyncSession, table: type[Row], id: str) -> Row | None:
    """The same for a row that may not exist: None then."""
    return await _row(session, table, id, lock=True)


async def _one(session: AsyncSession, table: type[Row], id: str, *, lock: bool) -> Row:
    row = await _row(session, table, id, lock=lock)
    if row is None:
        raise await missing(session, table, id)
    return row


async def _row(session: AsyncSession, table: type[Row], id: str, *, lock: bool) -> Row | None:
    rows = await answer_to(session, row_by_id(table, id, lock=lock))
    return rows[0] if rows else None


def row_by_id(table: type[Row], id: str, *, lock: bool = False) -> KeptQuestion[Row]:
    """The question for the row with this id that is not deleted, to be asked together with others."""
    return _kept_by_id(table, lock).asked(id=id)


@cache
def _kept_by_id(table: type[Row], lock: bool) -> KeptRows[Row]:
    conditions: list[ColumnElement[bool]] = [table.id == bindparam("id", type_=String)]
    columns = table.__table__.columns
    if "status" in columns:
        conditions.append(columns["status"] != Status.DELETED)
    return kept_rows(table, *conditions, lock=RowLock.UPDATE if lock else None)


def in_array(
    column: InstrumentedAttribute[str] | InstrumentedAttribute[str | None], ids: Iterable[str]
) -> ColumnElement[bool]:
    """Whether a column holds one of `ids`, sent as one array: the same statement for hundreds of them as for one."""
    return column == any_(bindparam(None, list(ids), ARRAY(String)))


def not_in_array(column: InstrumentedAttribute[str], ids: Iterable[str]) -> ColumnElement[bool]:
    """Whether a column holds none of `ids`, sent as one array too."""
    return column != all_(bindparam(None, list(ids), ARRAY(String)))


def in_given_array(
    column: InstrumentedAttribute[str] | InstrumentedAttribute[str | None], parameter: str
) -> ColumnElement[bool]:
    """The same for a statement that is made once and kept: the ids are its parameter of this name.

    Making a statement costs more than half of what asking it does, so those of hot reads are kept.
    """
    return column == any_(bindparam(parameter, type_=ARRAY(String)))


async def stream_whole(session: AsyncSession, query: Executable, parameters: Mapping[str, Any]) -> AsyncResult[Any]:
    """Rows as they are wanted, of a query that will be read to its end.

    A cursor is planned for the first tenth of its rows unless the transaction says otherwise, and then the rest may
    cost many times what it needs to.
    """
    await session.execute(text("SET LOCAL cursor_tuple_fraction = 1"))
    return await session.stream(query, parameters)


async def insert_if_new(session: AsyncSession, row: Base) -> bool:
    """Write a new row and keep it in the session; False, and nothing is written, if a unique index refuses it.

    It waits for a rival that is being written, as any insert does, and needs no savepoint.
    """
    return await write_together(session, [row])


def row_of(table: type[Row], **values: Any) -> Row:
    """A new row that holds these values. Of hundreds, nobody need be told that each value of each is new."""
    assert _attributes(table).issuperset(values), f"{table.__name__} has no such attribute"
    row = table()
    row.__dict__.update(values)
    return row


@cache
def _attributes(table: type[Base]) -> frozenset[str]:
    return frozenset(attribute.key for attribute in table.__mapper__.column_attrs)


def set_changed(row: Base, **values: Any) -> None:
    """Set the attributes of a row that differ from what it holds, so that a row nothing changes is not written.

    A flush would find out too, at many times the cost.
    """
    held = row.__dict__
    if instance_state(row).key is None:
        held.update(values)  # a new row is written as it stands: nobody need be told what it was before
        return
    for name, value in values.items():
        if name not in held or held[name] != value:
            setattr(row, name, value)


@asynccontextmanager
async def unique(session: AsyncSession, **refusals: FarthingError) -> AsyncIterator[None]:
    """Write what the block changed in a savepoint; a constraint that is violated becomes the error given for its name.

    Violations of other constraints stay what they are: errors of this program.
    """
    try:
        async with session.begin_nested():
            yield
    except IntegrityError as error:
        refusal = refusals.get(violated(error))
        if refusal is None:
            raise
        raise refusal from error


def violated(error: IntegrityError) -> str:
    """The name of the constraint or unique index that refused a write; "" when the driver does not say."""
    diagnosis = getattr(error.orig, "diag", None)
    return str(getattr(diagnosis, "constraint_name", "") or "")
