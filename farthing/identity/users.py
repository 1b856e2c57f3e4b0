"""People and service accounts.

Rule: docs/rules/identity.md#users-and-service-accounts
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select, Text, cast, func, or_, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.caller import Caller
from farthing.core.encoding.wire import checked_metadata
from farthing.core.enums import Status
from farthing.core.errors import (
    AlreadyExists,
    InvalidOperation,
    PermissionDenied,
    ValidationFailed,
)
from farthing.core.ids import Kind, new_id
from farthing.identity.credentials import keys
from farthing.identity.roles import SUPER_ADMIN, checked_roles, covers, permissions_of
from farthing.identity.settings import current
from farthing.identity.settings.catalogue import TenantConfig
from farthing.identity.tables import Environment, Secret, Tenant, User, UserType
from farthing.storage.queries.rows import find, lock_row, not_found, unique

EMAIL_INDEX = "uq_users_email"
LONGEST_EMAIL = 254
SEARCHABLE = ("id", "name", "email", "type", "status", "created_at", "updated_at", "created_by", "updated_by")

_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")


def normal_email(email: str) -> str:
    """The stored form: trimmed and in lower case. Raises ValidationFailed when it is no address."""
    email = email.strip().lower()
    if len(email) > LONGEST_EMAIL or not _EMAIL.fullmatch(email):
        raise ValidationFailed.of("email", "must be an email address")
    return email


def require_lasting(caller: Caller) -> None:
    """Refuse to let a key that expires make a person, or give one more rights: that outlives it.

    Raises PermissionDenied.
    """
    if caller.credential_expires_at is not None:
        raise PermissionDenied(
            "An API key that expires cannot invite people or give them more rights; sign in, or use one that does not"
        )


async def invite(
    session: AsyncSession,
    tenant_id: str,
    *,
    email: str,
    name: str,
    roles: Sequence[str] | None,
    password_hash: str | None,
) -> User:
    """A new person of the tenant, who cannot sign in before a password is set where none is given.

    Raises ValidationFailed when the tenant is full, AlreadyExists for a taken email.
    """
    email = normal_email(email)
    granted = checked_roles([SUPER_ADMIN] if roles is None else roles, UserType.USER)
    # the count stays true until the commit, because every other invitation waits here
    await lock_row(session, Tenant, tenant_id)
    limit = (await current.read(session, TenantConfig)).max_users
    people = await session.scalar(
        select(func.count()).where(
            User.tenant_id == tenant_id, User.type == UserType.USER, User.status == Status.PUBLISHED
        )
    )
    if (people or 0) >= limit:
        raise ValidationFailed(f"The tenant may have at most {limit} users", {"max_users": limit})
    person = User(
        id=new_id(Kind.USER),
        tenant_id=tenant_id,
        email=email,
        name=name,
        type=UserType.USER,
        roles=granted,
        password_hash=password_hash,
    )
    taken = AlreadyExists("A user with this email already exists", {"email": email})
    async with unique(session, **{EMAIL_INDEX: taken}):
        session.add(person)
    return person


async def add_service_account(session: AsyncSession, caller: Caller, *, name: str, roles: Sequence[str]) -> User:
    """A new service account; nobody grants what he does not hold. Raises PermissionDenied, ValidationFailed."""
    granted = checked_roles(roles, UserType.SERVICE_ACCOUNT)
    if not covers(caller.permissions, permissions_of(granted)):
        raise PermissionDenied("You can only grant permissions that you hold yourself")
    account = User(
        id=new_id(Kind.USER),
        tenant_id=caller.tenant_id,
        name=name,
        type=UserType.SERVICE_ACCOUNT,
        roles=granted,
    )
    session.add(account)
    await session.flush()
    return account


async def update_own(
    session: AsyncSession, user_id: str, *, name: str | None, metadata: Mapping[str, str] | None
) -> User:
    """Change the caller's own name (an empty one is ignored) and merge metadata key by key."""
    user = await lock_row(session, User, user_id)
    if name:
        user.name = name
    if metadata is not None:
        user.meta = checked_metadata({**user.meta, **metadata})
    await session.flush()
    await keys.invalidate(session, user.id)
    return user


async def rename_service_account(session: AsyncSession, user_id: str, name: str) -> User:
    """Rename a service account. A person's id is as good as unknown here."""
    user = await lock_row(session, User, user_id)
    if user.type != UserType.SERVICE_ACCOUNT:
        raise not_found(User, user_id)
    _demand_live(user)
    user.name = name
    await session.flush()
    await keys.invalidate(session, user.id)
    return user


async def set_roles(session: AsyncSession, caller: Caller, user_id: str, roles: Sequence[str], now: datetime) -> User:
    """Give a person other roles; not oneself, and not while active keys carry the old ones."""
    await _demand_still_in_charge(session, caller)
    user = await lock_row(session, User, user_id)
    if user.type != UserType.USER:
        raise ValidationFailed.of("id", "roles of a service account cannot be changed")
    if user.id == caller.user_id:
        raise PermissionDenied("You cannot change your own roles")
    _demand_live(user)
    granted = checked_roles(roles, UserType.USER)
    if not covers(permissions_of(user.roles), permissions_of(granted)):
        require_lasting(caller)
    await _demand_no_active_keys(session, user, now)
    user.roles = granted
    await session.flush()
    await keys.invalidate(session, user.id)
    return user


async def archive_service_account(session: AsyncSession, user_id: str, now: datetime) -> None:
    """Retire a service account that has no active keys."""
    user = await lock_row(session, User, user_id)
    if user.type != UserType.SERVICE_ACCOUNT:
        raise ValidationFailed.of("id", "only service accounts can be deleted")
    await _archive(session, user, now)


async def remove_person(session: AsyncSession, caller: Caller, user_id: str, now: datetime) -> None:
    """Retire a person who has no active keys; not oneself. The email is free again."""
    await _demand_still_in_charge(session, caller)
    user = await lock_row(session, User, user_id)
    if user.type != UserType.USER:
        raise ValidationFailed.of("id", "only people can be removed; delete a service account instead")
    if user.id == caller.user_id:
        raise PermissionDenied("You cannot remove yourself")
    await _archive(session, user, now)


async def _demand_still_in_charge(session: AsyncSession, caller: Caller) -> None:
    """Let one change of a tenant's people pass at a time, and only for whoever may still make it.

    Of two who remove each other at once one stays: else nobody would be in charge. Raises PermissionDenied.
    """
    await lock_row(session, Tenant, caller.tenant_id)
    if caller.is_operator:  # may have no row
        return
    own = await lock_row(session, User, caller.user_id)
    if own.status != Status.PUBLISHED or SUPER_ADMIN not in own.roles:
        raise PermissionDenied("Your own access was taken away meanwhile")


async def _archive(session: AsyncSession, user: User, now: datetime) -> None:
    _demand_live(user)
    await _demand_no_active_keys(session, user, now)
    user.status = Status.ARCHIVED
    await session.flush()
    await keys.invalidate(session, user.id)


def _demand_live(user: User) -> None:
    if user.status != Status.PUBLISHED:
        raise InvalidOperation(f"User {user.id} is {user.status.value}", {"status": user.status.value})


async def _demand_no_active_keys(session: AsyncSession, user: User, now: datetime) -> None:
    """The user's row must be locked: making a key locks it too, so none can appear behind our back."""
    found = (
        await session.execute(
            select(Secret, Environment.name)
            .join(Environment, Environment.id == Secret.environment_id)
            .where(
                Secret.tenant_id == user.tenant_id,
                Secret.user_id == user.id,
                Secret.status == Status.PUBLISHED,
                or_(Secret.expires_at.is_(None), Secret.expires_at > now),
            )
            .order_by(Secret.id)
        )
    ).all()
    if not found:
        return
    by_environment: dict[str, dict[str, Any]] = defaultdict(dict)
    for secret, environment_name in found:
        entry = by_environment[secret.environment_id]
        entry["env_name"] = environment_name
        entry.setdefault("api_keys", []).append({"id": secret.id, "key_name": secret.name})
    raise InvalidOperation(
        "The user has active API keys; delete them first",
        {"id": user.id, "active_api_key_count": len(found), "active_api_keys": dict(by_environment)},
    )


def matching(*, user_ids: Sequence[str] | None, type: UserType | None, roles: Sequence[str] | None) -> Select[User]:
    """Users by id, by type (service accounts unless said) and by any of some roles; empty lists do not narrow."""
    statement = select(User).where(User.type == (type or UserType.SERVICE_ACCOUNT))
    if user_ids:
        statement = statement.where(User.id.in_(user_ids))
    if roles:
        statement = statement.where(User.roles.has_any(cast(list(roles), ARRAY(Text))))
    return statement


async def one(session: AsyncSession, user_id: str) -> User:
    """The user with this id. Raises NotFound, as for an operator key whose configured user does not exist."""
    return await find(session, User, user_id)
