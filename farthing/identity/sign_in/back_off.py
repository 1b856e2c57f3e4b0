"""Back-off of one account: after some failures each further attempt has to wait, longer and longer, up to a bound.

Counted before the password is looked at, so that attempts made at once count too; in the database, so that it holds
over processes. An email that nobody has is counted like any other. Whoever has signed in with a browser before is
counted apart from strangers (`device`), so that strangers who keep guessing do not keep the owner out.
"""

from __future__ import annotations

import hashlib
import math
from datetime import datetime, timedelta

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import TooManyRequests
from farthing.identity.sign_in.tables import SignInAttempts
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM

FREE_FAILURES = 5
LONGEST_WAIT = timedelta(minutes=15)
FORGOTTEN_AFTER = timedelta(days=1)
_KEY_CHARACTERS = 48


def account_key(name: str, device: str = "") -> str:
    """What the attempts on an account, from a known device or from anywhere, are counted under."""
    return hashlib.sha256(f"{name}\n{device}".encode()).hexdigest()[:_KEY_CHARACTERS]


def wait_after(failures: int) -> timedelta:
    """How long the next attempt has to wait after so many in a row: nothing, then 2, 4, 8 seconds and so on."""
    if failures <= FREE_FAILURES:
        return timedelta(0)
    return min(timedelta(seconds=2 ** min(failures - FREE_FAILURES, 20)), LONGEST_WAIT)


async def begin_attempt(database: Database, key: str) -> None:
    """Count an attempt as failed until `forget_attempts` says otherwise. Raises TooManyRequests while it must wait."""
    now = database.clock.now()
    async with database.transaction(SYSTEM) as session:
        attempts = await _locked_attempts(session, key, now)
        if attempts.blocked_until > now:
            seconds = math.ceil((attempts.blocked_until - now).total_seconds())
            raise TooManyRequests("Too many attempts for this account; try again later", seconds)
        failures = 1 if now - attempts.last_at > FORGOTTEN_AFTER else attempts.failures + 1
        attempts.failures = failures
        attempts.last_at = now
        attempts.blocked_until = now + wait_after(failures)
        await session.execute(delete(SignInAttempts).where(SignInAttempts.last_at < now - FORGOTTEN_AFTER))


async def _locked_attempts(session: AsyncSession, key: str, now: datetime) -> SignInAttempts:
    """The row of a key, made if it is missing and locked: by one statement, as a success may delete it at any time."""
    fresh = insert(SignInAttempts).values(id=key, failures=0, last_at=now, blocked_until=now)
    kept = fresh.on_conflict_do_update(index_elements=[SignInAttempts.id], set_={"id": fresh.excluded.id})
    return (await session.scalars(kept.returning(SignInAttempts))).one()


async def forget_attempts(database: Database, *keys: str) -> None:
    """Start again from nothing: the person proved who they are."""
    async with database.transaction(SYSTEM) as session:
        await session.execute(delete(SignInAttempts).where(SignInAttempts.id.in_(keys)))
