"""The answers that are kept to be given again to the same `Idempotency-Key`."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import CheckConstraint, Index, LargeBinary, PrimaryKeyConstraint, SmallInteger, String, delete
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from farthing.storage.tables import Base, OfTenant

KEPT = timedelta(hours=24)
LONGEST_KEY = 255


class StoredAnswer(OfTenant, Base):
    """What became of one key of one environment (or of the tenant, where a route has none).

    The first completed answer, or, while there is none, where a repeat of the request goes on.
    """

    __tablename__ = "idempotent_responses"
    label = "Idempotent response"

    id: Mapped[str] = mapped_column(String(LONGEST_KEY))
    environment_id: Mapped[str] = mapped_column(String(50))
    fingerprint: Mapped[str] = mapped_column(String(64))
    status_code: Mapped[int | None] = mapped_column(SmallInteger)
    body: Mapped[bytes | None] = mapped_column(LargeBinary)
    resume_point: Mapped[bytes | None] = mapped_column(LargeBinary)
    """JSON of what the request has committed so far; only read while there is no answer."""
    created_at: Mapped[datetime]

    __table_args__ = (
        PrimaryKeyConstraint("tenant_id", "environment_id", "id"),
        # an answer is whole, and a key without one says where to go on
        CheckConstraint("(status_code IS NULL) = (body IS NULL)", name="answer_whole"),
        CheckConstraint("status_code IS NOT NULL OR resume_point IS NOT NULL", name="answered_or_resumable"),
        # the sweep of answers that are no longer kept
        Index("ix_idempotent_responses_created_at", "created_at"),
    )


class Replay(Exception):
    """A stored answer, to be given instead of doing again what was asked."""

    def __init__(self, status_code: int, body: bytes) -> None:
        super().__init__("replayed")
        self.status_code = status_code
        self.body = body


async def forget_old(session: AsyncSession, now: datetime) -> None:
    """Delete answers that are no longer kept, of the session's tenant."""
    await session.execute(delete(StoredAnswer).where(StoredAnswer.created_at < now - KEPT))
