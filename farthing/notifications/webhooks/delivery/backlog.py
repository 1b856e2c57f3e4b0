"""How much is on its way to endpoints, and since when: for metrics, the doctor, and whoever is on call."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from ulid import ULID

from farthing.notifications.webhooks.tables import WebhookEnvironment
from farthing.storage.postgres import scope_of

_READ = text(
    """
    SELECT waiting.count + pending.count, waiting.first_id, pending.oldest_at
    FROM (
        SELECT count(*), min(id) AS first_id FROM system_events
        WHERE environment_id = :environment_id AND dispatched_at IS NULL AND position > (
            SELECT min(first_position) FROM webhook_endpoints
            WHERE environment_id = :environment_id AND status = 'published' AND NOT disabled)
    ) AS waiting, (
        SELECT count(*), min(created_at) AS oldest_at FROM webhook_deliveries
        WHERE environment_id = :environment_id AND state = 'pending'
    ) AS pending
    """
)


@dataclass(frozen=True, slots=True)
class Backlog:
    """Events and deliveries on their way, and the time of the oldest."""

    count: int
    oldest_at: datetime | None


async def measure_backlog(session: AsyncSession, now: datetime) -> None:
    """Keep beside the session's environment what is on its way there."""
    environment_id = scope_of(session).environment_id
    backlog = await backlog_of_environment(session)
    same = (WebhookEnvironment.backlog == backlog.count) & (
        WebhookEnvironment.oldest_at.is_not_distinct_from(backlog.oldest_at)
    )
    await session.execute(
        update(WebhookEnvironment)
        .where(WebhookEnvironment.id == environment_id, ~same)
        .values(backlog=backlog.count, oldest_at=backlog.oldest_at, measured_at=now)
    )


async def backlog_of_environment(session: AsyncSession) -> Backlog:
    """What is on its way in the session's environment."""
    row = (await session.execute(_READ, {"environment_id": scope_of(session).environment_id})).one()
    count, first_id, oldest_at = row
    if first_id is not None:
        # an id says when it was really made, whatever the test clock of the environment said
        recorded_at = ULID.from_str(first_id.rpartition("_")[2]).datetime
        oldest_at = recorded_at if oldest_at is None else min(recorded_at, oldest_at)
    return Backlog(int(count), oldest_at)


async def read_backlog(session: AsyncSession) -> Backlog:
    """What was on its way in all environments when each was last measured. The session must see all tenants."""
    query = select(func.coalesce(func.sum(WebhookEnvironment.backlog), 0), func.min(WebhookEnvironment.oldest_at))
    count, oldest_at = (await session.execute(query)).one()
    return Backlog(int(count), oldest_at)
