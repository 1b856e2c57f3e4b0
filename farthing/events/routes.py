"""Endpoints of events: sending them, looking at them, and what they add up to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from litestar import Controller, Request, delete, get, post
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.api.ignored_fields import note_ignored_fields
from farthing.api.services import services_of
from farthing.api.work import LONG_READ, unit_of_work
from farthing.core.caller import DELETE, READ, Caller
from farthing.core.clock import Clock
from farthing.core.encoding.decoding import convert
from farthing.core.encoding.wire import Moment
from farthing.core.errors import NotFound, PermissionDenied, ValidationFailed
from farthing.events.analytics import inference_costs, listing
from farthing.events.analytics.usage_cost import bounded_analytics
from farthing.events.corrections.changing import delete_event
from farthing.events.corrections.details import EventDetailsResponse, event_details, wants_history
from farthing.events.ingest.arrivals import Sender, sender_named
from farthing.events.ingest.group_commit import Ingest
from farthing.events.ingest.incoming import (
    AcceptedTimes,
    BulkIngestEventRequest,
    IngestEventRequest,
    arrival_of,
    arrivals_of,
)
from farthing.events.requests import (
    GetEventsRequest,
    GetHuggingFaceBillingDataRequest,
    GetUsageAnalyticsRequest,
    GetUsageByMeterRequest,
    GetUsageRequest,
    Ranged,
    SeriesSize,
    filters_of_text,
)
from farthing.events.schemas import (
    EventMonitoringResponse,
    GetEventsResponse,
    GetHuggingFaceBillingDataResponse,
    GetUsageAnalyticsResponse,
    GetUsageResponse,
)
from farthing.events.usage import answers

TAGS = ["Events"]


class EventIngestion(Controller):
    """Where events come in. No request here opens a session of its own: the writer's transaction is the only one."""

    path = "/events"
    tags = TAGS

    @post("/", operation_id="ingestEvent", guards=[needs("event", "write")], status_code=202)
    async def ingest(self, data: IngestEventRequest, request: Request[Any, Any, Any]) -> dict[str, str]:
        """Ingest one event. The answer comes when it is durable and counted."""
        # what other routes have injected is fetched by hand: injection costs as much as storing an event
        work = unit_of_work(request)
        now = work.clock.now()
        arrival = arrival_of(data, now, _sender(request), work.token, _accepted_times(request, now))
        await _ingest(request).accept(work.scope, [arrival])
        return {"message": "Event accepted for processing", "event_id": arrival.event.id}

    @post("/bulk", operation_id="ingestEventsBulk", guards=[needs("event", "write")], status_code=202)
    async def bulk(self, data: BulkIngestEventRequest, request: Request[Any, Any, Any]) -> dict[str, Any]:
        """Ingest up to 1000 events, all or none."""
        work = unit_of_work(request)
        events = await data.read(work.scope.environment_id)
        note_ignored_fields(request, data.unknown_fields_read_later())
        now = work.clock.now()
        arrivals = arrivals_of(events, now, _sender(request), work.token, _accepted_times(request, now))
        await _ingest(request).accept(work.scope, arrivals, len(work.body))
        answer: dict[str, Any] = {"message": "Events accepted for processing"}
        # published clients read a map of texts, so the list is for those who ask
        if request.headers.get("prefer") == "return=representation":
            answer["event_ids"] = [arrival.event.id for arrival in arrivals]
        return answer

    @delete("/{id:str}", operation_id="deleteEvent", guards=[needs("event", "delete")], status_code=204)
    async def remove(self, id: str, session: AsyncSession) -> None:
        """Delete an event and all that it counts. Its id may be used again."""
        if not await delete_event(session, id):
            raise NotFound(f"Event with ID {id} was not found", {"event_id": id})


READS = needs("event", "read")
LARGEST_LISTED_PAGE = 50


class EventQueries(Controller):
    """What came in, and what it adds up to."""

    path = "/events"
    tags = TAGS

    @post("/query", operation_id="listRawEvents", guards=[READS], status_code=200, opt={LONG_READ: True})
    async def listed(
        self, session: AsyncSession, clock: Clock, data: GetEventsRequest | None = None
    ) -> GetEventsResponse:
        """List raw events, by offset or by cursor."""
        return await listing.events_page(session, data or GetEventsRequest(), clock.now())

    @get("/", operation_id="listEvents", guards=[READS])
    async def browse(
        self,
        session: AsyncSession,
        clock: Clock,
        external_customer_id: str | None = None,
        event_name: str | None = None,
        event_id: str | None = None,
        source: str | None = None,
        start_time: Moment | None = None,
        end_time: Moment | None = None,
        property_filters: str | None = None,
        page_size: int | None = None,
        offset: int | None = None,
        iter_first_key: str | None = None,
        iter_last_key: str | None = None,
        sort: str | None = None,
        order: str | None = None,
    ) -> GetEventsResponse:
        """The same from a query string: `property_filters=key1:value1,value2;key2:value3`, at most 50 a page."""
        asked = _converted(
            external_customer_id=external_customer_id,
            event_name=event_name,
            event_id=event_id,
            source=source,
            start_time=start_time,
            end_time=end_time,
            property_filters=filters_of_text(property_filters or ""),
            page_size=page_size if page_size and page_size <= LARGEST_LISTED_PAGE else None,
            offset=offset,
            iter_first_key=iter_first_key,
            iter_last_key=iter_last_key,
            sort=sort,
            order=order,
        )
        return await listing.events_page(session, asked, clock.now())

    @get("/lookup", operation_id="getEvent", guards=[READS])
    async def looked_up(
        self, session: AsyncSession, caller: Caller, id: str = "", include: str = ""
    ) -> EventDetailsResponse:
        """One event, what it counts, and where it got stuck if it did."""
        if not id:
            raise ValidationFailed.of("id", "is required")
        return await event_details(session, caller, id, with_history=wants_history(include))

    @get("/{id:str}", operation_id="getEventById", guards=[READS])
    async def read(self, id: str, session: AsyncSession, caller: Caller, include: str = "") -> EventDetailsResponse:
        """The same, by path."""
        return await event_details(session, caller, id, with_history=wants_history(include))

    @post("/usage", operation_id="getUsageStatistics", guards=[READS], status_code=200)
    async def usage(self, data: GetUsageRequest, session: AsyncSession, clock: Clock) -> GetUsageResponse:
        """Aggregate the events of one name."""
        return await answers.by_event_name(session, data, clock.now())

    @post("/usage/meter", operation_id="getUsageByMeter", guards=[READS], status_code=200)
    async def usage_by_meter(
        self, data: GetUsageByMeterRequest, session: AsyncSession, clock: Clock
    ) -> GetUsageResponse:
        """The usage of one meter."""
        return await answers.by_meter(session, data, clock.now())

    @post("/analytics", operation_id="getUsageAnalytics", guards=[READS], status_code=200, opt={LONG_READ: True})
    async def usage_analytics(
        self, session: AsyncSession, clock: Clock, caller: Caller, data: GetUsageAnalyticsRequest | None = None
    ) -> GetUsageAnalyticsResponse:
        """Usage with its cost, by line item and group."""
        asked = data or GetUsageAnalyticsRequest()
        _require_readable(caller, asked.expand or ())
        answer = await bounded_analytics(session, asked, clock.now())
        if not caller.may(READ, "group"):
            for item in answer.items:
                item.group = None
        return answer

    @get("/monitoring", operation_id="getEventMonitoring", guards=[READS], opt={LONG_READ: True})
    async def monitored(
        self,
        session: AsyncSession,
        clock: Clock,
        start_time: Moment | None = None,
        end_time: Moment | None = None,
        window_size: SeriesSize | None = None,
    ) -> EventMonitoringResponse:
        """How many events there are, and how many still wait for a backfill."""
        span = Ranged(start_time=start_time, end_time=end_time)
        return await answers.monitoring(session, span.start_time, span.end_time, window_size, clock.now())

    @post("/huggingface-inference", operation_id="getHuggingfaceInferenceData", guards=[READS], status_code=200)
    async def inference_costs(
        self, data: GetHuggingFaceBillingDataRequest, session: AsyncSession
    ) -> GetHuggingFaceBillingDataResponse:
        """What single events cost."""
        return await inference_costs.costs(session, data.requestIds)

    @post("/huggingface-billing", operation_id="getHuggingfaceBillingData", guards=[READS], status_code=200)
    async def billing_costs(
        self, data: GetHuggingFaceBillingDataRequest, session: AsyncSession
    ) -> GetHuggingFaceBillingDataResponse:
        """The same under the path that clients of old use."""
        return await inference_costs.costs(session, data.requestIds)


_EXPANDED = {
    "price": "price",
    "plan": "plan",
    "addon": "addon",
    "meter": "meter",
    "feature": "feature",
    "subscription_line_item": "subscription",
}
"""What `expand` of analytics shows, and what one must be allowed to read for it."""


def _require_readable(caller: Caller, expand: Sequence[str]) -> None:
    """Refuse to show in an answer about events what the caller may not read elsewhere. Raises PermissionDenied."""
    for name in expand:
        if name in _EXPANDED and not caller.may(READ, _EXPANDED[name]):
            raise PermissionDenied("insufficient permissions", {"expand": f"'{name}' cannot be read with this role"})


def _converted(**given: Any) -> GetEventsRequest:
    return convert({name: value for name, value in given.items() if value is not None}, GetEventsRequest)


def _accepted_times(request: Request[Any, Any, Any], now: datetime) -> AcceptedTimes:
    return AcceptedTimes.at(now, _caller(request).terms)


def _caller(request: Request[Any, Any, Any]) -> Caller:
    caller = unit_of_work(request).caller
    assert caller is not None, "the route has no guard"
    return caller


def _sender(request: Request[Any, Any, Any]) -> Sender:
    """Who sends: whoever may not delete events may not replace those of others either."""
    caller = _caller(request)
    return sender_named(caller.sender, corrects_all=caller.may(DELETE, "event"))


def _ingest(request: Request[Any, Any, Any]) -> Ingest:
    ingest: Ingest = services_of(request).part(Ingest)
    return ingest
