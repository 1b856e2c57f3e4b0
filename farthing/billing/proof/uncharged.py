"""Events that nobody is charged for because they came for a time before their owner's first subscription. Reads only.

Rule: docs/rules/metering.md#whose-an-event-is
"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.events.usage.event_store import EarlierEvents, store_of
from farthing.events.usage.ownership import OwnedEvents
from farthing.storage.postgres import scope_of

MOST = 1_000
"""Customers that are named."""

_STARTED = text(
    """
    WITH started AS (
        SELECT customer_id, min(start_date) AS start FROM subscriptions
        WHERE environment_id = :environment AND status = 'published' AND subscription_status <> 'draft'
        GROUP BY customer_id
    )
    SELECT started.customer_id, started.start, tenure.external_id, tenure.since_sequence, tenure.until_sequence
    FROM started
    JOIN external_id_tenures AS tenure
        ON tenure.environment_id = :environment AND tenure.customer_id = started.customer_id
    """
)


async def events_before_subscriptions(session: AsyncSession) -> dict[str, int]:
    """How many events each customer has from before its first subscription, by the customer's id."""
    rows = await session.execute(_STARTED, {"environment": scope_of(session).environment_id})
    earlier = [
        EarlierEvents(row.customer_id, OwnedEvents(row.external_id, row.since_sequence, row.until_sequence), row.start)
        for row in rows
    ]
    counts = await store_of(session).usage.count_earlier(session, earlier)
    return dict(sorted(counts.items())[:MOST])
