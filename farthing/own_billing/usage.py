"""What each tenant has used of the host's deployment in a day, sent as usage events to the host's environment.

Rule: docs/rules/own-billing.md#usage
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal

from sqlalchemy import func, select

from farthing.core.ids import Kind, stable_id
from farthing.customers.tables import Customer
from farthing.events.ingest.arrivals import Arrival
from farthing.events.ingest.group_commit import Ingest
from farthing.events.usage.event_store import EventStore, store_of
from farthing.identity.tables import Environment
from farthing.invoices.tables import Invoice
from farthing.metering.event import UsageEvent
from farthing.own_billing.host import BillingHost, is_tenant
from farthing.storage.scope import SYSTEM, Scope

INVOICES, EVENTS = "farthing.invoices", "farthing.events"
DAY = timedelta(days=1)
_SOURCE = "farthing"
AT_ONCE = 500


async def send_daily_usage(host: BillingHost, now: datetime) -> int:
    """Send what tenants used on the day before `now` (UTC); the same day sent again counts once. How many events."""
    end = datetime.combine(now.astimezone(UTC).date(), time(), UTC)
    async with host.session(read_only=True) as session:
        tenants = (await session.scalars(select(Customer.external_id).where(is_tenant()))).all()
    events = [event for tenant_id in tenants for event in await _events_of(host, tenant_id, end)]
    ingest = Ingest(host.database.url, host.database.ports.part(EventStore).append_measured)
    await ingest.start()
    try:
        for first in range(0, len(events), AT_ONCE):
            arrivals = [Arrival(event=event, at=now) for event in events[first : first + AT_ONCE]]
            await ingest.accept(host.scope, arrivals)
    finally:
        await ingest.stop()
    return len(events)


async def _events_of(host: BillingHost, tenant_id: str, end: datetime) -> list[UsageEvent]:
    counts = {INVOICES: 0, EVENTS: 0}
    for environment_id in await _environments(host, tenant_id):
        scope = Scope(tenant_id, environment_id)
        async with host.database.session(scope, read_only=True) as session:
            finalized = select(func.count()).where(Invoice.finalized_at >= end - DAY, Invoice.finalized_at < end)
            counts[INVOICES] += await session.scalar(finalized) or 0
            counts[EVENTS] += await store_of(session).events.count_ingested(session, end - DAY, end)
    day = f"{end - DAY:%Y-%m-%d}"
    return [
        UsageEvent(
            id=stable_id(Kind.EVENT, "own_billing", tenant_id, name, day),
            event_name=name,
            external_customer_id=tenant_id,
            timestamp=end - timedelta(milliseconds=1),
            properties={"count": Decimal(count), "day": day},
            source=_SOURCE,
        )
        for name, count in counts.items()
        if count
    ]


async def _environments(host: BillingHost, tenant_id: str) -> Sequence[str]:
    async with host.database.transaction(SYSTEM, read_only=True) as session:
        query = select(Environment.id).where(Environment.tenant_id == tenant_id)
        return (await session.scalars(query.order_by(Environment.id))).all()
