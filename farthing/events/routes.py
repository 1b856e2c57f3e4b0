"""Doors for events: in, out, and what they add up to."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Request, delete, post
from litestar.datastructures import State
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.core.caller import Caller
from farthing.core.clock import Clock
from farthing.core.errors import NotFound
from farthing.events import store
from farthing.events.incoming import BulkIngestEventRequest, IngestEventRequest, arrival_of, arrivals_of
from farthing.events.ingest import Ingest
from farthing.storage.scope import Scope

TAGS = ["Events"]


class EventIngestion(Controller):
    """Where events come in. No request here opens a session of its own: the writer's transaction is the only one."""

    path = "/events"
    tags = TAGS

    @post("/", operation_id="ingestEvent", guards=[needs("event", "write")], status_code=202)
    async def ingest(self, data: IngestEventRequest, caller: Caller, clock: Clock, state: State) -> dict[str, str]:
        """Ingest one event. The answer comes when it is durable and counted."""
        arrival = arrival_of(data, clock.now())
        await _ingest(state).accept(_scope(caller), [arrival])
        return {"message": "Event accepted for processing", "event_id": arrival.event.id}

    @post("/bulk", operation_id="ingestEventsBulk", guards=[needs("event", "write")], status_code=202)
    async def bulk(
        self, data: BulkIngestEventRequest, caller: Caller, clock: Clock, state: State, request: Request[Any, Any, Any]
    ) -> dict[str, Any]:
        """Ingest up to 1000 events, all or none."""
        arrivals = arrivals_of(data.events, clock.now())
        await _ingest(state).accept(_scope(caller), arrivals)
        answer: dict[str, Any] = {"message": "Events accepted for processing"}
        # published clients read a map of texts, so the list is for those who ask
        if request.headers.get("prefer") == "return=representation":
            answer["event_ids"] = [arrival.event.id for arrival in arrivals]
        return answer

    @delete("/{id:str}", operation_id="deleteEvent", guards=[needs("event", "write")], status_code=204)
    async def remove(self, id: str, session: AsyncSession, caller: Caller) -> None:
        """Delete an event and all that it counts. Its id may be used again."""
        if not await store.remove(session, id, caller.environment_id):
            raise NotFound(f"Event with ID {id} was not found", {"event_id": id})


def _ingest(state: State) -> Ingest:
    ingest: Ingest = state.ingest
    return ingest


def _scope(caller: Caller) -> Scope:
    return Scope(caller.tenant_id, caller.environment_id, caller.user_id)
