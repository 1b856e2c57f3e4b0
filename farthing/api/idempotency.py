"""The `Idempotency-Key` header: the first completed answer to a key is kept and given again for 24 hours.

The key is claimed by an advisory lock that lives as long as the request, so a crash leaves nothing claimed; the
answer is stored in the transaction that made the change, so either both last or neither. A request that commits in the
middle stores there, without an answer, where a repeat goes on (`storage.midway`). Answers of 5xx are not kept.
Rule: docs/rules/conventions.md#idempotency-keys
"""

from __future__ import annotations

import hashlib
from typing import Any

from litestar.connection import ASGIConnection
from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.body import STREAMED_PATHS
from farthing.api.work import Claim, UnitOfWork
from farthing.core.errors import AlreadyExists, ValidationFailed, VersionConflict
from farthing.storage.midway import PROGRESS
from farthing.storage.stored_answers import KEPT, LONGEST_KEY, Replay, StoredAnswer

HEADER = b"idempotency-key"


class Progress:
    """How far a request with a claimed key has come. `point` is what an earlier, interrupted run has left."""

    def __init__(self, work: UnitOfWork, point: bytes | None) -> None:
        assert work.claim is not None
        self._work = work
        scope = work.scope
        parts = (scope.tenant_id, scope.environment_id, work.claim.key, work.claim.fingerprint)
        self.token = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        self.point = point

    async def keep(self, session: AsyncSession, point: bytes) -> None:
        """Write where a repeat goes on, in the session's transaction; a request whose answer is not kept keeps none."""
        if self._work.claim is not None:
            await _write(session, self._work, self._work.claim, {"resume_point": point})


async def claim(connection: ASGIConnection[Any, Any, Any, Any], work: UnitOfWork) -> None:
    """Claim the request's key, if it has one. Raises Replay, AlreadyExists, VersionConflict or ValidationFailed.

    A file that is sent has no key: its content is not known before it is stored, and while it arrives nothing is held.
    Sent twice it is kept twice for a day, and imported by whoever names it.
    """
    if connection.scope["method"] != "POST":  # type: ignore[typeddict-item]  # routes are HTTP only
        return
    if connection.scope["path"].rstrip("/") in STREAMED_PATHS:
        return
    given = next((value for name, value in connection.scope["headers"] if name == HEADER), None)
    if given is None:
        return
    key = given.decode("latin-1")
    if not 1 <= len(key) <= LONGEST_KEY or not all("!" <= character <= "~" for character in key):
        raise ValidationFailed.of("Idempotency-Key", f"must be 1 to {LONGEST_KEY} visible ASCII characters")
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
    work.progress = Progress(work, None)
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
    if stored.fingerprint != fingerprint:
        work.claim = None
        raise AlreadyExists(
            "This idempotency key was used with another request", {"idempotency_key": given.decode("latin-1")}
        )
    if stored.status_code is not None and stored.body is not None:
        work.claim = None
        raise Replay(stored.status_code, stored.body)
    work.progress = Progress(work, stored.resume_point)
    work.session.info[PROGRESS] = work.progress


async def store(session: AsyncSession, work: UnitOfWork, status_code: int, body: bytes) -> None:
    """Keep the answer of the claimed key, in `session`'s transaction."""
    assert work.claim is not None
    await _write(session, work, work.claim, {"status_code": status_code, "body": body})


async def _write(session: AsyncSession, work: UnitOfWork, claimed: Claim, result: dict[str, Any]) -> None:
    scope = work.scope
    values = {
        "fingerprint": claimed.fingerprint,
        "status_code": None,
        "body": None,
        "resume_point": None,
        "created_at": work.database.clock.now(),
        **result,
    }
    statement = insert(StoredAnswer).values(
        id=claimed.key, tenant_id=scope.tenant_id, environment_id=scope.environment_id, **values
    )
    # in the way is an answer past its 24 hours, or the resume point of this very request: a live answer was replayed
    await session.execute(
        statement.on_conflict_do_update(index_elements=["tenant_id", "environment_id", "id"], set_=values)
    )


async def unlock(work: UnitOfWork) -> None:
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
