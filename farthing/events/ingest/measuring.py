"""Measuring events before the transaction that stores them, in slices: see `core.slices`.

What was measured says by which version of the meters; the transaction takes it only while that version stands.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from farthing.core.slices import collect
from farthing.events.ingest.meters import MeterSet
from farthing.metering.event import Event
from farthing.metering.meter import Meter
from farthing.metering.quantity import MeasuredQuantity, quantity_of

Carried = TypeVar("Carried")

Counts = Sequence[tuple[str, MeasuredQuantity]]
"""Meter ids, and what one event counts for each."""


@dataclass(frozen=True, slots=True)
class Measurements:
    """What each of several events, by its place among them, counts for the meters of `version`."""

    version: int
    counts: Mapping[int, Counts]
    metered_names: Container[str]
    """The event names that have meters at all."""


COST_AT_ONCE = 5_000
"""What is measured without further ado, in units of `metering.expression.cost_of`: a usual batch, any usual event."""

UNMEASURED = Measurements(-1, {}, frozenset())
"""What is known before the meters of an environment were read: a version that never stands."""


async def measure_events(environment_id: str, events: Sequence[Event], meters: MeterSet) -> Measurements:
    """Measure `events` by all meters of their names."""
    counts: dict[int, list[tuple[str, MeasuredQuantity]]] = {}
    steps = _by_all_meters(events, meters.by_name)
    cheap = len(events) * meters.dearest <= COST_AT_ONCE
    for found in steps if cheap else await collect(steps, environment_id):
        if found is not None:
            place, meter_id, measured = found
            counts.setdefault(place, []).append((meter_id, measured))
    return Measurements(meters.version, counts, meters.by_name)


async def measure_with(
    environment_id: str, meter: Meter, events: Iterable[tuple[Carried, Event]]
) -> list[tuple[Carried, Event, MeasuredQuantity]]:
    """Those of `events` that count for `meter`, each with what came along with it."""
    steps = ((carried, event, quantity_of(meter, event)) for carried, event in events)
    return [
        (carried, event, measured)
        for carried, event, measured in await collect(steps, environment_id)
        if measured is not None
    ]


def _by_all_meters(
    events: Sequence[Event], by_name: Mapping[str, Sequence[Meter]]
) -> Iterator[tuple[int, str, MeasuredQuantity] | None]:
    for place, event in enumerate(events):
        for meter in by_name.get(event.event_name, ()):
            measured = quantity_of(meter, event)
            yield None if measured is None else (place, meter.id, measured)
