"""Events that nobody is charged for because they came for a time before their owner's first subscription. Reads only.

Rule: docs/rules/metering.md#whose-an-event-is
"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.storage.postgres import scope_of

MOST = 1_000
"""Customers that are named."""

_BEFORE = text(
    """
    WITH started AS (
        SELECT customer_id, min(start_date) AS start FROM subscriptions
        WHERE environment_id = :environment AND status = 'published' AND subscription_status <> 'draft'
        GROUP BY customer_id
    )
    SELECT started.customer_id, sum(earlier.events)::bigint AS events
    FROM started
    JOIN external_id_tenures AS tenure
        ON tenure.environment_id = :environment AND tenure.customer_id = started.customer_id
    CROSS JOIN LATERAL (
        SELECT count(*) AS events FROM events
        WHERE environment_id = :environment AND external_customer_id = tenure.external_id
            AND timestamp < started.start AND coalesce(owner_sequence, sequence) >= tenure.since_sequence
            AND (tenure.until_sequence IS NULL OR coalesce(owner_sequence, sequence) < tenure.until_sequence)
    ) AS earlier
    GROUP BY started.customer_id
    HAVING sum(earlier.events) > 0
    ORDER BY started.customer_id
    LIMIT :most
    """
)


async def events_before_subscriptions(session: AsyncSession) -> dict[str, int]:
    """How many events each customer has from before its first subscription, by the customer's id."""
    rows = await session.execute(_BEFORE, {"environment": scope_of(session).environment_id, "most": MOST})
    return {row.customer_id: row.events for row in rows}
