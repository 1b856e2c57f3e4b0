"""Measuring events before the transaction that stores them, in slices: see `core.event_loop.slices`.

What was measured says by which version of the meters; the transaction takes it only while that version stands.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import msgspec

from farthing.core.event_loop.slices import collect
from farthing.events.ingest.meters import MeterSet
from farthing.metering.event import UsageEvent
from farthing.metering.meter import Meter
from farthing.metering.quantity import MeasuredQuantity, quantity_of

Carried = TypeVar("Carried")

Counted = tuple[int, str, MeasuredQuantity]
"""An event, by its place among several; a meter's id; and what the event counts for it."""


class Measurements(msgspec.Struct, frozen=True):
    """What several events count for the meters of `version`."""

    version: int
    counted: Sequence[Counted]
    metered_names: Container[str]
    """The event names that have meters at all."""


COST_AT_ONCE = 5_000
"""What is measured without further ado, in units of `metering.expression.cost_of`: a usual batch, any usual event."""

UNMEASURED = Measurements(-1, (), frozenset())
"""What is known before the meters of an environment were read: a version that never stands."""


def measure_if_cheap(events: Sequence[UsageEvent], meters: MeterSet) -> Measurements | None:
    """Measure `events` by all meters of their names at once; None when that could hold others up."""
    if len(events) * meters.dearest > COST_AT_ONCE:
        return None
    by_name = meters.by_name
    counted = [
        (place, meter.id, measured)
        for place, event in enumerate(events)
        for meter in by_name.get(event.event_name, ())
        if (measured := quantity_of(meter, event)) is not None
    ]
    return Measurements(meters.version, counted, by_name)


async def measure_events(environment_id: str, events: Sequence[UsageEvent], meters: MeterSet) -> Measurements:
    """Measure `events` by all meters of their names, in slices if that takes long."""
    measured = measure_if_cheap(events, meters)
    if measured is not None:
        return measured
    found = await collect(_by_all_meters(events, meters.by_name), environment_id)
    return Measurements(meters.version, [counted for counted in found if counted is not None], meters.by_name)


async def measure_with(
    environment_id: str, meter: Meter, events: Iterable[tuple[Carried, UsageEvent]]
) -> list[tuple[Carried, UsageEvent, MeasuredQuantity]]:
    """Those of `events` that count for `meter`, each with what came along with it."""
    steps = ((carried, event, quantity_of(meter, event)) for carried, event in events)
    return [
        (carried, event, measured)
        for carried, event, measured in await collect(steps, environment_id)
        if measured is not None
    ]


def _by_all_meters(events: Sequence[UsageEvent], by_name: Mapping[str, Sequence[Meter]]) -> Iterator[Counted | None]:
    """A step for each event and meter, also where nothing is counted: each takes its time."""
    for place, event in enumerate(events):
        for meter in by_name.get(event.event_name, ()):
            measured = quantity_of(meter, event)
            yield None if measured is None else (place, meter.id, measured)
