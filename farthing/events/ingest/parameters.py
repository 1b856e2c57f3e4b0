"""Parameters of the statements that store events, as PostgreSQL reads them from text.

The driver makes an array element by element; of the ten columns of a batch that costs more than to send it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from farthing.events.ingest.arrivals import Arrival
from farthing.events.ingest.contents import written
from farthing.metering.quantity import MeasuredQuantity


def as_text(value: Any) -> str | None:
    """A single value."""
    if value is None or isinstance(value, str):
        return value
    return value.isoformat() if isinstance(value, datetime) else str(value)


def text_array(values: Iterable[str | None]) -> str:
    """An array of texts."""
    return "{" + ",".join(["NULL" if value is None else quoted(value) for value in values]) + "}"


def array_of_quoted(values: Iterable[str]) -> str:
    """An array of texts that are `quoted` already."""
    return "{" + ",".join(values) + "}"


def array(values: Iterable[Any]) -> str:
    """An array of numbers or of times."""
    return "{" + ",".join([as_text(value) or "NULL" for value in values]) + "}"


def arrays(columns: Sequence[Any], measured: Sequence[Any], notice: Sequence[Any]) -> list[str]:
    """The columns of events, of what they count, and the notice of them, as the insertion of several takes them.

    The properties among them are `quoted`: of a large batch that takes long, and is done before, in slices.
    """
    places, timestamps, arrived, *texts, properties, senders = columns
    counted_places, meters, quantities, keys, errors = measured
    at, customers = notice
    return [
        array(places),
        array(timestamps),
        array(arrived),
        *map(text_array, texts),
        array_of_quoted(properties),
        array(senders),
        array(counted_places),
        text_array(meters),
        array(quantities),
        text_array(keys),
        text_array(errors),
        at.isoformat(),
        text_array(customers),
    ]


def single_row(place: int, arrival: Arrival, meter_id: str, measured: MeasuredQuantity) -> list[str | None]:
    """The same of a single event that one meter counts."""
    event, at, number = arrival.event, arrival.at.isoformat(), str(place)
    return [
        number,
        event.timestamp.isoformat(),
        at,
        event.id,
        event.external_customer_id,
        event.event_name,
        event.customer_id,
        event.source,
        written(event.properties),
        as_text(arrival.sender.id),
        number,
        meter_id,
        str(measured.quantity),
        measured.key,
        measured.quantity_error,
        at,
        text_array((event.external_customer_id,)),
    ]


def quoted(text: str) -> str:
    """A text as an element of an array."""
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
