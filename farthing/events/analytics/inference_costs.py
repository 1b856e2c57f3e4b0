"""What single events cost, each priced alone: the answer that inference providers poll for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.prices.rated import rated
from farthing.core.clock import shifted
from farthing.core.money import EXACT, ZERO, exact_sum, plain
from farthing.events.charged_items import ChargedItem
from farthing.events.ports import EventPorts
from farthing.events.schemas import EventCostInfo, GetHuggingFaceBillingDataResponse
from farthing.events.usage.event_store import store_of
from farthing.events.usage.ownership import holders_of
from farthing.rating.pricing.cost import price_quantity
from farthing.storage.postgres import ports_of

NANO = Decimal(10**9)


async def costs(session: AsyncSession, event_ids: Sequence[str]) -> GetHuggingFaceBillingDataResponse:
    """The cost of each event at the price in force when it happened, in input order; 0 for what nobody charges."""
    stored = store_of(session).events
    events = await stored.find(session, event_ids)
    found: dict[str, Decimal] = {}
    if events:
        first = min(row.timestamp for row in events)
        end = shifted(max(row.timestamp for row in events), timedelta(milliseconds=1))
        ownership = await holders_of(session, {row.external_customer_id for row in events})
        items: dict[str, list[ChargedItem]] = defaultdict(list)
        list_charged_items = ports_of(session, EventPorts).list_charged_items
        for item in await list_charged_items(session, ownership, first, end, False):
            items[item.meter_id].append(item)
        by_id = {row.id: row for row in events}
        for event_id, meter_id, quantity, _ in await stored.quantities(session, events, list(items)):
            event = by_id[event_id]
            for item in items[meter_id]:
                owned = (part for customer in item.customers for part in ownership.get(customer, ()))
                whose = any(part.holds(event.external_customer_id, event.arrival) for part in owned)
                if whose and item.covers(event.timestamp):
                    cost = price_quantity(rated(item.price), quantity)
                    found[event_id] = exact_sum([found.get(event_id, ZERO), cost])
    return GetHuggingFaceBillingDataResponse(
        requests=[
            EventCostInfo(requestId=event_id, costNanoUsd=plain(EXACT.multiply(found.get(event_id, ZERO), NANO)))
            for event_id in event_ids
        ]
    )
