"""Correcting events in PostgreSQL: what is changed is seen when the transaction commits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.origin import ChangeOrigin
from farthing.events.changes import EventChange
from farthing.events.ingest import store
from farthing.events.ingest.arrivals import Placed
from farthing.events.ingest.measuring import Measurements
from farthing.events.ingest.sequence import FIRST_SEQUENCE
from farthing.storage.postgres import ORIGIN, clock_of, driver_connection, scope_of

_LOCK = text(
    """
    SELECT id, timestamp FROM events WHERE environment_id = :environment AND id = ANY(:ids)
    ORDER BY id COLLATE "C" FOR UPDATE
    """
)
_CONTENT = (
    "timestamp, ingested_at, external_customer_id, event_name, customer_id, source, properties, owner_sequence, sent_by"
)
_KEEP = text(
    f"""
    INSERT INTO event_versions (environment_id, event_id, sequence, change, blocks_id, reason, changed_at, actor_type,
        actor_id, actor_label, former_sequence, {_CONTENT})
    SELECT environment_id, id, (SELECT {FIRST_SEQUENCE}), :change, :blocks, :reason, :now, :actor_type, :actor_id,
        :actor_label, sequence, {_CONTENT}
    FROM events WHERE environment_id = :environment AND id = ANY(:ids)
    """
)
_RESTORE = text(
    f"""
    WITH restored AS (
        UPDATE event_versions SET blocks_id = false
        WHERE environment_id = :environment AND event_id = ANY(:ids) AND blocks_id
        RETURNING environment_id, event_id, former_sequence, {_CONTENT}
    )
    INSERT INTO events (environment_id, id, sequence, {_CONTENT})
    SELECT environment_id, event_id, former_sequence, {_CONTENT} FROM restored
    """
)


async def hold(_: AsyncSession) -> None:
    """Nothing is ever stored half: a transaction commits or not."""


async def lock_stored(session: AsyncSession, ids: Sequence[str]) -> dict[str, datetime]:
    rows = await session.execute(_LOCK, {"environment": scope_of(session).environment_id, "ids": list(ids)})
    return dict(rows.all())


async def keep_versions(session: AsyncSession, ids: Sequence[str], change: EventChange, reason: str) -> None:
    origin: ChangeOrigin = session.info[ORIGIN]
    values = {
        "environment": scope_of(session).environment_id,
        "ids": list(ids),
        "change": change.value,
        "blocks": change is EventChange.VOIDED,
        "reason": reason,
        "now": clock_of(session).now(),
        "actor_type": origin.actor.type.value,
        "actor_id": origin.actor.id,
        "actor_label": origin.actor.label,
    }
    await session.execute(_KEEP, values)


async def restore_versions(session: AsyncSession, ids: Sequence[str]) -> None:
    await session.execute(_RESTORE, {"environment": scope_of(session).environment_id, "ids": list(ids)})


async def remove(session: AsyncSession, ids: Sequence[str]) -> None:
    await store.remove_stored(session, ids, scope_of(session).environment_id)


async def find_changed(session: AsyncSession, placed: Sequence[Placed]) -> list[str]:
    return await store.find_changed(await driver_connection(session), scope_of(session).environment_id, placed)


async def replace(session: AsyncSession, placed: Sequence[Placed], measured: Measurements) -> None:
    environment_id = scope_of(session).environment_id
    await store.replace_stored(await driver_connection(session), environment_id, placed, measured)


async def nothing_to_finish(_: AsyncSession) -> None:
    """What was changed is seen when the request's own transaction commits."""
