"""The journal of duty runs. It holds counts only, of nobody's rows, and so belongs to no tenant."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from farthing.storage.tables import Base


class JobRun(Base):
    """One run of one duty."""

    __tablename__ = "job_runs"
    label = "Job run"

    name: Mapped[str] = mapped_column(String(100))
    scheduled_at: Mapped[datetime]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    counts: Mapped[dict[str, Any]] = mapped_column(default=dict)
    error: Mapped[str | None] = mapped_column(Text)
    """Why it failed, in words that may be read by anybody; the log has the rest."""

    __table_args__ = (
        # the last run of a duty, and how many failed since
        Index("ix_job_runs_started", "name", "started_at"),
        # the last run that went through
        Index(
            "ix_job_runs_succeeded",
            "name",
            "finished_at",
            postgresql_where=text("finished_at IS NOT NULL AND error IS NULL"),
        ),
    )
