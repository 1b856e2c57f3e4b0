"""The meters of an environment as appends use them: decoded once, remembered as long as their version stands."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import TupleRow
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.windows import WindowSize
from farthing.catalogue.products import tables
from farthing.core.enums import Status
from farthing.metering.filters import Filter
from farthing.metering.meter import Aggregation, AggregationType, Meter, ResetUsage

MOST_ENVIRONMENTS = 1000

_COLUMNS = (
    "id, event_name, aggregation_type, field, expression, multiplier, bucket_size, group_by, filters, reset_usage"
)
_LIVE = f"SELECT {_COLUMNS} FROM meters WHERE environment_id = %s AND status = 'published'"


@dataclass(frozen=True, slots=True)
class MeterSet:
    """The live meters of one environment by event name, as of one version."""

    version: int
    by_name: Mapping[str, Sequence[Meter]]
    dearest: int = dataclasses.field(init=False)
    """What measuring one event costs at most, in units of `metering.expression.cost_of`."""

    def __post_init__(self) -> None:
        costs = (sum(meter.cost for meter in meters) for meters in self.by_name.values())
        object.__setattr__(self, "dearest", max(costs, default=0))


class MeterMemory:
    """What this process remembers of environments' meters; the longest unused is dropped first."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, MeterSet] = OrderedDict()
        self.filtering: set[str] = set()
        """Environments whose ingestion filter was on when they were last written to."""

    def known(self, environment_id: str) -> MeterSet | None:
        """The meters last read, of whatever version; None when they are not remembered."""
        return self._known.get(environment_id)

    async def at(self, connection: psycopg.AsyncConnection[TupleRow], environment_id: str, version: int) -> MeterSet:
        """The meters of `version`, read in the connection's transaction unless they are remembered."""
        known = self._known.get(environment_id)
        if known is not None and known.version == version:
            self._known.move_to_end(environment_id)
            return known
        cursor = await connection.execute(_LIVE, (environment_id,))
        known = MeterSet(version, _by_name(_decoded(*row) for row in await cursor.fetchall()))
        self._known[environment_id] = known
        if len(self._known) > MOST_ENVIRONMENTS:
            self._known.popitem(last=False)
        return known


def meter_of(row: tables.MeterRow) -> Meter:
    """A stored meter as the value that measures."""
    return _decoded(
        row.id,
        row.event_name,
        row.aggregation_type,
        row.field,
        row.expression,
        row.multiplier,
        row.bucket_size,
        row.group_by,
        row.filters,
        row.reset_usage,
    )


async def live_meters(session: AsyncSession, *, event_names: Iterable[str]) -> list[Meter]:
    """The live meters of these event names."""
    rows = await session.scalars(
        select(tables.MeterRow).where(
            tables.MeterRow.event_name.in_(list(event_names)), tables.MeterRow.status == Status.PUBLISHED
        )
    )
    return [meter_of(row) for row in rows]


def _by_name(meters: Iterable[Meter]) -> Mapping[str, Sequence[Meter]]:
    found: dict[str, list[Meter]] = defaultdict(list)
    for meter in meters:
        found[meter.event_name].append(meter)
    return dict(found)


def _decoded(
    id: str,
    event_name: str,
    aggregation_type: str,
    field: str | None,
    expression: str | None,
    multiplier: Any,
    bucket_size: str | None,
    group_by: str | None,
    filters: list[Any],
    reset_usage: str,
) -> Meter:
    return Meter(
        id,
        event_name,
        Aggregation(
            AggregationType(aggregation_type),
            field or None,
            expression or None,
            multiplier,
            WindowSize(bucket_size) if bucket_size else None,
            group_by or None,
        ),
        tuple(Filter(condition["key"], tuple(condition["values"])) for condition in filters),
        ResetUsage(reset_usage),
    )
