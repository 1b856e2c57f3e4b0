"""Voiding, deleting and amending events: all that is asked for, or nothing.

One correction at a time in an environment: an event that goes to and fro between stored and void while somebody looks
for it would be found in neither place. Events are locked in the order of their ids, as appends lock them. The versions
that go are kept first.
Rule: docs/rules/metering.md#corrections-of-events
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import NotFound
from farthing.events.changes import EventChange
from farthing.events.corrections.history import lock_void
from farthing.events.corrections.schemas import AmendedEventRequest, CorrectedEvent, CorrectionOutcome
from farthing.events.ingest import store
from farthing.events.ingest.arrivals import Arrival, Sender
from farthing.events.ingest.incoming import AcceptedTimes, IngestEventRequest, arrivals_of
from farthing.events.ingest.meters import MeterMemory
from farthing.events.usage.event_store import store_of
from farthing.storage.postgres import clock_of, driver_connection, scope_of
from farthing.storage.record.outbox import record_activity

_TAKE_TURN = text("SELECT pg_advisory_xact_lock(hashtextextended('corrections of events ' || :environment, 0))")


@dataclass(frozen=True, slots=True)
class Amendment:
    """What events shall be, why, by whom; `times` are those that events may have."""

    events: Sequence[AmendedEventRequest]
    reason: str
    sender: Sender
    times: AcceptedTimes


async def void_events(session: AsyncSession, ids: Sequence[str], reason: str) -> list[CorrectedEvent]:
    """Let events count no more, for good unless they are amended. Raises NotFound naming every unknown id."""
    await _take_turn(session)
    stored, _ = await _lock_known(session, ids)
    if stored:
        await _remove(session, sorted(stored), EventChange.VOIDED, reason)
    await store_of(session).changes.finish(session)
    return _outcomes(ids, stored, CorrectionOutcome.VOIDED)


async def delete_event(session: AsyncSession, event_id: str) -> bool:
    """Delete an event and all that it counts; whether there was one. Its id may be used again."""
    await _take_turn(session)
    changes = store_of(session).changes
    is_stored = bool(await changes.lock(session, [event_id]))
    if is_stored:
        await _remove(session, [event_id], EventChange.DELETED, "")
    await changes.finish(session)
    return is_stored


async def amend_events(session: AsyncSession, memory: MeterMemory, amendment: Amendment) -> list[CorrectedEvent]:
    """Give events other content, void ones included; who owns them stays, unless their external id changes.

    Raises ValidationFailed naming all bad content, and NotFound naming every unknown id.
    """
    now = clock_of(session).now()
    arrivals = arrivals_of(
        [_as_sent(event) for event in amendment.events], now, amendment.sender, None, amendment.times
    )
    ids = [event.id for event in amendment.events]
    await _take_turn(session)
    changes, environment = store_of(session).changes, scope_of(session).environment_id
    meters = await store.current_meters(await driver_connection(session), environment, memory)
    stored, void = await _lock_known(session, ids)
    if void:
        await changes.restore(session, void)
        stored |= await changes.lock(session, void)
    placed = _placed(amendment.events, arrivals, stored)
    measured = await store.measure_placed(environment, placed, meters)
    changed = {*await changes.find_changed(session, placed), *void}
    if changed:
        await changes.keep(session, sorted(changed), EventChange.AMENDED, amendment.reason)
        again = [numbered for numbered in placed if numbered[1].event.id in changed]
        await changes.replace(session, again, measured)
    for event_id in sorted(changed):
        await record_activity(session, "event.amended", "event", event_id, label=event_id)
    await changes.finish(session)
    return _outcomes(ids, changed, CorrectionOutcome.AMENDED)


def _outcomes(ids: Sequence[str], changed: Container[str], outcome: CorrectionOutcome) -> list[CorrectedEvent]:
    return [
        CorrectedEvent(id=event_id, outcome=outcome if event_id in changed else CorrectionOutcome.UNCHANGED)
        for event_id in ids
    ]


async def _lock_known(session: AsyncSession, ids: Sequence[str]) -> tuple[dict[str, datetime], list[str]]:
    """The times of the events that are stored, and the ids of void ones, locked. Raises NotFound for all others."""
    stored = await store_of(session).changes.lock(session, ids)
    void = await lock_void(session, [event_id for event_id in ids if event_id not in stored])
    unknown = [event_id for event_id in ids if event_id not in stored and event_id not in void]
    if unknown:
        raise NotFound("Events were not found; nothing was changed", {"event_ids": unknown})
    return stored, void


async def _take_turn(session: AsyncSession) -> None:
    """Wait until no other correction is underway here; taken before any other lock, so that none waits in a circle."""
    await session.execute(_TAKE_TURN, {"environment": scope_of(session).environment_id})
    await store_of(session).changes.hold(session)


async def _remove(session: AsyncSession, ids: Sequence[str], change: EventChange, reason: str) -> None:
    changes = store_of(session).changes
    await changes.keep(session, ids, change, reason)
    await changes.remove(session, ids)
    for event_id in ids:
        await record_activity(session, f"event.{change.value}", "event", event_id, label=event_id)


def _as_sent(event: AmendedEventRequest) -> IngestEventRequest:
    return IngestEventRequest(
        event_id=event.id,
        event_name=event.event_name,
        external_customer_id=event.external_customer_id,
        customer_id=event.customer_id,
        timestamp=event.timestamp,
        source=event.source,
        properties=event.properties,
    )


def _placed(
    events: Sequence[AmendedEventRequest], arrivals: Sequence[Arrival], stored: dict[str, datetime]
) -> list[tuple[int, Arrival]]:
    """The arrivals in the order of their ids, with their places; those without a time keep their own."""
    placed = []
    for place, (event, arrival) in enumerate(zip(events, arrivals, strict=True)):
        if event.timestamp is None:
            kept = msgspec.structs.replace(arrival.event, timestamp=stored[event.id])
            arrival = msgspec.structs.replace(arrival, event=kept)  # noqa: PLW2901
        placed.append((place, arrival))
    return sorted(placed, key=lambda numbered: numbered[1].event.id)
