"""Environments: the separate books of one tenant.

Rule: docs/rules/identity.md#environments
"""

from __future__ import annotations

from collections.abc import Set

from sqlalchemy import Select, exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.enums import Status
from farthing.core.errors import NotFound, PermissionDenied, ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.identity.credentials import keys
from farthing.identity.settings import current
from farthing.identity.settings.catalogue import TenantConfig
from farthing.identity.tables import Environment, EnvironmentType, Tenant
from farthing.storage.postgres import Database
from farthing.storage.queries.rows import find, lock_row
from farthing.storage.scope import SYSTEM

SEARCHABLE = ("id", "name", "type", "status", "created_at", "updated_at", "created_by", "updated_by")

Allowed = Set[str] | None
"""The environments a caller may enter by the deployment's list; None when it is not listed and may enter all."""


async def create(session: AsyncSession, tenant_id: str, name: str, type: EnvironmentType) -> Environment:
    """A new environment within the tenant's limit for its type. Raises ValidationFailed."""
    # the count stays true until the commit, because every other creation waits here
    await lock_row(session, Tenant, tenant_id)
    limits = await current.read(session, TenantConfig)
    limit = limits.production if type == EnvironmentType.PRODUCTION else limits.development
    count = await session.scalar(
        select(func.count()).where(
            Environment.tenant_id == tenant_id, Environment.type == type, Environment.status == Status.PUBLISHED
        )
    )
    if (count or 0) >= limit:
        raise ValidationFailed.of("type", f"the tenant may have at most {limit} environments of type {type.value}")
    environment = Environment(id=new_id(Kind.ENVIRONMENT), tenant_id=tenant_id, name=name, type=type)
    session.add(environment)
    await session.flush()
    return environment


def visible(tenant_id: str, allowed: Allowed) -> Select[Environment]:
    """All environments of the tenant that the caller may enter."""
    statement = select(Environment).where(Environment.tenant_id == tenant_id)
    return statement if allowed is None else statement.where(Environment.id.in_(allowed))


async def one(session: AsyncSession, environment_id: str, allowed: Allowed) -> Environment:
    """The environment with this id. Raises NotFound, or PermissionDenied when it is not on the caller's list."""
    environment = await find(session, Environment, environment_id)
    _admit(environment, allowed)
    return environment


async def has_others(session: AsyncSession, tenant_id: str, environment_id: str) -> bool:
    """Whether the tenant has an environment beside this one."""
    others = exists().where(
        Environment.tenant_id == tenant_id, Environment.id != environment_id, Environment.status == Status.PUBLISHED
    )
    return bool(await session.scalar(select(others)))


async def live_environments(database: Database, environment_id: str | None) -> list[Environment]:
    """The live environments of all tenants, or the one asked for: what a command is done in. Raises NotFound."""
    query = select(Environment).where(Environment.status == Status.PUBLISHED).order_by(Environment.id)
    if environment_id is not None:
        query = query.where(Environment.id == environment_id)
    async with database.transaction(SYSTEM, read_only=True) as session:
        found = list(await session.scalars(query))
    if environment_id is not None and not found:
        raise NotFound(f"There is no environment {environment_id}", {"environment_id": environment_id})
    return found


async def update(
    session: AsyncSession, environment_id: str, allowed: Allowed, *, name: str | None, type: EnvironmentType | None
) -> Environment:
    """Rename an environment; its type is for ever, because its limit was checked when it was made."""
    environment = await lock_row(session, Environment, environment_id)
    _admit(environment, allowed)
    if type is not None and type != environment.type:
        raise ValidationFailed.of("type", f"cannot be changed from {environment.type.value}")
    if name is not None:
        environment.name = name
    await session.flush()
    await keys.invalidate(session, environment.id)
    return environment


def _admit(environment: Environment, allowed: Allowed) -> None:
    if allowed is not None and environment.id not in allowed:
        raise PermissionDenied("You don't have access to this environment")
