"""Counting events in PostgreSQL: the tables themselves are what a figure adds up."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.events.usage.tallies import EventTally, TalliedEvents, owners_of
from farthing.storage.postgres import scope_of

_ARRIVAL = "coalesce(u.owner_sequence, u.sequence)"


async def tally_events(session: AsyncSession, tally: EventTally) -> TalliedEvents:
    given: dict[str, Any] = {
        "environment": scope_of(session).environment_id,
        "first": tally.edges[0],
        "last": tally.edges[-1],
    }
    columns, table, distinct, condition = ["u.timestamp AS at", "1 AS events"], "events", "", ""
    if tally.meter_ids is not None:
        table, condition = "meter_usage", "AND u.meter_id = ANY(:meters)"
        given["meters"] = sorted(tally.meter_ids)
        if tally.by_meter:
            columns.append("u.meter_id")
        else:
            columns.append("u.sequence")
            distinct = "DISTINCT"
    if tally.by_customer:
        columns.append("t.customer_id")
    query = f"""
        SELECT {distinct} {", ".join(columns)} FROM {table} AS u {owners_of(_ARRIVAL) if tally.by_customer else ""}
        WHERE u.environment_id = :environment AND u.timestamp >= :first AND u.timestamp < :last {condition}
    """
    return TalliedEvents(query, given)
