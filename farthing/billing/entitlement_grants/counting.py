"""Counting the stored events of usage windows: the same for invoices, previews, summaries and the duty.

Rule: docs/rules/entitlements.md#usage-windows
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.calculation.quotas.usage import QuotaCount, QuotaQuestion, QuotaUsage
from farthing.events.usage.measured_events import measured_events
from farthing.events.usage.usage_statement import UsageQuery
from farthing.metering.meter import Meter


async def count_quotas(
    session: AsyncSession, questions: Sequence[QuotaQuestion], meters: Mapping[str, Meter]
) -> dict[QuotaQuestion, QuotaUsage]:
    """The answer to each question; one statement for all, and no more than one question's windows in the making."""
    asked = [question for question in dict.fromkeys(questions) if question.stretches]
    counts = {
        question: QuotaCount(question, meters[question.meter_id].aggregation.type)
        for question in dict.fromkeys(questions)
    }
    if asked:
        async for event in measured_events(session, [_query(question, meters) for question in asked]):
            counts[asked[event.query]].add(event.at, event.quantity, event.key)
    return {question: count.result() for question, count in counts.items()}


def _query(question: QuotaQuestion, meters: Mapping[str, Meter]) -> UsageQuery:
    first, *more = question.stretches
    return UsageQuery(
        meters[question.meter_id],
        first.start,
        first.end,
        first.customers,
        more=tuple(more),
        customers_are_ids=True,
    )
