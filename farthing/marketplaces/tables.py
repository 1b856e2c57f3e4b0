"""Tables of marketplace agreements and of usage records."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, Numeric, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from farthing.storage.audited import Audited
from farthing.storage.tables import Base, Scoped, Tracked, enum_column, lower_case


class AgreementStatus(StrEnum):
    ACTIVE = "active"
    CLOSED = "closed"
    """The subscription has ended, and its last record is written."""


class ReportStatus(StrEnum):
    WAITING = "waiting"
    """It is sent, exactly as it is, until the marketplace answers for good."""
    TAKEN = "taken"
    REFUSED = "refused"
    """The marketplace refused it for good, or nobody knows whether it was taken; somebody has to look."""
    RELEASED = "released"
    """It was certainly not taken, and what it was to report is reported in another hour."""


class MarketplaceAgreement(Scoped, Tracked, Base):
    """The agreement at a marketplace that a subscription stands for."""

    __tablename__ = "marketplace_agreements"
    label = "Marketplace agreement"
    audit = Audited("marketplace_agreement", named_by=("agreement_id",))

    provider: Mapped[str] = mapped_column(String(40))
    agreement_id: Mapped[str] = mapped_column(String(255))
    """What the marketplace calls it: a licence, a reporting id, a resource."""
    subscription_id: Mapped[str] = mapped_column(String(50), ForeignKey("subscriptions.id"))
    customer_id: Mapped[str] = mapped_column(String(50))
    plan_id: Mapped[str] = mapped_column(String(50))
    connection_id: Mapped[str] = mapped_column(String(50))
    terms: Mapped[dict[str, Any]]
    """The marketplace's own fields, as they were given."""
    meter: Mapped[str] = mapped_column(String(64))
    """Hash of what the marketplace counts under: it takes one quantity an hour for each."""
    records_from: Mapped[datetime]
    """The hour it was registered in: records from there on are for it."""
    agreement_status: Mapped[AgreementStatus] = mapped_column(
        enum_column(AgreementStatus), default=AgreementStatus.ACTIVE
    )
    __table_args__ = (
        # an agreement stands for one subscription, and a subscription for one agreement, at each marketplace
        Index(
            "uq_marketplace_agreements_agreement",
            "environment_id",
            "provider",
            "agreement_id",
            unique=True,
            postgresql_where=text("agreement_status = 'active'"),
        ),
        Index(
            "uq_marketplace_agreements_subscription",
            "environment_id",
            "provider",
            "subscription_id",
            unique=True,
            postgresql_where=text("agreement_status = 'active'"),
        ),
        # who collects for a subscription, also after it has ended
        Index("ix_marketplace_agreements_subscription", "environment_id", "subscription_id"),
    )


class UsageRecording(Scoped, Base):
    """How far the usage of a subscription is recorded. `id` is the subscription's."""

    __tablename__ = "usage_recordings"
    label = "Usage recording"

    is_open: Mapped[bool] = mapped_column(default=True)
    """False once the subscription has ended and its last record is written."""
    recorded_until: Mapped[datetime]
    """Up to where usage is recorded; the next record begins there."""
    previous_start: Mapped[datetime | None]
    """Where the billing period before this one began: what arrives for it late is still counted."""
    period_start: Mapped[datetime]
    period_end: Mapped[datetime]
    """The billing period that was open when usage was recorded last."""
    recorded_amount: Mapped[Decimal] = mapped_column(Numeric(38, 8), default=Decimal(0))
    """The sum of all records."""
    closed_amount: Mapped[Decimal] = mapped_column(Numeric(38, 8), default=Decimal(0))
    """What the usage of the periods before the previous one came to."""

    __table_args__ = (
        # whose hour has closed
        Index("ix_usage_recordings_due", "environment_id", "recorded_until", postgresql_where=text("is_open")),
        CheckConstraint("period_end > period_start", name="period_not_empty"),
    )


class UsageRecord(Scoped, Tracked, Base):
    """What the usage of a subscription came to in one hour, for marketplaces to collect; never edited."""

    __tablename__ = "usage_records"
    label = "Usage record"

    customer_id: Mapped[str] = mapped_column(String(50))
    customer_external_id: Mapped[str] = mapped_column(String(255))
    subscription_id: Mapped[str] = mapped_column(String(50), ForeignKey("subscriptions.id"))
    plan_id: Mapped[str] = mapped_column(String(50))
    currency: Mapped[str] = mapped_column(String(3))
    period_start: Mapped[datetime]
    period_end: Mapped[datetime]
    amount: Mapped[Decimal]
    quantity: Mapped[Decimal] = mapped_column(Numeric(38, 0))
    """The amount in the currency's minor units."""
    synced: Mapped[bool] = mapped_column(default=False)
    """Whether every marketplace has taken it, or skips it."""
    syncs: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """What each marketplace made of it, by provider."""

    __table_args__ = (
        # an hour is recorded once
        Index(
            "uq_usage_records_period", "environment_id", "subscription_id", "period_start", "period_end", unique=True
        ),
        # lists: newest first
        Index("ix_usage_records_newest", "environment_id", "created_at", "id"),
        Index("ix_usage_records_customer", "environment_id", "customer_id", "created_at"),
        # what no marketplace has taken yet, oldest first
        Index("ix_usage_records_waiting", "environment_id", "period_end", postgresql_where=text("NOT synced")),
        CheckConstraint("amount >= 0 AND quantity >= 0", name="amounts_not_negative"),
        CheckConstraint("period_end > period_start", name="period_not_empty"),
        lower_case(),
    )


class UsageReport(Scoped, Base):
    """What a marketplace is told of one hour: stored before it is sent, and sent exactly so until it is answered."""

    __tablename__ = "usage_reports"
    label = "Usage report"

    provider: Mapped[str] = mapped_column(String(40))
    meter: Mapped[str] = mapped_column(String(64))
    terms: Mapped[dict[str, Any]]
    """The marketplace's own fields, as they were when the report was made."""
    hour: Mapped[datetime]
    usage_start: Mapped[datetime]
    """The moment that is sent: the hour, or when the agreement began within it."""
    usage_end: Mapped[datetime]
    quantity: Mapped[Decimal] = mapped_column(Numeric(38, 0))
    report_status: Mapped[ReportStatus] = mapped_column(enum_column(ReportStatus), default=ReportStatus.WAITING)
    attempts: Mapped[int] = mapped_column(default=0)
    in_doubt: Mapped[bool] = mapped_column(default=False)
    """Whether it may have been taken without our having heard: then it can only be sent again as it is."""
    due_at: Mapped[datetime]
    """When it is sent next, while it waits."""
    problem: Mapped[str] = mapped_column(Text, default="")
    connection_id: Mapped[str | None] = mapped_column(String(50))
    """The connection it was sent over last."""
    reporting_id: Mapped[str | None] = mapped_column(String(255))
    """What the marketplace calls it."""
    taken_at: Mapped[datetime | None]

    __table_args__ = (
        # a marketplace takes one quantity for each meter and hour
        Index("uq_usage_reports_hour", "environment_id", "provider", "meter", "hour", unique=True),
        # what is to be sent, and what somebody has to look at
        Index(
            "ix_usage_reports_open",
            "environment_id",
            "provider",
            "due_at",
            postgresql_where=text("report_status IN ('waiting', 'refused')"),
        ),
        CheckConstraint("quantity >= 0", name="quantity_not_negative"),
        CheckConstraint("(report_status = 'taken') = (taken_at IS NOT NULL)", name="taken_at_a_time"),
    )


class UsageReportPart(Scoped, Base):
    """How much of a record's quantity a report has, for one agreement."""

    __tablename__ = "usage_report_parts"
    label = "Usage report part"

    report_id: Mapped[str] = mapped_column(String(50), ForeignKey("usage_reports.id"))
    record_id: Mapped[str] = mapped_column(String(50), ForeignKey("usage_records.id"))
    agreement_id: Mapped[str] = mapped_column(String(50), ForeignKey("marketplace_agreements.id"))
    """The agreement's row, for which the record is reported."""
    quantity: Mapped[Decimal] = mapped_column(Numeric(38, 0))

    __table_args__ = (
        # a record is in a report once for each agreement; also answers what is reported of a record
        Index("uq_usage_report_parts_record", "environment_id", "record_id", "agreement_id", "report_id", unique=True),
        Index("ix_usage_report_parts_report", "environment_id", "report_id"),
        CheckConstraint("quantity >= 0", name="quantity_not_negative"),
    )
