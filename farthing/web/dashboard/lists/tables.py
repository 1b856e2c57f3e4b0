"""The table of saved views of lists."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from farthing.storage.tables import Base, Scoped


class SavedListView(Scoped, Base):
    """How one person likes to look at a list: its filters, its order and its columns, as an address says them."""

    __tablename__ = "saved_list_views"
    label = "Saved view"

    user_id: Mapped[str] = mapped_column(String(50))
    list_key: Mapped[str] = mapped_column(String(40))
    name: Mapped[str] = mapped_column(String(100))
    parameters: Mapped[dict[str, Any]]
    saved_at: Mapped[datetime]

    __table_args__ = (
        # a name means one view of a person and a list; answers which there are
        Index("uq_saved_list_views_name", "environment_id", "user_id", "list_key", "name", unique=True),
        CheckConstraint("name <> ''", name="named"),
    )
