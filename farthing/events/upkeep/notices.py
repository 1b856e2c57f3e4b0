"""Who has new usage: the notices that appends leave, taken in the order of acceptance.

A notice is committed with its events, and whoever takes it later sees them. It is taken once: what follows from it
must be written in the transaction that takes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.events.ingest.sequence import first_sequence
from farthing.storage.postgres import scope_of

BATCH = 2_000
"""Appends in one transaction."""

_TAKE = text(
    """
    DELETE FROM usage_notices
    WHERE environment_id = :environment AND sequence IN (
        SELECT sequence FROM usage_notices WHERE environment_id = :environment
        ORDER BY sequence LIMIT :batch FOR UPDATE SKIP LOCKED
    )
    RETURNING arrived_at, external_customer_ids
    """
)


_LEAVE = text(
    """
    INSERT INTO usage_notices (environment_id, sequence, arrived_at, external_customer_ids)
    VALUES (:environment, :sequence, :arrived_at, CAST(:external_ids AS text[]))
    ON CONFLICT (environment_id, sequence) DO UPDATE
        SET external_customer_ids = usage_notices.external_customer_ids || EXCLUDED.external_customer_ids
    """
)


async def leave_notice(session: AsyncSession, external_ids: Sequence[str], now: datetime) -> None:
    """Notice that customers, by external id, have usage that was stored without an append."""
    given = {"environment": scope_of(session).environment_id, "sequence": await first_sequence(session)}
    await session.execute(_LEAVE, given | {"arrived_at": now, "external_ids": list(external_ids)})


async def take_notices(session: AsyncSession, batch: int = BATCH) -> Mapping[str, datetime]:
    """When new usage of each customer first came, by external id; empty when no notice is left."""
    first: dict[str, datetime] = {}
    given = {"environment": scope_of(session).environment_id, "batch": batch}
    for arrived_at, external_ids in await session.execute(_TAKE, given):
        for external_id in external_ids:
            first[external_id] = min(arrived_at, first.get(external_id, arrived_at))
    return first
