"""Tenants as they see themselves.

Rule: docs/rules/identity.md#tenants
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.caller import Caller
from farthing.core.encoding.wire import checked_metadata
from farthing.core.errors import PermissionDenied
from farthing.identity.credentials import keys
from farthing.identity.tables import Tenant
from farthing.storage.queries.rows import find, lock_row


async def own(session: AsyncSession, caller: Caller, tenant_id: str) -> Tenant:
    """The caller's tenant, if that is the one asked for. Raises PermissionDenied, known or unknown alike."""
    if tenant_id != caller.tenant_id:
        raise PermissionDenied("You can only access your own tenant")
    return await find(session, Tenant, tenant_id)


async def update(
    session: AsyncSession,
    tenant_id: str,
    *,
    name: str | None,
    billing_details: Mapping[str, Any] | None,
    metadata: Mapping[str, str] | None,
) -> Tenant:
    """Change what is given; None, and an empty name, leave what is stored. Details and metadata replace."""
    tenant = await lock_row(session, Tenant, tenant_id)
    if name:
        tenant.name = name
    if billing_details is not None:
        tenant.billing_details = dict(billing_details)
    if metadata is not None:
        tenant.meta = checked_metadata(metadata)
    await session.flush()
    await keys.invalidate(session, tenant.id)
    return tenant
