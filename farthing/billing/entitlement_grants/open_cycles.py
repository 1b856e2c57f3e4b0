"""The usage windows of subscriptions in the cycle that holds a time, whether or not they were stored.

Rule: docs/rules/entitlements.md#usage-windows
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.calculation.quotas.overage import cycles_of, is_counted, quota_questions
from farthing.billing.calculation.quotas.usage import QuotaQuestion, QuotaUsage
from farthing.billing.calculation.usage_charges import stretches_of
from farthing.billing.entitlement_grants.counting import count_quotas
from farthing.calendar.period import MICROSECOND, Period
from farthing.catalogue.products.tables import MeterRow
from farthing.events.ingest.meters import meter_of
from farthing.events.requests import past
from farthing.metering.meter import Meter
from farthing.storage.queries.rows import in_array
from farthing.subscriptions.snapshot.entitlements import FeatureEntitlement, effective
from farthing.subscriptions.snapshot.values import SubscriptionSnapshot


@dataclass(frozen=True, slots=True)
class CycleWindows:
    """The windows of one subscription for one feature in one cycle, as far as they were asked for."""

    snapshot: SubscriptionSnapshot
    feature_id: str
    question: QuotaQuestion
    usage: QuotaUsage


async def windows_at(
    session: AsyncSession, snapshots: Sequence[SubscriptionSnapshot], now: datetime
) -> list[CycleWindows]:
    """The windows of the cycles that hold `now`, with all usage up to then."""
    moments = [(snapshot, Period(now, now + MICROSECOND)) for snapshot in snapshots]
    return await counted_windows(session, moments, now)


async def counted_windows(
    session: AsyncSession,
    asked: Sequence[tuple[SubscriptionSnapshot, Period]],
    now: datetime,
    *,
    only_what_is_open: bool = False,
) -> list[CycleWindows]:
    """The windows of the cycles that overlap a span, with all usage up to `now`; `only_what_is_open` leaves out those
    that were stored and are done with. Statements: one for meters and one for events, where there are any."""
    granting = [
        (snapshot, span, entitlement)
        for snapshot, span in asked
        if any(source.grant is not None for source in snapshot.entitled)
        for entitlement in effective(snapshot.entitled, snapshot.full_period).values()
        if entitlement.meter_id is not None and entitlement.grants
    ]
    if not granting:
        return []
    meters = await _meters(session, {entitlement.meter_id or "" for _, _, entitlement in granting})
    found = [
        (snapshot, entitlement.feature_id, question)
        for snapshot, span, entitlement in granting
        if entitlement.meter_id in meters
        for question in _questions(snapshot, entitlement, meters[entitlement.meter_id], span, now)
    ]
    if only_what_is_open:
        found = [(snapshot, feature_id, _from_what_is_open(question)) for snapshot, feature_id, question in found]
    counted = await count_quotas(session, [question for _, _, question in found], meters)
    return [CycleWindows(snapshot, feature_id, question, counted[question]) for snapshot, feature_id, question in found]


async def _meters(session: AsyncSession, ids: Collection[str]) -> dict[str, Meter]:
    rows = await session.scalars(select(MeterRow).where(in_array(MeterRow.id, ids)))
    return {row.id: meter_of(row) for row in rows}


def _questions(
    snapshot: SubscriptionSnapshot, entitlement: FeatureEntitlement, meter: Meter, span: Period, now: datetime
) -> Iterator[QuotaQuestion]:
    if not is_counted(entitlement, meter):
        return
    for cycle in cycles_of(snapshot, span):
        until = min(past(now), cycle.end, snapshot.ends_at or cycle.end)
        if cycle.start < until:
            asked = Period(cycle.start, until)
            yield from quota_questions(snapshot, meter, entitlement, asked, stretches_of(snapshot, meter))


def _from_what_is_open(question: QuotaQuestion) -> QuotaQuestion:
    """The question without the time whose windows are done with: each was counted once more after its end."""
    starts = []
    for slot in question.slots:
        last = slot.opened[-1] if slot.opened else None
        if last is None:
            return question
        is_done = last.computed_at is not None and last.computed_at >= last.end
        starts.append(last.end if is_done else last.start)
    since = max(min(starts), question.cycle.start)
    if since >= question.until:
        return replace(question, counted_from=since, stretches=())
    cut = [replace(stretch, start=max(stretch.start, since)) for stretch in question.stretches if stretch.end > since]
    return replace(question, counted_from=since, stretches=tuple(cut))
