"""Tables of alerts: settings for spend, the log of transitions, and which customers are looked at when."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Computed, Index, PrimaryKeyConstraint, Sequence, String, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from farthing.catalogue.products.alerts import AlertState
from farthing.notifications.alert_enums import AlertEntityType, AlertOwner, AlertType, SpendParent, SpendScope
from farthing.storage.audited import Audited
from farthing.storage.tables import Base, Exact, Scoped, Tracked, enum_column

LOG_POSITIONS = Sequence("alert_logs_position", metadata=Base.metadata)


class AlertSetting(Scoped, Tracked, Base):
    """The thresholds for the spend of a subscription, or of one line item or group of it."""

    __tablename__ = "alert_settings"
    label = "Alert setting"
    audit = Audited(
        "alert_setting",
        named_by=("entity_id",),
        named_after=("entity_id", "parent_entity_id"),
        bookkeeping=frozenset({"subscription_id", "customer_id"}),
    )

    entity_type: Mapped[SpendScope] = mapped_column(enum_column(SpendScope))
    entity_id: Mapped[str] = mapped_column(String(50))
    parent_entity_type: Mapped[SpendParent | None] = mapped_column(enum_column(SpendParent))
    parent_entity_id: Mapped[str | None] = mapped_column(String(50))
    subscription_id: Mapped[str] = mapped_column(
        String(50), Computed("coalesce(parent_entity_id, entity_id)", persisted=True)
    )
    """The entity itself, or its parent."""
    customer_id: Mapped[str] = mapped_column(String(50))
    """Whose subscription it is, so that changes of the setting are among those around the customer."""
    config: Mapped[dict[str, Any]]
    """`{"critical" | "warning" | "info": {"threshold", "condition"}, "alert_enabled", "alert_threshold_type"}`."""
    enabled: Mapped[bool]
    set_by: Mapped[AlertOwner] = mapped_column(
        enum_column(AlertOwner), default=AlertOwner.MERCHANT, server_default=AlertOwner.MERCHANT.value
    )
    """A customer's own are mailed to it and announced to nobody else."""

    __table_args__ = (
        CheckConstraint(
            "(parent_entity_type IS NULL) = (entity_type = 'subscription') "
            "AND (parent_entity_id IS NULL) = (parent_entity_type IS NULL)",
            name="parent_is_whole",
        ),
        # each owner has one setting for an entity of a subscription; also answers "the settings of these subscriptions"
        Index(
            "uq_alert_settings_entity",
            "environment_id",
            "subscription_id",
            "entity_type",
            "entity_id",
            "set_by",
            unique=True,
            postgresql_where=text("status = 'published'"),
        ),
        # lists: newest first
        Index("ix_alert_settings_newest", "environment_id", "created_at", "id"),
    )


class AlertLog(Scoped, Tracked, Base):
    """One transition of one stream. Nothing changes it."""

    __tablename__ = "alert_logs"
    label = "Alert"

    entity_type: Mapped[AlertEntityType] = mapped_column(enum_column(AlertEntityType))
    entity_id: Mapped[str] = mapped_column(String(50))
    parent_entity_type: Mapped[AlertEntityType | None] = mapped_column(enum_column(AlertEntityType))
    parent_entity_id: Mapped[str | None] = mapped_column(String(50))
    customer_id: Mapped[str | None] = mapped_column(String(50))
    alert_setting_id: Mapped[str | None] = mapped_column(String(50))
    period_start: Mapped[datetime | None]
    """The start of the billing period that a stream of spend belongs to."""
    alert_type: Mapped[AlertType] = mapped_column(enum_column(AlertType))
    alert_status: Mapped[AlertState] = mapped_column(enum_column(AlertState))
    alert_settings: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """The thresholds that applied; None where there are none."""
    value_at_time: Mapped[Decimal] = mapped_column(Exact)
    position: Mapped[int] = mapped_column(BigInteger, LOG_POSITIONS, server_default=LOG_POSITIONS.next_value())
    """Grows within a stream, whose rows are written under its lock; a test clock may stand still between two."""

    __table_args__ = (
        CheckConstraint("(parent_entity_id IS NULL) = (parent_entity_type IS NULL)", name="parent_is_whole"),
        # the last row of a stream
        Index("ix_alert_logs_stream", "environment_id", "entity_id", "alert_type", "position"),
        # the alerts of a customer
        Index("ix_alert_logs_customer", "environment_id", "customer_id", "created_at"),
        # lists: newest first
        Index("ix_alert_logs_newest", "environment_id", "created_at", "id"),
    )


class UsageEvaluation(Scoped, Base):
    """A customer who is looked at when the time has come, because usage that it pays for is new."""

    __tablename__ = "usage_evaluations"
    label = "Usage evaluation"

    id = None  # type: ignore[assignment]  # one row for each customer
    customer_id: Mapped[str] = mapped_column(String(50))
    due_at: Mapped[datetime]
    requeued: Mapped[bool] = mapped_column(default=False)
    """Whether it was put at the back once, because its turn came long after its time."""

    __table_args__ = (
        # events that come while a look is due change nothing
        PrimaryKeyConstraint("environment_id", "customer_id"),
        # what is due, the longest overdue first
        Index("ix_usage_evaluations_due", "environment_id", "due_at"),
    )
