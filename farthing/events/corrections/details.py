"""An event with its history, void and deleted ones included."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.caller import READ, Caller
from farthing.core.errors import NotFound, ValidationFailed
from farthing.core.origin import ActorType
from farthing.events.analytics.debugger import debugged
from farthing.events.corrections.history import last_content, versions_of
from farthing.events.corrections.schemas import EventVersionResponse
from farthing.events.schemas import DebugTracker, EventProcessingStatus, GetEventByIDResponse
from farthing.identity.credentials.api_keys import hidden_among

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


async def event_details(
    session: AsyncSession, caller: Caller, event_id: str, *, with_history: bool
) -> EventDetailsResponse:
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
            debug_tracker=found.debug_tracker and _readable_steps(found.debug_tracker, caller),
        )
    details.history = await versions_of(session, event_id) if with_history else None
    await _hide_keys(session, caller, [details.voided, details.deleted, *(details.history or ())])
    return details


def _readable_steps(tracker: DebugTracker, caller: Caller) -> DebugTracker:
    """How far an event came, without the customer, meters, prices and line items that the caller may not read."""
    if not caller.may(READ, "customer"):
        tracker.customer_lookup.customer = None
    if not caller.may(READ, "meter"):
        tracker.meter_matching.matched_meters = None
    if not caller.may(READ, "price"):
        tracker.price_lookup.matched_prices = None
    if not caller.may(READ, "subscription"):
        tracker.subscription_line_item_lookup.matched_line_items = None
    return tracker


async def _hide_keys(session: AsyncSession, caller: Caller, versions: Sequence[EventVersionResponse | None]) -> None:
    """Call keys that the caller may not list by their ids, as the activity log does."""
    by_keys = [version for version in versions if version is not None and version.actor_type == ActorType.API_KEY]
    hidden = await hidden_among(session, caller, {version.actor_id for version in by_keys})
    for version in by_keys:
        if version.actor_id in hidden:
            version.actor_label = version.actor_id
