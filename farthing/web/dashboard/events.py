"""Events: the latest as they arrive, narrowed, and one event with what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from litestar import Controller, Response, get
from sqlalchemy import select
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.caller import READ
from farthing.core.errors import ValidationFailed
from farthing.core.times import read_typed_time
from farthing.events.analytics.debugger import debugged
from farthing.events.analytics.listing import COLUMNS
from farthing.events.tables import StoredEvent
from farthing.storage.postgres import scope_of
from farthing.web.access.visitors import shows, visitor_of
from farthing.web.rendering.answers import HttpRequest, render

SHOWN = 50

_EVENTS = StoredEvent.__table__


def _time(name: str, text: str) -> datetime | None:
    if not text:
        return None
    try:
        return read_typed_time(text)
    except ValueError as error:
        raise ValidationFailed.of(name, str(error)) from error


async def latest(session: AsyncSession, narrowed: dict[str, str]) -> Sequence[Row[Any]]:
    """The newest events (by their own time) that are like this. Raises ValidationFailed for a bad time."""
    query = select(*COLUMNS).where(_EVENTS.c.environment_id == scope_of(session).environment_id)
    for column, wanted in (
        (_EVENTS.c.event_name, narrowed["name"]),
        (_EVENTS.c.external_customer_id, narrowed["customer"]),
        (_EVENTS.c.source, narrowed["source"]),
    ):
        if wanted:
            query = query.where(column == wanted)
    start, end = _time("from", narrowed["from"]), _time("until", narrowed["until"])
    if start is not None:
        query = query.where(_EVENTS.c.timestamp >= start)
    if end is not None:
        query = query.where(_EVENTS.c.timestamp < end)
    query = query.order_by(_EVENTS.c.timestamp.desc(), _EVENTS.c.id.desc()).limit(SHOWN)
    return (await session.execute(query)).all()


class Events(Controller):
    """Events."""

    path = "/events"
    include_in_schema = False

    @get("/", guards=[shows("event")])
    async def tail(self, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """The latest events, which refresh themselves."""
        names = ("name", "customer", "source", "from", "until")
        narrowed = {name: request.query_params.get(name, "").strip()[:255].replace("\x00", "") for name in names}
        problem = ""
        found: Sequence[Row[Any]] = []
        try:
            found = await latest(session, narrowed)
        except ValidationFailed as error:
            problem = "; ".join(f"{field} {why}" for field, why in error.details.items())
        return render(
            request,
            "events.html",
            events=found,
            narrowed=narrowed,
            problem=problem,
            most=SHOWN,
            here=f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path,
        )

    @get("/one", guards=[shows("event")])
    async def one(self, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """One event: what it counts, what it is charged as, and where it got stuck if it did."""
        event_id = request.query_params.get("id", "").replace("\x00", "")
        found = await debugged(session, event_id)
        customer = found.event.customer_id if visitor_of(request).may(READ, "customer") else ""
        return render(
            request,
            "event.html",
            found=found,
            event=found.event,
            customer_id=customer,
            properties=msgspec.json.format(msgspec.json.encode(found.event.properties), indent=2).decode(),
            steps=_steps(found.debug_tracker),
        )


def _steps(tracker: Any) -> list[tuple[str, str, str]]:
    """Each step of the debugger: what it looked for, how it ended, and why."""
    if tracker is None:
        return []
    named = (
        ("A meter that counts it", tracker.meter_matching),
        ("Its customer", tracker.customer_lookup),
        ("A price for the meter", tracker.price_lookup),
        ("A line item that charges the price", tracker.subscription_line_item_lookup),
        ("The customer's usage", tracker.attributed_to_customer),
    )
    return [
        (label, step.status.value, step.error.message if step.error else "")
        for label, step in named
        if step is not None
    ]
