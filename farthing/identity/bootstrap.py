"""The first start: a tenant, an environment, its owner and an API key, made once."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.enums import Status
from farthing.core.ids import Kind, new_id
from farthing.identity.credentials import keys
from farthing.identity.roles import SUPER_ADMIN
from farthing.identity.tables import Environment, EnvironmentType, Tenant, User, UserType
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM

_LOCK = 0x46_61_72_75
OWNER_EMAIL = "owner@farthing.local"
SANDBOX = "Sandbox"


@dataclass(frozen=True, slots=True)
class FirstStart:
    """What the first start made; the key is shown here and never again."""

    tenant_id: str
    environment_id: str
    user_id: str
    api_key: str


async def new_tenant(
    session: AsyncSession,
    *,
    name: str,
    email: str,
    password_hash: str | None = None,
    metadata: dict[str, str] | None = None,
) -> tuple[Tenant, User, Environment]:
    """A tenant with its owner and a sandbox, flushed. The email's uniqueness is the database's to refuse."""
    tenant = Tenant(id=new_id(Kind.TENANT), name=name)
    owner = User(
        id=new_id(Kind.USER),
        tenant_id=tenant.id,
        email=email,
        type=UserType.USER,
        roles=[SUPER_ADMIN],
        password_hash=password_hash,
        meta=metadata or {},
    )
    environment = Environment(
        id=new_id(Kind.ENVIRONMENT), tenant_id=tenant.id, name=SANDBOX, type=EnvironmentType.DEVELOPMENT
    )
    session.add_all([tenant, owner, environment])
    await session.flush()
    return tenant, owner, environment


async def first_start(database: Database, settings: Settings) -> FirstStart | None:
    """Make the first tenant if there is none; many processes may call it at once, one does it.

    A bootstrap key from the configuration is stored instead of a random one. None when a tenant was there already.
    """
    async with database.transaction(SYSTEM) as session:
        await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        if (await session.execute(select(Tenant.id).where(Tenant.status == Status.PUBLISHED).limit(1))).first():
            return None
        tenant, owner, environment = await new_tenant(session, name=settings.default_tenant_name, email=OWNER_EMAIL)
        _, key = await keys.create(
            session,
            keys.KeyHasher(settings.master_key()),
            owner=owner,
            environment_id=environment.id,
            name="First key",
            key=settings.bootstrap_api_key,
        )
        return FirstStart(tenant.id, environment.id, owner.id, key)
