"""Customers with a subscription that is active or in its trial, at any moment of a bucket.

Rule: docs/rules/reporting.md#metrics
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import shifted
from farthing.reporting.analytics.definition import Question
from farthing.reporting.analytics.metrics.facts import (
    Cells,
    Values,
    joined_customers,
    narrowing,
    read_cells,
    scope_parameters,
    splitting,
)
from farthing.reporting.analytics.periods import Timeline

_ACTIVE = """
    WITH life AS (
        SELECT s.id, s.customer_id, s.currency, tstzmultirange(tstzrange(
            s.start_date, least(s.end_date, CASE WHEN s.subscription_status <> 'cancelled' THEN s.cancel_at END)
        )) AS lived
        FROM subscriptions AS s
        WHERE s.environment_id = :environment AND s.status = 'published'
            AND s.subscription_status NOT IN ('draft', 'incomplete')
            AND (s.end_date IS NULL OR s.end_date > s.start_date)
            AND (s.cancel_at IS NULL OR s.subscription_status = 'cancelled' OR s.cancel_at > s.start_date)
    ),
    paused AS (
        SELECT subscription_id, range_agg(tstzrange(pause_start, resumed_at)) AS stretches
        FROM subscription_pauses
        WHERE environment_id = :environment AND status = 'published' AND pause_status IN ('active', 'completed')
        GROUP BY subscription_id
    )
    SELECT life.customer_id, life.currency, CASE WHEN paused.stretches IS NULL THEN life.lived
        ELSE life.lived - paused.stretches END AS lived
    FROM life LEFT JOIN paused ON paused.subscription_id = life.id
"""


async def active_customers(session: AsyncSession, question: Question, timeline: Timeline, now: datetime) -> Cells:
    """How many customers had a subscription active or in its trial at any moment of each bucket that has come."""
    values = Values()
    groups, conditions = splitting(question, values), narrowing(question, values)
    statement = f"""
        SELECT b.number - 1 AS bucket, {"".join(f"{g}, " for g in groups)}count(DISTINCT f.customer_id)
        FROM unnest(CAST(:begins AS timestamptz[]), CAST(:ends AS timestamptz[]))
            WITH ORDINALITY AS b (begins, ends, number)
        JOIN ({_ACTIVE}) AS f ON f.lived && tstzrange(b.begins, b.ends) {joined_customers(question)}
        {"WHERE " + " AND ".join(conditions) if conditions else ""}
        GROUP BY {", ".join(str(number + 1) for number in range(len(groups) + 1))}
    """
    come = [(begins, ends) for begins, ends in zip(timeline.edges, timeline.ends, strict=False) if begins <= now]
    parameters = {
        **scope_parameters(session),
        **values.parameters,
        "begins": [begins for begins, _ in come],
        "ends": [min(ends, _just_after(now)) for _, ends in come],
    }
    return await read_cells(session, statement, parameters)


def _just_after(now: datetime) -> datetime:
    return shifted(now, timedelta(microseconds=1))
