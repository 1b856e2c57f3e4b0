"""Reading the log: by filters, newest first, page by page, without skipping or repeating while rows are added.

Rule: docs/rules/activity.md#reading-the-log
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Row, Select, func, select, text, tuple_, union_all
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.caller import Caller
from farthing.core.encoding.wire import as_wire
from farthing.core.errors import NotFound, ValidationFailed
from farthing.core.origin import ActorType
from farthing.identity.credentials.api_keys import hidden_among
from farthing.notifications.activity.schemas import (
    ActivityActor,
    ActivityEntity,
    ActivityPagination,
    ActivityResponse,
    ListActivityRequest,
    ListActivityResponse,
)
from farthing.storage.postgres import scope_of
from farthing.storage.queries.changes import bounded_state
from farthing.storage.record.activities import entity_in
from farthing.storage.record.outbox import SystemEvent

_KEY = "api_key"
"""What keys are called as entities."""
_OWN_ID = re.compile(r"_[0-9A-HJKMNP-TV-Z]{26}$")
"""How ids of users, keys and customers end; those of duties do not."""
_ALWAYS = (
    SystemEvent.id,
    SystemEvent.event_name,
    SystemEvent.entity_type,
    SystemEvent.entity_id,
    SystemEvent.entity_label,
    SystemEvent.customer_id,
    SystemEvent.actor_type,
    SystemEvent.actor_id,
    SystemEvent.actor_label,
    SystemEvent.owner_id,
    SystemEvent.source,
    SystemEvent.request_id,
    SystemEvent.ip,
    SystemEvent.user_agent,
    SystemEvent.created_at,
    SystemEvent.changes,
)
_EXPANDED = (SystemEvent.payload, SystemEvent.state)
_CURRENCY = func.coalesce(
    SystemEvent.state["currency"].as_string(),
    func.jsonb_path_query_first(SystemEvent.payload, text("'$.*.currency'")).op("#>>")(text("'{}'")),
).label("currency")
"""Of the entity's amounts: whole states are too large to read them for a page of changes."""


class _Cursor(msgspec.Struct):
    """Where a page ended, and of which query."""

    at: datetime
    id: str
    query: str


async def list_activity(
    session: AsyncSession, caller: Caller, query: ListActivityRequest, *, with_changes: bool = False
) -> ListActivityResponse:
    """One page of the log as the caller may read it; `with_changes` says what changed also without states.

    Raises ValidationFailed for a cursor that is not of this query.
    """
    conditions = _conditions(query)
    if query.cursor:
        cursor = _read_cursor(query)
        conditions.append(tuple_(SystemEvent.created_at, SystemEvent.id) < (cursor.at, cursor.id))
    columns: tuple[Any, ...] = (*_ALWAYS, *_EXPANDED) if query.with_state else _ALWAYS
    if with_changes:
        columns = (*columns, _CURRENCY)
    wanted = query.page_size + 1
    # each part is read in order from an index of its own, and only as far as the page goes
    parts = [
        _newest(select(*columns).where(*conditions, *of_actor, SystemEvent.environment_id == owner), wanted)
        for owner in _owners(session)
        for of_actor in _actor_conditions(query.actor_id)
    ]
    page = union_all(*(select(part.subquery()) for part in parts)).subquery()
    statement = select(page).order_by(page.c.created_at.desc(), page.c.id.desc()).limit(wanted)
    rows: Sequence[Row[Any]] = (await session.execute(statement)).all()
    shown, has_more = rows[: query.page_size], len(rows) > query.page_size
    next_cursor = _written(_Cursor(shown[-1].created_at, shown[-1].id, _digest(query))) if has_more else None
    pagination = ActivityPagination(limit=query.page_size, has_more=has_more, next_cursor=next_cursor)
    items = [_shown(row, query, with_changes=with_changes) for row in shown]
    await _hide_keys(session, caller, items)
    return ListActivityResponse(items=items, pagination=pagination)


def _shown(row: Row[Any], query: ListActivityRequest, *, with_changes: bool) -> ActivityResponse:
    activity = shown_activity(row, with_state=query.with_state)
    if with_changes:
        activity.changes, activity.currency = row.changes, row.currency
    return activity


def _newest(statement: Select[Any], most: int) -> Select[Any]:
    return statement.order_by(SystemEvent.created_at.desc(), SystemEvent.id.desc()).limit(most)


async def read_activity(session: AsyncSession, caller: Caller, id: str) -> ActivityResponse:
    """One activity as the caller may read it, with the entity's state and what changed. Raises NotFound."""
    statement = select(*_ALWAYS, *_EXPANDED).where(
        SystemEvent.id == id, SystemEvent.environment_id.in_(_owners(session)), ~SystemEvent.is_echo
    )
    row = (await session.execute(statement)).one_or_none()
    if row is None:
        raise NotFound(f"Activity with ID {id} was not found", {"activity_id": id})
    activity = shown_activity(row, with_state=True)
    await _hide_keys(session, caller, [activity])
    return activity


async def _hide_keys(session: AsyncSession, caller: Caller, activities: Sequence[ActivityResponse]) -> None:
    """Leave of keys that the caller may not list what happened, their ids and their owners: no name, no state."""
    actors = [activity.actor for activity in activities if activity.actor is not None]
    changed_keys = [activity for activity in activities if activity.entity.type == _KEY]
    ids = {actor.id for actor in actors if actor.type == ActorType.API_KEY}
    hidden = await hidden_among(session, caller, ids | {activity.entity.id for activity in changed_keys})
    for actor in actors:
        if actor.id in hidden:
            actor.label = actor.id
    for activity in changed_keys:
        if activity.entity.id in hidden:
            activity.entity.label = activity.entity.id
            activity.state = None if activity.state is None else {}
            activity.changes = None


def _owners(session: AsyncSession) -> tuple[str, str]:
    """Whose rows are read: the environment's, and those of the tenant that belong to no environment."""
    scope = scope_of(session)
    return scope.environment_id, scope.tenant_id


def shown_activity(row: Row[Any], *, with_state: bool) -> ActivityResponse:
    """An activity as it travels."""
    answer = ActivityResponse(
        id=row.id,
        action=row.event_name,
        entity=ActivityEntity(id=row.entity_id, label=row.entity_label or row.entity_id, type=row.entity_type),
        customer_id=row.customer_id,
        source=row.source,
        ip=row.ip,
        user_agent=row.user_agent,
        request_id=row.request_id,
        occurred_at=as_wire(row.created_at),
    )
    if row.actor_type is not None:
        answer.actor = ActivityActor(id=row.actor_id, label=row.actor_label, type=row.actor_type, owner_id=row.owner_id)
    if with_state:
        answer.state = row.state if row.payload is None else bounded_state(entity_in(row.payload))
        answer.state = answer.state or {}
        answer.changes = row.changes
        code = answer.state.get("currency")
        answer.currency = code if isinstance(code, str) else None
    return answer


def _conditions(query: ListActivityRequest) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [~SystemEvent.is_echo]
    for column, value in (
        (SystemEvent.customer_id, query.customer_id),
        (SystemEvent.entity_type, query.entity_type),
        (SystemEvent.entity_id, query.entity_id),
        (SystemEvent.request_id, query.request_id),
    ):
        if value:
            conditions.append(column == value)
    if query.actions:
        conditions.append(SystemEvent.event_name.in_(query.actions))
    if query.actor_types:
        conditions.append(SystemEvent.actor_type.in_(query.actor_types))
    if query.start_time is not None:
        conditions.append(SystemEvent.created_at >= query.start_time)
    if query.end_time is not None:
        conditions.append(SystemEvent.created_at < query.end_time)
    return conditions


def _actor_conditions(actor_id: str | None) -> Sequence[tuple[ColumnElement[bool], ...]]:
    """How somebody's doings are found: what he did himself, and what was done with his keys."""
    if not actor_id:
        return ((),)
    himself = SystemEvent.actor_id == actor_id
    through_keys = (SystemEvent.owner_id == actor_id,)
    if _OWN_ID.search(actor_id):
        return ((himself, SystemEvent.actor_type != "system"), through_keys)
    return ((himself,), through_keys)


def _digest(query: ListActivityRequest) -> str:
    asked = msgspec.structs.asdict(query)
    kept = {name: value for name, value in asked.items() if name not in ("cursor", "limit", "expand") and value}
    return hashlib.sha256(msgspec.json.encode(kept, order="sorted")).hexdigest()[:16]


def _written(cursor: _Cursor) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode().rstrip("=")


def _read_cursor(query: ListActivityRequest) -> _Cursor:
    assert query.cursor
    padded = query.cursor + "=" * (-len(query.cursor) % 4)
    try:
        cursor = msgspec.json.decode(base64.urlsafe_b64decode(padded.encode("ascii")), type=_Cursor)
    except (ValueError, binascii.Error, msgspec.DecodeError) as error:
        raise ValidationFailed.of("cursor", "is not one that this list gave out") from error
    if cursor.at.tzinfo is None or "\x00" in cursor.id:
        raise ValidationFailed.of("cursor", "is not one that this list gave out")
    if cursor.query != _digest(query):
        raise ValidationFailed.of("cursor", "belongs to a query with other conditions; begin again without it")
    return cursor
