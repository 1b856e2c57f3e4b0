"""Usage of events that nobody made a meter for: measured when asked, by the same rules, and answered by the same query.

Where a live meter measures the same thing, its rows answer; else the events of the name are read and measured.
"""

from __future__ import annotations

import dataclasses
from datetime import datetime
from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import InvalidOperation, ValidationFailed
from farthing.events.groupings import PROPERTY
from farthing.events.ingest.measuring import measure_with
from farthing.events.ingest.meters import live_meters
from farthing.events.requests import GetUsageRequest, size_of
from farthing.events.tables import MeterBackfill
from farthing.events.usage.event_store import EventSelection, event_of, store_of
from farthing.events.usage.usage_query import ownership_of
from farthing.events.usage.usage_statement import MeasuredRows, UsageQuery, owned
from farthing.metering.filters import matches
from farthing.metering.meter import Aggregation, AggregationType, Meter
from farthing.storage.postgres import scope_of

MOST_EVENTS = 1_000_000


def meter_asked_for(request: GetUsageRequest) -> Meter:
    """The meter that a request describes. Raises ValidationFailed.

    Without a property it counts, whatever type was asked for.
    """
    how = AggregationType(request.aggregation_type.value)
    if not request.property_name:
        how = AggregationType.COUNT
    elif request.multiplier is not None and how is not AggregationType.SUM_WITH_MULTIPLIER:
        raise ValidationFailed.of("multiplier", "is only allowed for SUM_WITH_MULTIPLIER")
    bucket_size = size_of(request.bucket_size)
    groups = [request.group_by_property] if request.group_by_property else []
    groups += [
        dimension.removeprefix(PROPERTY) for dimension in request.group_by or () if dimension.startswith(PROPERTY)
    ]
    try:
        aggregation = Aggregation(
            how,
            request.property_name or None if how is not AggregationType.COUNT else None,
            multiplier=request.multiplier if how is AggregationType.SUM_WITH_MULTIPLIER else None,
            bucket_size=bucket_size,
            group_by=groups[0] if groups and bucket_size and how is AggregationType.MAX else None,
        )
    except ValidationFailed as error:
        # the request's own names
        details = {name.removeprefix("aggregation."): reason for name, reason in error.details.items()}
        raise ValidationFailed(error.message, details) from error
    return Meter("", request.event_name.strip(), aggregation)


async def answered_by(session: AsyncSession, query: UsageQuery) -> tuple[UsageQuery, MeasuredRows | None]:
    """The query to ask instead, of a meter with stored rows or of rows measured now.

    Raises InvalidOperation when too many events would have to be measured.
    """
    for meter in await live_meters(session, event_names=[query.meter.event_name]):
        if meter.aggregation == query.meter.aggregation and not meter.filters and await _complete(session, meter.id):
            same = dataclasses.replace(meter, reset_usage=query.meter.reset_usage)
            return dataclasses.replace(query, meter=same), None
    return query, await _measured(session, query)


async def _complete(session: AsyncSession, meter_id: str) -> bool:
    unfinished = select(MeterBackfill.id).where(MeterBackfill.id == meter_id, MeterBackfill.finished_at.is_(None))
    return (await session.execute(unfinished)).scalar_one_or_none() is None


async def _measured(session: AsyncSession, query: UsageQuery) -> MeasuredRows:
    parts = None
    if query.customers is not None:
        parts = owned(query.customers, (await ownership_of(session, [query]))[query.customers_are_ids])
    selection = EventSelection(start=query.start, end=query.end)
    timestamps: list[datetime] = []
    sequences: list[int] = []
    quantities: list[Decimal] = []
    keys: list[str] = []
    seen = 0
    async for rows in store_of(session).events.stream(session, selection, parts, [query.meter.event_name]):
        seen += len(rows)
        if seen > MOST_EVENTS:
            raise InvalidOperation(
                "The query spans too many events to be measured at once: narrow it, or create a meter for it",
                {"most_events": MOST_EVENTS},
            )
        stored = ((row.sequence, event_of(row)) for row in rows)
        asked_for = (found for found in stored if matches(query.properties, found[1].properties))
        for sequence, event, measured in await measure_with(scope_of(session).environment_id, query.meter, asked_for):
            timestamps.append(event.timestamp)
            sequences.append(sequence)
            quantities.append(measured.quantity)
            keys.append(measured.key)
    return MeasuredRows(timestamps, sequences, quantities, keys)


def narrowed(query: UsageQuery, measured: MeasuredRows | None) -> UsageQuery:
    """The query without what the measured rows were already narrowed by."""
    return query if measured is None else dataclasses.replace(query, properties=(), customers=None)
