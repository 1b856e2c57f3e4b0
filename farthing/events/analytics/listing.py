"""Listing raw events, by offset or by cursor.

Rule: docs/rules/metering.md#listing-of-raw-events
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Text, cast, func, select, tuple_
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import instant
from farthing.core.errors import ValidationFailed
from farthing.events import schemas
from farthing.events.requests import GetEventsRequest, conditions_of
from farthing.events.tables import StoredEvent
from farthing.events.usage.usage_statement import canonical
from farthing.storage.postgres import scope_of

DEFAULT_PAGE = 50
LARGEST_PAGE = 1000

_EVENTS = StoredEvent.__table__
COLUMNS = (
    _EVENTS.c.id,
    _EVENTS.c.external_customer_id,
    _EVENTS.c.customer_id,
    _EVENTS.c.event_name,
    _EVENTS.c.timestamp,
    _EVENTS.c.source,
    cast(_EVENTS.c.properties, Text).label("properties"),
    _EVENTS.c.environment_id,
    _EVENTS.c.ingested_at,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def events_page(session: AsyncSession, asked: GetEventsRequest, now: datetime) -> schemas.GetEventsResponse:
    """The page asked for. `end_time` itself is included, here only. Raises ValidationFailed.

    `iter_last_key` of an answer leads on in the order asked for, `iter_first_key` to what is newer than all of it.
    """
    matching = _matching(asked, scope_of(session).environment_id, now)
    total = (await session.execute(select(func.count()).select_from(_EVENTS).where(*matching))).scalar_one()
    size = min(asked.page_size, LARGEST_PAGE) if asked.page_size and asked.page_size > 0 else DEFAULT_PAGE
    cursor = asked.iter_first_key or asked.iter_last_key
    ascending = asked.order == "asc"
    newer = bool(asked.iter_first_key) or ascending
    # the nearest to a cursor come first, whatever the order asked for, so that polling leaves no gap
    forwards = newer if cursor else ascending
    key: ColumnElement[Any] = _EVENTS.c.event_name if asked.sort == "event_name" else _EVENTS.c.timestamp
    query = select(*COLUMNS).where(*matching)
    if cursor:
        field = "iter_first_key" if asked.iter_first_key else "iter_last_key"
        query = query.where(*_beyond(field, cursor, newer=newer))
    order = [key.asc(), _EVENTS.c.id.asc()] if forwards else [key.desc(), _EVENTS.c.id.desc()]
    query = query.order_by(*order).limit(size + 1)
    if not cursor:
        query = query.offset(asked.offset or 0)
    rows = list((await session.execute(query)).all())
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


def answer(row: Row[Any]) -> schemas.Event:
    """An event as it travels, from a row of `COLUMNS`."""
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


def _matching(asked: GetEventsRequest, environment_id: str, now: datetime) -> list[ColumnElement[bool]]:
    start, end = asked.span(now)
    matching = [_EVENTS.c.environment_id == environment_id, _EVENTS.c.timestamp >= start, _EVENTS.c.timestamp <= end]
    for column, value in (
        (_EVENTS.c.external_customer_id, asked.external_customer_id),
        (_EVENTS.c.event_name, asked.event_name),
        (_EVENTS.c.id, asked.event_id),
        (_EVENTS.c.source, asked.source),
    ):
        if value:
            matching.append(column == value)
    for key, values in conditions_of("property_filters", asked.property_filters):
        matching.append(canonical(_EVENTS.c.properties, key).in_(sorted(values)))
    return matching


def _beyond(field: str, cursor: str, *, newer: bool) -> list[ColumnElement[bool]]:
    """What lies on the far side of a cursor, which is the value of `field`."""
    nanoseconds, separator, event_id = cursor.partition("::")
    try:
        moment = _EPOCH + timedelta(microseconds=int(nanoseconds) // 1000)
    except (ValueError, OverflowError) as error:
        raise _bad_cursor(field) from error
    if not separator:
        raise _bad_cursor(field)
    here = tuple_(moment, event_id)
    row = tuple_(_EVENTS.c.timestamp, _EVENTS.c.id)
    if newer:
        return [row > here, _EVENTS.c.timestamp >= moment]
    return [row < here, _EVENTS.c.timestamp <= moment]


def _bad_cursor(field: str) -> ValidationFailed:
    return ValidationFailed("Invalid cursor key format", {field: "must be <unix nanoseconds>::<event id>"})


def _key(row: Row[Any]) -> str:
    microseconds = (row.timestamp - _EPOCH) // timedelta(microseconds=1)
    return f"{microseconds * 1000}::{row.id}"
