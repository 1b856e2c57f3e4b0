"""Tables of migrations."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, Index, PrimaryKeyConstraint, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from farthing.storage.tables import Base, InEnvironment, Scoped, enum_column

SOURCE_ID_LENGTH = 99


class RecordOutcome(StrEnum):
    """What became of a record of the source. What failed is tried again by the next run."""

    CARRIED = "carried"
    CARRIED_IN_PART = "carried_in_part"
    LEFT_OUT = "left_out"
    FAILED = "failed"


class Migration(Scoped, Base):
    """Where an environment's books come from."""

    __tablename__ = "migrations"
    label = "Migration"

    source_url: Mapped[str] = mapped_column(String(2000))
    started_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]
    """When a run last came to the end."""

    __table_args__ = (
        # an environment has its books from one source
        Index("uq_migrations_environment", "environment_id", unique=True),
    )


class MigratedRecord(InEnvironment, Base):
    """What became of one record of the source; written in the transaction that writes its copy."""

    __tablename__ = "migrated_records"
    label = "Migrated record"

    id = None  # type: ignore[assignment]  # a record is its kind and its id at the source
    environment_id: Mapped[str] = mapped_column(String(50))
    kind: Mapped[str] = mapped_column(String(40))
    source_id: Mapped[str] = mapped_column(String(SOURCE_ID_LENGTH))
    target_id: Mapped[str | None] = mapped_column(String(50))
    name: Mapped[str] = mapped_column(String(255))
    """How people call it: a name, a key, a number."""
    outcome: Mapped[RecordOutcome] = mapped_column(enum_column(RecordOutcome))
    problems: Mapped[list[Any]] = mapped_column(JSONB)
    """What could not be carried, and why, a sentence each."""
    recorded_at: Mapped[datetime]

    __table_args__ = (
        # a record of the source is copied once
        PrimaryKeyConstraint("environment_id", "kind", "source_id"),
        CheckConstraint(
            "(outcome IN ('carried', 'carried_in_part')) = (target_id IS NOT NULL)", name="carried_has_target"
        ),
    )
