"""Commits in the middle of a request, and where a repeat of the request goes on.

A request is one transaction, except where another system has to be asked in between: nobody may wait for a provider
with rows locked, and what was asked of it must be on disk before. Every such commit goes through `commit_midway`.

A request with an idempotency key writes a resume point in the first transaction that commits: what was made, and what
is needed to answer. After a crash the repeat of the request finds the point and does what is left instead of all again.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.ids import new_ulid

PROGRESS = "request_progress"
"""Where a session's `info` holds the progress of the request it serves; sessions that serve none have nothing there."""

Point = TypeVar("Point", bound=msgspec.Struct)


class RequestProgress(Protocol):
    """How far a request with an idempotency key has come."""

    token: str
    """The same for every repeat of the request, and for no other request."""
    point: bytes | None
    """The resume point of an earlier run that never answered."""

    async def keep(self, session: AsyncSession, point: bytes) -> None:
        """Write the resume point in the session's transaction."""


async def commit_midway(session: AsyncSession, point: msgspec.Struct | None = None) -> None:
    """Commit what was done so far, before a provider is asked or another transaction follows.

    `point` says what was made to a repeat of the request. Without one the point before stays: give none where a
    repeat from there finds what this commits by itself, or where nothing was written.
    """
    progress = progress_of(session)
    if progress is not None and point is not None:
        await session.flush()
        await progress.keep(session, msgspec.json.encode(point))
    await session.commit()


def resume_point(session: AsyncSession, kind: type[Point]) -> Point | None:
    """What an earlier run of this request has made, if it was interrupted after it had made something."""
    progress = progress_of(session)
    if progress is None or progress.point is None:
        return None
    return msgspec.json.decode(progress.point, type=kind)


def request_token(session: AsyncSession) -> str:
    """A text that a repeat of this request gets too, for what has to be made once elsewhere; fresh without a key."""
    progress = progress_of(session)
    return new_ulid() if progress is None else progress.token


def progress_of(session: AsyncSession) -> RequestProgress | None:
    """The progress of the request that a session serves; None without an idempotency key, and outside of requests."""
    progress: RequestProgress | None = session.info.get(PROGRESS)
    return progress
