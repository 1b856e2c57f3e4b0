"""Events: the latest as they arrive, narrowed, and one event with what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec
from litestar import Controller, Response, get, post
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.products.tables import Feature, MeterRow
from farthing.core.caller import READ
from farthing.core.clock import Clock
from farthing.core.composition import Composition
from farthing.core.encoding.decoding import convert
from farthing.core.encoding.times import read_typed_time
from farthing.core.errors import FarthingError, ValidationFailed
from farthing.events.corrections.changing import amend_events, void_events
from farthing.events.corrections.details import event_details
from farthing.events.corrections.routes import amendment_of, meter_memory
from farthing.events.corrections.schemas import AmendEventsRequest, VoidEventsRequest
from farthing.events.schemas import FeatureUsageInfo, GetEventByIDResponse
from farthing.events.usage.event_store import EventOrder, EventRow, EventSelection, store_of
from farthing.storage.queries.listing import by_id
from farthing.storage.queries.rows import in_array
from farthing.subscriptions.tables import SubscriptionLineItem
from farthing.web.access.visitors import deletes, form_of, shows, visitor_of
from farthing.web.rendering.answers import HttpRequest, done, refused, render

SHOWN = 50
NamedRow = TypeVar("NamedRow", MeterRow, Feature, SubscriptionLineItem)


def _time(name: str, text: str) -> datetime | None:
    if not text:
        return None
    try:
        return read_typed_time(text)
    except ValueError as error:
        raise ValidationFailed.of(name, str(error)) from error


async def latest(session: AsyncSession, narrowed: dict[str, str]) -> Sequence[EventRow]:
    """The newest events (by their own time) that are like this. Raises ValidationFailed for a bad time."""
    selection = EventSelection(
        event_name=narrowed["name"],
        external_customer_id=narrowed["customer"],
        source=narrowed["source"],
        start=_time("from", narrowed["from"]),
        end=_time("until", narrowed["until"]),
    )
    return await store_of(session).events.select(session, selection, EventOrder(limit=SHOWN))


class Events(Controller):
    """Events."""

    path = "/events"
    include_in_schema = False

    @get("/", guards=[shows("event")])
    async def tail(self, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """The latest events, which refresh themselves."""
        names = ("name", "customer", "source", "from", "until")
        narrowed = {name: request.query_params.get(name, "").strip()[:255].replace("\x00", "") for name in names}
        problem = ""
        found: Sequence[EventRow] = []
        try:
            found = await latest(session, narrowed)
        except ValidationFailed as error:
            problem = "; ".join(f"{field} {why}" for field, why in error.details.items())
        return render(
            request,
            "events.html",
            events=found,
            narrowed=narrowed,
            problem=problem,
            most=SHOWN,
            here=f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path,
        )

    @get("/one", guards=[shows("event")])
    async def one(self, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """One event: what it counts, what it is charged as, and where it got stuck if it did."""
        event_id = request.query_params.get("id", "").replace("\x00", "")
        found = await event_details(session, visitor_of(request).caller, event_id, with_history=True)
        event = found.event
        customer = _owner(found) if visitor_of(request).may(READ, "customer") else ""
        return render(
            request,
            "event.html",
            found=found,
            event=event,
            times=(read_typed_time(event.timestamp), read_typed_time(event.ingested_at)),
            customer_id=customer,
            counted=await _counted(session, found.processed_events or []),
            properties=msgspec.json.format(msgspec.json.encode(event.properties), indent=2).decode(),
            steps=_steps(found.debug_tracker),
            was=[msgspec.json.encode(version.before.properties).decode() for version in found.history or []],
            changed_at=[read_typed_time(version.changed_at) for version in found.history or []],
        )

    @post("/void", guards=[deletes("event")])
    async def void(self, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Let an event count no more."""
        given = form_of(request)
        back = _page_of(given.get("id", ""))
        try:
            body = {"event_ids": [given.get("id", "")], "reason": given.get("reason", "")}
            asked = convert(body, VoidEventsRequest)
            await void_events(session, asked.event_ids, asked.reason)
        except FarthingError as error:
            return await refused(request, back, error)
        return done(request, back, "Voided. It counts nowhere any more.")

    @post("/amend", guards=[deletes("event")])
    async def amend(
        self, request: HttpRequest, session: AsyncSession, clock: Clock, services: Composition
    ) -> Response[str]:
        """Let an event say something else."""
        given = form_of(request)
        back = _page_of(given.get("id", ""))
        try:
            asked = AmendEventsRequest.from_json(_amendment(given))
            amendment = amendment_of(asked, visitor_of(request).caller, clock)
            await amend_events(session, meter_memory(services), amendment)
        except FarthingError as error:
            return await refused(request, back, error)
        return done(request, back, "Amended. What it was stays in its history.")


def _page_of(event_id: str) -> str:
    return f"/events/one?{urlencode({'id': event_id})}"


def _amendment(given: Mapping[str, str]) -> bytes:
    """The form as the body of an amendment; properties keep their digits. Raises ValidationFailed."""
    try:
        properties = msgspec.json.decode(given.get("properties") or "{}", type=msgspec.Raw)
    except msgspec.DecodeError as error:
        raise ValidationFailed.of("properties", "must be a JSON object") from error
    event: dict[str, Any] = {name: given.get(name, "") for name in ("id", "event_name", "external_customer_id")}
    event |= {"source": given.get("source", ""), "properties": properties}
    if given.get("timestamp"):
        event["timestamp"] = given["timestamp"]
    return msgspec.json.encode({"events": [event], "reason": given.get("reason", "")})


def _owner(found: GetEventByIDResponse) -> str:
    """The id of the customer whose event it is; empty for nobody's."""
    if found.processed_events:
        return found.processed_events[0].customer_id
    looked_up = found.debug_tracker and found.debug_tracker.customer_lookup
    return looked_up.customer.id if looked_up and looked_up.customer else ""


@dataclass(frozen=True, slots=True)
class CountedFor:
    """What an event counts for one meter: what it is called, how much, and which charge of a subscription it is in."""

    name: str
    quantity: str
    charge: str
    plan: str
    subscription_id: str


async def _counted(session: AsyncSession, processed: Sequence[FeatureUsageInfo]) -> list[CountedFor]:
    """What the event counts, in names that people know; a meter without a feature goes by its own name."""
    meters = await _named(session, MeterRow, {part.meter_id for part in processed})
    features = await _named(session, Feature, {part.feature_id for part in processed})
    items = await _named(session, SubscriptionLineItem, {part.sub_line_item_id for part in processed})
    counted = []
    for part in processed:
        feature, item = features.get(part.feature_id), items.get(part.sub_line_item_id)
        name = meters[part.meter_id].name if feature is None else feature.name
        counted.append(
            CountedFor(
                name=name,
                quantity=part.qty_total,
                charge="" if item is None else item.display_name or name,
                plan="" if item is None else item.plan_display_name,
                subscription_id=part.subscription_id,
            )
        )
    return counted


async def _named(session: AsyncSession, table: type[NamedRow], ids: set[str]) -> dict[str, NamedRow]:
    return by_id((await session.scalars(select(table).where(in_array(table.id, ids)))).all())


def _steps(tracker: Any) -> list[tuple[str, str, str]]:
    """Each step of the debugger: what it looked for, how it ended, and why."""
    if tracker is None:
        return []
    named = (
        ("A meter that counts it", tracker.meter_matching),
        ("Its customer", tracker.customer_lookup),
        ("A price for the meter", tracker.price_lookup),
        ("A line item that charges the price", tracker.subscription_line_item_lookup),
        ("The customer's usage", tracker.attributed_to_customer),
    )
    return [
        (label, step.status.value, step.error.message if step.error else "")
        for label, step in named
        if step is not None
    ]
