"""The event debugger: what an event counts, who charges for it, and where it got stuck if nobody does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.answers.prices import price_answers
from farthing.catalogue.products import tables
from farthing.catalogue.products.answers import meter_answer
from farthing.core.clock import instant, shifted
from farthing.core.enums import Status
from farthing.core.errors import NotFound
from farthing.core.money import plain
from farthing.customers.schemas import CustomerResponse
from farthing.customers.tables import Customer
from farthing.events.analytics.listing import answer
from farthing.events.charged_items import ChargedItem
from farthing.events.ports import EventPorts
from farthing.events.schemas import (
    AttributedToCustomerResult,
    CustomerLookupResult,
    DebugTracker,
    DebugTrackerStatus,
    EventProcessingStatus,
    FailurePoint,
    FailurePointType,
    FeatureUsageInfo,
    GetEventByIDResponse,
    MatchedMeter,
    MatchedPrice,
    MatchedSubscriptionLineItem,
    MeterMatchingResult,
    MeterUsageAttribution,
    PriceLookupResult,
    StepError,
    StepErrorCode,
    SubscriptionLineItemLookupResult,
)
from farthing.events.tables import MeterBackfill
from farthing.events.usage.event_store import EventRow, store_of
from farthing.events.usage.ownership import holders_of
from farthing.storage.postgres import ports_of

_INSTANT = timedelta(milliseconds=1)
FOUND, NOT_FOUND, UNPROCESSED = DebugTrackerStatus.FOUND, DebugTrackerStatus.NOT_FOUND, DebugTrackerStatus.UNPROCESSED


@dataclass(slots=True)
class _EventFacts:
    """What is known of one event."""

    event: EventRow
    quantities: dict[str, Decimal]
    """Its quantity by meter."""
    meters: Sequence[tables.MeterRow]
    """The meters that counted it."""
    features: dict[str, str]
    customer: Customer | None
    items: Sequence[ChargedItem]
    """Items of the customer that charge one of those meters, at any time near the event."""

    @property
    def covering(self) -> list[ChargedItem]:
        return [item for item in self.items if item.is_active and item.covers(self.event.timestamp)]


async def debugged(session: AsyncSession, event_id: str) -> GetEventByIDResponse:
    """All that is known of an event. Raises NotFound.

    Rule: docs/rules/metering.md#event-debugger
    """
    facts = await _facts(session, event_id)
    response = GetEventByIDResponse(event=answer(facts.event), status=EventProcessingStatus.FAILED)
    response.processed_events = _processed(facts) or None
    if facts.quantities and facts.covering:
        response.status = EventProcessingStatus.PROCESSED
        return response
    if not facts.quantities and await _being_backfilled(session, facts.event.event_name):
        response.status = EventProcessingStatus.PROCESSING
    response.debug_tracker = await _tracked(session, facts)
    return response


async def _facts(session: AsyncSession, event_id: str) -> _EventFacts:
    events = store_of(session).events
    found = await events.find(session, [event_id])
    event = found[0] if found else None
    if event is None:
        raise NotFound(f"Event with ID {event_id} was not found", {"event_id": event_id})
    named = (await session.scalars(select(tables.MeterRow).where(tables.MeterRow.event_name == event.event_name))).all()
    counted = await events.quantities(session, [event], [meter.id for meter in named])
    quantities = {quantity.meter_id: quantity.quantity for quantity in counted}
    features = await session.execute(
        select(tables.Feature.meter_id, tables.Feature.id).where(
            tables.Feature.meter_id.in_(quantities), tables.Feature.status == Status.PUBLISHED
        )
    )
    ownership = await holders_of(session, {event.external_customer_id})
    owners = {
        customer_id
        for customer_id, parts in ownership.items()
        if any(part.holds(event.external_customer_id, event.arrival) for part in parts)
    }
    customer = (await session.scalars(select(Customer).where(Customer.id.in_(owners)))).one_or_none()
    moment: datetime = event.timestamp
    list_charged_items = ports_of(session, EventPorts).list_charged_items
    items = await list_charged_items(session, owners, moment, shifted(moment, _INSTANT), True)
    return _EventFacts(
        event,
        quantities,
        [meter for meter in named if meter.id in quantities],
        {meter_id or "": feature_id for meter_id, feature_id in features},
        customer,
        [item for item in items if item.meter_id in quantities],
    )


async def _being_backfilled(session: AsyncSession, event_name: str) -> bool:
    running = select(MeterBackfill.id).where(
        MeterBackfill.event_name == event_name, MeterBackfill.finished_at.is_(None)
    )
    return (await session.scalars(running)).first() is not None


def _processed(facts: _EventFacts) -> list[FeatureUsageInfo]:
    """One entry per meter and covering line item; one for a meter that nobody charges."""
    charged: list[tuple[str, ChargedItem | None]] = []
    for meter_id in sorted(facts.quantities):
        charging = [item for item in facts.covering if item.meter_id == meter_id]
        charged += [(meter_id, item) for item in charging] or [(meter_id, None)]
    return [
        FeatureUsageInfo(
            customer_id=facts.customer.id if facts.customer else "",
            subscription_id=item.subscription_id if item else "",
            sub_line_item_id=item.id if item else "",
            price_id=item.price.id if item else "",
            meter_id=meter_id,
            feature_id=facts.features.get(meter_id, ""),
            qty_total=plain(facts.quantities[meter_id]),
            processed_at=instant(facts.event.ingested_at),
        )
        for meter_id, item in charged
    ]


async def _tracked(session: AsyncSession, facts: _EventFacts) -> DebugTracker:
    """The steps in their order, up to the first that finds nothing."""
    tracker = DebugTracker(
        customer_lookup=CustomerLookupResult(status=UNPROCESSED),
        meter_matching=MeterMatchingResult(status=UNPROCESSED),
        price_lookup=PriceLookupResult(status=UNPROCESSED),
        subscription_line_item_lookup=SubscriptionLineItemLookupResult(status=UNPROCESSED),
    )
    event = facts.event
    if facts.customer is None:
        error = _missing(f"No customer has the external ID {event.external_customer_id}")
        tracker.customer_lookup = CustomerLookupResult(status=NOT_FOUND, error=error)
        return _stopped(tracker, FailurePointType.CUSTOMER_LOOKUP, error)
    tracker.customer_lookup = CustomerLookupResult(status=FOUND, customer=CustomerResponse.of(facts.customer))
    if not facts.meters:
        error = _missing(f"No meter counts this event of the name {event.event_name}")
        tracker.meter_matching = MeterMatchingResult(status=NOT_FOUND, error=error)
        return _stopped(tracker, FailurePointType.METER_LOOKUP, error)
    tracker.meter_matching = MeterMatchingResult(
        status=FOUND,
        matched_meters=[
            MatchedMeter(meter_id=meter.id, event_name=meter.event_name, meter=meter_answer(meter))
            for meter in facts.meters
        ],
    )
    prices = {item.price.id: item.price for item in facts.items}
    if not prices:
        error = _missing("No price of the customer's subscriptions charges for these meters")
        tracker.price_lookup = PriceLookupResult(status=NOT_FOUND, error=error)
        return _stopped(tracker, FailurePointType.PRICE_LOOKUP, error)
    tracker.price_lookup = PriceLookupResult(
        status=FOUND,
        matched_prices=[
            MatchedPrice(price_id=price.id, meter_id=price.meter_id, status=str(price.status), price=price)
            for price in await price_answers(session, list(prices.values()), frozenset())
        ],
    )
    error = _missing("No active line item covers the time of the event")
    tracker.subscription_line_item_lookup = SubscriptionLineItemLookupResult(
        status=FOUND if facts.covering else NOT_FOUND,
        matched_line_items=[_matched(item, event.timestamp) for item in facts.items],
        error=None if facts.covering else error,
    )
    if not facts.covering:
        return _stopped(tracker, FailurePointType.SUBSCRIPTION_LINE_ITEM_LOOKUP, error)
    meter_id, quantity = next(iter(facts.quantities.items()))
    tracker.attributed_to_customer = AttributedToCustomerResult(
        status=DebugTrackerStatus.ATTRIBUTED,
        meter_usage=MeterUsageAttribution(
            meter_id=meter_id, external_customer_id=event.external_customer_id, qty_total=plain(quantity)
        ),
    )
    return tracker


def _matched(item: ChargedItem, moment: datetime) -> MatchedSubscriptionLineItem:
    return MatchedSubscriptionLineItem(
        sub_line_item_id=item.id,
        subscription_id=item.subscription_id,
        price_id=item.price.id,
        start_date=instant(item.start),
        end_date=instant(item.end) if item.end else None,
        is_active_for_event=item.is_active and item.covers(moment),
        timestamp_within_range=item.covers(moment),
        subscription_line_item=item.answers.get("subscription_line_item"),
    )


def _missing(message: str) -> StepError:
    return StepError(code=StepErrorCode.NOT_FOUND, message=message, http_status_code=404)


def _stopped(tracker: DebugTracker, where: FailurePointType, error: StepError) -> DebugTracker:
    tracker.failure_point = FailurePoint(failure_point_type=where, error=error)
    return tracker
