"""The master keys of a process: the one in force, and the one before for as long as it is accepted.

The database knows each key by a fingerprint, so that a process with a wrong key is refused before it hashes, signs or
seals anything that no other process could use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import jwt
from sqlalchemy import Index, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped

from farthing import secret_file
from farthing.identity.credentials.keys import derived_key
from farthing.secret_file import UnusableSecretKey
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM
from farthing.storage.tables import Base

_LOCK = 0x46_61_72_76
_FINGERPRINT_CHARACTERS = 32


class MasterKeyRow(Base):
    """A master key by its fingerprint, which is the id; the key in force is the one without an end."""

    __tablename__ = "master_keys"
    label = "Master key"

    recorded_at: Mapped[datetime]
    accepted_until: Mapped[datetime | None]

    __table_args__ = (
        # one key is in force: the one without an end
        Index("uq_master_keys_end", "accepted_until", unique=True, postgresql_nulls_not_distinct=True),
    )


@dataclass(slots=True)
class MasterKeys:
    """The keys a process holds. What is new is made with `current`; what is read may be of any `accepted` one."""

    current: str
    previous: str | None = None
    previous_until: datetime | None = None
    """Until when the key before is accepted; the database says it, so it is unknown before `confirm`."""

    @classmethod
    def of(cls, settings: Settings) -> MasterKeys:
        """The configured keys, not yet compared with the database."""
        return cls(settings.master_key(), settings.previous_master_key())

    def accepted(self, now: datetime) -> tuple[str, ...]:
        """The keys that what was made earlier may have been made with, the one in force first."""
        if self.previous is not None and self.previous_until is not None and now < self.previous_until:
            return self.current, self.previous
        return (self.current,)


def fingerprint(master: str) -> str:
    """What the database knows a master key by; says nothing of the key."""
    return derived_key(master, "fingerprint").hex()[:_FINGERPRINT_CHARACTERS]


def signed_claims(token: str, masters: Sequence[str], purpose: str, **options: Any) -> dict[str, Any]:
    """The claims of a token that one of `masters` signed for `purpose`. Raises jwt.PyJWTError.

    `options` are those of `jwt.decode`.
    """
    current, *older = masters
    try:
        claims: dict[str, Any] = jwt.decode(token, derived_key(current, purpose), **options)
    except jwt.InvalidSignatureError:
        if not older:
            raise
        return signed_claims(token, older, purpose, **options)
    return claims


async def lock_master_keys(session: AsyncSession) -> MasterKeyRow | None:
    """The key in force, while nobody else records or rotates one; None in a database that knows none yet."""
    await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    return await key_in_force(session)


async def key_in_force(session: AsyncSession) -> MasterKeyRow | None:
    """The recorded key in force."""
    return (await session.scalars(select(MasterKeyRow).where(MasterKeyRow.accepted_until.is_(None)))).one_or_none()


async def confirm(database: Database, keys: MasterKeys) -> None:
    """Compare the process's key with the database's, which remembers the first it meets. Raises UnusableSecretKey."""
    async with database.transaction(SYSTEM) as session:
        recorded = await key_in_force(session) or await lock_master_keys(session)
        if recorded is None:
            session.add(MasterKeyRow(id=fingerprint(keys.current), recorded_at=database.clock.now()))
            return
        if recorded.id != fingerprint(keys.current):
            raise UnusableSecretKey(_wrong(recorded, keys))
        before = await session.get(MasterKeyRow, fingerprint(keys.previous)) if keys.previous is not None else None
    keys.previous_until = before.accepted_until if before is not None else None


def _wrong(recorded: MasterKeyRow, keys: MasterKeys) -> str:
    if keys.previous is not None and recorded.id == fingerprint(keys.previous):
        return "FARTHING_SECRET_KEY is not in force yet: run `farthing secret rotate` to change to it"
    return (
        "the master key is not the one this database was set up with. Set FARTHING_SECRET_KEY, or secret.key in the "
        "data folder, to that key; to change it, see `farthing secret rotate`"
    )


async def settle(settings: Settings, database: Database) -> MasterKeys:
    """Finish a rotation that was killed between the database and the files, then confirm the key.

    Raises UnusableSecretKey.
    """
    if settings.secret_key is None:
        await finish_key_files(Path(settings.data_dir), database)
    keys = MasterKeys.of(settings)
    await confirm(database, keys)
    if settings.secret_key is None and keys.previous is not None and len(keys.accepted(database.clock.now())) == 1:
        secret_file.remove(Path(settings.data_dir) / secret_file.PREVIOUS)
    return keys


async def finish_key_files(folder: Path, database: Database) -> None:
    """Make the files say what the database says: the key that comes is in force if, and only if, that was committed."""
    coming = secret_file.read_if_there(folder / secret_file.NEXT)
    if coming is None:
        return
    async with database.transaction(SYSTEM, read_only=True) as session:
        recorded = await key_in_force(session)
    if recorded is not None and recorded.id == fingerprint(coming):
        secret_file.promote_next(folder)
    else:
        secret_file.remove(folder / secret_file.NEXT)
