"""Groups: headings that prices and features carry the id of."""

from __future__ import annotations

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.fields import require_published
from farthing.catalogue.ports import CataloguePorts
from farthing.catalogue.products.enums import GroupEntityType
from farthing.catalogue.products.schemas import CreateGroupRequest, GroupQuery
from farthing.catalogue.products.tables import Feature, GroupRow
from farthing.core.enums import Status
from farthing.core.errors import AlreadyExists, ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.storage.postgres import ports_of
from farthing.storage.queries.listing import select_page
from farthing.storage.queries.rows import lock_row, unique

SEARCHABLE = ("id", "name", "entity_type", "lookup_key", "status", "created_at", "updated_at")


async def create(session: AsyncSession, request: CreateGroupRequest) -> GroupRow:
    """Insert a group. Raises AlreadyExists when a published group has the key."""
    group = GroupRow(
        id=new_id(Kind.GROUP),
        name=request.name,
        entity_type=request.entity_type,
        lookup_key=request.lookup_key,
        meta={},
    )
    async with unique(
        session,
        uq_groups_lookup_key=AlreadyExists(
            f"A group with the lookup key '{request.lookup_key}' exists", {"lookup_key": request.lookup_key}
        ),
    ):
        session.add(group)
    return group


async def lock_group_for_member(
    session: AsyncSession, group_id: str | None, entity_type: GroupEntityType
) -> str | None:
    """The id of a group that rows of `entity_type` may join, held against deletion; "" and None are no group.

    Raises ValidationFailed unless it is published and of that type.
    """
    if not group_id:
        return None
    query = select(GroupRow).where(GroupRow.id == group_id, GroupRow.status == Status.PUBLISHED)
    group = (await session.execute(query.with_for_update(read=True))).scalar_one_or_none()
    if group is None:
        raise ValidationFailed.of("group_id", f"there is no group '{group_id}'")
    if group.entity_type is not entity_type:
        raise ValidationFailed.of("group_id", f"group '{group_id}' is for entities of type {group.entity_type}")
    return group.id


async def archive(session: AsyncSession, group_id: str) -> None:
    """Archive a group; its members belong to none from now on. Raises NotFound, InvalidOperation on an archived one."""
    group = await lock_row(session, GroupRow, group_id)
    require_published(group)
    group.status = Status.ARCHIVED
    await session.flush()
    await session.execute(update(Feature).where(Feature.group_id == group_id).values(group_id=None))
    await ports_of(session, CataloguePorts).let_prices_leave_group(session, group_id)


async def search(session: AsyncSession, query: GroupQuery) -> tuple[list[GroupRow], int]:
    """One page of groups and the count of all that match."""
    statement = select(GroupRow)
    if query.entity_type:
        statement = statement.where(GroupRow.entity_type == query.entity_type)
    if query.group_ids:
        statement = statement.where(GroupRow.id.in_(query.group_ids))
    if query.lookup_key:
        statement = statement.where(GroupRow.lookup_key == query.lookup_key)
    if query.name:
        statement = statement.where(GroupRow.name == query.name)
    return await select_page(session, GroupRow, query, SEARCHABLE, statement)
