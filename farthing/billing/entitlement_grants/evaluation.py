"""The duty that opens usage windows, counts what was used in them, and announces quotas that are used up.

What it stores is what any reader would work out at that moment; from then on a window stays as it is. While the cycle
goes on, only what is open is counted; a cycle that has ended is counted once more as a whole.
Rule: docs/rules/entitlements.md#usage-windows
Rule: docs/rules/entitlements.md#exhaustion
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.calculation.quotas.usage import QuotaWindow
from farthing.billing.entitlement_grants.open_cycles import CycleWindows, counted_windows
from farthing.billing.entitlement_grants.selecting import granting_subscriptions
from farthing.billing.ports import BillingPorts, ExhaustedGrant
from farthing.calendar.period import MICROSECOND, Period
from farthing.core.clock import FixedClock
from farthing.core.ids import Kind, new_id
from farthing.storage.connections.reasons import public_reason
from farthing.storage.postgres import Database, ports_of
from farthing.storage.queries.bulk import insert_all, update_all
from farthing.storage.queries.rows import in_array
from farthing.storage.scope import Scope
from farthing.subscriptions.enums import UsageWindowStatus
from farthing.subscriptions.snapshot.loading import load
from farthing.subscriptions.snapshot.service_periods import service_period_at
from farthing.subscriptions.snapshot.values import SubscriptionSnapshot
from farthing.subscriptions.tables import Subscription
from farthing.subscriptions.usage_windows import EntitlementGrant

log = structlog.get_logger(__name__)

BATCH = 50
LOOK_BACK = timedelta(days=1)
"""For how long after its end a cycle is looked at that has windows whose last count was before its end."""


@dataclass
class EvaluationSummary:
    """What an evaluation did; `failed` says why, by subscription id."""

    opened: int = 0
    exhausted: int = 0
    failed: dict[str, str] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """The same in numbers, for the journal of duties."""
        return {"succeeded": self.opened, "exhausted": self.exhausted, "failed": len(self.failed)}

    def add(self, other: EvaluationSummary) -> None:
        self.opened += other.opened
        self.exhausted += other.exhausted
        self.failed |= other.failed


@dataclass(frozen=True, slots=True)
class GrantEvaluation:
    """One evaluation in one environment, as of `now`."""

    database: Database
    scope: Scope
    now: datetime
    batch: int = BATCH
    due_only: bool = False
    """Whether only subscriptions are evaluated whose period is about to be moved on, and so invoiced."""

    async def run(self) -> EvaluationSummary:
        """Evaluate all subscriptions that have a grant; those that somebody else holds are left to the next run."""
        done = EvaluationSummary()
        after = ""
        while True:
            async with self.database.transaction(self.scope, read_only=True) as session:
                due_by = self.now if self.due_only else None
                ids = await granting_subscriptions(session, self.now - LOOK_BACK, due_by, self.batch, after)
            if not ids:
                return done
            after = ids[-1]
            await self._attend(ids, done)

    async def _attend(self, ids: Sequence[str], done: EvaluationSummary) -> None:
        try:
            async with self.database.transaction(self.scope, clock=FixedClock(self.now)) as session:
                did = await evaluate(session, ids, self.now)
            done.add(did)
        except Exception as error:  # a bad row must not stop the others; alone it is named below
            if len(ids) > 1:
                for subscription_id in ids:
                    await self._attend([subscription_id], done)
                return
            done.failed[ids[0]] = public_reason(error)
            log.exception("grants.evaluation_failed", subscription_id=ids[0])


async def evaluate(session: AsyncSession, ids: Sequence[str], now: datetime) -> EvaluationSummary:
    """Bring the windows of these subscriptions to `now`, as far as nobody else holds them.

    Windows are read beneath the lock that everybody takes who writes them, so that none is opened twice and no quota
    announced twice.
    """
    locked = await session.scalars(
        select(Subscription.id)
        .where(in_array(Subscription.id, ids))
        .order_by(Subscription.id)
        .with_for_update(skip_locked=True, key_share=True)
    )
    snapshots = await load(session, locked.all())
    counted = await counted_windows(session, await _ended_lately(session, snapshots, now), now)
    going_on = [(snapshot, Period(now, now + MICROSECOND)) for snapshot in snapshots if not _is_over(snapshot, now)]
    counted += await counted_windows(session, going_on, now, only_what_is_open=True)
    done = EvaluationSummary()
    await _drop_other_measures(session, counted)
    await _write(session, counted, now, done)
    return done


def _is_over(snapshot: SubscriptionSnapshot, now: datetime) -> bool:
    return snapshot.ends_at is not None and snapshot.ends_at <= now


async def _ended_lately(
    session: AsyncSession, snapshots: Sequence[SubscriptionSnapshot], now: datetime
) -> list[tuple[SubscriptionSnapshot, Period]]:
    """The subscriptions with a cycle that ended not long ago, loaded with all windows of it, unless each was counted
    since; with each the last instant of the cycle."""
    ends: dict[str, datetime] = {}
    for snapshot in snapshots:
        if not any(source.grant is not None for source in snapshot.entitled):
            continue
        end = service_period_at(snapshot, None, now).start
        if snapshot.ends_at is not None and snapshot.ends_at <= now:
            end = snapshot.ends_at
        if end > max(now - LOOK_BACK, snapshot.first_paid_at):
            ends[snapshot.id] = end
    if not ends:
        return []
    last = {
        snapshot.id: service_period_at(snapshot, None, ends[snapshot.id] - MICROSECOND)
        for snapshot in snapshots
        if snapshot.id in ends
    }
    whole = await load(session, list(ends), since=min(cycle.start for cycle in last.values()))
    return [
        (snapshot, Period(end - MICROSECOND, end))
        for snapshot in whole
        if not _is_counted_since(snapshot, last[snapshot.id], end := ends[snapshot.id])
    ]


def _is_counted_since(snapshot: SubscriptionSnapshot, cycle: Period, end: datetime) -> bool:
    counted = [window.computed_at for window in snapshot.opened if cycle.contains(window.start)]
    return bool(counted) and all(at is not None and at >= end for at in counted)


async def _drop_other_measures(session: AsyncSession, counted: Sequence[CycleWindows]) -> None:
    """Windows of money mean nothing any more where units are granted now, and the other way round."""
    gone = [
        window.id
        for cycle in counted
        for window in cycle.snapshot.opened
        if window.feature_id == cycle.feature_id
        and cycle.question.slots
        and window.measure is not cycle.question.slots[0].measure
        and cycle.question.cycle.contains(window.start)
    ]
    if gone:
        await session.execute(delete(EntitlementGrant).where(in_array(EntitlementGrant.id, gone)))


async def _write(
    session: AsyncSession, counted: Sequence[CycleWindows], now: datetime, done: EvaluationSummary
) -> None:
    known = [window.opened_id for cycle in counted for window in cycle.usage.windows if window.opened_id is not None]
    rows: dict[str, EntitlementGrant] = {}
    if known:
        found = await session.scalars(select(EntitlementGrant).where(in_array(EntitlementGrant.id, known)))
        rows = {row.id: row for row in found}
    opened: list[EntitlementGrant] = []
    exhausted: list[EntitlementGrant] = []
    for cycle in counted:
        for window in cycle.usage.windows:
            row = rows.get(window.opened_id or "")
            if row is None:
                row = _new_row(cycle, window, now)
                opened.append(row)
            if _is_newly_exhausted(row, window, now):
                exhausted.append(row)
    await insert_all(session, opened)
    await update_all(session, rows.values())
    ports = ports_of(session, BillingPorts)
    for row in exhausted:
        await ports.record_exhausted_grant(
            session,
            ExhaustedGrant(
                row.id, row.entitlement_config_id, row.subscription_id, row.customer_id, row.quota, row.usage, now
            ),
        )
    done.opened += len(opened)
    done.exhausted += len(exhausted)


def _new_row(cycle: CycleWindows, window: QuotaWindow, now: datetime) -> EntitlementGrant:
    slot = next(slot for slot in cycle.question.slots if slot.entitlement_id == window.entitlement_id)
    return EntitlementGrant(
        id=new_id(Kind.ENTITLEMENT_GRANT),
        entitlement_config_id=window.entitlement_id,
        customer_id=cycle.snapshot.customer_id,
        subscription_id=cycle.snapshot.id,
        feature_id=cycle.feature_id,
        measure=window.measure,
        duration_unit=slot.terms.unit,
        quota=window.quota,
        valid_from=window.start,
        valid_to=window.end,
        grant_status=UsageWindowStatus.ACTIVE,
        quota_crossed_at=None,
        created_at=now,
    )


def _is_newly_exhausted(row: EntitlementGrant, window: QuotaWindow, now: datetime) -> bool:
    """Put what was counted on a row; whether its quota is found used up by that, for the first time."""
    row.usage, row.last_computed_at, row.valid_to = window.usage, now, window.end
    if row.quota_crossed_at is not None or window.crossed_at is None:
        return False
    row.quota_crossed_at, row.grant_status = window.crossed_at, UsageWindowStatus.EXHAUSTED
    return True
