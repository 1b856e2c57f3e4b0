"""Saved views: a person keeps how a list is filtered, sorted and which columns it has, under a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import InvalidOperation, ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.storage.postgres import scope_of
from farthing.web.dashboard.lists.tables import SavedListView

MOST_VIEWS = 50
"""Of one list, by one person."""
MOST_CHARACTERS = 4_000
NAME_LENGTH = 100


async def saved_views(session: AsyncSession, user_id: str, list_key: str) -> Sequence[SavedListView]:
    """The views that a person has saved of a list, by name."""
    rows = await session.scalars(
        select(SavedListView)
        .where(SavedListView.user_id == user_id, SavedListView.list_key == list_key)
        .order_by(func.lower(SavedListView.name), SavedListView.name)
    )
    return rows.all()


async def save_view(
    session: AsyncSession, user_id: str, list_key: str, name: str, parameters: Mapping[str, str], now: datetime
) -> None:
    """Keep a view; one of the same name is replaced. Raises ValidationFailed, InvalidOperation for too many."""
    if not name or len(name) > NAME_LENGTH:
        raise ValidationFailed.of("name", f"must have 1 to {NAME_LENGTH} characters")
    if sum(len(key) + len(value) for key, value in parameters.items()) > MOST_CHARACTERS:
        raise ValidationFailed.of("parameters", "are too long to be saved; filter by less")
    scope = scope_of(session)
    row = {
        "id": new_id(Kind.SAVED_LIST_VIEW),
        "tenant_id": scope.tenant_id,
        "environment_id": scope.environment_id,
        "user_id": user_id,
        "list_key": list_key,
        "name": name,
        "parameters": dict(parameters),
        "saved_at": now,
    }
    replaced = {"parameters": row["parameters"], "saved_at": now}
    named = ["environment_id", "user_id", "list_key", "name"]
    await session.execute(
        insert(SavedListView).values(**row).on_conflict_do_update(index_elements=named, set_=replaced)
    )
    if len(await saved_views(session, user_id, list_key)) > MOST_VIEWS:
        raise InvalidOperation(f"You have {MOST_VIEWS} views of this list; delete one before you save another")


async def delete_view(session: AsyncSession, user_id: str, view_id: str) -> None:
    """Forget a view of one's own; what is gone already stays gone."""
    await session.execute(delete(SavedListView).where(SavedListView.id == view_id, SavedListView.user_id == user_id))
