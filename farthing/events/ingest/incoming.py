"""Events as clients send them: everything that can be wrong with one is found here, before anything is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from farthing.calendar.billing import add_months
from farthing.core.caller import RequestTerms
from farthing.core.clock import FIRST_INSTANT, LAST_INSTANT, instant
from farthing.core.encoding.decoding import UNREADABLE, json_decoder, unreadable
from farthing.core.encoding.shapes import below, shape_of, unknown_paths
from farthing.core.encoding.times import Moment
from farthing.core.encoding.wire import BadField
from farthing.core.errors import ValidationFailed
from farthing.core.event_loop.slices import collect
from farthing.core.ids import Kind, new_ids, stable_id
from farthing.events.ingest.arrivals import Arrival, Sender
from farthing.events.ingest.contents import to_milliseconds
from farthing.metering.canonical import json_number
from farthing.metering.event import UsageEvent

MOST_IN_BULK = 1000
LARGEST_EVENT_BYTES = 256 * 1024
LONGEST_NAME = 255
READ_AT_ONCE_BYTES = 1024 * 1024

_NO_TIME = FIRST_INSTANT
_NUL = b"\\u0000"
_MOST_UNKNOWN = 20
"""How many unknown fields of a request are looked for."""

Struct = TypeVar("Struct", bound=msgspec.Struct)


class IngestEventRequest(msgspec.Struct, kw_only=True):
    """One event. `event_id` is its idempotency key; `timestamp` defaults to the time of arrival."""

    event_name: str
    external_customer_id: str
    event_id: str | None = None
    customer_id: str | None = None
    timestamp: Moment | None = None
    source: str | None = None
    properties: dict[str, Any] | None = None

    def unknown_fields(self, body: bytes) -> list[str]:
        """Paths of what `body`, which was read into this, has and no event has."""
        return [] if isinstance(self, _KnownEvent) else unknown_paths(body, _EVENT, _MOST_UNKNOWN)

    @classmethod
    def from_json(cls, body: bytes) -> IngestEventRequest:
        """Read one event with exact numbers. Raises ValidationFailed."""
        if len(body) > LARGEST_EVENT_BYTES:
            raise ValidationFailed.of("event", _TOO_LARGE)
        return _read(IngestEventRequest, body)


class BulkIngestEventRequest(msgspec.Struct, kw_only=True):
    """1 to 1000 events, accepted together or not at all."""

    events: list[IngestEventRequest]

    def unknown_fields(self, body: bytes) -> list[str]:
        """Paths of what `body`, which was read into this, has and no event has, as far as it was read."""
        return [] if isinstance(self, _KnownBatch) else unknown_paths(body, _BATCH, _MOST_UNKNOWN)

    def unknown_fields_read_later(self) -> list[str]:
        """The same of what `read` has read."""
        return []

    async def read(self, owner: str) -> Sequence[IngestEventRequest]:
        """The events; `owner` is whose turn reading takes. Raises ValidationFailed."""
        return self.events

    @classmethod
    def from_json(cls, body: bytes) -> BulkIngestEventRequest:
        """Read all events; when some cannot be read, say of each what is wrong. Raises ValidationFailed."""
        if len(body) > READ_AT_ONCE_BYTES and (pieces := _pieces(body)):
            if len(pieces) > MOST_IN_BULK:
                raise ValidationFailed.of("events", _COUNT)
            return LargeBatch(events=[], pieces=pieces)
        problems = _too_large(body) if len(body) > LARGEST_EVENT_BYTES else []
        try:
            read = _read(BulkIngestEventRequest, body)
        except ValidationFailed as error:
            found = _unreadable(body)
            raise (_refused(found) if found else error) from error
        if not 1 <= len(read.events) <= MOST_IN_BULK:
            raise ValidationFailed.of("events", _COUNT)
        if problems:
            raise _refused(problems)
        return read


class LargeBatch(BulkIngestEventRequest):
    """A batch whose events are still to be read, one by one, so that other requests are served meanwhile."""

    pieces: list[msgspec.Raw]
    unknown: list[str] = []

    def unknown_fields(self, body: bytes) -> list[str]:
        """Nothing yet: the events are still to be read."""
        return []

    def unknown_fields_read_later(self) -> list[str]:
        return self.unknown

    async def read(self, owner: str) -> Sequence[IngestEventRequest]:
        """As above; names every event that cannot be read."""
        read = await collect(map(_read_piece, range(len(self.pieces)), self.pieces), owner)
        problems = [problem for event in read if isinstance(event, list) for problem in event]
        if problems:
            raise _refused(problems)
        events = [event for event in read if isinstance(event, IngestEventRequest)]
        self.unknown = self._unknown_of(events)
        return events

    def _unknown_of(self, events: Sequence[IngestEventRequest]) -> list[str]:
        unknown: list[str] = []
        for index, (event, piece) in enumerate(zip(events, self.pieces, strict=True)):
            if len(unknown) >= _MOST_UNKNOWN:
                break
            unknown += [f"events[{index}].{path}" for path in event.unknown_fields(bytes(piece))]
        return unknown[:_MOST_UNKNOWN]


class _KnownEvent(IngestEventRequest, forbid_unknown_fields=True):
    """An event without unknown fields: reading events as these first costs nothing when there are none."""


class _KnownBatch(BulkIngestEventRequest, forbid_unknown_fields=True):
    """A batch without unknown fields."""

    events: list[_KnownEvent]  # type: ignore[assignment]  # a list is read, and never added to


class _Pieces(msgspec.Struct):
    events: list[msgspec.Raw]


_EVENT = shape_of(IngestEventRequest)
_BATCH = shape_of(BulkIngestEventRequest)
_DECODERS: Mapping[type[msgspec.Struct], tuple[msgspec.json.Decoder[Any], msgspec.json.Decoder[Any]]] = {
    IngestEventRequest: (json_decoder(_KnownEvent, json_number), json_decoder(IngestEventRequest, json_number)),
    BulkIngestEventRequest: (json_decoder(_KnownBatch, json_number), json_decoder(BulkIngestEventRequest, json_number)),
}
"""For each struct the decoder that knows only its fields, and the one that skips others."""
_RAW = msgspec.json.Decoder(_Pieces)
_COUNT = f"must have 1 to {MOST_IN_BULK} elements"
_TOO_LARGE = f"must be at most {LARGEST_EVENT_BYTES} bytes"

Problem = dict[str, Any]
"""`{"index", "field", "message"}`: what is wrong with one event of a batch."""


@dataclass(frozen=True, slots=True)
class AcceptedTimes:
    """The times that events may have: from `first` to `last`, both included.

    Rule: docs/rules/metering.md#fields-of-an-event
    """

    first: datetime
    last: datetime

    @classmethod
    def at(cls, now: datetime, terms: RequestTerms) -> AcceptedTimes:
        """Those of events that arrive at `now`."""
        day = _years_after(now.date(), terms.event_years_ahead)
        last = LAST_INSTANT if day is None else datetime.combine(day, now.timetz())
        return cls(terms.earliest_event_time, last)

    def require(self, moment: datetime) -> None:
        """Raises BadField for a time that is not accepted."""
        if not self.first <= moment <= self.last:
            raise BadField("timestamp", f"must be from {instant(self.first)} to {instant(self.last)}")


@lru_cache
def _years_after(day: date, years: int) -> date | None:
    """The same day so many years later; None after the end of the calendar."""
    try:
        return add_months(day, 12 * years, day.day)
    except (ValueError, OverflowError):
        return None


@dataclass(frozen=True, slots=True)
class _Circumstances:
    """How the events of one request come: `token` is the same in its repeats."""

    now: datetime
    sender: Sender
    token: str | None
    times: AcceptedTimes
    event_time: datetime
    """The time of events that have none."""


def arrival_of(
    given: IngestEventRequest, now: datetime, sender: Sender, token: str | None, times: AcceptedTimes
) -> Arrival:
    """One event that arrives at `now` with a request; `token` is the same in its repeats. Raises ValidationFailed."""
    try:
        event_id = given.event_id or _made_ids([0], token)[0]
        return _arrival(given, event_id, _Circumstances(now, sender, token, times, to_milliseconds(now)))
    except BadField as error:
        raise ValidationFailed.of(error.field, error.reason) from error


def arrivals_of(
    given: Sequence[IngestEventRequest], now: datetime, sender: Sender, token: str | None, times: AcceptedTimes
) -> list[Arrival]:
    """Events that arrive together at `now` with a request; `token` is the same in its repeats.

    Raises ValidationFailed naming every one that is wrong.
    """
    arrivals: list[Arrival] = []
    problems: list[Problem] = []
    circumstances = _Circumstances(now, sender, token, times, to_milliseconds(now))
    made_ids = iter(_made_ids([index for index, event in enumerate(given) if not event.event_id], token))
    for index, event in enumerate(given):
        try:
            arrivals.append(_arrival(event, event.event_id or next(made_ids), circumstances))
        except BadField as error:
            problems.append({"index": index, "field": error.field, "message": error.reason})
    if problems:
        raise _refused(problems)
    return arrivals


def _made_ids(places: Sequence[int], token: str | None) -> list[str]:
    """Ids for the events at these places of a request: those of one with a `token` are the same in every repeat."""
    if token is None:
        return new_ids(Kind.EVENT, len(places))
    return [stable_id(Kind.EVENT, token, str(place)) for place in places]


def _arrival(given: IngestEventRequest, event_id: str, circumstances: _Circumstances) -> Arrival:
    timestamp = given.timestamp
    untimed = timestamp is None or timestamp == _NO_TIME
    if timestamp is None or untimed:
        timestamp = circumstances.event_time
    else:
        circumstances.times.require(timestamp)
    token = circumstances.token
    return Arrival(
        _event(given, event_id, timestamp),
        circumstances.now,
        circumstances.sender,
        keeps_stored_time=untimed and token is not None,
        has_fresh_id=token is None and not given.event_id,
    )


def _event(given: IngestEventRequest, event_id: str, timestamp: datetime) -> UsageEvent:
    if not given.external_customer_id.strip():
        raise BadField("external_customer_id", "must not be empty")
    return UsageEvent(
        id=_short("event_id", event_id),
        event_name=_short("event_name", given.event_name.strip()),
        external_customer_id=_short("external_customer_id", given.external_customer_id),
        timestamp=to_milliseconds(timestamp),
        properties=given.properties or {},
        source=given.source or "",
        customer_id=given.customer_id or "",
    )


def _short(field: str, text: str) -> str:
    if not text:
        raise BadField(field, "must not be empty")
    if len(text) > LONGEST_NAME:
        raise BadField(field, f"must be at most {LONGEST_NAME} characters long")
    return text


def _read(kind: type[Struct], body: bytes) -> Struct:
    only_known, lenient = _DECODERS[kind]
    try:
        try:
            read: Struct = only_known.decode(body)
        except msgspec.ValidationError:
            read = lenient.decode(body)
    except UNREADABLE as error:
        raise unreadable(error, body, kind) from error
    except ValueError as error:  # a number that no store could keep
        raise ValidationFailed.of("properties", str(error)) from error
    # the escape may itself be escaped, so what was read decides
    if _NUL in body and holds_nul(msgspec.to_builtins(read)):
        raise ValidationFailed.of("body", "must not contain NUL characters")
    return read


def holds_nul(value: Any) -> bool:
    """Whether any text within a value has a NUL character."""
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, dict):
        return any(holds_nul(key) or holds_nul(item) for key, item in value.items())
    return isinstance(value, list) and any(holds_nul(item) for item in value)


def _pieces(body: bytes) -> list[msgspec.Raw]:
    """The elements of a batch, unread; none when the body is no batch at all."""
    try:
        return _RAW.decode(body).events
    except UNREADABLE:
        return []


def _too_large(body: bytes) -> list[Problem]:
    return [
        {"index": index, "field": "event", "message": _TOO_LARGE}
        for index, piece in enumerate(_pieces(body))
        if len(bytes(piece)) > LARGEST_EVENT_BYTES
    ]


def _unreadable(body: bytes) -> list[Problem]:
    """What is wrong with each element that cannot be read, or whose names break a rule."""
    read = (_read_piece(index, piece) for index, piece in enumerate(_pieces(body)))
    return [problem for event in read if isinstance(event, list) for problem in event]


def _read_piece(index: int, piece: msgspec.Raw) -> IngestEventRequest | list[Problem]:
    """An element of a batch, or all that is wrong with it."""
    body = bytes(piece)
    if len(body) > LARGEST_EVENT_BYTES:
        return [{"index": index, "field": "event", "message": _TOO_LARGE}]
    try:
        event = _read(IngestEventRequest, body)
        _event(event, event.event_id or "made when it is taken in", _NO_TIME)
    except ValidationFailed as error:
        return [{"index": index, "field": field, "message": reason} for field, reason in error.details.items()]
    except BadField as error:
        return [{"index": index, "field": error.field, "message": error.reason}]
    return event


def _refused(problems: Sequence[Problem]) -> ValidationFailed:
    errors = sorted(problems, key=lambda problem: int(problem["index"]))
    first = errors[0]
    field = "" if first["field"] in {"event", "body"} else first["field"]
    where = below(f"events[{first['index']}]", field) if field else f"events[{first['index']}]"
    return ValidationFailed(f"{where}: {first['message']}", {"errors": errors})
