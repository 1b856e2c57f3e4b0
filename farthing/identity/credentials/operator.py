"""What the operator of a deployment does with keys from the command line, across tenants."""

from __future__ import annotations

from sqlalchemy import select

from farthing.core.enums import Status
from farthing.core.errors import NotFound
from farthing.identity.credentials import keys
from farthing.identity.roles import SUPER_ADMIN
from farthing.identity.tables import Environment, Secret, SecretType, User, UserType
from farthing.settings import Settings
from farthing.storage.notices import notify
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM


async def create_key(
    database: Database, settings: Settings, name: str, environment_id: str | None, *, publishable: bool = False
) -> str:
    """A key of the oldest super admin of the environment's tenant. Raises NotFound."""
    async with database.transaction(SYSTEM) as session:
        query = select(Environment).where(Environment.status == Status.PUBLISHED).order_by(Environment.id).limit(1)
        if environment_id is not None:
            query = query.where(Environment.id == environment_id)
        environment = (await session.execute(query)).scalar_one_or_none()
        if environment is None:
            raise NotFound(f"Environment {environment_id or ''} was not found")
        people = await session.scalars(
            select(User)
            .where(
                User.tenant_id == environment.tenant_id,
                User.status == Status.PUBLISHED,
                User.type == UserType.USER,
            )
            .order_by(User.id)
        )
        owner = next((user for user in people if SUPER_ADMIN in user.roles), None)
        if owner is None:
            raise NotFound(f"Tenant {environment.tenant_id} has no super admin")
        _, key = await keys.create(
            session,
            keys.KeyHasher(settings.master_key()),
            owner=owner,
            environment_id=environment.id,
            name=name,
            type=SecretType.PUBLISHABLE_KEY if publishable else SecretType.PRIVATE_KEY,
        )
        return key


async def list_keys(database: Database) -> list[tuple[str, ...]]:
    """Id, display id, name, tenant, environment, status and expiry of every key, oldest first."""
    async with database.transaction(SYSTEM, read_only=True) as session:
        rows = await session.scalars(select(Secret).order_by(Secret.id))
        return [
            (
                row.id,
                row.display_id,
                row.name,
                row.tenant_id,
                row.environment_id,
                row.status.value,
                row.expires_at.isoformat() if row.expires_at else "",
            )
            for row in rows
        ]


async def revoke_key(database: Database, id: str) -> bool:
    """Archive a key and tell every process; False if there is none of this id."""
    async with database.transaction(SYSTEM) as session:
        secret = await session.get(Secret, id)
        if secret is None:
            return False
        secret.status = Status.ARCHIVED
        await notify(session, keys.TOPIC, secret.hash)
        return True
