"""Bodies of corrections of events."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from farthing.core.encoding.decoding import UNREADABLE, json_decoder, unreadable
from farthing.core.encoding.shapes import shape_of, unknown_paths
from farthing.core.encoding.times import Moment
from farthing.core.encoding.wire import BadField, Request, Response, Timestamp
from farthing.core.errors import ValidationFailed
from farthing.events.changes import EventChange
from farthing.events.ingest.incoming import holds_nul
from farthing.events.schemas import Event
from farthing.metering.canonical import json_number

MOST_AT_ONCE = 1000
LONGEST_REASON = 500

EventId = Annotated[str, Meta(min_length=1, max_length=255)]


def checked_reason(reason: str) -> str:
    """The reason without spaces around it. Raises BadField for one that says nothing or too much."""
    stripped = reason.strip()
    if not 1 <= len(stripped) <= LONGEST_REASON:
        raise BadField("reason", f"must have 1 to {LONGEST_REASON} characters")
    return stripped


class VoidEventsRequest(Request):
    """Events that shall count no more, and why."""

    event_ids: Annotated[list[EventId], Meta(min_length=1, max_length=MOST_AT_ONCE)]
    reason: str

    def __post_init__(self) -> None:
        super().__post_init__()
        self.reason = checked_reason(self.reason)
        if len(set(self.event_ids)) != len(self.event_ids):
            raise BadField("event_ids", "must name each event once")


class AmendedEventRequest(msgspec.Struct, kw_only=True):
    """An event by its id, and what it shall be. Without `timestamp` it keeps its time."""

    id: EventId
    event_name: str
    external_customer_id: str
    customer_id: str | None = None
    timestamp: Moment | None = None
    source: str | None = None
    properties: dict[str, Any] | None = None


class AmendEventsRequest(msgspec.Struct, kw_only=True):
    """1 to 1000 events that shall be something else, and why."""

    events: Annotated[list[AmendedEventRequest], Meta(min_length=1, max_length=MOST_AT_ONCE)]
    reason: str

    def __post_init__(self) -> None:
        self.reason = checked_reason(self.reason)
        if len({event.id for event in self.events}) != len(self.events):
            raise BadField("events", "must name each event once")

    @classmethod
    def from_json(cls, body: bytes) -> AmendEventsRequest:
        """Read with exact numbers. Raises ValidationFailed."""
        try:
            asked: AmendEventsRequest = _DECODER.decode(body)
        except UNREADABLE as error:
            raise unreadable(error, body, AmendEventsRequest) from error
        except ValueError as error:  # a number that no store could keep
            raise ValidationFailed.of("events", str(error)) from error
        if b"\\u0000" in body and holds_nul(msgspec.to_builtins(asked)):
            raise ValidationFailed.of("body", "must not contain NUL characters")
        return asked

    def unknown_fields(self, body: bytes) -> list[str]:
        """Paths of what `body`, which was read into this, has and no amendment has."""
        return unknown_paths(body, _SHAPE, _MOST_UNKNOWN)


_DECODER = json_decoder(AmendEventsRequest, json_number)
_SHAPE = shape_of(AmendEventsRequest)
_MOST_UNKNOWN = 20


class CorrectionOutcome(StrEnum):
    """What became of an event: `UNCHANGED` was void already, or is what it was amended to."""

    VOIDED = "voided"
    AMENDED = "amended"
    UNCHANGED = "unchanged"


class CorrectedEvent(Response):
    """What became of one event."""

    id: str
    outcome: CorrectionOutcome


class CorrectedEventsResponse(Response):
    """What became of each event, in the order asked for."""

    events: list[CorrectedEvent]


class EventVersionResponse(Response):
    """What an event was before a change, and who changed it, when and why."""

    change: EventChange
    reason: str
    changed_at: Timestamp
    actor_type: str
    actor_id: str
    actor_label: str
    is_void: bool
    before: Event
