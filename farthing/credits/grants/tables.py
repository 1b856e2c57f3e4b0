"""Tables of credit grants and their applications."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, String, text
from sqlalchemy.orm import Mapped, mapped_column

from farthing.catalogue.plans.credit_grants import (
    CreditGrantCadence,
    CreditGrantExpiryType,
    CreditGrantPeriod,
    CreditGrantScope,
    DurationUnit,
)
from farthing.credits.grants.enums import ApplicationReason, ApplicationStatus
from farthing.credits.ledger.tables import Credits, Rate
from farthing.storage.audited import Audited
from farthing.storage.tables import Base, Scoped, Tracked, enum_column
from farthing.subscriptions.enums import SubscriptionStatus


class CreditGrant(Scoped, Tracked, Base):
    """Credits that come with a plan or an addon (a template), or that a subscription is given."""

    __tablename__ = "credit_grants"
    label = "Credit grant"
    audit = Audited("credit_grant", part_of=("subscription_id",))

    name: Mapped[str] = mapped_column(String(255))
    scope: Mapped[CreditGrantScope] = mapped_column(enum_column(CreditGrantScope))
    plan_id: Mapped[str | None] = mapped_column(String(50), ForeignKey("plans.id"))
    """Of a subscription's grant: the plan that brought it."""
    addon_id: Mapped[str | None] = mapped_column(String(50), ForeignKey("addons.id"))
    """Of a subscription's grant: the addon that brought it."""
    subscription_id: Mapped[str | None] = mapped_column(String(50), ForeignKey("subscriptions.id"))
    addon_association_id: Mapped[str | None] = mapped_column(String(50), ForeignKey("addon_associations.id"))
    """The attachment that brought it; the same addon may be attached several times."""
    credits: Mapped[Decimal] = mapped_column(Credits)
    cadence: Mapped[CreditGrantCadence] = mapped_column(enum_column(CreditGrantCadence))
    period: Mapped[CreditGrantPeriod | None] = mapped_column(enum_column(CreditGrantPeriod))
    period_count: Mapped[int | None] = mapped_column(Integer)
    expiration_type: Mapped[CreditGrantExpiryType] = mapped_column(enum_column(CreditGrantExpiryType))
    expiration_duration: Mapped[int | None] = mapped_column(Integer)
    expiration_duration_unit: Mapped[DurationUnit | None] = mapped_column(enum_column(DurationUnit))
    rollover_maximum: Mapped[Decimal | None] = mapped_column(Credits)
    """How much of earlier applications is carried over a new one at most; None is all of it."""
    priority: Mapped[int | None] = mapped_column(Integer)
    conversion_rate: Mapped[Decimal | None] = mapped_column(Rate)
    topup_conversion_rate: Mapped[Decimal | None] = mapped_column(Rate)
    start_date: Mapped[datetime | None]
    end_date: Mapped[datetime | None]
    credit_grant_anchor: Mapped[datetime | None]
    meta: Mapped[dict[str, str]] = mapped_column("metadata", default=dict)

    __table_args__ = (
        # the grants of a plan, of an addon, of a subscription
        Index("ix_credit_grants_plan", "plan_id", postgresql_where=text("scope = 'PLAN'")),
        Index("ix_credit_grants_addon", "addon_id", postgresql_where=text("scope = 'ADDON'")),
        Index("ix_credit_grants_subscription", "subscription_id"),
        # lists: newest first
        Index("ix_credit_grants_newest", "environment_id", "created_at", "id"),
        CheckConstraint("name <> '' AND credits > 0", name="gives_something"),
        CheckConstraint(
            "CASE scope WHEN 'PLAN' THEN plan_id IS NOT NULL WHEN 'ADDON' THEN addon_id IS NOT NULL "
            "ELSE subscription_id IS NOT NULL AND start_date IS NOT NULL AND credit_grant_anchor IS NOT NULL END",
            name="owned",
        ),
        CheckConstraint(
            "(scope = 'SUBSCRIPTION') = (subscription_id IS NOT NULL) "
            "AND (scope = 'SUBSCRIPTION' "
            "OR (start_date IS NULL AND end_date IS NULL AND addon_association_id IS NULL))",
            name="templates_have_no_dates",
        ),
        CheckConstraint(
            "CASE cadence WHEN 'RECURRING' THEN period IS NOT NULL AND period_count > 0 "
            "ELSE period IS NULL AND period_count IS NULL AND rollover_maximum IS NULL END",
            name="recurs",
        ),
        CheckConstraint(
            "CASE expiration_type WHEN 'DURATION' THEN expiration_duration > 0 "
            "AND expiration_duration_unit IS NOT NULL "
            "ELSE expiration_duration IS NULL AND expiration_duration_unit IS NULL END",
            name="lasts",
        ),
        CheckConstraint("conversion_rate > 0 AND topup_conversion_rate > 0", name="rates_positive"),
        CheckConstraint("rollover_maximum >= 0", name="rollover_not_negative"),
    )


class CreditGrantApplication(Scoped, Tracked, Base):
    """The credits of one grant for one period: given as one lot, or not, and why."""

    __tablename__ = "credit_grant_applications"
    label = "Credit grant application"

    credit_grant_id: Mapped[str] = mapped_column(String(50), ForeignKey("credit_grants.id"))
    subscription_id: Mapped[str] = mapped_column(String(50), ForeignKey("subscriptions.id"))
    scheduled_for: Mapped[datetime]
    period_start: Mapped[datetime]
    period_end: Mapped[datetime | None]
    application_status: Mapped[ApplicationStatus] = mapped_column(
        enum_column(ApplicationStatus), default=ApplicationStatus.PENDING
    )
    application_reason: Mapped[ApplicationReason] = mapped_column(enum_column(ApplicationReason))
    credits: Mapped[Decimal] = mapped_column(Credits)
    subscription_status: Mapped[SubscriptionStatus | None] = mapped_column(enum_column(SubscriptionStatus))
    """What the subscription was when the application was last attended to."""
    next_attempt_at: Mapped[datetime | None]
    """When an open application is attended to next."""
    retry_count: Mapped[int] = mapped_column(Integer, default=0)
    failure_reason: Mapped[str | None]
    applied_at: Mapped[datetime | None]
    transaction_id: Mapped[str | None] = mapped_column(String(50), ForeignKey("wallet_transactions.id"))
    """The lot that it gave."""
    rollover_due: Mapped[bool] = mapped_column(default=False)
    """Whether what is left of earlier lots has still to be brought down to the grant's rollover maximum."""
    idempotency_key: Mapped[str] = mapped_column(String(255))
    meta: Mapped[dict[str, str]] = mapped_column("metadata", default=dict)

    __table_args__ = (
        # a period of a grant is applied once
        Index("uq_credit_grant_applications_key", "environment_id", "idempotency_key", unique=True),
        # a grant has one open application at most
        Index(
            "uq_credit_grant_applications_open",
            "credit_grant_id",
            unique=True,
            postgresql_where=text("application_status IN ('pending', 'failed')"),
        ),
        # a lot belongs to one application
        Index("uq_credit_grant_applications_transaction", "transaction_id", unique=True),
        # what the sweep looks for
        Index(
            "ix_credit_grant_applications_due",
            "environment_id",
            "next_attempt_at",
            "id",
            postgresql_where=text("application_status IN ('pending', 'failed')"),
        ),
        Index("ix_credit_grant_applications_rollover", "environment_id", "id", postgresql_where=text("rollover_due")),
        # the applications of a grant, of a subscription
        Index("ix_credit_grant_applications_grant", "credit_grant_id", "period_start"),
        Index("ix_credit_grant_applications_subscription", "subscription_id"),
        CheckConstraint("credits >= 0 AND retry_count >= 0", name="not_negative"),
        CheckConstraint("period_end > period_start", name="period_runs_forwards"),
        CheckConstraint(
            "(application_status = 'applied') = (transaction_id IS NOT NULL) "
            "AND (application_status = 'applied') = (applied_at IS NOT NULL)",
            name="applied_has_lot",
        ),
        CheckConstraint(
            "(application_status IN ('pending', 'failed')) = (next_attempt_at IS NOT NULL)", name="open_is_due"
        ),
        CheckConstraint("application_status <> 'failed' OR failure_reason IS NOT NULL", name="failed_says_why"),
        CheckConstraint("NOT rollover_due OR application_status = 'applied'", name="rollover_of_applied"),
    )
