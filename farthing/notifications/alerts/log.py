"""The log of alerts: a change of a stream's state is written once, with the event that announces it.

Whoever has a value to compare calls `record_transition`; the state before is read, and the row written, under a lock
on the stream.
Rule: docs/rules/alerts.md#transitions
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.products.alerts import AlertState
from farthing.core.ids import Kind, new_id
from farthing.notifications.alert_enums import AlertEntityType, AlertType
from farthing.notifications.alert_tables import AlertLog
from farthing.storage.postgres import scope_of
from farthing.storage.record.outbox import record_event

_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))")


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


async def record_transition(
    session: AsyncSession, stream: AlertStream, reading: AlertReading, event: AlertEvent | None
) -> AlertLog | None:
    """Write that a stream came to a state, and the event with it; None if that is the state it is in already.

    A stream without a row is `ok`. `event` None announces nothing. Whoever records several streams in a transaction
    does so in the order of their keys.
    """
    await session.execute(_LOCK, {"key": f"alert/{scope_of(session).environment_id}/{stream.key}"})
    if await latest_state(session, stream) is reading.state:
        return None
    row = AlertLog(
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
    session.add(row)
    await session.flush()
    if event is not None:
        await record_event(session, event.name, event.entity_type, event.entity_id, event.body)
    return row


async def latest_state(session: AsyncSession, stream: AlertStream) -> AlertState:
    """The state that the log has for a stream; `ok` where it has none."""
    row = AlertLog
    of_stream = (
        row.entity_id == stream.entity_id,
        row.alert_type == stream.alert_type,
        row.parent_entity_id.is_not_distinct_from(stream.parent_entity_id),
        row.alert_setting_id.is_not_distinct_from(stream.alert_setting_id),
        row.period_start.is_not_distinct_from(stream.period_start),
    )
    state = await session.scalar(select(row.alert_status).where(*of_stream).order_by(row.position.desc()).limit(1))
    return AlertState(state or AlertState.OK)
