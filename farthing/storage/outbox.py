"""The outbox: what happened, written in the transaction that made it happen, delivered by later work.

A row is the snapshot of that moment; it is never built again from current data.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Index, String, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from farthing.core.ids import Kind, new_id
from farthing.storage.postgres import clock_of
from farthing.storage.tables import Base, Scoped


class SystemEvent(Scoped, Base):
    """One thing that happened to one entity of one environment."""

    __tablename__ = "system_events"
    label = "System event"

    event_name: Mapped[str] = mapped_column(String(100))
    entity_type: Mapped[str] = mapped_column(String(50))
    entity_id: Mapped[str] = mapped_column(String(50))
    payload: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    dispatched_at: Mapped[datetime | None]

    __table_args__ = (
        # deliveries take the oldest that wait; a row leaves the index once it is handed on
        Index("ix_system_events_waiting", "environment_id", "id", postgresql_where=text("dispatched_at IS NULL")),
        # "what happened to this invoice", newest first
        Index("ix_system_events_entity", "environment_id", "entity_id", "id"),
    )


async def tell(
    session: AsyncSession, event_name: str, entity_type: str, entity_id: str, payload: Mapping[str, Any]
) -> None:
    """Record `event_name` about an entity; `payload` must be JSON-ready (text for decimals and times)."""
    session.add(
        SystemEvent(
            id=new_id(Kind.SYSTEM_EVENT),
            event_name=event_name,
            entity_type=entity_type,
            entity_id=entity_id,
            payload={"event_type": event_name, **payload},
            created_at=clock_of(session).now(),
        )
    )
