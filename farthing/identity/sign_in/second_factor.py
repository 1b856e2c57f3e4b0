"""A second factor: the codes of an authenticator app (TOTP, RFC 6238), and recovery codes for when it is lost.

A code is good for its own half minute and the ones beside it, and only once; a recovery code only once ever.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime

import pyotp
from cryptography.exceptions import InvalidTag
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import InvalidOperation, PermissionDenied, ServiceUnavailable
from farthing.core.ids import Kind, new_id
from farthing.identity.credentials.sealing import SealedBox
from farthing.identity.sign_in.back_off import account_key, begin_attempt, forget_attempts
from farthing.identity.sign_in.tables import SecondFactor
from farthing.identity.tables import User
from farthing.storage.postgres import Database
from farthing.storage.queries.rows import lock_row
from farthing.storage.scope import SYSTEM

PURPOSE = "second-factors"
ISSUER = "Farthing"
RECOVERY_CODES = 10
STEP_SECONDS = 30
_STEPS_AROUND = (0, -1, 1)
_WRONG = "This code is not right"
_RECOVERY_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"
_RECOVERY_CHARACTERS = 12


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What an authenticator app is set up with."""

    secret: str
    uri: str


async def of_person(session: AsyncSession, user_id: str, *, for_update: bool = False) -> SecondFactor | None:
    """The person's second factor, confirmed or not."""
    query = select(SecondFactor).where(SecondFactor.user_id == user_id)
    return (await session.scalars(query.with_for_update() if for_update else query)).one_or_none()


async def is_required(session: AsyncSession, user_id: str) -> bool:
    """Whether the person signs in with a code too."""
    found = await of_person(session, user_id)
    return found is not None and found.confirmed_at is not None


async def begin_enrolment(session: AsyncSession, box: SealedBox, user: User, now: datetime) -> Enrolment:
    """A fresh secret for the person's app; it counts once a code of it was given. Raises InvalidOperation."""
    await lock_row(session, User, user.id)
    found = await of_person(session, user.id)
    if found is not None and found.confirmed_at is not None:
        raise InvalidOperation("There is a second factor already; remove it first")
    await session.execute(delete(SecondFactor).where(SecondFactor.user_id == user.id))
    secret = pyotp.random_base32()
    session.add(
        SecondFactor(
            id=new_id(Kind.SECOND_FACTOR),
            tenant_id=user.tenant_id,
            user_id=user.id,
            sealed_secret=box.seal(secret.encode(), user.id),
            key_id=box.key_id,
            created_at=now,
        )
    )
    await session.flush()
    return Enrolment(secret, pyotp.TOTP(secret).provisioning_uri(name=user.email or user.id, issuer_name=ISSUER))


async def confirm_enrolment(session: AsyncSession, box: SealedBox, user_id: str, code: str, now: datetime) -> list[str]:
    """Make the second factor count, given a code of it; the recovery codes, shown once. Raises PermissionDenied."""
    factor = await of_person(session, user_id, for_update=True)
    if factor is None or factor.confirmed_at is not None:
        raise InvalidOperation("There is no second factor to confirm")
    step = _matching_step(_secret(factor, box), code, now)
    if step is None:
        raise PermissionDenied(_WRONG)
    recovery = [_draw_recovery_code() for _ in range(RECOVERY_CODES)]
    factor.confirmed_at = now
    factor.last_step = step
    factor.recovery_hashes = [_recovery_hash(user_id, text) for text in recovery]
    await session.flush()
    return recovery


async def check_code(database: Database, box: SealedBox, user_id: str, code: str) -> None:
    """Accept a code of the app, or a recovery code, once. Raises PermissionDenied, TooManyRequests after several."""
    key = account_key(f"code {user_id}")
    await begin_attempt(database, key)
    async with database.transaction(SYSTEM) as session:
        factor = await of_person(session, user_id, for_update=True)
        if factor is None or factor.confirmed_at is None:
            raise PermissionDenied(_WRONG)
        _use_code(factor, box, code, database.clock.now())
    await forget_attempts(database, key)


async def remove(session: AsyncSession, user_id: str) -> bool:
    """Let the person sign in with the password alone; whether there was a second factor."""
    removed = await session.execute(
        delete(SecondFactor).where(SecondFactor.user_id == user_id).returning(SecondFactor.id)
    )
    return removed.first() is not None


def _use_code(factor: SecondFactor, box: SealedBox, code: str, now: datetime) -> None:
    given = "".join(code.split()).replace("-", "").lower()
    if given.isdigit() and len(given) == 6:
        step = _matching_step(_secret(factor, box), given, now)
        if step is None or step <= factor.last_step:
            raise PermissionDenied(_WRONG)
        factor.last_step = step
        return
    used = _recovery_hash(factor.user_id, given)
    if used not in factor.recovery_hashes:
        raise PermissionDenied(_WRONG)
    factor.recovery_hashes = [kept for kept in factor.recovery_hashes if kept != used]


def _matching_step(secret: str, code: str, now: datetime) -> int | None:
    """The time step whose code was given, if it is near enough."""
    given = "".join(code.split())
    if not given.isascii():
        return None
    step = int(now.timestamp()) // STEP_SECONDS
    codes = pyotp.HOTP(secret)
    found = [step + away for away in _STEPS_AROUND if hmac.compare_digest(codes.at(step + away), given)]
    return found[0] if found else None


def _secret(factor: SecondFactor, box: SealedBox) -> str:
    try:
        return box.open(factor.sealed_secret, factor.user_id).decode()
    except InvalidTag as error:
        raise ServiceUnavailable(
            "The second factor was sealed with another master key; have it removed with `farthing users`"
        ) from error


def _draw_recovery_code() -> str:
    text = "".join(secrets.choice(_RECOVERY_ALPHABET) for _ in range(_RECOVERY_CHARACTERS))
    return f"{text[:4]}-{text[4:8]}-{text[8:]}"


def _recovery_hash(user_id: str, code: str) -> str:
    """A fast hash is right: a code has 59 random bits, and attempts are slowed down."""
    return hashlib.sha256(f"{user_id}/{code.replace('-', '')}".encode()).hexdigest()
