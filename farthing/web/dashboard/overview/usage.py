"""Usage by feature over the last days, as pages show it: one query per meter, by day in the given time zone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.windows import WindowSize
from farthing.calendar.zones import first_instant_at, to_local
from farthing.catalogue.products.tables import Feature, MeterRow
from farthing.core.enums import Status
from farthing.core.money import ZERO, exact_sum
from farthing.events.ingest.meters import meter_of
from farthing.events.usage.usage_query import series_of, usage_of
from farthing.events.usage.usage_statement import UsageQuery
from farthing.invoices.pdf.figures import grouped
from farthing.metering.meter import Aggregation, AggregationType
from farthing.metering.model import Point, Usage
from farthing.web.rendering.charts import Bar

DAYS = 30
MOST_FEATURES = 12
_UTC = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True)
class FeatureUsage:
    """What was used of one feature: the value over the whole time, and the value of each day."""

    feature: Feature
    meter: MeterRow
    total: Decimal
    events: int
    start: datetime
    end: datetime
    days: tuple[tuple[datetime, Decimal], ...]

    @property
    def unit(self) -> str:
        """What it is counted in; "" when nobody said."""
        singular, many = self.feature.unit_singular, self.feature.unit_plural
        return singular if self.total == 1 else many or singular

    @property
    def bars(self) -> list[Bar]:
        """A bar per day."""
        return [
            Bar(f"{day:%-d %b}", value, f"{day:%-d %B}: {grouped(value)} {self.unit}".rstrip())
            for day, value in self.days
        ]


async def by_feature(
    session: AsyncSession,
    customer_ids: Sequence[str] | None,
    now: datetime,
    zone: ZoneInfo = _UTC,
    *,
    days: int = DAYS,
    most: int = MOST_FEATURES,
) -> list[FeatureUsage]:
    """Usage in the last `days` days, today included, of the `most` features with most events; None is all customers."""
    today = to_local(now, zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    walls = [today - timedelta(days=back) for back in range(days - 1, -1, -1)]
    starts = [first_instant_at(moment, zone) for moment in walls]
    end = first_instant_at(today + timedelta(days=1), zone)
    return await between(session, customer_ids, starts, end, zone, most=most)


async def between(
    session: AsyncSession,
    customer_ids: Sequence[str] | None,
    starts: Sequence[datetime],
    end: datetime,
    zone: ZoneInfo,
    *,
    most: int = MOST_FEATURES,
) -> list[FeatureUsage]:
    """Usage from the first of `starts` until `end`, cut at each of them, which are midnights of `zone`.

    Of the `most` features with most events, by name.
    """
    rows = await session.execute(
        select(Feature, MeterRow)
        .join(MeterRow, MeterRow.id == Feature.meter_id)
        .where(Feature.status == Status.PUBLISHED)
        .order_by(Feature.name, Feature.id)
        .limit(MOST_FEATURES)
    )
    measured = [(feature, meter) for feature, meter in rows]
    customers = None if customer_ids is None else frozenset(customer_ids)
    queries = [
        UsageQuery(meter_of(meter), starts[0], end, customers, zone=zone, customers_are_ids=customers is not None)
        for _, meter in measured
    ]
    chosen: Sequence[int] = range(len(queries))
    if len(queries) > most:
        counts = await _event_counts(session, queries)
        chosen = sorted(sorted(chosen, key=lambda number: counts[number], reverse=True)[:most])
    points = await series_of(session, [queries[number] for number in chosen], WindowSize.DAY)
    points_of = {number: by_group.get((), []) for number, by_group in zip(chosen, points, strict=True)}
    totals = {number: _added_up(points_of[number]) for number in chosen if _adds_up(queries[number])}
    others = [number for number in chosen if number not in totals]
    totals |= zip(others, await usage_of(session, [queries[number] for number in others]), strict=True)
    found: list[FeatureUsage] = []
    for number in chosen:
        total = totals[number]
        if total.event_count or total.value:
            by_day = {point.start: point.value for point in points_of[number]}
            days = tuple((to_local(start, zone), by_day.get(start, ZERO)) for start in starts)
            found.append(FeatureUsage(*measured[number], total.value, total.event_count, starts[0], end, days))
    return found


def _adds_up(query: UsageQuery) -> bool:
    """Whether the value over the whole time is the sum of those of its days, so that it need not be measured too."""
    return query.buckets is None and query.meter.aggregation.type in {AggregationType.COUNT, AggregationType.SUM}


def _added_up(points: Sequence[Point]) -> Usage:
    return Usage(exact_sum([point.value for point in points]), sum(point.event_count for point in points))


async def _event_counts(session: AsyncSession, queries: Sequence[UsageQuery]) -> list[int]:
    """How many events each query has: one statement for all, and cheap beside sums of largest and different values."""
    counting = Aggregation(AggregationType.COUNT)
    counted = [replace(query, meter=replace(query.meter, aggregation=counting)) for query in queries]
    return [usage.event_count for usage in await usage_of(session, counted)]
