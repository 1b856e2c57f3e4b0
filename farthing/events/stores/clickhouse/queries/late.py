"""What came or went after an invoice had read usage, and before anybody was charged."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.customers.tables import ExternalIdTenure
from farthing.events.stores.clickhouse.client import ClickHouse
from farthing.events.stores.clickhouse.moments import first_millisecond_from
from farthing.events.usage.event_store import EarlierEvents, LateQuestion
from farthing.storage.postgres import scope_of
from farthing.storage.queries.rows import in_array

QUESTIONS_AT_ONCE = 5_000
_WITHDRAWN = text(
    """
    SELECT DISTINCT asked.line
    FROM unnest(CAST(:lines AS text[]), CAST(:ids AS text[]), CAST(:since AS timestamptz[]),
                CAST(:until AS timestamptz[]), CAST(:marks AS bigint[]))
        AS asked (line, external_id, since, until, mark)
    JOIN events_withdrawn AS gone
        ON gone.environment_id = :environment AND gone.external_customer_id = asked.external_id
        AND gone.timestamp >= asked.since AND gone.timestamp < asked.until AND gone.sequence > asked.mark
    """
)
_ASKED = (
    "SELECT DISTINCT asked.line FROM (SELECT external_customer_id, timestamp, sequence FROM {database}.events FINAL "
    "WHERE environment_id = %(environment)s AND external_customer_id IN %(customers)s "
    "AND timestamp >= %(first)s AND timestamp < %(last)s) AS e INNER JOIN ("
    "SELECT q.1 AS line, q.2 AS customer, q.3 AS since, q.4 AS until, q.5 AS mark FROM (SELECT arrayJoin(arrayZip("
    "CAST(%(lines)s, 'Array(String)'), CAST(%(ids)s, 'Array(String)'), CAST(%(since)s, 'Array(Int64)'), "
    "CAST(%(until)s, 'Array(Int64)'), CAST(%(marks)s, 'Array(Int64)'))) AS q)) AS asked "
    "ON e.external_customer_id = asked.customer "
    "WHERE e.timestamp >= asked.since AND e.timestamp < asked.until AND e.sequence > asked.mark"
)
_EARLIER = (
    "SELECT asked.number, count() FROM (SELECT external_customer_id, timestamp, sequence, owner_sequence "
    "FROM {database}.events FINAL WHERE environment_id = %(environment)s AND external_customer_id IN %(customers)s "
    "AND timestamp < %(last)s) AS e INNER JOIN ("
    "SELECT q.1 AS number, q.2 AS customer, q.3 AS until, q.4 AS arrived_since, q.5 AS arrived_until FROM ("
    "SELECT arrayJoin(arrayZip(CAST(%(numbers)s, 'Array(Int64)'), CAST(%(ids)s, 'Array(String)'), "
    "CAST(%(until)s, 'Array(Int64)'), CAST(%(arrived_since)s, 'Array(Int64)'), "
    "CAST(%(arrived_until)s, 'Array(Int64)'))) AS q)) AS asked ON e.external_customer_id = asked.customer "
    "WHERE e.timestamp < asked.until AND ifNull(e.owner_sequence, e.sequence) >= asked.arrived_since "
    "AND ifNull(e.owner_sequence, e.sequence) < asked.arrived_until GROUP BY asked.number"
)


async def find_late(clickhouse: ClickHouse, session: AsyncSession, questions: Sequence[LateQuestion]) -> set[str]:
    environment = scope_of(session).environment_id
    external_ids: dict[str, list[str]] = defaultdict(list)
    customers = {question.customer_id for question in questions}
    tenures = await session.execute(
        select(ExternalIdTenure.customer_id, ExternalIdTenure.external_id)
        .where(ExternalIdTenure.environment_id == environment, in_array(ExternalIdTenure.customer_id, customers))
        .distinct()
    )
    for customer_id, external_id in tenures:
        external_ids[customer_id].append(external_id)
    asked = [
        (question, external_id) for question in questions for external_id in external_ids.get(question.customer_id, ())
    ]
    late: set[str] = set()
    for start in range(0, len(asked), QUESTIONS_AT_ONCE):
        some = asked[start : start + QUESTIONS_AT_ONCE]
        late |= await _came(clickhouse, environment, some)
        late |= await _went(session, environment, some)
    return late


async def _came(clickhouse: ClickHouse, environment: str, asked: Sequence[tuple[LateQuestion, str]]) -> set[str]:
    since = [first_millisecond_from(question.since) for question, _ in asked]
    until = [first_millisecond_from(question.until) for question, _ in asked]
    rows = await clickhouse.rows(
        _ASKED.replace("{database}", clickhouse.database),
        {
            "environment": environment,
            "customers": tuple(sorted({external_id for _, external_id in asked})),
            "first": min(since),
            "last": max(until),
            "lines": [question.line for question, _ in asked],
            "ids": [external_id for _, external_id in asked],
            "since": [str(moment) for moment in since],
            "until": [str(moment) for moment in until],
            "marks": [str(question.mark) for question, _ in asked],
        },
    )
    return {line for (line,) in rows}


async def _went(session: AsyncSession, environment: str, asked: Sequence[tuple[LateQuestion, str]]) -> set[str]:
    given = {
        "environment": environment,
        "lines": [question.line for question, _ in asked],
        "ids": [external_id for _, external_id in asked],
        "since": [question.since for question, _ in asked],
        "until": [question.until for question, _ in asked],
        "marks": [question.mark for question, _ in asked],
    }
    return set(await session.scalars(_WITHDRAWN, given))


async def count_earlier(
    clickhouse: ClickHouse, session: AsyncSession, parts: Sequence[EarlierEvents]
) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for start in range(0, len(parts), QUESTIONS_AT_ONCE):
        some = parts[start : start + QUESTIONS_AT_ONCE]
        until = [first_millisecond_from(part.until) for part in some]
        rows = await clickhouse.rows(
            _EARLIER.replace("{database}", clickhouse.database),
            {
                "environment": scope_of(session).environment_id,
                "customers": tuple(sorted({part.owned.external_id for part in some})),
                "last": max(until),
                "numbers": [str(number) for number in range(len(some))],
                "ids": [part.owned.external_id for part in some],
                "until": [str(moment) for moment in until],
                "arrived_since": [str(part.owned.since) for part in some],
                "arrived_until": [str(part.owned.until_or_end) for part in some],
            },
        )
        for number, count in rows:
            counts[some[number].customer_id] += count
    return dict(counts)
