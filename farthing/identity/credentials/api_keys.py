"""API keys as their owners handle them: making, listing, deleting, and when they were last used.

Times here are the real ones, never an environment's test clock: a key expires for whoever authenticates it.
Rule: docs/rules/identity.md#api-keys
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Select, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.caller import Caller
from farthing.core.enums import Status
from farthing.core.errors import InvalidOperation, PermissionDenied, ValidationFailed
from farthing.identity.credentials import keys
from farthing.identity.roles import covers, permissions_of
from farthing.identity.tables import Secret, SecretType, User, UserType
from farthing.storage.postgres import Database
from farthing.storage.queries.rows import in_array, lock_row, not_found
from farthing.storage.scope import SYSTEM

SEARCHABLE = ("id", "name", "type", "status", "user_id", "expires_at", "last_used_at", "created_at", "updated_at")
USED_EVERY = timedelta(minutes=1)
NOT_YOURS = "This action requires a user account with Super Admin access"


async def create(
    session: AsyncSession,
    hasher: keys.KeyHasher,
    caller: Caller,
    *,
    name: str,
    type: SecretType,
    now: datetime,
    expires_at: datetime | None = None,
    service_account_id: str | None = None,
) -> tuple[Secret, str]:
    """A key of the caller's, or of a service account he may make keys for; returns it and its text."""
    if service_account_id is not None and not _is_admin_person(caller):
        raise PermissionDenied(NOT_YOURS)
    if expires_at is not None and expires_at <= now:
        raise ValidationFailed.of("expires_at", "must be in the future")
    _require_no_later(caller, expires_at)
    # locked, so that the roles copied are not changed, nor the owner archived, before the key exists
    owner = await lock_row(session, User, service_account_id or caller.user_id)
    if service_account_id is not None and owner.type != UserType.SERVICE_ACCOUNT:
        raise ValidationFailed.of("service_account_id", "is not a service account")
    if owner.status != Status.PUBLISHED:
        raise InvalidOperation(f"User {owner.id} is {owner.status.value}", {"status": owner.status.value})
    return await keys.create(
        session,
        hasher,
        owner=owner,
        environment_id=caller.environment_id,
        name=name,
        type=type,
        expires_at=expires_at,
        roles=_granted(caller, owner),
    )


def _require_no_later(caller: Caller, expires_at: datetime | None) -> None:
    """A key that expires makes none that outlives it. Raises ValidationFailed."""
    limit = caller.credential_expires_at
    if limit is not None and (expires_at is None or expires_at > limit):
        raise ValidationFailed.of(
            "expires_at", f"must not be later than {limit.isoformat()}, when the key that makes this one expires"
        )


def _granted(caller: Caller, owner: User) -> list[str]:
    """The roles of a new key: the owner's, but of one's own no more than the credential in use has."""
    if owner.id != caller.user_id or caller.is_operator:
        return list(owner.roles)
    return [role for role in owner.roles if covers(caller.permissions, permissions_of([role]))]


def visible(caller: Caller) -> Select[Secret]:
    """The keys of the caller's environment that he may see: his own, or all for a person with `super_admin`."""
    statement = select(Secret).where(
        Secret.tenant_id == caller.tenant_id, Secret.environment_id == caller.environment_id
    )
    return statement if _is_admin_person(caller) else statement.where(Secret.user_id == caller.user_id)


async def hidden_among(session: AsyncSession, caller: Caller, key_ids: Collection[str]) -> frozenset[str]:
    """Those of these ids whose keys the caller may not see in this environment or any other: not even their names."""
    if not key_ids or _is_admin_person(caller):
        return frozenset()
    own = select(Secret.id).where(
        Secret.tenant_id == caller.tenant_id, Secret.user_id == caller.user_id, in_array(Secret.id, key_ids)
    )
    return frozenset(key_ids) - set(await session.scalars(own))


async def owner_names(session: AsyncSession, rows: Sequence[Secret]) -> dict[str, str]:
    """Names of the service accounts among the owners, by id."""
    ids = {row.user_id for row in rows if row.user_type == UserType.SERVICE_ACCOUNT}
    if not ids:
        return {}
    found = await session.execute(select(User.id, User.name).where(User.id.in_(ids)))
    return {row.id: row.name for row in found}


async def delete(session: AsyncSession, caller: Caller, secret_id: str) -> None:
    """Archive a key; it opens nothing from the commit on. Raises NotFound, PermissionDenied."""
    secret = await lock_row(session, Secret, secret_id)
    if secret.environment_id != caller.environment_id or secret.status != Status.PUBLISHED:
        raise not_found(Secret, secret_id)
    if secret.user_id != caller.user_id and not _is_admin_person(caller):
        raise PermissionDenied(NOT_YOURS)
    secret.status = Status.ARCHIVED
    await session.flush()
    await keys.invalidate(session, secret.id)


def _is_admin_person(caller: Caller) -> bool:
    return caller.is_person and caller.is_super_admin


async def record_rehashed(database: Database, hashes: Mapping[str, str]) -> None:
    """Store hashes of keys, by id, under the master key in force. For a duty: a key's text is seen only in use."""
    if not hashes:
        return
    async with database.transaction(SYSTEM) as session:
        for secret_id, fresh in sorted(hashes.items()):
            await session.execute(update(Secret).where(Secret.id == secret_id).values(hash=fresh))


async def record_used(database: Database, ids: Iterable[str]) -> None:
    """Write `last_used_at` of keys seen since the last call, at most once a minute each however many processes call.

    For a duty that runs off the request path; `updated_at` stays, for nobody changed the key.
    """
    seen = sorted(ids)
    if not seen:
        return
    now = database.clock.now()
    async with database.transaction(SYSTEM) as session:
        await session.execute(
            update(Secret)
            .where(Secret.id.in_(seen), or_(Secret.last_used_at.is_(None), Secret.last_used_at <= now - USED_EVERY))
            .values(last_used_at=now)
        )
