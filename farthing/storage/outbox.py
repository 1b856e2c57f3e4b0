"""The outbox: what happened, written in the transaction that made it happen, delivered by later work.

A row is the snapshot of that moment; it is never built again from current data.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Index, Sequence, String, event, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, Session, SessionTransaction, mapped_column

from farthing.core.composition import Composition
from farthing.core.ids import Kind, new_id
from farthing.storage.bulk import insert_records
from farthing.storage.ports import OutboxPorts
from farthing.storage.postgres import clock_of, scope_of
from farthing.storage.tables import Base, Scoped

POSITIONS = Sequence("system_events_position", metadata=Base.metadata)


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
    """When it was handed to the endpoints that want it; where nobody wants events, it never is."""
    position: Mapped[int | None] = mapped_column(BigInteger, POSITIONS, server_default=POSITIONS.next_value())
    """Grows as events are written, so that two about one entity are in the order of their commits. None for events
    that were recorded before events were delivered."""

    __table_args__ = (
        # deliveries take the oldest that wait; a row leaves the index once it is handed on
        Index(
            "ix_system_events_waiting",
            "environment_id",
            "position",
            postgresql_where=text("dispatched_at IS NULL AND position IS NOT NULL"),
        ),
        # "what happened to this invoice", newest first
        Index("ix_system_events_entity", "environment_id", "entity_id", "id"),
        # what happened lately, and in a span of time
        Index("ix_system_events_created", "environment_id", "created_at", "id"),
    )


_WAITING = "outbox.waiting"
_MARKS = "outbox.marks"


async def record_event(
    session: AsyncSession, event_name: str, entity_type: str, entity_id: str, payload: Mapping[str, Any]
) -> None:
    """Record `event_name` about an entity; `payload` must be JSON-ready (text for decimals and times).

    The events of a transaction are written together, by one statement at its end, unless it is undone: those told
    within a savepoint go with it.
    """
    scope = scope_of(session)
    _waiting(session.sync_session).append(
        {
            "id": new_id(Kind.SYSTEM_EVENT),
            "tenant_id": scope.tenant_id,
            "environment_id": scope.environment_id,
            "event_name": event_name,
            "entity_type": entity_type,
            "entity_id": entity_id,
            "payload": {"event_type": event_name, **payload},
            "created_at": clock_of(session).now(),
        }
    )


def _waiting(session: Session) -> list[dict[str, Any]]:
    waiting: list[dict[str, Any]] = session.info.setdefault(_WAITING, [])
    return waiting


def _marks(session: Session) -> dict[SessionTransaction, int]:
    marks: dict[SessionTransaction, int] = session.info.setdefault(_MARKS, {})
    return marks


@event.listens_for(Session, "before_commit")
def _write(session: Session) -> None:
    waiting = _waiting(session)
    if waiting and not session.in_nested_transaction():
        insert_records(session.connection(), SystemEvent, waiting)
        ports: Composition = session.info["ports"]
        ports.part(OutboxPorts).on_recorded(session, waiting)
        waiting.clear()


@event.listens_for(Session, "after_transaction_create")
def _mark(session: Session, transaction: SessionTransaction) -> None:
    if transaction.nested:
        _marks(session)[transaction] = len(_waiting(session))


@event.listens_for(Session, "after_soft_rollback")
def _forget(session: Session, undone: SessionTransaction) -> None:
    mark = _marks(session).get(undone)
    if mark is not None:
        del _waiting(session)[mark:]


@event.listens_for(Session, "after_transaction_end")
def _end(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        _waiting(session).clear()
        _marks(session).clear()
