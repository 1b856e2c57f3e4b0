"""Tables of what happens to subscriptions: pauses, what is scheduled for them, and changes that were made."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from farthing.storage.audited import Audited
from farthing.storage.tables import Base, Scoped, Tracked, enum_column
from farthing.subscriptions.enums import (
    ChangeType,
    PauseMode,
    PauseStatus,
    ResumeMode,
    ScheduleStatus,
    ScheduleType,
)


class SubscriptionPause(Scoped, Tracked, Base):
    """A stretch in which a subscription neither bills nor rolls: from `pause_start` until it is resumed."""

    __tablename__ = "subscription_pauses"
    label = "Subscription pause"
    audit = Audited("subscription_pause", named_by=(), part_of=("subscription_id",))

    subscription_id: Mapped[str] = mapped_column(String(50), ForeignKey("subscriptions.id"))
    pause_status: Mapped[PauseStatus] = mapped_column(enum_column(PauseStatus))
    pause_mode: Mapped[PauseMode] = mapped_column(enum_column(PauseMode), default=PauseMode.IMMEDIATE)
    resume_mode: Mapped[ResumeMode | None] = mapped_column(enum_column(ResumeMode))
    pause_start: Mapped[datetime]
    pause_end: Mapped[datetime | None]
    """When it shall resume by itself; None waits for somebody."""
    resumed_at: Mapped[datetime | None]
    original_period_start: Mapped[datetime]
    original_period_end: Mapped[datetime]
    original_billing_anchor: Mapped[datetime]
    """The anchor of the subscription until this pause moved it: what periods before it are derived from again."""
    reason: Mapped[str] = mapped_column(String(255), default="")
    meta: Mapped[dict[str, str]] = mapped_column("metadata", default=dict)

    __table_args__ = (
        # the pauses of a subscription: shown, and left out of its usage
        Index("ix_subscription_pauses_subscription", "environment_id", "subscription_id", "pause_start"),
        # one at a time
        Index(
            "uq_subscription_pauses_open",
            "environment_id",
            "subscription_id",
            unique=True,
            postgresql_where=text("status = 'published' AND pause_status IN ('active', 'scheduled')"),
        ),
        CheckConstraint("pause_status <> 'none'", name="exists"),
        CheckConstraint("pause_end > pause_start", name="life"),
        CheckConstraint("resumed_at >= pause_start", name="resumed_after_start"),
    )


class SubscriptionSchedule(Scoped, Tracked, Base):
    """A cancellation or a plan change that shall happen at `scheduled_at`."""

    __tablename__ = "subscription_schedules"
    label = "Subscription schedule"
    audit = Audited(
        "subscription_schedule",
        named_by=("schedule_type",),
        bookkeeping=frozenset({"attempts"}),
        part_of=("subscription_id",),
    )

    subscription_id: Mapped[str] = mapped_column(String(50), ForeignKey("subscriptions.id"))
    schedule_type: Mapped[ScheduleType] = mapped_column(enum_column(ScheduleType))
    schedule_status: Mapped[ScheduleStatus] = mapped_column(enum_column(ScheduleStatus), default=ScheduleStatus.PENDING)
    scheduled_at: Mapped[datetime]
    configuration: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """What shall be done, JSON-ready: the change request's fields (with `"version": 2` for changes in place), or the
    cancellation's with what it replaced (`original_*`)."""
    attempts: Mapped[int] = mapped_column(default=0)
    executed_at: Mapped[datetime | None]
    cancelled_at: Mapped[datetime | None]
    execution_result: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    error_message: Mapped[str] = mapped_column(default="")
    meta: Mapped[dict[str, str]] = mapped_column("metadata", default=dict)

    __table_args__ = (
        # the schedules of a subscription
        Index("ix_subscription_schedules_subscription", "environment_id", "subscription_id", "scheduled_at", "id"),
        # one plan change and one cancellation may wait at a time
        Index(
            "uq_subscription_schedules_pending",
            "environment_id",
            "subscription_id",
            "schedule_type",
            unique=True,
            postgresql_where=text("status = 'published' AND schedule_status IN ('pending', 'executing')"),
        ),
        # what waits, soonest first
        Index(
            "ix_subscription_schedules_waiting",
            "environment_id",
            "scheduled_at",
            "id",
            postgresql_where=text("status = 'published' AND schedule_status = 'pending'"),
        ),
        # lists: newest first
        Index("ix_subscription_schedules_newest", "environment_id", "status", "created_at", "id"),
        CheckConstraint("(schedule_status = 'executed') <= (executed_at IS NOT NULL)", name="executed_has_time"),
        CheckConstraint("(schedule_status = 'cancelled') <= (cancelled_at IS NOT NULL)", name="cancelled_has_time"),
    )


class SubscriptionChange(Scoped, Tracked, Base):
    """A change that a caller may send again: the same key is the same change, answered with `result`."""

    __tablename__ = "subscription_changes"
    label = "Subscription change"

    subscription_id: Mapped[str] = mapped_column(String(50), ForeignKey("subscriptions.id"))
    idempotency_key: Mapped[str] = mapped_column(String(255))
    change_type: Mapped[ChangeType | None] = mapped_column(enum_column(ChangeType))
    from_plan_id: Mapped[str] = mapped_column(String(50))
    to_plan_id: Mapped[str] = mapped_column(String(50))
    effective_at: Mapped[datetime]
    result: Mapped[dict[str, Any]] = mapped_column(default=dict)

    __table_args__ = (
        # a key changes a subscription once
        Index("uq_subscription_changes_key", "environment_id", "subscription_id", "idempotency_key", unique=True),
    )
