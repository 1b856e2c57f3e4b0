"""Listing raw events, by offset or by cursor.

Rule: docs/rules/metering.md#listing-of-raw-events
"""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import instant
from farthing.core.errors import ValidationFailed
from farthing.events import schemas
from farthing.events.requests import GetEventsRequest, conditions_of
from farthing.events.usage.event_store import EventOrder, EventRow, EventSelection, store_of

DEFAULT_PAGE = 50
LARGEST_PAGE = 1000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def events_page(session: AsyncSession, asked: GetEventsRequest, now: datetime) -> schemas.GetEventsResponse:
    """The page asked for. `end_time` itself is included, here only. Raises ValidationFailed.

    `iter_last_key` of an answer leads on in the order asked for, `iter_first_key` to what is newer than all of it.
    """
    events = store_of(session).events
    matching = _matching(asked, now)
    total = await events.count(session, matching)
    size = min(asked.page_size, LARGEST_PAGE) if asked.page_size and asked.page_size > 0 else DEFAULT_PAGE
    cursor = asked.iter_first_key or asked.iter_last_key
    ascending = asked.order == "asc"
    newer = bool(asked.iter_first_key) or ascending
    # the nearest to a cursor come first, whatever the order asked for, so that polling leaves no gap
    forwards = newer if cursor else ascending
    if cursor:
        field = "iter_first_key" if asked.iter_first_key else "iter_last_key"
        matching = dataclasses.replace(matching, beyond=_beyond(field, cursor), newer=newer)
    order = EventOrder(
        by_name=asked.sort == "event_name",
        ascending=forwards,
        limit=size + 1,
        offset=0 if cursor else asked.offset or 0,
    )
    rows = list(await events.select(session, matching, order))
    has_more = len(rows) > size
    rows = rows[:size]
    if forwards != ascending:
        rows.reverse()
    page = schemas.GetEventsResponse(events=[answer(row) for row in rows], has_more=has_more, total_count=total or None)
    if rows and (has_more or not cursor):
        page.iter_last_key = _key(rows[-1])
    if rows:
        page.iter_first_key = _key(rows[-1] if ascending else rows[0])
    if not cursor:
        page.offset = (asked.offset or 0) + size
    return page


def answer(row: EventRow | Row[Any]) -> schemas.Event:
    """An event as it travels, from its row or that of a former version."""
    properties: Any = msgspec.Raw(row.properties.encode())  # as stored: numbers keep their digits
    return schemas.Event(
        id=row.id,
        external_customer_id=row.external_customer_id,
        customer_id=row.customer_id,
        event_name=row.event_name,
        timestamp=instant(row.timestamp),
        source=row.source,
        properties=properties,
        environment_id=row.environment_id,
        ingested_at=instant(row.ingested_at),
    )


def _matching(asked: GetEventsRequest, now: datetime) -> EventSelection:
    start, end = asked.span(now)
    return EventSelection(
        start=start,
        until=end,
        external_customer_id=asked.external_customer_id or "",
        event_name=asked.event_name or "",
        event_id=asked.event_id or "",
        source=asked.source or "",
        properties=conditions_of("property_filters", asked.property_filters),
    )


def _beyond(field: str, cursor: str) -> tuple[datetime, str]:
    """The time and the id of a cursor, which is the value of `field`."""
    nanoseconds, separator, event_id = cursor.partition("::")
    try:
        moment = _EPOCH + timedelta(microseconds=int(nanoseconds) // 1000)
    except (ValueError, OverflowError) as error:
        raise _bad_cursor(field) from error
    if not separator:
        raise _bad_cursor(field)
    return moment, event_id


def _bad_cursor(field: str) -> ValidationFailed:
    return ValidationFailed("Invalid cursor key format", {field: "must be <unix nanoseconds>::<event id>"})


def _key(row: EventRow) -> str:
    microseconds = (row.timestamp - _EPOCH) // timedelta(microseconds=1)
    return f"{microseconds * 1000}::{row.id}"
