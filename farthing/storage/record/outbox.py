"""The outbox: what happened, written in the transaction that made it happen, delivered by later work.

It is the activity log too: a row says who did it, from where and by which request. What a webhook tells of has a
payload, which is the snapshot of that moment and is never built again from current data; every other change of an
entity has a row without one, which is delivered to nobody. The database refuses to change or delete rows, but for the
columns of delivery.
Rule: docs/rules/activity.md#what-is-recorded
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Index, Sequence, String, event, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, Session, SessionTransaction, mapped_column

from farthing.core.composition import Composition
from farthing.storage.ports import OutboxPorts
from farthing.storage.postgres import clock_of, send_with_commit
from farthing.storage.queries.bulk import insertion_of
from farthing.storage.queries.changes import changes_of, notes_of
from farthing.storage.record import activities
from farthing.storage.record.activities import RecordedEvent
from farthing.storage.tables import Base, Scoped

POSITIONS = Sequence("system_events_position", metadata=Base.metadata)


class SystemEvent(Scoped, Base):
    """One thing that happened to one entity. What belongs to a tenant and no environment has the tenant's id there."""

    __tablename__ = "system_events"
    label = "System event"

    event_name: Mapped[str] = mapped_column(String(100))
    """The event's name for webhooks, and the activity's action."""
    entity_type: Mapped[str] = mapped_column(String(50))
    entity_id: Mapped[str] = mapped_column(String(255))
    payload: Mapped[dict[str, Any] | None]
    """What is delivered; None for what no webhook tells of."""
    created_at: Mapped[datetime]
    dispatched_at: Mapped[datetime | None]
    """When it was handed to the endpoints that want it; where nobody wants events, it never is."""
    position: Mapped[int | None] = mapped_column(BigInteger, POSITIONS, server_default=POSITIONS.next_value())
    """Grows as events are written, so that two about one entity are in the order of their commits. None for events
    that were recorded before events were delivered, and for what is delivered to nobody."""
    is_echo: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    """Delivered, but not listed as an activity: another row tells more of the same change."""
    customer_id: Mapped[str | None] = mapped_column(String(50))
    """Whose books it touches, when one customer's."""
    entity_label: Mapped[str | None] = mapped_column(String(320))
    actor_type: Mapped[str | None] = mapped_column(String(20))
    """None for what was recorded before it was recorded who did it."""
    actor_id: Mapped[str | None] = mapped_column(String(100))
    actor_label: Mapped[str | None] = mapped_column(String(320))
    owner_id: Mapped[str | None] = mapped_column(String(50))
    """The user or service account behind an API key."""
    source: Mapped[str | None] = mapped_column(String(20))
    request_id: Mapped[str | None] = mapped_column(String(128))
    ip: Mapped[str | None] = mapped_column(String(64))
    user_agent: Mapped[str | None] = mapped_column(String(512))
    state: Mapped[dict[str, Any] | None]
    """The entity after the change, where there is no payload that holds it."""
    changes: Mapped[list[Any] | None]
    """What was updated, with the values before and after."""

    __table_args__ = (
        # deliveries take the oldest that wait; a row leaves the index once it is handed on
        Index(
            "ix_system_events_waiting",
            "environment_id",
            "position",
            postgresql_where=text("dispatched_at IS NULL AND position IS NOT NULL"),
        ),
        # "what happened to this invoice", newest first
        Index("ix_system_events_entity", "environment_id", "entity_id", "created_at", "id"),
        # what happened lately, and in a span of time
        Index("ix_system_events_created", "environment_id", "created_at", "id"),
        # "what happened around this customer", newest first
        Index(
            "ix_system_events_customer",
            "environment_id",
            "customer_id",
            "created_at",
            "id",
            postgresql_where=text("customer_id IS NOT NULL"),
        ),
        # what somebody did, himself or through a key of his; what the service does by itself is not looked for so
        Index(
            "ix_system_events_actor",
            "environment_id",
            "actor_id",
            "created_at",
            "id",
            postgresql_where=text("actor_type <> 'system'"),
        ),
        Index(
            "ix_system_events_owner",
            "environment_id",
            "owner_id",
            "created_at",
            "id",
            postgresql_where=text("owner_id IS NOT NULL"),
        ),
        # everything that one request did
        Index(
            "ix_system_events_request",
            "environment_id",
            "request_id",
            postgresql_where=text("request_id IS NOT NULL"),
        ),
    )


_POSITION_IF_DELIVERED = (("position", f"CASE WHEN new.payload IS NOT NULL THEN nextval('{POSITIONS.name}') END"),)
_WAITING = "outbox.waiting"
_MARKS = "outbox.marks"


async def record_event(
    session: AsyncSession,
    event_name: str,
    entity_type: str,
    entity_id: str,
    payload: Mapping[str, Any],
    *,
    is_repeated: bool = False,
) -> None:
    """Record `event_name` about an entity; `payload` must be JSON-ready (text for decimals and times).

    The events of a transaction are written together, by one statement at its end, unless it is undone: those told
    within a savepoint go with it. One that `is_repeated` is delivered and is no activity: nothing happened.
    """
    _waiting(session.sync_session).append(
        RecordedEvent(event_name, entity_type, entity_id, payload, clock_of(session).now(), is_repeated=is_repeated)
    )


async def record_activity(
    session: AsyncSession, action: str, entity_type: str, entity_id: str, *, label: str, customer_id: str | None = None
) -> None:
    """Record what happened to an entity that no table of ours holds and no webhook tells of.

    Every other change is recorded by itself.
    """
    _waiting(session.sync_session).append(
        RecordedEvent(
            action, entity_type, entity_id, None, clock_of(session).now(), label=label, customer_id=customer_id
        )
    )


def _waiting(session: Session) -> list[RecordedEvent]:
    waiting: list[RecordedEvent] = session.info.setdefault(_WAITING, [])
    return waiting


def _marks(session: Session) -> dict[SessionTransaction, int]:
    marks: dict[SessionTransaction, int] = session.info.setdefault(_MARKS, {})
    return marks


@event.listens_for(Session, "before_commit")
def _write(session: Session) -> None:
    if session.in_nested_transaction():
        return
    session.flush()  # what is written last has happened too
    waiting = _waiting(session)
    if not waiting and not notes_of(session):
        return
    records = activities.records(session, waiting, changes_of(session))
    if records:
        delivered = [record for record in records if record["payload"] is not None]
        ports: Composition = session.info["ports"]
        beside = ports.part(OutboxPorts).write_beside(session, delivered)
        insertion = insertion_of(SystemEvent, records, computed=_POSITION_IF_DELIVERED, beside=beside)
        send_with_commit(session.connection(), insertion)
    waiting.clear()
    notes_of(session).clear()


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
