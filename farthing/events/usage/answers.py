"""Answering usage queries: ad-hoc, by meter, and how many events there are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.period import Period
from farthing.catalogue.products import tables
from farthing.core.clock import instant, shifted
from farthing.core.encoding.wire import json_number
from farthing.core.errors import ValidationFailed
from farthing.customers.tables import Customer
from farthing.events.ingest.meters import meter_of
from farthing.events.ports import EventPorts
from farthing.events.requests import (
    GetUsageByMeterRequest,
    GetUsageRequest,
    OnTheWall,
    SeriesSize,
    conditions_of,
    past,
    size_of,
)
from farthing.events.schemas import (
    EventMonitoringPoint,
    EventMonitoringResponse,
    GetUsageResponse,
    UsageResult,
)
from farthing.events.tables import MeterBackfill
from farthing.events.usage import adhoc, usage_query
from farthing.events.usage.cuts import Windows
from farthing.events.usage.event_store import EventSelection, store_of
from farthing.events.usage.ownership import owners_of
from farthing.events.usage.usage_statement import UsageQuery
from farthing.metering.meter import Meter
from farthing.metering.model import BucketValue, Point
from farthing.storage.postgres import ports_of
from farthing.storage.queries.rows import find, missing

MONITORED_BY_DEFAULT = timedelta(hours=24)


async def by_event_name(session: AsyncSession, request: GetUsageRequest, now: datetime) -> GetUsageResponse:
    """An ad-hoc aggregation.

    Rule: docs/rules/metering.md#ad-hoc-aggregation
    """
    start, end = request.span(now)
    meter = adhoc.meter_asked_for(request)
    size = size_of(request.window_size)
    zone = await _zone(session, request, meter, start, end)
    query = UsageQuery(
        meter,
        start,
        end,
        await _customers(session, request.external_customer_id, request.customer_id),
        customers_are_ids=not request.external_customer_id,
        properties=conditions_of("filters", request.filters),
        zone=zone,
        month_day=request.month_day(zone),
    )
    query, measured = await adhoc.answered_by(session, query)
    query = adhoc.narrowed(query, measured)
    answer = GetUsageResponse(event_name=meter.event_name, type=meter.aggregation.type)
    if query.buckets:
        answer.results = _results((await usage_query.buckets_of(session, [query], measured))[0])
        answer.value = _number((await usage_query.usage(session, query, measured)).value)
    elif size is not None:
        answer.results = _results(await usage_query.series(session, query, size, measured))
    else:
        answer.value = _number((await usage_query.usage(session, query, measured)).value)
    return answer


async def by_meter(session: AsyncSession, request: GetUsageByMeterRequest, now: datetime) -> GetUsageResponse:
    """The usage of a meter: the value and, if asked for or bucketed, the series. Raises NotFound.

    The value of a meter that never resets is that of all events before the end.
    Rule: docs/rules/metering.md#usage-by-meter
    """
    start, end = request.span(now)
    size = size_of(request.window_size)
    meter = meter_of(await find(session, tables.MeterRow, request.meter_id))
    zone = await _zone(session, request, meter, start, end)
    query = UsageQuery(
        meter,
        start,
        end,
        await _customers(session, request.external_customer_id, request.customer_id),
        customers_are_ids=not request.external_customer_id,
        properties=conditions_of("filters", request.filters),
        zone=zone,
        month_day=request.month_day(zone),
    )
    answer = GetUsageResponse(event_name=meter.event_name, type=meter.aggregation.type)
    answer.value = _number((await usage_query.since_beginning(session, query)).value)
    if size is not None:
        answer.results = _results(await usage_query.series(session, query, size))
    elif query.buckets:
        answer.results = _results((await usage_query.buckets_of(session, [query]))[0])
    return answer


async def monitoring(
    session: AsyncSession, start: datetime | None, end: datetime | None, asked: SeriesSize | None, now: datetime
) -> EventMonitoringResponse:
    """How many live events have their time in `[start, end)`, and how many running backfills still have to visit."""
    if (start is None) != (end is None):
        raise ValidationFailed.of("start_time" if start is None else "end_time", "is required with the other")
    since, until = (start, end) if start and end else (now - MONITORED_BY_DEFAULT, past(now))
    if until < since:
        raise ValidationFailed("end time must be after start time", {"end_time": "must not be before start_time"})
    size = size_of(asked)
    events = store_of(session).events
    within = EventSelection(start=since, end=until)
    answer = EventMonitoringResponse(
        total_count=await events.count(session, within),
        consumption_lag=0,
        post_processing_lag=await _left_to_visit(session),
    )
    if size is not None and answer.total_count:
        first, last = await events.span(session, within)
        if first is not None and last is not None:
            span = Period(first, shifted(last, timedelta(milliseconds=1)))
            answer.points = [
                EventMonitoringPoint(timestamp=instant(start), event_count=count)
                for start, count in await events.count_in_windows(session, Windows(size), span)
            ]
    return answer


async def _left_to_visit(session: AsyncSession) -> int:
    running = await session.scalars(select(MeterBackfill.reached).where(MeterBackfill.finished_at.is_(None)))
    count_beyond = store_of(session).events.count_beyond
    return sum([await count_beyond(session, reached) for reached in running.all()])


async def _customers(
    session: AsyncSession, external_customer_id: str | None, customer_id: str | None
) -> frozenset[str] | None:
    """Whose events are asked for; None for everybody's. Raises NotFound for an unknown customer id."""
    if external_customer_id:
        return frozenset({external_customer_id})
    if not customer_id:
        return None
    customer = await session.get(Customer, customer_id)
    if customer is None:
        raise await missing(session, Customer, customer_id)
    return frozenset({customer.id})


async def _zone(session: AsyncSession, request: OnTheWall, meter: Meter, start: datetime, end: datetime) -> ZoneInfo:
    """On whose wall windows and buckets are cut: the zone asked for, else that of the customer's invoices."""
    if request.timezone or not (request.window_size or meter.aggregation.bucket_size):
        return request.zone
    owner = request.customer_id
    if request.external_customer_id:
        owner = (await owners_of(session, {request.external_customer_id})).get(request.external_customer_id)
    if not owner:
        return request.zone
    return ZoneInfo(await ports_of(session, EventPorts).find_zone(session, owner, start, end) or "UTC")


def _results(values: Sequence[Point | BucketValue]) -> list[UsageResult] | None:
    return [UsageResult(window_size=instant(value.start), value=json_number(value.value)) for value in values] or None


def _number(value: Decimal) -> Any:
    """A value as a JSON number with all its digits; None, which is left out, for zero."""
    return json_number(value) if value else None
