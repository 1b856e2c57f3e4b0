"""Parameters of the statements that store events, as PostgreSQL reads them from text.

The driver makes an array element by element; of the ten columns of a batch that costs more than to send it. Here a
column is joined first and quoted as a whole, because what Python does for each element is what it takes longest for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import psycopg

from farthing.events.ingest.arrivals import Arrival
from farthing.events.ingest.contents import written
from farthing.metering.quantity import MeasuredQuantity

_BETWEEN = "\0"
"""What stands between elements until all of them are quoted: no text in the database has it."""
RUN_CHARACTERS = 64 * 1024
"""How much of a column is quoted without a pause."""


def as_text(value: Any) -> str | None:
    """A single value."""
    if value is None or isinstance(value, str):
        return value
    return value.isoformat() if isinstance(value, datetime) else str(value)


def text_array(values: Sequence[str | None]) -> str:
    """An array of texts. Raises psycopg.DataError for one that has a NUL."""
    if None in values:
        return "{" + ",".join(["NULL" if value is None else _quoted((value,)) for value in values]) + "}"
    return "{" + (_quoted(values) if values else "") + "}"  # type: ignore[arg-type]  # none of them is None


def quoted_runs(values: Iterable[str]) -> Iterator[str]:
    """The elements of an array of texts, joined to pieces that take no long time each. Raises as `text_array`."""
    run: list[str] = []
    length = 0
    for value in values:
        run.append(value)
        length += len(value)
        if length >= RUN_CHARACTERS:
            yield _quoted(run)
            run, length = [], 0
    if run:
        yield _quoted(run)


def array_of_quoted(runs: Iterable[str]) -> str:
    """An array of texts that are `quoted_runs` already."""
    return "{" + ",".join(runs) + "}"


def number_array(values: Iterable[int | Decimal | None]) -> str:
    """An array of numbers."""
    return "{" + ",".join(map(str, values)).replace("None", "NULL") + "}"


def time_array(values: Iterable[datetime]) -> str:
    """An array of times; events that came together without a time share one."""
    texts: list[str] = []
    last, text = None, ""
    for value in values:
        if value is not last:
            last, text = value, value.isoformat()
        texts.append(text)
    return "{" + ",".join(texts) + "}"


def arrays(columns: Sequence[Any], measured: Sequence[Any], notice: Sequence[Any]) -> list[str]:
    """The columns of events, of what they count, and the notice of them, as the insertion of several takes them.

    The properties among them are `quoted_runs`: of a large batch that takes long, and is done before, in slices.
    """
    places, timestamps, arrived, *texts, properties, senders = columns
    counted_places, meters, quantities, keys, errors = measured
    at, customers = notice
    return [
        number_array(places),
        time_array(timestamps),
        time_array(arrived),
        *map(text_array, texts),
        array_of_quoted(properties),
        number_array(senders),
        number_array(counted_places),
        text_array(meters),
        number_array(quantities),
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


def _quoted(texts: Sequence[str]) -> str:
    """Texts as elements of an array."""
    joined = _BETWEEN.join(texts)
    if joined.count(_BETWEEN) >= len(texts):
        raise psycopg.DataError("a text has a NUL, which PostgreSQL cannot store")
    if "\\" in joined:
        joined = joined.replace("\\", "\\\\")
    if '"' in joined:
        joined = joined.replace('"', '\\"')
    return '"' + joined.replace(_BETWEEN, '","') + '"'
