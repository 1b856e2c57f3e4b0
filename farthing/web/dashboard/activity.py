"""The activity log: who changed what, by filters and page by page, as a file, and each entry alone."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Any

import msgspec
from litestar import Controller, Response, get
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.zones import first_instant_at, zone_or_abbreviation
from farthing.core.caller import Caller
from farthing.core.encoding.csv_table import CSV_MEDIA_TYPE, csv_bytes, inert
from farthing.core.encoding.decoding import convert
from farthing.core.encoding.file_names import content_disposition
from farthing.core.errors import FarthingError, ValidationFailed
from farthing.core.origin import ActorType
from farthing.notifications.activity.actions import known_actions, known_entity_types
from farthing.notifications.activity.reading import list_activity, read_activity
from farthing.notifications.activity.schemas import (
    MOST_LISTED,
    ActivityResponse,
    ListActivityRequest,
    ListActivityResponse,
)
from farthing.web.access.visitors import shows, visitor_of
from farthing.web.dashboard.activity_names import name_entities, person_name
from farthing.web.dashboard.choosing import actor_id_of, customer_id_of, entity_id_of
from farthing.web.dashboard.customer_names import names_of
from farthing.web.dashboard.receivables.invoices import zone_of
from farthing.web.rendering.answers import HEADERS, HttpRequest, render
from farthing.web.rendering.words.wording import reason, words

PER_PAGE = 50
MOST_EXPORTED = 20_000
"""Entries in one file; a longer log is exported in spans of time."""
_ASKED = (
    "entity_type",
    "actor_type",
    "actor_id",
    "customer_id",
    "entity_id",
    "action",
    "from",
    "to",
    "request_id",
    "cursor",
)
_COLUMNS = (
    "time",
    "action",
    "entity_type",
    "entity_id",
    "entity",
    "customer_id",
    "actor_type",
    "actor_id",
    "actor",
    "owner_id",
    "source",
    "ip",
    "request_id",
    "changes",
)


class ActivityPages(Controller):
    """The log."""

    path = "/activity"
    include_in_schema = False

    @get("/", guards=[shows("setting")])
    async def browse(self, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """All activities, narrowed, newest first."""
        caller, asked, zone = visitor_of(request).caller, _asked(request), await zone_of(session)
        problem, page = "", None
        try:
            query = await _query(session, caller, asked, zone, PER_PAGE)
            page = await list_activity(session, caller, query, with_changes=True)
            await name_entities(session, page.items)
        except FarthingError as error:
            problem = reason(error)
        return render(
            request,
            "activity.html",
            activities=[] if page is None else page.items,
            next_cursor=None if page is None else page.pagination.next_cursor,
            problem=problem,
            asked=asked,
            zone=zone,
            entity_types=[(name, words(name)) for name in sorted(known_entity_types())],
            actor_types=[(kind.value, words(kind)) for kind in ActorType],
            actions=sorted(known_actions()),
        )

    @get("/export.csv", guards=[shows("setting")])
    async def export(self, request: HttpRequest, session: AsyncSession) -> Response[bytes]:
        """The narrowed log as a file for spreadsheets, newest first. Raises ValidationFailed when it is too long."""
        caller = visitor_of(request).caller
        query = await _query(session, caller, _asked(request), await zone_of(session), MOST_LISTED)
        rows: list[list[str]] = []
        for _ in range(MOST_EXPORTED // MOST_LISTED):
            page: ListActivityResponse = await list_activity(session, caller, query, with_changes=True)
            rows.extend(_row(activity) for activity in page.items)
            query.cursor = page.pagination.next_cursor
            if query.cursor is None:
                break
        else:
            raise ValidationFailed.of("from", f"begins more than {MOST_EXPORTED:,} entries before the end; narrow it")
        headers = {**HEADERS, "content-disposition": content_disposition("attachment", "activity.csv")}
        return Response(csv_bytes(_COLUMNS, rows), media_type=CSV_MEDIA_TYPE, headers=headers)

    @get("/{activity_id:str}", guards=[shows("setting")])
    async def entry(self, activity_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """One activity: who, when, from where, what changed, and what the entity was then."""
        found = await read_activity(session, visitor_of(request).caller, activity_id)
        await name_entities(session, [found])
        customer_id, owner_id = found.customer_id, found.actor.owner_id if found.actor is not None else None
        names = await names_of(session, {customer_id} if customer_id else set())
        return render(
            request,
            "activity_entry.html",
            entry=found,
            zone=await zone_of(session),
            customer_name=names.get(customer_id or "", customer_id),
            owner_name=await person_name(session, owner_id) if owner_id else "",
        )


def _asked(request: HttpRequest) -> dict[str, str]:
    return {name: request.query_params.get(name, "").strip().replace("\x00", "")[:1000] for name in _ASKED}


async def _query(
    session: AsyncSession, caller: Caller, asked: dict[str, str], zone: str, limit: int
) -> ListActivityRequest:
    """What the address asks for, days on the wall of `zone`, the last one included; things are named as people call
    them. Raises ValidationFailed."""
    body: dict[str, Any] = {name: asked[name] for name in _ASKED if asked[name] and name not in {"from", "to"}}
    chosen = {
        "customer_id": await customer_id_of(session, asked["customer_id"], "customer_id"),
        "actor_id": await actor_id_of(session, caller, asked["actor_id"], "actor_id"),
        "entity_id": await entity_id_of(session, asked["entity_id"], "entity_id"),
    }
    body |= {name: chosen_id for name, chosen_id in chosen.items() if chosen_id}
    if "action" in body:
        body["actions"] = [body.pop("action")]
    if "actor_type" in body:
        body["actor_types"] = [body.pop("actor_type")]
    query = convert({**body, "limit": limit}, ListActivityRequest)
    query.start_time = _start_of(asked["from"], "from", zone, 0)
    query.end_time = _start_of(asked["to"], "to", zone, 1)
    if query.start_time is not None and query.end_time is not None and query.end_time <= query.start_time:
        raise ValidationFailed.of("to", "must not lie before the first day")
    return query


def _start_of(text: str, field: str, zone: str, days_later: int) -> datetime | None:
    if not text:
        return None
    try:
        day = date.fromisoformat(text) + timedelta(days=days_later)
        return first_instant_at(datetime.combine(day, time()), zone_or_abbreviation(zone))
    except (ValueError, OverflowError) as error:
        raise ValidationFailed.of(field, "must be a day like 2026-11-30") from error


def _row(activity: ActivityResponse) -> list[str]:
    actor = activity.actor
    changes = "" if activity.changes is None else msgspec.json.encode(activity.changes).decode()
    cells = [
        activity.occurred_at,
        activity.action,
        activity.entity.type,
        activity.entity.id,
        activity.entity.label,
        activity.customer_id,
        *((None,) * 4 if actor is None else (actor.type, actor.id, actor.label, actor.owner_id)),
        activity.source,
        activity.ip,
        activity.request_id,
        changes,
    ]
    return [inert(cell or "") for cell in cells]
