"""Events counted in PostgreSQL."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.events.usage.tallies import EventTally, TalliedEvents, owners_of
from farthing.storage.postgres import scope_of

_ARRIVAL = "coalesce(u.owner_sequence, u.sequence)"
_WITHIN = "u.environment_id = :environment AND u.timestamp >= :first AND u.timestamp < :last"
_BUCKET = "(CAST(:starts AS timestamptz[]))[width_bucket(u.timestamp, CAST(:starts AS timestamptz[]))]"
# the index by time is read bucket by bucket, so that no event is asked which one holds it
_EVERY_EVENT = """
    SELECT bucket.since AS at, counted.events
    FROM unnest(CAST(:starts AS timestamptz[]), CAST(:ends AS timestamptz[])) AS bucket (since, before)
    CROSS JOIN LATERAL (
        SELECT count(*) AS events FROM events AS u
        WHERE u.environment_id = :environment AND u.timestamp >= bucket.since AND u.timestamp < bucket.before
    ) AS counted
    WHERE counted.events > 0
"""


async def tally_events(session: AsyncSession, tally: EventTally) -> TalliedEvents:
    """The query that counts events, to be joined with what else is asked."""
    given: dict[str, Any] = {
        "environment": scope_of(session).environment_id,
        "starts": list(tally.edges[:-1]),
        "ends": list(tally.edges[1:]),
    }
    if tally.meter_ids is None and not tally.by_customer:
        return TalliedEvents(_EVERY_EVENT, given)
    del given["ends"]
    given |= {"first": tally.edges[0], "last": tally.edges[-1]}
    if tally.meter_ids is None:
        return TalliedEvents(_counts(tally, "events"), given)
    shared = set() if tally.by_meter else set(tally.meter_ids) - tally.apart_ids
    given["meters"] = sorted(set(tally.meter_ids) - shared)
    query = _counts(tally, "meter_usage", "AND u.meter_id = ANY(:meters)")
    if shared:
        given["sharing"] = sorted(shared)
        once = _counts(tally, "meter_usage", "AND u.meter_id = ANY(:sharing)", "count(DISTINCT u.sequence)")
        query = f"{query} UNION ALL {once}"
    return TalliedEvents(query, given)


def _counts(tally: EventTally, table: str, condition: str = "", count: str = "count(*)") -> str:
    """A row for each bucket, and for each meter and customer where they are told apart."""
    apart = ["u.meter_id"] if tally.by_meter else []
    apart += ["t.customer_id"] if tally.by_customer else []
    groups = ", ".join(str(number) for number in range(1, len(apart) + 2))
    return f"""
        SELECT {", ".join([f"{_BUCKET} AS at", *apart])}, {count} AS events
        FROM {table} AS u {owners_of(_ARRIVAL) if tally.by_customer else ""}
        WHERE {_WITHIN} {condition} GROUP BY {groups}
    """
