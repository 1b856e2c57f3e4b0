"""Corrections of events in ClickHouse: gathered beneath the lock of the environment's writes, then recorded as one
write with the history that they leave, and carried out before they are answered.

What a session gathers lies in its `info`, because events of a correction are looked at after they have been changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import ServiceUnavailable
from farthing.core.origin import ChangeOrigin
from farthing.events.changes import EventChange
from farthing.events.ingest.arrivals import Placed
from farthing.events.ingest.contents import read, written
from farthing.events.ingest.measuring import Measurements
from farthing.events.stores.clickhouse.client import ClickHouse
from farthing.events.stores.clickhouse.queries.reading import find_stored
from farthing.events.stores.clickhouse.records import EventWrite, StoredVersion
from farthing.events.stores.clickhouse.writes import appending
from farthing.events.stores.clickhouse.writes.pending import lock_until_end, record
from farthing.metering.event import UsageEvent, same_content
from farthing.storage.midway import commit_midway
from farthing.storage.postgres import ORIGIN, clock_of, driver_connection, scope_of

_KEY = "correction of events"
_COLUMNS = (
    "environment_id, event_id, sequence, change, blocks_id, reason, changed_at, actor_type, actor_id, actor_label, "
    "former_sequence, timestamp, ingested_at, external_customer_id, event_name, customer_id, source, owner_sequence, "
    "sent_by"
)
# properties as text, because the driver's own writer of JSON knows no exact numbers
_KEEP = text(
    f"INSERT INTO event_versions ({_COLUMNS}, properties) "
    f"VALUES (:{_COLUMNS.replace(', ', ', :')}, CAST(:properties AS jsonb))"
)
_RESTORE = text(
    """
    UPDATE event_versions SET blocks_id = false
    WHERE environment_id = :environment AND event_id = ANY(:ids) AND blocks_id
    RETURNING event_id, event_name, external_customer_id, timestamp, properties::text AS properties, source,
        customer_id, ingested_at, former_sequence, owner_sequence, sent_by
    """
)


@dataclass(slots=True)
class _Correction:
    """What one transaction corrects: the events as they are stored, and what is to be written."""

    write: EventWrite
    stored: dict[str, StoredVersion] = field(default_factory=dict)


async def hold(clickhouse: ClickHouse, session: AsyncSession) -> None:
    connection = await lock_until_end(session, clickhouse)
    session.info[_KEY] = _Correction(EventWrite(await appending.first_sequence_of(connection)))


async def lock(clickhouse: ClickHouse, session: AsyncSession, ids: Sequence[str]) -> dict[str, datetime]:
    correction = _of(session)
    unseen = [event_id for event_id in ids if event_id not in correction.stored]
    correction.stored |= await find_stored(clickhouse, scope_of(session).environment_id, unseen)
    return {event_id: correction.stored[event_id].event.timestamp for event_id in ids if event_id in correction.stored}


async def keep(session: AsyncSession, ids: Sequence[str], change: EventChange, reason: str) -> None:
    correction = _of(session)
    origin: ChangeOrigin = session.info[ORIGIN]
    rows = []
    for event_id in ids:
        former = correction.stored[event_id]
        event = former.event
        rows.append(
            {
                "environment_id": scope_of(session).environment_id,
                "event_id": event_id,
                "sequence": correction.write.sequence,
                "change": change.value,
                "blocks_id": change is EventChange.VOIDED,
                "reason": reason,
                "changed_at": clock_of(session).now(),
                "actor_type": origin.actor.type.value,
                "actor_id": origin.actor.id,
                "actor_label": origin.actor.label,
                "former_sequence": former.sequence,
                "timestamp": event.timestamp,
                "ingested_at": former.ingested_at,
                "external_customer_id": event.external_customer_id,
                "event_name": event.event_name,
                "customer_id": event.customer_id,
                "source": event.source,
                "properties": written(event.properties),
                "owner_sequence": former.owner_sequence,
                "sent_by": former.sent_by,
            }
        )
    if rows:
        await session.execute(_KEEP, rows)


async def restore(session: AsyncSession, ids: Sequence[str]) -> None:
    correction = _of(session)
    given = {"environment": scope_of(session).environment_id, "ids": list(ids)}
    for row in await session.execute(_RESTORE, given):
        event = UsageEvent(
            id=row.event_id,
            event_name=row.event_name,
            external_customer_id=row.external_customer_id,
            timestamp=row.timestamp,
            properties=read(row.properties),
            source=row.source,
            customer_id=row.customer_id,
        )
        correction.stored[row.event_id] = StoredVersion(
            event, row.ingested_at, row.former_sequence, row.owner_sequence, row.sent_by
        )


async def remove(session: AsyncSession, ids: Sequence[str]) -> None:
    correction, environment = _of(session), scope_of(session).environment_id
    gone = [correction.stored.pop(event_id) for event_id in ids]
    meters = await appending.meters_of(await driver_connection(session), environment, gone)
    for former in gone:
        event = former.event
        correction.write.remove(environment, event, meters.get(event.event_name, ()), correction.write.sequence)
        correction.write.withdrawn.append((event.external_customer_id, event.timestamp))
        correction.write.notice(clock_of(session).now(), [event.external_customer_id])


async def find_changed(session: AsyncSession, placed: Sequence[Placed]) -> list[str]:
    stored = _of(session).stored
    return [
        arrival.event.id
        for _, arrival in placed
        if arrival.event.id in stored and not same_content(stored[arrival.event.id].event, arrival.event)
    ]


async def replace(session: AsyncSession, placed: Sequence[Placed], measured: Measurements) -> None:
    correction, environment = _of(session), scope_of(session).environment_id
    former = [correction.stored[arrival.event.id] for _, arrival in placed]
    meters = await appending.meters_of(await driver_connection(session), environment, former)
    appending.replace(correction.write, environment, placed, correction.stored, measured, meters)


async def finish(clickhouse: ClickHouse, session: AsyncSession) -> None:
    """Commit the correction, then carry it out. Raises ServiceUnavailable where that has to wait."""
    correction: _Correction = session.info.pop(_KEY)
    if not correction.write.ids:
        return
    await session.flush()
    await record(await driver_connection(session), scope_of(session).environment_id, correction.write.settled())
    await commit_midway(session)  # a repeat finds the events as it would leave them
    try:
        await lock_until_end(session, clickhouse)
    except ServiceUnavailable as error:
        raise ServiceUnavailable(
            "The correction is recorded, and takes effect as soon as the event store can be reached"
        ) from error


def _of(session: AsyncSession) -> _Correction:
    correction: _Correction = session.info[_KEY]
    return correction
