"""Table of cost sheets."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from farthing.storage.audited import Audited
from farthing.storage.tables import Base, Scoped, Tracked


class CostSheet(Scoped, Tracked, Base):
    """A set of prices that are what the tenant pays, not what it asks."""

    __tablename__ = "cost_sheets"
    label = "Cost sheet"
    audit = Audited("cost_sheet")

    name: Mapped[str] = mapped_column(String(255))
    lookup_key: Mapped[str] = mapped_column(String(255), default="")
    description: Mapped[str] = mapped_column(default="")
    meta: Mapped[dict[str, str]] = mapped_column("metadata", default=dict)

    __table_args__ = (
        # one published sheet per name
        Index(
            "uq_cost_sheets_name",
            "environment_id",
            "name",
            unique=True,
            postgresql_where=text("status = 'published'"),
        ),
        # one published sheet per key; a sheet need not have one
        Index(
            "uq_cost_sheets_lookup_key",
            "environment_id",
            "lookup_key",
            unique=True,
            postgresql_where=text("status = 'published' AND lookup_key <> ''"),
        ),
        # the active sheet is the newest published one; lists: newest first
        Index("ix_cost_sheets_newest", "environment_id", "status", "created_at", "id"),
        CheckConstraint("name <> ''", name="named"),
    )
