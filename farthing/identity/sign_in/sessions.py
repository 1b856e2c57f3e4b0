"""Sessions as rows: opening, finding, listing and ending them.

A browser holds a session by its cookie, a client of the API by its bearer token; both carry a random text of which the
row keeps a hash. Reading never writes: when a session was last seen is gathered in memory and written once a minute.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Select, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.ids import Kind, new_id
from farthing.identity.sign_in.tables import SessionKind, SignInSession
from farthing.identity.tables import User
from farthing.storage.postgres import Database
from farthing.storage.queries.rows import not_found
from farthing.storage.scope import SYSTEM

SEEN_EVERY = timedelta(minutes=1)
MOST_PER_PERSON = 100
"""More open sessions than that end the oldest, so that a script that signs in for ever fills no table."""
_LONGEST_AGENT = 300
_LONGEST_ADDRESS = 64


@dataclass(frozen=True, slots=True)
class SignInOrigin:
    """Where somebody signs in from; what a person recognises a session by."""

    address: str = ""
    user_agent: str = ""


def draw_token() -> str:
    """A fresh random text for a cookie, token or link."""
    return secrets.token_urlsafe(24)


def token_hash(token: str) -> str:
    """What is stored of such a text; a fast hash is right because it is random."""
    return hashlib.sha256(token.encode()).hexdigest()


def password_stamp(user: User) -> str:
    """What a session remembers of the password it was opened with."""
    return hashlib.sha256(f"{user.id}/{user.password_hash}".encode()).hexdigest()


async def open_session(
    session: AsyncSession, user: User, kind: SessionKind, life: timedelta, origin: SignInOrigin, now: datetime
) -> str:
    """Open a session of `user`; the text that proves it exists nowhere else."""
    token = draw_token()
    session.add(
        SignInSession(
            id=new_id(Kind.SIGN_IN_SESSION),
            tenant_id=user.tenant_id,
            user_id=user.id,
            kind=kind,
            token_hash=token_hash(token),
            password_stamp=password_stamp(user),
            created_at=now,
            last_seen_at=now,
            expires_at=now + life,
            address=origin.address[:_LONGEST_ADDRESS],
            user_agent=origin.user_agent[:_LONGEST_AGENT],
        )
    )
    await session.flush()
    await _delete_closed(session, user, now)
    return token


async def _delete_closed(session: AsyncSession, user: User, now: datetime) -> None:
    """Forget the person's sessions that are over, and the oldest beyond the bound."""
    mine = (SignInSession.tenant_id == user.tenant_id, SignInSession.user_id == user.id)
    over = or_(SignInSession.expires_at <= now, SignInSession.revoked_at.is_not(None))
    await session.execute(delete(SignInSession).where(*mine, over))
    newest = select(SignInSession.id).where(*mine).order_by(SignInSession.created_at.desc(), SignInSession.id.desc())
    await session.execute(delete(SignInSession).where(SignInSession.id.in_(newest.offset(MOST_PER_PERSON))))


async def valid_session(
    session: AsyncSession, token: str, kind: SessionKind, user: User, now: datetime
) -> SignInSession | None:
    """The open session of `user` that `token` proves, or None."""
    found = (
        await session.scalars(select(SignInSession).where(SignInSession.token_hash == token_hash(token)))
    ).one_or_none()
    if found is None or found.kind is not kind or found.user_id != user.id:
        return None
    is_open = found.revoked_at is None and found.expires_at > now and found.password_stamp == password_stamp(user)
    return found if is_open else None


def open_sessions(user: User, now: datetime) -> Select[SignInSession]:
    """The person's sessions that are open, the last seen first."""
    return (
        select(SignInSession)
        .where(
            SignInSession.tenant_id == user.tenant_id,
            SignInSession.user_id == user.id,
            SignInSession.revoked_at.is_(None),
            SignInSession.expires_at > now,
            SignInSession.password_stamp == password_stamp(user),
        )
        .order_by(SignInSession.last_seen_at.desc(), SignInSession.id.desc())
    )


async def listed(session: AsyncSession, user: User, now: datetime) -> Sequence[SignInSession]:
    """The person's open sessions; they are bounded."""
    return (await session.scalars(open_sessions(user, now))).all()


async def end_session(session: AsyncSession, user_id: str, session_id: str, now: datetime) -> None:
    """Sign one session of the person out. Raises NotFound for another person's."""
    ended = await session.execute(
        update(SignInSession)
        .where(SignInSession.id == session_id, SignInSession.user_id == user_id)
        .values(revoked_at=now)
        .returning(SignInSession.id)
    )
    if ended.first() is None:
        raise not_found(SignInSession, session_id)


async def end_all_sessions(session: AsyncSession, user_id: str, now: datetime, *, but: str = "") -> int:
    """Sign the person out everywhere, except in the session with the id `but`; how many sessions that ended."""
    ended = await session.execute(
        update(SignInSession)
        .where(SignInSession.user_id == user_id, SignInSession.id != but, SignInSession.revoked_at.is_(None))
        .values(revoked_at=now)
        .returning(SignInSession.id)
    )
    return len(ended.all())


class SeenSessions:
    """The sessions seen in this process since they were last written down."""

    def __init__(self) -> None:
        self._ids: set[str] = set()

    def add(self, session_id: str) -> None:
        self._ids.add(session_id)

    def take(self) -> list[str]:
        """The ids gathered since the last call."""
        taken, self._ids = sorted(self._ids), set()
        return taken


async def record_seen(database: Database, ids: Iterable[str]) -> None:
    """Write `last_seen_at`, at most once a minute for each session however many processes call. For a duty."""
    seen = list(ids)
    if not seen:
        return
    now = database.clock.now()
    async with database.transaction(SYSTEM) as session:
        await session.execute(
            update(SignInSession)
            .where(SignInSession.id.in_(seen), SignInSession.last_seen_at <= now - SEEN_EVERY)
            .values(last_seen_at=now)
        )
