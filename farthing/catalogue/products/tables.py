"""Tables of features, meters and groups."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, Numeric, String, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from farthing.calendar.windows import WindowSize
from farthing.catalogue.products.enums import FeatureType, GroupEntityType
from farthing.metering.meter import AggregationType, ResetUsage
from farthing.storage.audited import Audited
from farthing.storage.tables import Base, Scoped, Tracked, enum_column

_PUBLISHED = text("status = 'published'")


class GroupRow(Scoped, Tracked, Base):
    """A heading for prices or for features; members carry its id."""

    __tablename__ = "groups"
    label = "Group"
    audit = Audited("group")

    name: Mapped[str] = mapped_column(String(255))
    entity_type: Mapped[GroupEntityType] = mapped_column(enum_column(GroupEntityType))
    lookup_key: Mapped[str] = mapped_column(String(255))
    meta: Mapped[dict[str, str]] = mapped_column("metadata", default=dict)

    __table_args__ = (
        # one published group per key
        Index("uq_groups_lookup_key", "environment_id", "lookup_key", unique=True, postgresql_where=_PUBLISHED),
        # lists: newest first
        Index("ix_groups_newest", "environment_id", "status", "created_at", "id"),
    )


class MeterRow(Scoped, Tracked, Base):
    """Which events count and how they fold into one number. Immutable but for `filters`, which gain values."""

    __tablename__ = "meters"
    label = "Meter"
    audit = Audited("meter")

    name: Mapped[str] = mapped_column(String(255))
    event_name: Mapped[str] = mapped_column(String(255))
    aggregation_type: Mapped[AggregationType] = mapped_column(enum_column(AggregationType))
    field: Mapped[str | None] = mapped_column(String(255))
    expression: Mapped[str | None]
    multiplier: Mapped[Decimal | None] = mapped_column(Numeric())
    bucket_size: Mapped[WindowSize | None] = mapped_column(enum_column(WindowSize))
    group_by: Mapped[str | None] = mapped_column(String(255))
    filters: Mapped[list[Any]] = mapped_column(default=list)
    """`[{"key": ..., "values": [...]}]`, keys and values in the order in which they were given."""
    reset_usage: Mapped[ResetUsage] = mapped_column(enum_column(ResetUsage))

    __table_args__ = (
        # ingest asks for the live meters of an environment, backfills for those of an event name
        Index("ix_meters_event_name", "environment_id", "event_name", postgresql_where=_PUBLISHED),
        # lists: newest first
        Index("ix_meters_newest", "environment_id", "status", "created_at", "id"),
        CheckConstraint("event_name <> ''", name="event_named"),
    )


class Feature(Scoped, Tracked, Base):
    """Something a plan can include."""

    __tablename__ = "features"
    label = "Feature"
    audit = Audited("feature")

    name: Mapped[str] = mapped_column(String(255))
    lookup_key: Mapped[str] = mapped_column(String(255))
    description: Mapped[str] = mapped_column(default="")
    type: Mapped[FeatureType] = mapped_column(enum_column(FeatureType))
    meter_id: Mapped[str | None] = mapped_column(String(50), ForeignKey("meters.id"))
    unit_singular: Mapped[str] = mapped_column(String(50), default="")
    unit_plural: Mapped[str] = mapped_column(String(50), default="")
    reporting_unit: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """`{"unit_singular", "unit_plural", "conversion_rate"}`, the rate as text: a reported value is usage times it."""
    alert_settings: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """`{"critical" | "warning" | "info": {"threshold", "condition"}, "alert_enabled"}`, thresholds as text."""
    group_id: Mapped[str | None] = mapped_column(String(50), ForeignKey("groups.id"))
    meta: Mapped[dict[str, str]] = mapped_column("metadata", default=dict)

    __table_args__ = (
        # one published feature per key
        Index("uq_features_lookup_key", "environment_id", "lookup_key", unique=True, postgresql_where=_PUBLISHED),
        # a meter belongs to one published feature: what happens to the feature happens to its meter
        Index(
            "uq_features_meter",
            "environment_id",
            "meter_id",
            unique=True,
            postgresql_where=text("status = 'published' AND meter_id IS NOT NULL"),
        ),
        # members of a group, when it is deleted
        Index("ix_features_group", "environment_id", "group_id", postgresql_where=text("group_id IS NOT NULL")),
        # lists: newest first
        Index("ix_features_newest", "environment_id", "status", "created_at", "id"),
        CheckConstraint("lookup_key <> '' AND name <> ''", name="named"),
        CheckConstraint("(type = 'metered') = (meter_id IS NOT NULL)", name="metered_has_meter"),
    )
