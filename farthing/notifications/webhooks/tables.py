"""Endpoints, deliveries and attempts, and which environments have endpoints."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, CheckConstraint, Index, LargeBinary, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from farthing.storage.audited import Audited
from farthing.storage.tables import Base, OfTenant, Scoped, Tracked, enum_column


class DisabledReason(StrEnum):
    """Why an endpoint gets nothing any more."""

    BY_HAND = "by_hand"
    GONE = "gone"
    """It answered 410 Gone."""
    FAILING = "failing"
    """Every attempt failed for days."""


class DeliveryState(StrEnum):
    """How far a delivery is."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class AttemptTrigger(StrEnum):
    """Why an attempt was made."""

    SCHEDULE = "schedule"
    BY_HAND = "by_hand"


class WebhookEndpoint(Scoped, Tracked, Base):
    """A URL that wants events. `sealed` holds its secrets and headers."""

    __tablename__ = "webhook_endpoints"
    label = "Webhook endpoint"
    audit = Audited(
        "webhook_endpoint",
        named_by=("url",),
        secret=frozenset({"sealed"}),
        bookkeeping=frozenset({"key_id", "first_position", "failing_since", "next_free_at"}),
    )

    url: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text, default="")
    filter_types: Mapped[list[str]]
    """The names of the events it wants; empty for all."""
    ordered: Mapped[bool] = mapped_column(default=False)
    rate_limit: Mapped[int | None]
    """The most attempts in a second."""
    meta: Mapped[dict[str, str]] = mapped_column("metadata", default=dict)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    key_id: Mapped[str] = mapped_column(String(16))
    previous_secret_until: Mapped[datetime | None]
    disabled: Mapped[bool] = mapped_column(default=False)
    disabled_reason: Mapped[DisabledReason | None] = mapped_column(enum_column(DisabledReason))
    disabled_at: Mapped[datetime | None]
    first_position: Mapped[int] = mapped_column(BigInteger)
    """It gets the events recorded after this one; `SystemEvent.position`."""
    failing_since: Mapped[datetime | None]
    """When its first attempt failed after which none succeeded."""
    next_free_at: Mapped[datetime | None]
    """When its rate limit allows the next attempt."""

    __table_args__ = (
        CheckConstraint("rate_limit > 0", name="rate_limit_positive"),
        CheckConstraint("disabled = (disabled_reason IS NOT NULL)", name="disabled_for_a_reason"),
        # the endpoints of an environment
        Index("ix_webhook_endpoints_environment", "environment_id", "created_at"),
    )


class WebhookDelivery(Scoped, Base):
    """One message on its way to one endpoint."""

    __tablename__ = "webhook_deliveries"
    label = "Webhook delivery"

    endpoint_id: Mapped[str] = mapped_column(String(50))
    event_id: Mapped[str] = mapped_column(String(50))
    entity_id: Mapped[str] = mapped_column(String(50))
    position: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[DeliveryState] = mapped_column(enum_column(DeliveryState), default=DeliveryState.PENDING)
    failures: Mapped[int] = mapped_column(default=0)
    """Attempts that failed since it was last begun; how far its schedule is."""
    next_attempt_at: Mapped[datetime]
    """When it is due. While an attempt is under way, when that is given up."""
    event_created_at: Mapped[datetime]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    reason: Mapped[str | None] = mapped_column(Text)
    """Why it is not delivered, as far as it is known."""

    __table_args__ = (
        CheckConstraint("(state = 'pending') = (finished_at IS NULL)", name="finished_at_its_end"),
        # an event is delivered to an endpoint once, however often it is fanned out
        Index("uq_webhook_deliveries_event", "environment_id", "event_id", "endpoint_id", unique=True),
        # what is due for an endpoint, oldest first
        Index(
            "ix_webhook_deliveries_due",
            "environment_id",
            "endpoint_id",
            "next_attempt_at",
            "position",
            postgresql_where=text("state = 'pending'"),
        ),
        # whether an earlier message about the same entity is still on its way
        Index(
            "ix_webhook_deliveries_order",
            "environment_id",
            "endpoint_id",
            "entity_id",
            "position",
            postgresql_where=text("state = 'pending'"),
        ),
        # how many were given up
        Index("ix_webhook_deliveries_failed", "environment_id", postgresql_where=text("state = 'failed'")),
        # what an endpoint got, and what failed in a span of time
        Index("ix_webhook_deliveries_endpoint", "environment_id", "endpoint_id", "event_created_at"),
        # what is old enough to be forgotten
        Index(
            "ix_webhook_deliveries_finished",
            "environment_id",
            "finished_at",
            postgresql_where=text("state <> 'pending'"),
        ),
    )


class WebhookAttempt(Scoped, Base):
    """One POST of a message to an endpoint, and what was answered."""

    __tablename__ = "webhook_attempts"
    label = "Webhook attempt"

    delivery_id: Mapped[str] = mapped_column(String(50))
    endpoint_id: Mapped[str] = mapped_column(String(50))
    event_id: Mapped[str] = mapped_column(String(50))
    trigger: Mapped[AttemptTrigger] = mapped_column(enum_column(AttemptTrigger))
    attempted_at: Mapped[datetime]
    duration_ms: Mapped[int]
    status_code: Mapped[int | None]
    """None when there was no answer."""
    error: Mapped[str | None] = mapped_column(Text)
    response_body: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        # the attempts of a message, and of one delivery among them
        Index("ix_webhook_attempts_event", "environment_id", "event_id", "attempted_at"),
        # what is old enough to be forgotten
        Index("ix_webhook_attempts_age", "environment_id", "attempted_at"),
    )


class WebhookEnvironment(OfTenant, Base):
    """An environment that has, or had, endpoints; its id. Readable without entering each environment.

    `backlog` and `oldest_at` are what was on its way at `measured_at`, for metrics.
    """

    __tablename__ = "webhook_environments"
    label = "Webhook environment"

    backlog: Mapped[int] = mapped_column(default=0)
    oldest_at: Mapped[datetime | None]
    measured_at: Mapped[datetime | None]


def message_id(event_id: str) -> str:
    """The id of the message that an event becomes: `msg_` and the event's own ULID."""
    return f"msg_{event_id.rpartition('_')[2]}"


def event_id_of(message: str) -> str:
    """The id of the event behind a message's id; a text that is no such id comes back as one that nothing has."""
    return f"sys_event_{message.removeprefix('msg_')}"
