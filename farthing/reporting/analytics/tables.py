"""The table of views: questions that are kept."""

from __future__ import annotations

from typing import Any

from sqlalchemy import CheckConstraint, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from farthing.reporting.analytics.schemas import MetricFamily
from farthing.storage.audited import Audited
from farthing.storage.tables import Base, Scoped, Tracked, enum_column


class AnalyticsView(Scoped, Tracked, Base):
    """A question under a name. A view that is deleted is gone: nothing refers to one."""

    __tablename__ = "analytics_views"
    label = "Analytics view"
    audit = Audited("analytics_view", bookkeeping=frozenset({"version"}))

    name: Mapped[str] = mapped_column(String(255))
    family: Mapped[MetricFamily] = mapped_column(enum_column(MetricFamily))
    definition: Mapped[dict[str, Any]]
    """As it was sent, fields that it left out aside."""
    version: Mapped[int] = mapped_column(default=1)

    __table_args__ = (
        # a name means one view
        Index("uq_analytics_views_name", "environment_id", "name", unique=True),
        CheckConstraint("version >= 1 AND name <> ''", name="edited_from_one_on"),
    )
