"""Reading one row by id, with the one answer for a row that is not there, foreign or deleted."""

from __future__ import annotations

from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.enums import Status
from farthing.core.errors import NotFound
from farthing.storage.tables import Base

Row = TypeVar("Row", bound=Base)


def not_found(table: type[Base], id: str) -> NotFound:
    """The 404 for an id: alike for an unknown, a foreign and a deleted row."""
    key = table.label.lower().replace(" ", "_").replace("-", "_") + "_id"
    return NotFound(f"{table.label} with ID {id} was not found", {key: id})


async def find(session: AsyncSession, table: type[Row], id: str) -> Row:
    """The row with this id, archived ones included. Raises NotFound."""
    return await _one(session, table, id, lock=False)


async def locked(session: AsyncSession, table: type[Row], id: str) -> Row:
    """The row with this id, fresh from the database and locked until the transaction ends. Raises NotFound."""
    return await _one(session, table, id, lock=True)


async def _one(session: AsyncSession, table: type[Row], id: str, *, lock: bool) -> Row:
    query = select(table).where(table.id == id)
    columns = table.__table__.columns
    if "status" in columns:
        query = query.where(columns["status"] != Status.DELETED)
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    row = (await session.execute(query)).scalar_one_or_none()
    if row is None:
        raise not_found(table, id)
    return row


def violated(error: IntegrityError) -> str:
    """The name of the constraint or unique index that refused a write; "" when the driver does not say."""
    diagnosis = getattr(error.orig, "diag", None)
    return str(getattr(diagnosis, "constraint_name", "") or "")
