"""An event with its history, void and deleted ones included."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import NotFound, ValidationFailed
from farthing.events.analytics.debugger import debugged
from farthing.events.corrections.history import last_content, versions_of
from farthing.events.corrections.schemas import EventVersionResponse
from farthing.events.schemas import EventProcessingStatus, GetEventByIDResponse

HISTORY = "history"


class EventDetailsResponse(GetEventByIDResponse):
    """An event, what it counts, and where it got stuck if it did; `voided` and `deleted` say who ended it, and why."""

    voided: EventVersionResponse | None = None
    deleted: EventVersionResponse | None = None
    history: list[EventVersionResponse] | None = None


def wants_history(include: str) -> bool:
    """Whether `include` asks for the history. Raises ValidationFailed for anything else."""
    if include not in {"", HISTORY}:
        raise ValidationFailed.of("include", f"must be {HISTORY}")
    return include == HISTORY


async def event_details(session: AsyncSession, event_id: str, *, with_history: bool) -> EventDetailsResponse:
    """All that is known of an event. A void one is what it was at last and counts nowhere; one that was deleted is
    found with its history only. Raises NotFound.

    Rule: docs/rules/metering.md#corrections-of-events
    """
    try:
        found = await debugged(session, event_id)
    except NotFound:
        ended = await last_content(session, event_id)
        if ended is None or not (ended[1].is_void or with_history):
            raise
        details = EventDetailsResponse(event=ended[0], status=EventProcessingStatus.FAILED)
        if ended[1].is_void:
            details.voided = ended[1]
        else:
            details.deleted = ended[1]
    else:
        details = EventDetailsResponse(
            event=found.event,
            status=found.status,
            processed_events=found.processed_events,
            debug_tracker=found.debug_tracker,
        )
    details.history = await versions_of(session, event_id) if with_history else None
    return details
