"""Reading what events were before a change; a store keeps it as it makes the change.

Rule: docs/rules/metering.md#corrections-of-events
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Text, cast, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import instant
from farthing.events.analytics.listing import answer
from farthing.events.corrections.schemas import EventVersionResponse
from farthing.events.corrections.tables import EventVersion
from farthing.events.schemas import Event
from farthing.storage.postgres import scope_of

MOST_VERSIONS = 100
"""How many changes of an event are answered at once, the newest; each may hold 256 KiB."""
_VERSIONS = EventVersion.__table__


async def lock_void(session: AsyncSession, ids: Sequence[str]) -> list[str]:
    """Those of these ids whose event is void; nobody else can restore them until the transaction ends."""
    row = EventVersion
    query = select(row.event_id).where(
        row.environment_id == scope_of(session).environment_id, row.event_id.in_(ids), row.blocks_id
    )
    return list(await session.scalars(query.order_by(row.event_id).with_for_update()))


async def versions_of(session: AsyncSession, event_id: str) -> list[EventVersionResponse]:
    """What an event was before each of its newest changes, the oldest of them first."""
    return [_version(row) for row in reversed(await _newest(session, event_id, MOST_VERSIONS))]


async def last_content(session: AsyncSession, event_id: str) -> tuple[Event, EventVersionResponse] | None:
    """What an event that is stored no more was at last, and the change that ended it."""
    rows = await _newest(session, event_id, 1)
    return (answer(rows[0]), _version(rows[0])) if rows else None


async def _newest(session: AsyncSession, event_id: str, most: int) -> Sequence[Any]:
    columns = _VERSIONS.c
    query = select(
        columns.event_id.label("id"),
        columns.external_customer_id,
        columns.customer_id,
        columns.event_name,
        columns.timestamp,
        columns.source,
        cast(columns.properties, Text).label("properties"),
        columns.environment_id,
        columns.ingested_at,
        columns.change,
        columns.blocks_id,
        columns.reason,
        columns.changed_at,
        columns.actor_type,
        columns.actor_id,
        columns.actor_label,
    )
    here = columns.environment_id == scope_of(session).environment_id
    own = query.where(here, columns.event_id == event_id)
    return (await session.execute(own.order_by(columns.sequence.desc()).limit(most))).all()


def _version(row: Any) -> EventVersionResponse:
    return EventVersionResponse(
        change=row.change,
        reason=row.reason,
        changed_at=instant(row.changed_at),
        actor_type=row.actor_type,
        actor_id=row.actor_id,
        actor_label=row.actor_label,
        is_void=row.blocks_id,
        before=answer(row),
    )
