"""What customers are called, for pages that show what belongs to them."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.customers.tables import Customer
from farthing.storage.queries.rows import in_array


async def names_of(session: AsyncSession, ids: set[str]) -> dict[str, str]:
    """Names of customers by id; their external ids where they have none."""
    if not ids:
        return {}
    name = func.coalesce(func.nullif(Customer.name, ""), Customer.external_id)
    return dict((await session.execute(select(Customer.id, name).where(in_array(Customer.id, ids)))).all())
