"""Changing the master key: what is sealed under the old one is sealed under the new one, in one transaction.

What the database keeps only as a keyed hash cannot be made anew without its text: API keys are hashed again as they
are used. Until a stated time the old key is therefore accepted for what was made with it: API keys, sessions, tokens
and links. In the data folder the files follow the database, so that a change that is killed anywhere either did not
happen or is finished by the next start.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import delete, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from farthing import secret_file
from farthing.core.enums import Status
from farthing.core.errors import InvalidOperation, ValidationFailed
from farthing.identity.credentials.master_key import MasterKeyRow, fingerprint, finish_key_files, lock_master_keys
from farthing.identity.credentials.sealing import SealedBox
from farthing.identity.sign_in import second_factor
from farthing.identity.sign_in.tables import SecondFactor, SignInSession
from farthing.identity.tables import Environment, Secret
from farthing.notifications.webhooks.delivery.signing import SecretsBox
from farthing.notifications.webhooks.endpoints import forget_endpoint_secrets, reseal_endpoints
from farthing.payments.integrations.connections import forget_credentials, reseal_credentials
from farthing.payments.integrations.credentials import Safe
from farthing.secret_file import SHORTEST_GENERATED, UnusableSecretKey
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.storage.queries.changes import leave_unnoted
from farthing.storage.scope import SYSTEM

LONGEST_KEPT = timedelta(days=365)


@dataclass(slots=True)
class Resealed:
    """What a rotation did."""

    already_in_force: bool = False
    accepted_until: datetime | None = None
    credentials: int = 0
    second_factors: int = 0
    webhook_endpoints: int = 0


async def rotate(settings: Settings, database: Database, keep: timedelta, *, end_previous: bool = False) -> Resealed:
    """Change to a new master key and accept the old one for `keep` longer.

    The new key is FARTHING_SECRET_KEY, beside the old one in FARTHING_SECRET_KEY_PREVIOUS; without them a new one is
    drawn in the data folder. Raises ValidationFailed, UnusableSecretKey, InvalidOperation while an earlier key is
    still accepted, unless `end_previous`.
    """
    if not timedelta(0) <= keep <= LONGEST_KEPT:
        raise ValidationFailed.of("keep-days", f"must be 0 to {LONGEST_KEPT.days}")
    if settings.secret_key is None:
        return await _rotate_files(Path(settings.data_dir), database, keep, end_previous=end_previous)
    if settings.secret_key_previous is None:
        raise UnusableSecretKey(
            "set FARTHING_SECRET_KEY to the new master key and FARTHING_SECRET_KEY_PREVIOUS to the one in force"
        )
    if len(settings.secret_key) < SHORTEST_GENERATED:
        raise UnusableSecretKey(f"a new master key must have at least {SHORTEST_GENERATED} characters")
    return await _change(database, settings.secret_key_previous, settings.secret_key, keep, end_previous=end_previous)


async def _rotate_files(folder: Path, database: Database, keep: timedelta, *, end_previous: bool) -> Resealed:
    await finish_key_files(folder, database)
    old, new = secret_file.read(folder), secret_file.draw()
    async with database.transaction(SYSTEM) as session:
        await _require_no_previous(session, fingerprint(old), database.clock.now(), end_previous=end_previous)
    secret_file.write_durably(folder / secret_file.PREVIOUS, old)
    secret_file.write_durably(folder / secret_file.NEXT, new)
    done = await _change(database, old, new, keep, end_previous=end_previous)
    secret_file.promote_next(folder)
    return done


async def _change(database: Database, old: str, new: str, keep: timedelta, *, end_previous: bool) -> Resealed:
    """One transaction: what is sealed, and which key is in force. Done again, it finds nothing left to do."""
    done = Resealed()
    now = database.clock.now()
    async with database.transaction(SYSTEM) as session:
        leave_unnoted(session)
        recorded = await lock_master_keys(session)
        if recorded is not None and recorded.id == fingerprint(new):
            done.already_in_force = True
            before = await session.get(MasterKeyRow, fingerprint(old))
            done.accepted_until = before.accepted_until if before is not None else None
        elif recorded is not None and recorded.id != fingerprint(old):
            raise UnusableSecretKey("the old master key is not the one this database was set up with")
        else:
            await _require_no_previous(session, fingerprint(old), now, end_previous=end_previous)
            await session.execute(delete(MasterKeyRow))
            done.accepted_until = now + keep
            session.add(MasterKeyRow(id=fingerprint(old), recorded_at=now, accepted_until=done.accepted_until))
            session.add(MasterKeyRow(id=fingerprint(new), recorded_at=now))
            await session.flush()
        done.second_factors = await _reseal_second_factors(session, old, new)
        for tenant_id, environment_id in await _environments(session):
            await _enter(session, tenant_id, environment_id)
            done.credentials += await reseal_credentials(session, Safe(old), Safe(new))
            done.webhook_endpoints += await reseal_endpoints(session, SecretsBox.under(old), SecretsBox.under(new))
    return done


async def _require_no_previous(session: AsyncSession, old: str, now: datetime, *, end_previous: bool) -> None:
    accepted = select(MasterKeyRow).where(MasterKeyRow.accepted_until > now, MasterKeyRow.id != old)
    row = (await session.scalars(accepted)).first()
    if row is not None and not end_previous:
        raise InvalidOperation(
            f"The master key before this one is accepted until {row.accepted_until:%Y-%m-%d %H:%M} UTC. API keys not "
            "used since it was changed would stop working; wait, or rotate with --end-previous"
        )


async def _reseal_second_factors(session: AsyncSession, old: str, new: str) -> int:
    before, after = SealedBox(old, second_factor.PURPOSE), SealedBox(new, second_factor.PURPOSE)
    rows = (await session.scalars(select(SecondFactor).where(SecondFactor.key_id == before.key_id))).all()
    for row in rows:
        row.sealed_secret = after.seal(before.open(row.sealed_secret, row.user_id), row.user_id)
        row.key_id = after.key_id
    await session.flush()
    return len(rows)


async def replace_lost(settings: Settings, database: Database) -> None:
    """Put a new master key in the place of one that is lost, and end everything that only that one could open.

    API keys are archived, sessions ended, second factors removed, providers' credentials and secrets of webhook
    endpoints forgotten. The new key is FARTHING_SECRET_KEY, or drawn in the data folder.
    """
    folder = Path(settings.data_dir)
    new = settings.secret_key
    if new is None:
        new = secret_file.read_if_there(folder / secret_file.NEXT) or secret_file.draw()
        secret_file.write_durably(folder / secret_file.NEXT, new)
    now = database.clock.now()
    async with database.transaction(SYSTEM) as session:
        leave_unnoted(session)
        await lock_master_keys(session)
        await session.execute(delete(MasterKeyRow))
        session.add(MasterKeyRow(id=fingerprint(new), recorded_at=now))
        await session.execute(
            update(Secret).where(Secret.status == Status.PUBLISHED).values(status=Status.ARCHIVED, updated_at=now)
        )
        await session.execute(update(SignInSession).values(revoked_at=now))
        await session.execute(delete(SecondFactor))
        for tenant_id, environment_id in await _environments(session):
            await _enter(session, tenant_id, environment_id)
            await forget_credentials(session)
            await forget_endpoint_secrets(session)
    if settings.secret_key is None:
        secret_file.remove(folder / secret_file.PREVIOUS)
        secret_file.promote_next(folder)


async def _environments(session: AsyncSession) -> list[tuple[str, str]]:
    rows = await session.execute(select(Environment.tenant_id, Environment.id).order_by(Environment.id))
    return [(row.tenant_id, row.id) for row in rows]


async def _enter(session: AsyncSession, tenant_id: str, environment_id: str) -> None:
    """Let this transaction go on in another environment: all of them change together, or none."""
    setting = text(
        "SELECT set_config('farthing.tenant_id', :tenant, true), "
        "set_config('farthing.environment_id', :environment, true)"
    )
    await session.execute(setting, {"tenant": tenant_id, "environment": environment_id})
