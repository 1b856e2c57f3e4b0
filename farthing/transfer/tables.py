"""Tables of imports and exports."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, LargeBinary, PrimaryKeyConstraint, String, Text
from sqlalchemy import text as sql
from sqlalchemy.orm import Mapped, mapped_column

from farthing.storage.audited import Audited
from farthing.storage.tables import Base, InEnvironment, Scoped, Tracked, enum_column
from farthing.transfer.enums import ExportEntity, FileType, ScheduleInterval, TaskEntity, TaskStatus, TaskType


class ScheduledTask(Scoped, Tracked, Base):
    """What is exported again and again, where to, and up to when that is done."""

    __tablename__ = "scheduled_tasks"
    label = "Scheduled task"
    audit = Audited("scheduled_task", named_by=("entity_type",), bookkeeping=frozenset({"exported_until"}))

    connection_id: Mapped[str] = mapped_column(String(50), ForeignKey("connections.id"))
    entity_type: Mapped[ExportEntity] = mapped_column(enum_column(ExportEntity))
    interval: Mapped[ScheduleInterval] = mapped_column(enum_column(ScheduleInterval))
    enabled: Mapped[bool]
    job_config: Mapped[dict[str, Any]]
    exported_until: Mapped[datetime]
    """The end of the last window that was begun by itself; the next one begins here."""

    __table_args__ = (
        # a run by itself has an interval that says when
        CheckConstraint("interval <> 'custom'", name="interval_regular"),
        Index("ix_scheduled_tasks_newest", "environment_id", "status", "created_at", "id"),
        # what is due
        Index(
            "ix_scheduled_tasks_due",
            "environment_id",
            "exported_until",
            postgresql_where=sql("enabled AND status = 'published'"),
        ),
    )


class StoredFile(Scoped, Base):
    """A file that was uploaded or fetched, in pieces beside it; forgotten when it expires."""

    __tablename__ = "stored_files"
    label = "Upload"

    name: Mapped[str] = mapped_column(String(255), default="")
    size: Mapped[int] = mapped_column(BigInteger, default=0)
    is_whole: Mapped[bool] = mapped_column(default=False)
    task_id: Mapped[str | None] = mapped_column(String(50))
    """The import that uses it; there is at most one."""
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]

    __table_args__ = (
        # what is to be forgotten
        Index("ix_stored_files_expiring", "environment_id", "expires_at"),
    )


class StoredFilePiece(InEnvironment, Base):
    """One piece of a stored file."""

    __tablename__ = "stored_file_pieces"
    label = "Piece of a file"

    id = None  # type: ignore[assignment]  # a piece is its place in its file
    file_id: Mapped[str] = mapped_column(String(50))
    position: Mapped[int]
    content: Mapped[bytes] = mapped_column(LargeBinary)

    __table_args__ = (PrimaryKeyConstraint("file_id", "position"),)


class Task(Scoped, Tracked, Base):
    """One import, or one run of an export."""

    __tablename__ = "tasks"
    label = "Task"
    audit = Audited(
        "task",
        named_by=("file_name", "entity_type"),
        bookkeeping=frozenset(
            {
                "is_queued",
                "attempt",
                "total_records",
                "processed_records",
                "successful_records",
                "failed_records",
                "bytes_total",
                "bytes_done",
                "error_summary",
                "stored_file_id",
                "location",
            }
        ),
    )

    task_type: Mapped[TaskType] = mapped_column(enum_column(TaskType))
    entity_type: Mapped[TaskEntity] = mapped_column(enum_column(TaskEntity))
    file_type: Mapped[FileType] = mapped_column(enum_column(FileType))
    file_name: Mapped[str | None] = mapped_column(String(255))
    file_url: Mapped[str] = mapped_column(Text, default="")
    """Where an import's file is fetched, and where an export is to be found."""
    stored_file_id: Mapped[str | None] = mapped_column(String(50))
    fingerprint: Mapped[str | None] = mapped_column(String(64))
    """The SHA-256 of a file that the command line imports: by it a second call finds what the first began."""
    dry_run: Mapped[bool] = mapped_column(default=False)
    task_status: Mapped[TaskStatus] = mapped_column(enum_column(TaskStatus), default=TaskStatus.PENDING)
    is_queued: Mapped[bool] = mapped_column(default=False)
    """Whether a worker is to run it, or runs it."""
    attempt: Mapped[int] = mapped_column(default=0)
    """How often it was begun; only the latest attempt writes."""
    total_records: Mapped[int | None] = mapped_column(BigInteger)
    processed_records: Mapped[int] = mapped_column(BigInteger, default=0)
    successful_records: Mapped[int] = mapped_column(BigInteger, default=0)
    failed_records: Mapped[int] = mapped_column(BigInteger, default=0)
    bytes_total: Mapped[int | None] = mapped_column(BigInteger)
    bytes_done: Mapped[int] = mapped_column(BigInteger, default=0)
    error_summary: Mapped[str | None] = mapped_column(Text)
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    failed_at: Mapped[datetime | None]
    scheduled_task_id: Mapped[str | None] = mapped_column(String(50), ForeignKey("scheduled_tasks.id"))
    window_start: Mapped[datetime | None]
    window_end: Mapped[datetime | None]
    is_automatic: Mapped[bool] = mapped_column(default=False)
    """Whether the schedule began it, and not a person."""
    location: Mapped[str] = mapped_column(Text, default="")
    """The key of an export at its place."""
    meta: Mapped[dict[str, Any]] = mapped_column("metadata", default=dict)

    __table_args__ = (
        CheckConstraint(
            "successful_records >= 0 AND failed_records >= 0 "
            "AND processed_records = successful_records + failed_records",
            name="records_add_up",
        ),
        CheckConstraint("(task_type = 'EXPORT') = (window_end IS NOT NULL)", name="exports_have_a_window"),
        CheckConstraint("window_end > window_start", name="window_not_empty"),
        # a schedule begins each of its windows once
        Index(
            "uq_tasks_window",
            "environment_id",
            "scheduled_task_id",
            "window_start",
            unique=True,
            postgresql_where=sql("is_automatic"),
        ),
        # a file that the command line imports has one open import
        Index(
            "uq_tasks_fingerprint",
            "environment_id",
            "fingerprint",
            "entity_type",
            unique=True,
            postgresql_where=sql("NOT dry_run AND task_status <> 'COMPLETED' AND fingerprint IS NOT NULL"),
        ),
        Index("ix_tasks_newest", "environment_id", "status", "created_at", "id"),
        Index("ix_tasks_schedule", "environment_id", "scheduled_task_id", "created_at"),
        # what a worker is to run
        Index("ix_tasks_queued", "environment_id", "created_at", postgresql_where=sql("is_queued")),
    )


class TaskProblem(InEnvironment, Base):
    """What is wrong with one column of one row of an import's file."""

    __tablename__ = "task_problems"
    label = "Problem of a task"

    id = None  # type: ignore[assignment]  # a problem is its place among those of its task
    task_id: Mapped[str] = mapped_column(String(50))
    row_number: Mapped[int] = mapped_column(BigInteger)
    """The row of the file, from 1, without the header."""
    place: Mapped[int]
    line_number: Mapped[int] = mapped_column(BigInteger)
    column_name: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)

    __table_args__ = (PrimaryKeyConstraint("task_id", "row_number", "place"),)
