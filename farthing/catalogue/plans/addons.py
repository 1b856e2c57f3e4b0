"""Addons: made, relabelled, archived."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue import in_use
from farthing.catalogue.fields import require_published
from farthing.catalogue.plans.schemas import AddonQuery, CreateAddonRequest, UpdateAddonRequest
from farthing.catalogue.plans.tables import Addon
from farthing.catalogue.ports import CataloguePorts
from farthing.core.enums import Status
from farthing.core.errors import AlreadyExists, NotFound, ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.storage.postgres import ports_of
from farthing.storage.queries.listing import select_page
from farthing.storage.queries.rows import lock_row, unique

SEARCHABLE = ("id", "name", "lookup_key", "description", "status", "created_at", "updated_at")


async def create(session: AsyncSession, request: CreateAddonRequest) -> Addon:
    """Insert an addon. Raises AlreadyExists when a published addon has the key."""
    addon = Addon(
        id=new_id(Kind.ADDON),
        name=request.name,
        lookup_key=request.lookup_key,
        description=request.description or "",
        meta=request.metadata or {},
    )
    async with unique(
        session,
        uq_addons_lookup_key=AlreadyExists(
            f"An addon with the lookup key '{request.lookup_key}' exists", {"lookup_key": request.lookup_key}
        ),
    ):
        session.add(addon)
    return addon


async def by_lookup_key(session: AsyncSession, lookup_key: str) -> Addon:
    """The published addon with this key. Raises NotFound."""
    query = select(Addon).where(Addon.lookup_key == lookup_key, Addon.status == Status.PUBLISHED)
    addon = (await session.execute(query)).scalar_one_or_none()
    if addon is None:
        raise NotFound(f"Addon with lookup key '{lookup_key}' was not found", {"lookup_key": lookup_key})
    return addon


async def update(session: AsyncSession, addon_id: str, request: UpdateAddonRequest) -> Addon:
    """Change what `request` names. Raises NotFound, InvalidOperation on an archived addon."""
    addon = await lock_row(session, Addon, addon_id)
    require_published(addon)
    if request.name is not None:
        addon.name = request.name
    if request.description is not None:
        addon.description = request.description
    if request.metadata is not None:
        addon.meta = request.metadata
    await session.flush()
    return addon


async def archive(session: AsyncSession, addon_id: str) -> None:
    """Archive an addon. Raises ValidationFailed, with counts, while it is attached anywhere."""
    addon = await lock_row(session, Addon, addon_id)
    require_published(addon)
    counts = (ports_of(session, CataloguePorts).count_uses_of_addon,)
    await in_use.refuse_if_used(session, counts, Addon.label, addon.id, ValidationFailed)
    addon.status = Status.ARCHIVED
    await session.flush()


async def search(session: AsyncSession, query: AddonQuery) -> tuple[list[Addon], int]:
    """One page of addons and the count of all that match."""
    statement = select(Addon)
    if query.addon_ids:
        statement = statement.where(Addon.id.in_(query.addon_ids))
    if query.lookup_keys:
        statement = statement.where(Addon.lookup_key.in_(query.lookup_keys))
    return await select_page(session, Addon, query, SEARCHABLE, statement)
