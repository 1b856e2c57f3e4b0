"""By which sources the events behind usage lines came, and how much of the usage each brought."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.products.tables import MeterRow
from farthing.core.money import EXACT, ZERO
from farthing.events.groupings import SOURCE
from farthing.events.ingest.meters import meter_of
from farthing.events.usage.usage_query import grouped_of
from farthing.events.usage.usage_statement import UsageQuery
from farthing.reporting.revenue.lines import RevenueLine
from farthing.storage.queries.rows import in_array
from farthing.subscriptions.snapshot.loading import load


async def shares_by_source(session: AsyncSession, lines: Sequence[RevenueLine]) -> dict[str, list[tuple[str, Decimal]]]:
    """By line, the sources of its events by name, each with the usage that it brought; none for lines without."""
    metered = [line for line in lines if line.is_metered and line.subscription_id]
    if not metered:
        return {}
    rows = await session.scalars(select(MeterRow).where(in_array(MeterRow.id, {line.meter_id for line in metered})))
    meters = {row.id: meter_of(row) for row in rows}
    loaded = await load(session, sorted({line.subscription_id for line in metered}))
    members = {member.id: member for snapshot in loaded for member in (*snapshot.grouped, snapshot)}
    known = [line for line in metered if line.meter_id in meters and line.subscription_id in members]
    queries = [
        UsageQuery(
            meters[line.meter_id],
            line.period_start,
            line.period_end,
            frozenset(customer.customer_id for customer in members[line.subscription_id].usage_customers),
            group_by=(SOURCE,),
            customers_are_ids=True,
        )
        for line in known
        if line.period_start is not None and line.period_end is not None
    ]
    shares: dict[str, list[tuple[str, Decimal]]] = {}
    for line, groups in zip(known, await grouped_of(session, queries), strict=True):
        usage: dict[str, Decimal] = {}
        for (source,), brought in groups.items():
            usage[source or ""] = EXACT.add(usage.get(source or "", ZERO), brought.value)
        positive = [(source, amount) for source, amount in sorted(usage.items()) if amount > 0]
        if positive:
            shares[line.id] = positive
    return shares
