"""What each event counts for a meter, one by one: for rules that depend on the order of events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.events.usage.event_store import store_of
from farthing.events.usage.ownership import Ownership
from farthing.events.usage.usage_query import ownership_of
from farthing.events.usage.usage_statement import UsageQuery, owned


class CountedEvent(NamedTuple):
    """An event of the query with this place, and what it counts."""

    query: int
    at: datetime
    quantity: Decimal
    key: str


async def measured_events(session: AsyncSession, queries: Sequence[UsageQuery]) -> AsyncIterator[CountedEvent]:
    """The events of each query in turn, in time order, then in the order of their acceptance.

    Rows are read as they are wanted. Customers must be named; nothing but customers and times
    narrows a query.
    """
    asked = [(place, query) for place, query in enumerate(queries) if query.customers and query.start < query.end]
    if not asked:
        return
    whose: Ownership = {}
    for ownership in (await ownership_of(session, [query for _, query in asked])).values():
        whose = {**whose, **ownership}
    customers = {customer for _, query in asked for customer in query.customers or ()}
    customers |= {customer for _, query in asked for stretch in query.more for customer in stretch.customers}
    bounded = any(part.is_bounded for part in owned(frozenset(customers), whose))
    async for row in store_of(session).usage.stream(session, asked, whose, bounded):
        yield CountedEvent(*row)
