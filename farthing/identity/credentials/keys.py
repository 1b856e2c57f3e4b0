"""API keys: how they are drawn, hashed, shown, and turned back into their owner."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import event, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from farthing.core.composition import Composition
from farthing.core.ids import Kind, new_id
from farthing.identity.ports import IdentityPorts
from farthing.identity.tables import Secret, SecretType, User
from farthing.storage.notices import notify

TOPIC = "api_keys"
"""Notices of this topic carry the id of a key, owner, tenant or environment that changed."""

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PREFIXES = {SecretType.PRIVATE_KEY: "sk_", SecretType.PUBLISHABLE_KEY: "pk_"}
RANDOM_CHARACTERS = 26  # of 5 bits each: 130 bits


async def invalidate(session: AsyncSession, id: str) -> None:
    """Make what is remembered of a key, owner, tenant or environment void when this transaction commits.

    At once in this process; in the others as soon as the notice arrives.
    """
    await notify(session, TOPIC, id)
    if not event.contains(session.sync_session, "after_commit", _forget_here):
        event.listen(session.sync_session, "after_commit", _forget_here)


def _forget_here(session: Session) -> None:
    ports: Composition = session.info["ports"]
    ports.part(IdentityPorts).caller_caches.forget()


def derived_key(master: str, purpose: str) -> bytes:
    """A key of its own for each purpose, so that one leaked signature says nothing of another."""
    return hmac.new(master.encode(), f"farthing/{purpose}".encode(), hashlib.sha256).digest()


class KeyHasher:
    """Hashes whole keys; a fast hash is right because keys are random, not chosen."""

    def __init__(self, master: str) -> None:
        # begun once: to set the key costs more than to hash with it
        self._keyed = hmac.new(derived_key(master, "api-keys"), digestmod="sha256")

    def hash(self, key: str) -> str:
        """Lower-case hex HMAC-SHA-256."""
        keyed = self._keyed.copy()
        keyed.update(key.encode())
        return keyed.hexdigest()


def draw(type: SecretType) -> str:
    """A fresh key from the system's secure source."""
    return _PREFIXES[type] + "".join(secrets.choice(_ALPHABET) for _ in range(RANDOM_CHARACTERS))


def display_id(key: str) -> str:
    """What may be shown of a key for ever: `sk_01***7Q`."""
    return f"{key[:5]}***{key[-2:]}"


async def create(
    session: AsyncSession,
    hasher: KeyHasher,
    *,
    owner: User,
    environment_id: str,
    name: str,
    type: SecretType = SecretType.PRIVATE_KEY,
    expires_at: datetime | None = None,
    key: str | None = None,
    roles: Sequence[str] | None = None,
) -> tuple[Secret, str]:
    """Store a key of `owner` for one environment; returns it with its text, which exists nowhere else.

    It gets the owner's roles, unless others are given.
    """
    key = key or draw(type)
    secret = Secret(
        id=new_id(Kind.SECRET),
        tenant_id=owner.tenant_id,
        name=name,
        type=type,
        environment_id=environment_id,
        hash=hasher.hash(key),
        display_id=display_id(key),
        user_id=owner.id,
        user_type=owner.type,
        roles=list(owner.roles if roles is None else roles),
        expires_at=expires_at,
    )
    session.add(secret)
    await session.flush()
    return secret, key


async def by_hashes(session: AsyncSession, hashes: Sequence[str]) -> Secret | None:
    """The key with one of these hashes of its text, whatever its state."""
    return (await session.execute(select(Secret).where(Secret.hash.in_(hashes)))).scalar_one_or_none()
