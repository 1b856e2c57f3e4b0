"""Measuring usage for charges: questions of many subscriptions at once, in a fixed number of statements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.calculation.quotas.usage import QuotaQuestion
from farthing.billing.calculation.usage_charges import NOTHING, MeasuredUsage, Question, UsageRange
from farthing.billing.entitlement_grants.counting import count_quotas
from farthing.core.money import ZERO
from farthing.events.usage.usage_query import buckets_of, usage_of
from farthing.events.usage.usage_statement import UsageQuery
from farthing.metering.meter import Meter
from farthing.metering.model import Usage


async def measure_usage(
    session: AsyncSession, questions: Sequence[Question], meters: Mapping[str, Meter]
) -> dict[Question, MeasuredUsage]:
    """The answer to each question; one statement per kind of meter, however many there are, and one for quotas."""
    quotas = [question for question in questions if isinstance(question, QuotaQuestion)]
    ranges = [question for question in questions if isinstance(question, UsageRange)]
    bucketed = [
        usage_range for usage_range in ranges if meters[usage_range.meter_id].aggregation.bucket_size is not None
    ]
    plain = [usage_range for usage_range in ranges if meters[usage_range.meter_id].aggregation.bucket_size is None]
    answers: dict[Question, MeasuredUsage] = {}
    if plain:
        values = await usage_of(session, [_query(usage_range, meters) for usage_range in plain])
        answers |= {usage_range: MeasuredUsage(value) for usage_range, value in zip(plain, values, strict=True)}
    if bucketed:
        cuts = await buckets_of(session, [_query(usage_range, meters) for usage_range in bucketed])
        for usage_range, buckets in zip(bucketed, cuts, strict=True):
            answers[usage_range] = MeasuredUsage(
                Usage(ZERO, sum(bucket.event_count for bucket in buckets)), tuple(buckets)
            )
    if quotas:
        for question, counted in (await count_quotas(session, quotas, meters)).items():
            answers[question] = replace(NOTHING, quotas=counted)
    return answers


def _query(usage_range: UsageRange, meters: Mapping[str, Meter]) -> UsageQuery:
    return UsageQuery(
        meters[usage_range.meter_id],
        usage_range.start,
        usage_range.end,
        usage_range.customers,
        zone=usage_range.zone,
        month_day=usage_range.month_day,
        more=usage_range.more,
        level_since=usage_range.level_since,
        customers_are_ids=True,
    )
