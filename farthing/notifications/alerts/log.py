"""The log of alerts: a change of a stream's state is written once, with the event that announces it.

Whoever has a value to compare calls `record_transition`; the state before is read, and the row written, under a lock
on the stream.
Rule: docs/rules/alerts.md#transitions
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.products.alerts import AlertState
from farthing.core.ids import Kind, new_id
from farthing.notifications.alert_enums import AlertEntityType, AlertType
from farthing.notifications.alert_tables import LOG_POSITIONS, AlertLog
from farthing.storage.postgres import apply_defaults, scope_of
from farthing.storage.queries.bulk import insert_records
from farthing.storage.record.outbox import record_event

_LOCK = text(
    "SELECT pg_advisory_xact_lock(hashtextextended(key, 0)) "
    "FROM unnest(CAST(:keys AS text[])) WITH ORDINALITY AS asked (key, place)"
)
"""In the order given, which the scan of a function keeps."""
_LATEST = text(
    """
    SELECT (
        SELECT log.alert_status FROM alert_logs AS log
        WHERE log.entity_id = asked.entity_id AND log.alert_type = asked.alert_type
          AND log.parent_entity_id IS NOT DISTINCT FROM asked.parent_id
          AND log.alert_setting_id IS NOT DISTINCT FROM asked.setting_id
          AND log.period_start IS NOT DISTINCT FROM asked.period_start
        ORDER BY log.position DESC LIMIT 1
    )
    FROM unnest(
        CAST(:entity_ids AS text[]), CAST(:alert_types AS text[]), CAST(:parent_ids AS text[]),
        CAST(:setting_ids AS text[]), CAST(:period_starts AS timestamptz[])
    ) WITH ORDINALITY AS asked (entity_id, alert_type, parent_id, setting_id, period_start, place)
    ORDER BY asked.place
    """
)


@dataclass(frozen=True, slots=True)
class AlertStream:
    """One value under one setting. Spend has a stream for each period."""

    alert_type: AlertType
    entity_type: AlertEntityType
    entity_id: str
    customer_id: str | None = None
    parent_entity_type: AlertEntityType | None = None
    parent_entity_id: str | None = None
    alert_setting_id: str | None = None
    period_start: datetime | None = None

    @property
    def key(self) -> str:
        """What the stream is locked by, within its environment."""
        start = "" if self.period_start is None else self.period_start.isoformat()
        parts = (self.alert_type, self.entity_id, self.parent_entity_id or "", self.alert_setting_id or "", start)
        return "/".join(parts)


@dataclass(frozen=True, slots=True)
class AlertReading:
    """A value, the thresholds it was held against, and the state that it is in."""

    state: AlertState
    value: Decimal
    settings: Mapping[str, Any] | None
    at: datetime


@dataclass(frozen=True, slots=True)
class AlertEvent:
    """What announces a transition: the name of an event, the entity that it is about, and its body."""

    name: str
    entity_type: str
    entity_id: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Transition:
    """A stream that comes to a state; `event` None announces nothing."""

    stream: AlertStream
    reading: AlertReading
    event: AlertEvent | None


async def record_transition(
    session: AsyncSession, stream: AlertStream, reading: AlertReading, event: AlertEvent | None
) -> AlertLog | None:
    """Write that a stream came to a state, and the event with it; None if that is the state it is in already.

    A stream without a row is `ok`. `event` None announces nothing. Whoever records several streams in a transaction
    does so in the order of their keys.
    """
    written = await record_transitions(session, [Transition(stream, reading, event)])
    return written[0] if written else None


async def record_transitions(session: AsyncSession, transitions: Sequence[Transition]) -> list[AlertLog]:
    """The same for different streams, in the order of their keys, by as many statements as one takes; what was written.

    Nothing else that waits in the session is written.
    """
    if not transitions:
        return []
    changes = sorted(transitions, key=lambda transition: transition.stream.key)
    environment_id = scope_of(session).environment_id
    connection = await session.connection()
    keys = [f"alert/{environment_id}/{change.stream.key}" for change in changes]
    await connection.execute(_LOCK, {"keys": keys})
    states = await latest_states(session, [change.stream for change in changes])
    changed = [change for change, state in zip(changes, states, strict=True) if state is not change.reading.state]
    rows = [_row(change) for change in changed]
    if rows:
        for row in rows:
            apply_defaults(session, row)
        records = [{column: row.__dict__.get(name) for name, column in _columns()} for row in rows]
        await connection.run_sync(_insert_with_position, records)
    for change in changed:
        event = change.event
        if event is not None:
            await record_event(session, event.name, event.entity_type, event.entity_id, event.body)
    return rows


def _insert_with_position(connection: Connection, records: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of the log, each with the next position."""
    insert_records(connection, AlertLog, records, computed=(("position", f"nextval('{LOG_POSITIONS.name}')"),))


@cache
def _columns() -> tuple[tuple[str, str], ...]:
    """Attribute and column of all but the position."""
    pairs = ((attribute.key, attribute.columns[0].name) for attribute in AlertLog.__mapper__.column_attrs)
    return tuple((name, column) for name, column in pairs if name != "position")


def _row(change: Transition) -> AlertLog:
    stream, reading = change.stream, change.reading
    return AlertLog(
        id=new_id(Kind.ALERT_LOG),
        entity_type=stream.entity_type,
        entity_id=stream.entity_id,
        parent_entity_type=stream.parent_entity_type,
        parent_entity_id=stream.parent_entity_id,
        customer_id=stream.customer_id,
        alert_setting_id=stream.alert_setting_id,
        period_start=stream.period_start,
        alert_type=stream.alert_type,
        alert_status=reading.state,
        alert_settings=None if reading.settings is None else dict(reading.settings),
        value_at_time=reading.value,
        created_at=reading.at,
        updated_at=reading.at,
    )


async def latest_states(session: AsyncSession, streams: Sequence[AlertStream]) -> list[AlertState]:
    """The state that the log has for each stream; `ok` where it has none."""
    found = await (await session.connection()).execute(
        _LATEST,
        {
            "entity_ids": [stream.entity_id for stream in streams],
            "alert_types": [stream.alert_type.value for stream in streams],
            "parent_ids": [stream.parent_entity_id for stream in streams],
            "setting_ids": [stream.alert_setting_id for stream in streams],
            "period_starts": [stream.period_start for stream in streams],
        },
    )
    return [AlertState(state or AlertState.OK) for (state,) in found]
