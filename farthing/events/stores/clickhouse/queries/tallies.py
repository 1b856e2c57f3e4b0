"""Counting events by bucket, meter and external id in ClickHouse, and by their owners in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.errors import ValidationFailed
from farthing.events.stores.clickhouse.client import ClickHouse
from farthing.events.stores.clickhouse.moments import first_millisecond_from
from farthing.events.stores.clickhouse.queries.conditions import WhereClause
from farthing.events.stores.clickhouse.schema import EVENTS, USAGE
from farthing.events.usage.tallies import EventTally, TalliedEvents, owners_of
from farthing.storage.postgres import scope_of

MOST_COUNTS = 500_000
"""Of how many buckets times meters times external ids the counts are fetched."""

# an id that changed hands: where in the order of arrival another customer's events may begin
_HANDOVERS = text(
    """
    SELECT external_id, since_sequence FROM external_id_tenures
    WHERE environment_id = :environment AND since_sequence > 0
    UNION
    SELECT external_id, until_sequence FROM external_id_tenures
    WHERE environment_id = :environment AND until_sequence IS NOT NULL
    """
)
_JOINED_HANDOVERS = (
    "LEFT JOIN (SELECT handover.1 AS customer, groupArray(handover.2) AS points FROM (SELECT arrayJoin(arrayZip("
    "CAST(%(handed)s, 'Array(String)'), CAST(%(points)s, 'Array(Int64)'))) AS handover) GROUP BY customer) AS handed "
    "ON handed.customer = u.external_customer_id"
)
_LAST_HANDOVER = (
    "arrayMax(arrayFilter(point -> point <= ifNull(u.owner_sequence, u.sequence), arrayPushBack(handed.points, 0)))"
)
_COUNTED = """
    unnest(CAST(:buckets AS int[]), CAST(:counts AS bigint[]), CAST(:meter_ids AS text[]),
        CAST(:external_ids AS text[]), CAST(:arrivals AS bigint[]))
    AS u (bucket, events, meter_id, external_customer_id, arrival)
"""


async def tally_events(clickhouse: ClickHouse, session: AsyncSession, tally: EventTally) -> TalliedEvents:
    """Raises ValidationFailed naming `dimensions` where too much is told apart."""
    environment = scope_of(session).environment_id
    rows = await _counts(clickhouse, session, tally) if tally.meter_ids is None or tally.meter_ids else []
    if len(rows) > MOST_COUNTS:
        raise ValidationFailed.of(
            "dimensions", f"would count events of more than {MOST_COUNTS:,} customers and buckets; ask for less time"
        )
    edges = list(tally.edges[:-1])
    number_of = {first_millisecond_from(edge): number for number, edge in enumerate(edges, 1)}
    starts, counts, meters, customers, arrivals = map(list, zip(*rows, strict=True)) if rows else ([], [], [], [], [])
    columns = ["(CAST(:bucket_starts AS timestamptz[]))[u.bucket] AS at", "u.events"]
    columns += ["u.meter_id"] if tally.by_meter else []
    columns += ["t.customer_id"] if tally.by_customer else []
    query = f"SELECT {', '.join(columns)} FROM {_COUNTED} {owners_of('u.arrival') if tally.by_customer else ''}"
    given = {
        "environment": environment,
        "bucket_starts": edges,
        "buckets": [number_of[start] for start in starts],
        "counts": counts,
        "meter_ids": meters,
        "external_ids": customers,
        "arrivals": arrivals,
    }
    return TalliedEvents(query, given)


async def _counts(clickhouse: ClickHouse, session: AsyncSession, tally: EventTally) -> Sequence[Sequence[Any]]:
    """Start of the bucket, events, meter, external id and from which arrival on its owner owns them."""
    edges = [first_millisecond_from(edge) for edge in tally.edges]
    where = WhereClause(scope_of(session).environment_id)
    where.add("timestamp >= %(first)s AND timestamp < %(last)s", first=edges[0], last=edges[-1])
    table, count, meter = EVENTS, "count()", "''"
    if tally.meter_ids is not None:
        where.add("meter_id IN %(meters)s", meters=sorted(tally.meter_ids))
        table = USAGE
        meter, count = ("u.meter_id", "count()") if tally.by_meter else ("''", "uniqExact(u.sequence)")
    customer, arrival, joined = "''", "0", ""
    if tally.by_customer:
        customer = "u.external_customer_id"
        handovers = (await session.execute(_HANDOVERS, {"environment": where.parameters["environment"]})).all()
        if handovers:
            arrival, joined = _LAST_HANDOVER, _JOINED_HANDOVERS
            where.parameters["handed"] = [external_id for external_id, _ in handovers]
            where.parameters["points"] = [str(point) for _, point in handovers]
    where.parameters["starts"] = [str(edge) for edge in edges[:-1]]
    return await clickhouse.rows(
        f"SELECT roundDown(u.timestamp, CAST(%(starts)s, 'Array(Int64)')) AS start, {count}, {meter} AS meter, "
        f"{customer} AS customer, {arrival} AS arrival "
        f"FROM (SELECT * FROM {clickhouse.database}.{table} FINAL WHERE {where.text}) AS u {joined} "
        f"GROUP BY start, meter, customer, arrival LIMIT {MOST_COUNTS + 1}",
        where.parameters,
    )
