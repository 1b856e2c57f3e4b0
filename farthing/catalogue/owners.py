"""Holding what a catalogue row belongs to until the transaction ends, so that it is not archived meanwhile."""

from __future__ import annotations

from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.fields import require_published
from farthing.core.enums import Status
from farthing.storage.queries.rows import missing
from farthing.storage.tables import Base

Row = TypeVar("Row", bound=Base)


async def lock_for_use(session: AsyncSession, table: type[Row], id: str) -> Row:
    """A published row, locked for sharing: holders do not wait for one another, changes of the row wait for them.

    Raises NotFound, or InvalidOperation for an archived row.
    """
    query = select(table).where(table.id == id, table.__table__.columns["status"] != Status.DELETED)
    query = query.with_for_update(read=True).execution_options(populate_existing=True)
    row = (await session.execute(query)).scalar_one_or_none()
    if row is None:
        raise await missing(session, table, id)
    require_published(row)
    return row
