"""The `Idempotency-Key` header: the first completed answer to a key is kept and given again for 24 hours.

The key is claimed by an advisory lock that lives as long as the request, so a crash leaves nothing claimed; the
answer is stored in the transaction that made the change, so either both last or neither. Answers of 5xx are not kept.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any

from litestar.connection import ASGIConnection
from sqlalchemy import Index, LargeBinary, PrimaryKeyConstraint, SmallInteger, String, delete, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from farthing.api.work import Claim, Work
from farthing.core.errors import AlreadyExists, ValidationFailed, VersionConflict
from farthing.storage.tables import Base, OfTenant

HEADER = b"idempotency-key"
KEPT = timedelta(hours=24)
LONGEST = 255


class StoredAnswer(OfTenant, Base):
    """The first completed answer to one key of one environment (or of the tenant, where a route has none)."""

    __tablename__ = "idempotent_responses"
    label = "Idempotent response"

    id: Mapped[str] = mapped_column(String(LONGEST))
    environment_id: Mapped[str] = mapped_column(String(50))
    fingerprint: Mapped[str] = mapped_column(String(64))
    status_code: Mapped[int] = mapped_column(SmallInteger)
    body: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]

    __table_args__ = (
        PrimaryKeyConstraint("tenant_id", "environment_id", "id"),
        # the sweep of answers that are no longer kept
        Index("ix_idempotent_responses_created_at", "created_at"),
    )


class Replay(Exception):
    """The stored answer, to be given instead of running the handler."""

    def __init__(self, status_code: int, body: bytes) -> None:
        super().__init__("replayed")
        self.status_code = status_code
        self.body = body


async def claim(connection: ASGIConnection[Any, Any, Any, Any], work: Work) -> None:
    """Claim the request's key, if it has one. Raises Replay, AlreadyExists, VersionConflict or ValidationFailed."""
    if connection.scope["method"] != "POST":  # type: ignore[typeddict-item]  # routes are HTTP only
        return
    given = next((value for name, value in connection.scope["headers"] if name == HEADER), None)
    if given is None:
        return
    key = given.decode("latin-1")
    if not 1 <= len(key) <= LONGEST or not all("!" <= character <= "~" for character in key):
        raise ValidationFailed.of("Idempotency-Key", f"must be 1 to {LONGEST} visible ASCII characters")
    path = connection.scope["path"].encode()
    query = connection.scope.get("query_string", b"")
    fingerprint = hashlib.sha256(b"\0".join((path, query, work.body))).hexdigest()
    assert work.caller is not None, "the route has no guard"
    # a credential's own, so that nobody is answered what another asked; a blank keeps it apart from what clients send
    key = f" {hashlib.sha256(f'{work.caller.credential_id} {key}'.encode()).hexdigest()}"
    scope = work.scope
    pinned = await work.pin()
    lock = f"{scope.tenant_id}/{scope.environment_id}/{key}"
    taken = await pinned.execute(text("SELECT pg_try_advisory_lock(hashtextextended(:key, 0))"), {"key": lock})
    won = taken.scalar_one()
    await pinned.commit()
    if not won:
        raise VersionConflict("A request with this idempotency key is still in progress")
    work.claim = Claim(key, fingerprint)
    work.claim_lock = lock
    stored = (
        await work.session.execute(
            select(StoredAnswer).where(
                StoredAnswer.tenant_id == scope.tenant_id,
                StoredAnswer.environment_id == scope.environment_id,
                StoredAnswer.id == key,
                StoredAnswer.created_at > work.database.clock.now() - KEPT,
            )
        )
    ).scalar_one_or_none()
    if stored is None:
        return
    work.claim = None
    if stored.fingerprint != fingerprint:
        raise AlreadyExists(
            "This idempotency key was used with another request", {"idempotency_key": given.decode("latin-1")}
        )
    raise Replay(stored.status_code, stored.body)


async def store(session: AsyncSession, work: Work, status_code: int, body: bytes) -> None:
    """Keep the answer of the claimed key, in `session`'s transaction."""
    assert work.claim is not None
    scope = work.scope
    values = {
        "fingerprint": work.claim.fingerprint,
        "status_code": status_code,
        "body": body,
        "created_at": work.database.clock.now(),
    }
    statement = insert(StoredAnswer).values(
        id=work.claim.key, tenant_id=scope.tenant_id, environment_id=scope.environment_id, **values
    )
    # only an answer past its 24 hours can be in the way: a live one was replayed
    await session.execute(
        statement.on_conflict_do_update(index_elements=["tenant_id", "environment_id", "id"], set_=values)
    )


async def unlock(work: Work) -> None:
    """Let the key go, if one is held. A connection that cannot do so is thrown away, and the lock with it."""
    if work.claim_lock is None:
        return
    pinned = await work.pin()
    try:
        await pinned.rollback()
        await pinned.execute(text("SELECT pg_advisory_unlock(hashtextextended(:key, 0))"), {"key": work.claim_lock})
        await pinned.commit()
    except SQLAlchemyError:
        await pinned.invalidate()
    work.claim_lock = None


async def forget_old(session: AsyncSession, now: datetime) -> None:
    """Delete answers that are no longer kept, of the session's tenant."""
    await session.execute(delete(StoredAnswer).where(StoredAnswer.created_at < now - KEPT))
