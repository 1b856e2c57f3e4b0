"""Proving the store: what is stored as usage against what the stored events measure now, by meter and day."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import structlog
from sqlalchemy import Text, cast, func, literal, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.products import tables
from farthing.core.enums import Status
from farthing.core.money import EXACT, ZERO
from farthing.events.ingest.measuring import measure_events
from farthing.events.ingest.meters import MeterSet, meter_of
from farthing.events.ingest.store import stored_event
from farthing.events.tables import MeterBackfill, MeterUsage, StoredEvent
from farthing.metering.meter import Meter
from farthing.storage.postgres import scope_of

CHUNK = 5_000
DAY = timedelta(days=1)

log = structlog.get_logger(__name__)

_EVENTS = StoredEvent.__table__
_USAGE = MeterUsage.__table__


@dataclass(frozen=True, slots=True)
class UsageDifference:
    """A meter and UTC day whose stored rows are not what its events measure: numbers of rows, sums of quantities."""

    meter_id: str
    day: datetime
    stored_rows: int
    stored_sum: Decimal
    measured_rows: int
    measured_sum: Decimal


_Totals = dict[tuple[str, datetime], tuple[int, Decimal]]


async def differences(session: AsyncSession, start: datetime, end: datetime) -> list[UsageDifference]:
    """Every difference among events with a time in `[start, end)`; both should be midnights of UTC.

    Live meters whose backfill is done are compared. Use a session with one snapshot: appends go on meanwhile.
    """
    meters = await _meters(session)
    measured = await _measured(session, meters, start, end)
    stored = await _stored(session, meters, start, end)
    nothing = (0, ZERO)
    return [
        UsageDifference(*key, *stored.get(key, nothing), *measured.get(key, nothing))
        for key in sorted(stored.keys() | measured.keys())
        if stored.get(key, nothing) != measured.get(key, nothing)
    ]


async def reconcile(session: AsyncSession, now: datetime) -> int:
    """The duty: compare yesterday (UTC) and log every difference. Answers 0, for there is nothing left to do."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for difference in await differences(session, today - DAY, today):
        log.error("events.differ", **{name: str(getattr(difference, name)) for name in UsageDifference.__slots__})
    return 0


async def _meters(session: AsyncSession) -> dict[str, Meter]:
    unfinished = select(MeterBackfill.id).where(MeterBackfill.finished_at.is_(None))
    rows = await session.scalars(
        select(tables.MeterRow).where(tables.MeterRow.status == Status.PUBLISHED, tables.MeterRow.id.not_in(unfinished))
    )
    return {row.id: meter_of(row) for row in rows}


async def _measured(session: AsyncSession, meters: dict[str, Meter], start: datetime, end: datetime) -> _Totals:
    by_name: dict[str, list[Meter]] = defaultdict(list)
    for meter in meters.values():
        by_name[meter.event_name].append(meter)
    events = await session.stream(
        select(
            _EVENTS.c.id,
            _EVENTS.c.event_name,
            _EVENTS.c.external_customer_id,
            _EVENTS.c.timestamp,
            cast(_EVENTS.c.properties, Text),
            _EVENTS.c.source,
            _EVENTS.c.customer_id,
        )
        .where(
            _EVENTS.c.environment_id == scope_of(session).environment_id,
            _EVENTS.c.timestamp >= start,
            _EVENTS.c.timestamp < end,
            _EVENTS.c.event_name.in_(sorted(by_name)),
        )
        .execution_options(yield_per=CHUNK)
    )
    totals: _Totals = {}
    async for partition in events.partitions():
        stored = [stored_event(*row) for row in partition]
        measured = await measure_events(scope_of(session).environment_id, stored, MeterSet(0, by_name))
        for place, meter_id, counted in measured.counted:
            day = stored[place].timestamp.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
            rows, total = totals.get((meter_id, day), (0, ZERO))
            totals[meter_id, day] = rows + 1, EXACT.add(total, counted.quantity)
    return totals


async def _stored(session: AsyncSession, meters: dict[str, Meter], start: datetime, end: datetime) -> _Totals:
    day = func.date_trunc(literal("day", Text), _USAGE.c.timestamp, literal("UTC", Text)).label("day")
    inner = (
        select(_USAGE.c.meter_id, day, _USAGE.c.quantity)
        .where(
            _USAGE.c.environment_id == scope_of(session).environment_id,
            _USAGE.c.meter_id.in_(sorted(meters)),
            _USAGE.c.timestamp >= start,
            _USAGE.c.timestamp < end,
        )
        .subquery()
    )
    found = await session.execute(
        select(inner.c.meter_id, inner.c.day, func.count(), func.sum(inner.c.quantity)).group_by(
            inner.c.meter_id, inner.c.day
        )
    )
    return {(meter_id, day.astimezone(UTC)): (rows, total) for meter_id, day, rows, total in found}
