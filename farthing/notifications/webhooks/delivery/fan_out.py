"""From recorded events to deliveries: one for each endpoint that wants the event.

One process at a time does this in an environment, in the order in which events were recorded. An event is therefore on
its way before any later one of the same entity is.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.storage.postgres import scope_of

BATCH = 500
_KEY_SPACE = 0x57656248
"""The first half of each lock's key; the second is a hash of the environment's id."""

_LOCK = text("SELECT pg_try_advisory_xact_lock(:key_space, hashtext(:environment_id))")
_FIRST_POSITION = """
    SELECT min(first_position) FROM webhook_endpoints
    WHERE environment_id = :environment_id AND status = 'published' AND NOT disabled
"""
_WAITING = f"""
    SELECT id, event_name, entity_id, position, created_at FROM system_events
    WHERE environment_id = :environment_id AND dispatched_at IS NULL AND position > ({_FIRST_POSITION})
"""
_FAN_OUT = text(
    f"""
    WITH waiting AS MATERIALIZED ({_WAITING} ORDER BY position LIMIT :batch),
    taken AS (
        UPDATE system_events AS event SET dispatched_at = :now FROM waiting
        WHERE event.environment_id = :environment_id AND event.id = waiting.id
    ),
    wanted AS (
        INSERT INTO webhook_deliveries (
            id, tenant_id, environment_id, endpoint_id, event_id, entity_id, position, state, failures,
            next_attempt_at, event_created_at, created_at
        )
        SELECT 'whdel_' || md5(waiting.id || endpoint.id), endpoint.tenant_id, endpoint.environment_id, endpoint.id,
            waiting.id, waiting.entity_id, waiting.position, 'pending', 0, :now, waiting.created_at, :now
        FROM waiting JOIN webhook_endpoints AS endpoint
            ON endpoint.environment_id = :environment_id AND endpoint.status = 'published' AND NOT endpoint.disabled
            AND endpoint.first_position < waiting.position
            AND (endpoint.filter_types = '[]' OR jsonb_exists(endpoint.filter_types, waiting.event_name))
        ORDER BY waiting.position
        ON CONFLICT DO NOTHING
    )
    SELECT count(*) FROM waiting
    """
)
_HAS_WORK = text(
    f"""
    SELECT EXISTS ({_WAITING}), EXISTS (
        SELECT FROM webhook_endpoints AS endpoint JOIN webhook_deliveries AS delivery
            ON delivery.environment_id = :environment_id AND delivery.endpoint_id = endpoint.id
            AND delivery.state = 'pending' AND delivery.next_attempt_at <= :now
        WHERE endpoint.environment_id = :environment_id AND endpoint.status = 'published' AND NOT endpoint.disabled
    )
    """
)


async def fan_out(session: AsyncSession, now: datetime) -> int:
    """Turn the oldest waiting events of the session's environment into deliveries; how many events there were.

    0 also when another process is doing it.
    """
    environment_id = scope_of(session).environment_id
    parameters = {"environment_id": environment_id, "now": now, "batch": BATCH, "key_space": _KEY_SPACE}
    if not (await session.execute(_LOCK, parameters)).scalar_one():
        return 0
    return int((await session.execute(_FAN_OUT, parameters)).scalar_one())


async def has_work(session: AsyncSession, now: datetime) -> tuple[bool, bool]:
    """Whether events wait to be fanned out in the session's environment, and whether deliveries are due."""
    row = (await session.execute(_HAS_WORK, {"environment_id": scope_of(session).environment_id, "now": now})).one()
    return bool(row[0]), bool(row[1])
