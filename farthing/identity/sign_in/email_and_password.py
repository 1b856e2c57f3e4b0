"""Signing up and in, with an email and a password.

Rule: docs/rules/identity.md#signing-up-and-in
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.encoding.wire import checked_metadata
from farthing.core.enums import Status
from farthing.core.errors import AlreadyExists, PermissionDenied
from farthing.identity.bootstrap import new_tenant
from farthing.identity.credentials.actors import actor_of_user
from farthing.identity.sign_in import passwords
from farthing.identity.sign_in.back_off import account_key, begin_attempt, forget_attempts
from farthing.identity.tables import User, UserType
from farthing.identity.users import EMAIL_INDEX, normal_email
from farthing.storage.postgres import Database, act_as
from farthing.storage.queries.rows import violated
from farthing.storage.scope import SYSTEM


async def sign_up(
    database: Database, *, email: str, password: str, tenant_name: str, metadata: Mapping[str, str] | None
) -> User:
    """Make a tenant, its owner and a sandbox, in one transaction of their own. Raises AlreadyExists."""
    email = normal_email(email)
    entries = checked_metadata(metadata)
    async with passwords.turn(passwords.STRANGERS):
        password_hash = await passwords.hashed(password)
    try:
        async with database.transaction(SYSTEM) as session:
            _, owner, _ = await new_tenant(
                session, name=tenant_name, email=email, password_hash=password_hash, metadata=entries
            )
            act_as(session, actor_of_user(owner))
    except IntegrityError as error:
        if violated(error) == EMAIL_INDEX:
            raise AlreadyExists("An account with this email already exists", {"email": email}) from error
        raise
    return owner


async def person_with_email(session: AsyncSession, email: str) -> User | None:
    """The published person with this email, in whatever tenant."""
    query = select(User).where(
        User.email == email.strip().lower(), User.status == Status.PUBLISHED, User.type == UserType.USER
    )
    return (await session.scalars(query)).one_or_none()


async def sign_in(database: Database, email: str, password: str, device: str = "") -> User:
    """The person with this email and password; `device` is a browser that this account signed in with before.

    An unknown email, an archived person and a wrong password are refused alike, with the same words after the same
    work. Whoever signs in from a known device does not wait for strangers. Raises PermissionDenied, TooManyRequests,
    ServiceUnavailable.
    """
    key = account_key(email.strip().lower(), device)
    # before the attempt is counted: one that was never looked at is nobody's failure
    async with passwords.turn(account_key(email.strip().lower()) if device else passwords.STRANGERS):
        await begin_attempt(database, key)
        async with database.transaction(SYSTEM, read_only=True) as session:
            user = await person_with_email(session, email)
        # no connection is held while the hash is worked out
        if not await passwords.matches(password, user.password_hash if user else None) or user is None:
            raise PermissionDenied("Invalid email or password")
    await forget_attempts(database, key)
    return user
