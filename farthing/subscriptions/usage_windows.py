"""Table of the usage windows that were opened for the grants of entitlements."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from sqlalchemy import CheckConstraint, ForeignKey, Index, Numeric, String
from sqlalchemy.orm import Mapped, mapped_column

from farthing.catalogue.entitlements.enums import GrantDurationUnit, GrantMeasure
from farthing.storage.tables import Base, Scoped, enum_column
from farthing.subscriptions.enums import UsageWindowStatus


class EntitlementGrant(Scoped, Base):
    """The quota of one usage window `[valid_from, valid_to)` of a subscription.

    Bounds and quota stay what they were when it was opened. `usage`, in units or in money, is as of `last_computed_at`.
    """

    __tablename__ = "entitlement_grants"
    label = "Entitlement grant"

    entitlement_config_id: Mapped[str] = mapped_column(String(50), ForeignKey("entitlements.id"))
    """The entitlement that configures it; of several whose quotas are added up, the one with the lowest id."""
    customer_id: Mapped[str] = mapped_column(String(50), ForeignKey("customers.id"))
    subscription_id: Mapped[str] = mapped_column(String(50), ForeignKey("subscriptions.id"))
    feature_id: Mapped[str] = mapped_column(String(50), ForeignKey("features.id"))
    measure: Mapped[GrantMeasure] = mapped_column(enum_column(GrantMeasure))
    duration_unit: Mapped[GrantDurationUnit] = mapped_column(enum_column(GrantDurationUnit))
    quota: Mapped[Decimal] = mapped_column(Numeric())
    usage: Mapped[Decimal] = mapped_column(Numeric())
    valid_from: Mapped[datetime]
    valid_to: Mapped[datetime]
    grant_status: Mapped[UsageWindowStatus] = mapped_column(enum_column(UsageWindowStatus))
    quota_crossed_at: Mapped[datetime | None]
    """The time of the event with which the quota was used up; written once."""
    last_computed_at: Mapped[datetime]
    created_at: Mapped[datetime]

    __table_args__ = (
        # a window is opened once, by whoever comes first
        Index(
            "uq_entitlement_grants_window",
            "environment_id",
            "subscription_id",
            "entitlement_config_id",
            "customer_id",
            "valid_from",
            unique=True,
        ),
        # the windows of a subscription from some time on
        Index("ix_entitlement_grants_subscription", "environment_id", "subscription_id", "valid_to"),
        # may this entitlement's history be removed; which windows are of a feature
        Index("ix_entitlement_grants_config", "entitlement_config_id"),
        CheckConstraint("valid_to > valid_from", name="life"),
        CheckConstraint("quota > 0 AND usage >= 0", name="amounts"),
        CheckConstraint("(grant_status = 'exhausted') = (quota_crossed_at IS NOT NULL)", name="exhausted_has_time"),
    )
