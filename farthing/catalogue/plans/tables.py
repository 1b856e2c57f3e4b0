"""Tables of plans and addons."""

from __future__ import annotations

from typing import Any

from sqlalchemy import CheckConstraint, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from farthing.storage.audited import Audited
from farthing.storage.tables import Base, Scoped, Tracked


class Plan(Scoped, Tracked, Base):
    """What a subscription subscribes to."""

    __tablename__ = "plans"
    label = "Plan"
    audit = Audited("plan")

    name: Mapped[str] = mapped_column(String(255))
    lookup_key: Mapped[str] = mapped_column(String(255), default="")
    description: Mapped[str] = mapped_column(default="")
    display_order: Mapped[int | None]
    meta: Mapped[dict[str, str]] = mapped_column("metadata", default=dict)

    __table_args__ = (
        # one published plan per key; a plan need not have one
        Index(
            "uq_plans_lookup_key",
            "environment_id",
            "lookup_key",
            unique=True,
            postgresql_where=text("status = 'published' AND lookup_key <> ''"),
        ),
        # lists: newest first
        Index("ix_plans_newest", "environment_id", "status", "created_at", "id"),
        CheckConstraint("name <> ''", name="named"),
    )


class Addon(Scoped, Tracked, Base):
    """What can be attached to a subscription beside its plan, several times if need be."""

    __tablename__ = "addons"
    label = "Addon"
    audit = Audited("addon")

    name: Mapped[str] = mapped_column(String(255))
    lookup_key: Mapped[str] = mapped_column(String(255))
    description: Mapped[str] = mapped_column(default="")
    meta: Mapped[dict[str, Any]] = mapped_column("metadata", default=dict)

    __table_args__ = (
        # one published addon per key; also answers look-ups by key
        Index(
            "uq_addons_lookup_key",
            "environment_id",
            "lookup_key",
            unique=True,
            postgresql_where=text("status = 'published'"),
        ),
        # lists: newest first
        Index("ix_addons_newest", "environment_id", "status", "created_at", "id"),
        CheckConstraint("name <> '' AND lookup_key <> ''", name="named"),
    )
