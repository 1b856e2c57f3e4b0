"""Endpoints of corrections of events."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Request, post
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.api.services import services_of
from farthing.core.caller import Caller
from farthing.core.clock import Clock
from farthing.core.composition import Composition
from farthing.events.corrections.changing import Amendment, amend_events, void_events
from farthing.events.corrections.schemas import AmendEventsRequest, CorrectedEventsResponse, VoidEventsRequest
from farthing.events.ingest.arrivals import sender_named
from farthing.events.ingest.group_commit import Ingest
from farthing.events.ingest.incoming import AcceptedTimes
from farthing.events.ingest.meters import MeterMemory

DELETES = needs("event", "delete")


class EventCorrections(Controller):
    """Events that were wrong."""

    path = "/events"
    tags = ("Events",)

    @post("/void", operation_id="voidEvents", guards=[DELETES], status_code=200)
    async def void(self, data: VoidEventsRequest, session: AsyncSession) -> CorrectedEventsResponse:
        """Let events count no more; their ids stay taken, and can be amended."""
        return CorrectedEventsResponse(events=await void_events(session, data.event_ids, data.reason))

    @post("/amend", operation_id="amendEvents", guards=[DELETES], status_code=200)
    async def amend(
        self,
        data: AmendEventsRequest,
        request: Request[Any, Any, Any],
        session: AsyncSession,
        caller: Caller,
        clock: Clock,
    ) -> CorrectedEventsResponse:
        """Give events other content, all or none; what they were stays readable."""
        asked = amendment_of(data, caller, clock)
        return CorrectedEventsResponse(events=await amend_events(session, meter_memory(services_of(request)), asked))


def amendment_of(asked: AmendEventsRequest, caller: Caller, clock: Clock) -> Amendment:
    """What a caller asks for, within the times that events may have."""
    sender = sender_named(caller.sender, corrects_all=True)
    return Amendment(asked.events, asked.reason, sender, AcceptedTimes.at(clock.now(), caller.terms))


def meter_memory(services: Composition) -> MeterMemory:
    """The meters that this process remembers."""
    ingest: Ingest = services.part(Ingest)
    return ingest.memory
