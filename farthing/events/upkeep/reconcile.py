"""Proving the store: what is stored as usage against what the stored events measure now, by meter and day."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.products import tables
from farthing.core.enums import Status
from farthing.core.money import EXACT, ZERO
from farthing.events.ingest.measuring import measure_events
from farthing.events.ingest.meters import MeterSet, meter_of
from farthing.events.tables import MeterBackfill
from farthing.events.usage.event_store import EventSelection, Totals, event_of, store_of
from farthing.metering.meter import Meter
from farthing.storage.postgres import scope_of

DAY = timedelta(days=1)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class UsageDifference:
    """A meter and UTC day whose stored rows are not what its events measure: numbers of rows, sums of quantities."""

    meter_id: str
    day: datetime
    stored_rows: int
    stored_sum: Decimal
    measured_rows: int
    measured_sum: Decimal


async def differences(session: AsyncSession, start: datetime, end: datetime) -> list[UsageDifference]:
    """Every difference among events with a time in `[start, end)`; both should be midnights of UTC.

    Live meters whose backfill is done are compared. Use a session with one snapshot: appends go on meanwhile.
    """
    meters = await _meters(session)
    measured = await _measured(session, meters, start, end)
    stored = await store_of(session).upkeep.totals(session, sorted(meters), start, end)
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


async def _measured(session: AsyncSession, meters: dict[str, Meter], start: datetime, end: datetime) -> Totals:
    by_name: dict[str, list[Meter]] = defaultdict(list)
    for meter in meters.values():
        by_name[meter.event_name].append(meter)
    totals: Totals = {}
    selection = EventSelection(start=start, end=end)
    async for rows in store_of(session).events.stream(session, selection, None, sorted(by_name)):
        stored = [event_of(row) for row in rows]
        measured = await measure_events(scope_of(session).environment_id, stored, MeterSet(0, by_name))
        for place, meter_id, counted in measured.counted:
            day = stored[place].timestamp.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
            count, total = totals.get((meter_id, day), (0, ZERO))
            totals[meter_id, day] = count + 1, EXACT.add(total, counted.quantity)
    return totals
