"""The table of former versions of events."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Index, PrimaryKeyConstraint, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from farthing.events.changes import EventChange
from farthing.storage.tables import Base, InEnvironment, enum_column


class EventVersion(InEnvironment, Base):
    """An event as it was before a change, and who changed it when and why. Forgotten as the events are."""

    __tablename__ = "event_versions"
    label = "Event version"

    id = None  # type: ignore[assignment]  # an event may have many
    event_id: Mapped[str] = mapped_column(String(255))
    sequence: Mapped[int] = mapped_column(BigInteger)
    """When it was changed, in the order of acceptance."""
    change: Mapped[EventChange] = mapped_column(enum_column(EventChange))
    blocks_id: Mapped[bool]
    """Whether the event is void: its id may not be sent again, only amended."""
    reason: Mapped[str] = mapped_column(Text)
    changed_at: Mapped[datetime]
    actor_type: Mapped[str] = mapped_column(String(20))
    actor_id: Mapped[str] = mapped_column(String(100))
    actor_label: Mapped[str] = mapped_column(String(320))
    former_sequence: Mapped[int] = mapped_column(BigInteger)
    timestamp: Mapped[datetime]
    ingested_at: Mapped[datetime]
    external_customer_id: Mapped[str] = mapped_column(String(255))
    event_name: Mapped[str] = mapped_column(String(255))
    customer_id: Mapped[str] = mapped_column(Text)
    source: Mapped[str] = mapped_column(Text)
    properties: Mapped[dict[str, Any]]
    owner_sequence: Mapped[int | None] = mapped_column(BigInteger)
    sent_by: Mapped[int | None] = mapped_column(BigInteger)

    __table_args__ = (
        # the history of an event, in its order
        PrimaryKeyConstraint("environment_id", "event_id", "sequence"),
        # an event is void once; every append asks whether what it adds is
        Index("uq_event_versions_void", "environment_id", "event_id", unique=True, postgresql_where=text("blocks_id")),
        # retention takes the oldest
        Index("ix_event_versions_timestamp", "environment_id", "timestamp"),
    )
