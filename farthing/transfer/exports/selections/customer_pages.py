"""The customers of an environment, page by page, each page from where the one before ended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.customers.tables import Customer
from farthing.storage.postgres import scope_of


async def customer_pages(
    session: AsyncSession, size: int, *conditions: ColumnElement[bool]
) -> AsyncIterator[Sequence[Customer]]:
    """Customers that keep the conditions, by their ids, at most `size` at once; the session forgets each page."""
    reached = ""
    while True:
        query = (
            select(Customer)
            .where(Customer.environment_id == scope_of(session).environment_id, Customer.id > reached, *conditions)
            .order_by(Customer.id)
            .limit(size)
        )
        customers = (await session.scalars(query)).all()
        if not customers:
            return
        reached = customers[-1].id
        yield customers
        session.expunge_all()
