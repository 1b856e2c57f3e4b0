"""Table of entitlements."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Numeric, String, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from farthing.catalogue.entitlements.enums import (
    AggregationMode,
    EntitlementOwner,
    GrantAllocation,
    GrantDurationUnit,
    GrantMeasure,
    UsageResetPeriod,
)
from farthing.catalogue.products.enums import FeatureType
from farthing.storage.audited import Audited
from farthing.storage.tables import Base, Scoped, Tracked, enum_column


class Entitlement(Scoped, Tracked, Base):
    """One owner's share of one feature. Which fields mean something depends on the feature's type."""

    __tablename__ = "entitlements"
    label = "Entitlement"
    audit = Audited("entitlement", named_by=(), named_after=("feature_id",))

    entity_type: Mapped[EntitlementOwner] = mapped_column(enum_column(EntitlementOwner))
    entity_id: Mapped[str] = mapped_column(String(50))
    feature_id: Mapped[str] = mapped_column(String(50), ForeignKey("features.id"))
    feature_type: Mapped[FeatureType] = mapped_column(enum_column(FeatureType))
    is_enabled: Mapped[bool] = mapped_column(default=False)
    usage_limit: Mapped[int | None] = mapped_column(BigInteger)
    """None is unlimited."""
    usage_reset_period: Mapped[UsageResetPeriod] = mapped_column(
        enum_column(UsageResetPeriod), default=UsageResetPeriod.BILLING_PERIOD
    )
    is_soft_limit: Mapped[bool] = mapped_column(default=False)
    """Told to the caller, who enforces limits; invoices treat both kinds alike."""
    static_value: Mapped[str] = mapped_column(default="")
    config_value: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    parent_entitlement_id: Mapped[str | None] = mapped_column(String(50), ForeignKey("entitlements.id"))
    """The entitlement that this one, of a subscription, stands in for."""
    start_date: Mapped[datetime | None]
    end_date: Mapped[datetime | None]
    display_order: Mapped[int] = mapped_column(default=0)
    aggregation_mode: Mapped[AggregationMode] = mapped_column(
        enum_column(AggregationMode), default=AggregationMode.ADDITIVE
    )
    grant_measure: Mapped[GrantMeasure | None] = mapped_column(enum_column(GrantMeasure))
    grant_quota: Mapped[Decimal | None] = mapped_column(Numeric(25, 15))
    grant_duration_unit: Mapped[GrantDurationUnit | None] = mapped_column(enum_column(GrantDurationUnit))
    grant_duration_value: Mapped[int | None]
    grant_allocation_behavior: Mapped[GrantAllocation | None] = mapped_column(enum_column(GrantAllocation))

    __table_args__ = (
        # an owner entitles a feature once, but for parallel grants
        Index(
            "uq_entitlements_feature",
            "environment_id",
            "entity_id",
            "entity_type",
            "feature_id",
            unique=True,
            postgresql_where=text("status = 'published' AND aggregation_mode <> 'parallel'"),
        ),
        # everything an owner includes, siblings of a feature side by side
        Index("ix_entitlements_owner", "environment_id", "entity_id", "entity_type", "feature_id"),
        # which plans, addons and subscriptions grant quotas
        Index(
            "ix_entitlements_granting",
            "environment_id",
            "entity_id",
            postgresql_where=text("grant_measure IS NOT NULL"),
        ),
        # may this feature be deleted
        Index("ix_entitlements_feature", "environment_id", "feature_id"),
        # lists: newest first
        Index("ix_entitlements_newest", "environment_id", "status", "created_at", "id"),
        CheckConstraint("usage_limit >= 0", name="limit"),
        CheckConstraint("end_date > start_date", name="life"),
        # a grant is configured whole or not at all
        CheckConstraint(
            "num_nulls(grant_measure, grant_quota, grant_duration_unit, grant_allocation_behavior) IN (0, 4)",
            name="grant_whole",
        ),
        CheckConstraint("grant_quota > 0", name="grant_quota"),
        CheckConstraint(
            "CASE WHEN grant_duration_unit IS NULL OR grant_duration_unit = 'subscription_period' "
            "THEN grant_duration_value IS NULL ELSE grant_duration_value >= 1 END",
            name="grant_duration",
        ),
        CheckConstraint("aggregation_mode = 'additive' OR grant_measure IS NOT NULL", name="parallel_has_grant"),
    )
