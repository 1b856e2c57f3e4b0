"""Usage that comes after its invoice: sending it, waiting for it, and what an invoice says of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select

from farthing.core.money import plain
from farthing.events.ingest.sequence import watermark
from farthing.events.tables import MeterBackfill, StoredEvent
from farthing.events.upkeep.backfill import backfill
from farthing.invoices.tables import Invoice
from farthing.subscriptions.tables import Subscription
from tests.billing.office import Office

Body = Mapping[str, Any]

SLAB = {
    "billing_model": "TIERED",
    "tier_mode": "SLAB",
    "tiers": [{"up_to": 10, "unit_amount": "1"}, {"up_to": None, "unit_amount": "0.1"}],
}
VOLUME = {**SLAB, "tier_mode": "VOLUME"}
WEEKLY = {"billing_period": "WEEKLY"}


async def settled(office: Office) -> None:
    """Let every meter come to the end of its backfill, and all that was in flight until now, of whomever, to its own:
    from here on everything recorded so far counts as having been there."""
    while True:
        async with office.transaction() as session:
            if not await backfill(session, office.now):
                break
    async with office.account.transaction(read_only=True) as session:
        filled = await session.scalar(select(func.max(MeterBackfill.finished_sequence)))
        recorded = await session.scalar(select(func.max(StoredEvent.sequence)))
        highest = max(filled or 0, recorded or 0)
    for _ in range(600):
        async with office.account.transaction(read_only=True) as session:
            if await watermark(session) >= highest:
                return
        await asyncio.sleep(0.05)
    raise AssertionError("a transaction was in flight for half a minute")


async def charging(office: Office, plan: Body, **more: Any) -> tuple[Subscription, dict[str, Any]]:
    """A subscription whose late usage goes on the next invoice."""
    await office.settings(late_usage_policy="next_invoice")
    await settled(office)
    customer = await office.customer()
    return await office.subscribed(plan, customer, **more), customer


async def send(
    office: Office, customer: Body, id: str, moment: str, event_name: str = "calls", **properties: Any
) -> None:
    """One event with an id, which can be corrected and deleted."""
    event = {
        "event_id": id,
        "event_name": "calls",
        "external_customer_id": customer["external_id"],
        "timestamp": datetime.fromisoformat(moment).replace(tzinfo=UTC).isoformat(),
        "properties": properties,
    }
    await office.account.post("/events", event, expect=202)


async def late(office: Office, invoice: Invoice) -> list[tuple[str, str, str]]:
    """The late lines of an invoice: start of the window, quantity, amount."""
    return [
        (f"{row.period_start:%m-%d}", plain(row.quantity), plain(row.amount))
        for row in await office.rows(invoice)
        if row.shown_metadata.get("late_usage") == "true"
    ]


async def watched(office: Office, invoice: Invoice, field: str = "late_usage") -> list[Any]:
    """One field of the lines of an invoice's usage view."""
    view = await office.account.get(f"/invoices/{invoice.id}/usage")
    return [line.get(field) for line in view["lines"]]
