"""Bringing subscriptions up to the present: periods roll, trials and pauses end, what was scheduled happens.

The state moves here; every invoice that follows is the caller's, from the billables, in the same transaction.
Rule: docs/rules/billing.md#the-run
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.billing import periods_until
from farthing.calendar.period import Period
from farthing.core.clock import instant
from farthing.core.enums import Status
from farthing.core.errors import FarthingError, InvalidOperation
from farthing.storage.queries.rows import in_array, lock_row
from farthing.subscriptions.changes.events import record_change, record_subscription_event
from farthing.subscriptions.changes.planned_terms import PlannedReplacement, planned_change
from farthing.subscriptions.changes.tables import SubscriptionPause, SubscriptionSchedule
from farthing.subscriptions.dates import effective_end, open_at, open_period, recurrence
from farthing.subscriptions.enums import (
    InvoiceTrigger,
    PauseStatus,
    ProrationBehavior,
    ScheduleStatus,
    ScheduleType,
    SubscriptionStatus,
    SubscriptionType,
)
from farthing.subscriptions.item_changes import ItemChange, closing
from farthing.subscriptions.lifecycle import activation, hierarchy, pausing, schedules
from farthing.subscriptions.lifecycle.cancellation import finish
from farthing.subscriptions.lifecycle.creation import opening
from farthing.subscriptions.outcome import Billable
from farthing.subscriptions.plan_change.in_place import change_plan
from farthing.subscriptions.snapshot.loading import load_one
from farthing.subscriptions.snapshot.values import SubscriptionSnapshot
from farthing.subscriptions.states import require
from farthing.subscriptions.tables import Subscription

_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class EndedInTime:
    """A subscription whose end has come: `before` is what it was, `changes` are the items that the end closed.

    What was paid of the period that the end cuts is credited for the time that was not served.
    Rule: docs/rules/proration.md#last-period
    """

    before: SubscriptionSnapshot
    changes: tuple[ItemChange, ...]


@dataclass
class AdvanceResult:
    """What bringing one subscription to now came to.

    `billables` in the order in which they must be made; `ended` is settled after them. `replacement`, when set, is a
    scheduled plan change (v1) that is due now, after the period has rolled: the caller makes it, through `replacing`,
    and marks it as executed.
    """

    subscription: Subscription
    billables: list[Billable] = field(default_factory=list)
    ended: list[EndedInTime] = field(default_factory=list)
    replacement: SubscriptionSchedule | None = None


async def due(
    session: AsyncSession, now: datetime, limit: int, after: tuple[datetime, str] | None = None
) -> list[tuple[datetime, str]]:
    """The next subscriptions that `advance_to` has something to do for, as (due_at, id), soonest first; not locked.

    `after` is the last pair of the page before: rows that keep failing are not met twice in a run.
    """
    table = Subscription
    query = select(table.due_at, table.id).where(table.due_at <= now)
    if after is not None:
        query = query.where(tuple_(table.due_at, table.id) > tuple_(*after))
    rows = await session.execute(query.order_by(table.due_at, table.id).limit(limit))
    return [(at, id) for at, id in rows if at is not None]  # noqa: A001 (a row's id)


async def lock_due(session: AsyncSession, subscription_id: str, now: datetime) -> Subscription | None:
    """A due subscription under its lock, fresh; None when somebody else holds it, or it is due no more."""
    query = (
        select(Subscription)
        .where(Subscription.id == subscription_id, Subscription.due_at <= now)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    return (await session.execute(query)).scalar_one_or_none()


async def waiting_ids(session: AsyncSession, ids: Sequence[str]) -> set[str]:
    """Those of these subscriptions for which something is scheduled."""
    table = SubscriptionSchedule
    rows = await session.scalars(
        select(table.subscription_id).where(
            in_array(table.subscription_id, ids),
            table.schedule_status == ScheduleStatus.PENDING,
            table.status == Status.PUBLISHED,
        )
    )
    return set(rows)


def may_issue_at_once(subscription: Subscription, now: datetime) -> bool:
    """Whether bringing a due subscription to `now` may bring about more than drafts: one that opens, leaves its trial
    or a pause, or ends. What is scheduled for it may, too."""
    ends = effective_end(subscription)
    is_plain = subscription.opens_at is None and subscription.subscription_status is SubscriptionStatus.ACTIVE
    return not is_plain or (ends is not None and ends <= now)


async def advance_to(
    session: AsyncSession, subscription: Subscription, now: datetime, *, nothing_waits: bool = False
) -> AdvanceResult:
    """Bring a locked subscription to `now`. Running it again changes nothing.

    `nothing_waits` says that nothing is scheduled for it: then a period that only rolls runs no statement, and the
    caller's flush writes hundreds together. One that starts or leaves its trial stops there: the next advance rolls
    what is left, after the invoice that activates it.
    """
    done = AdvanceResult(subscription)
    if subscription.opens_at is not None:
        if subscription.opens_at <= now:
            subscription.opens_at = None
            done.billables += opening(subscription)
        return done
    if subscription.subscription_status is SubscriptionStatus.PAUSED:
        await _resume(session, subscription, now)
    match subscription.subscription_status:
        case SubscriptionStatus.TRIALING:
            await _leave_trial(session, done, now)
        case SubscriptionStatus.ACTIVE:
            await _roll(session, done, now, nothing_waits=nothing_waits)
        case SubscriptionStatus.PAUSED:
            await _end_paused(session, done, now)
        case SubscriptionStatus.INCOMPLETE:
            await _end_if_over(session, subscription, now)
        case _:
            pass
    return done


async def with_threshold(session: AsyncSession, limit: int, after: str = "") -> list[str]:
    """The next active standalone subscriptions that are invoiced when their usage reaches a threshold, by id."""
    table = Subscription
    rows = await session.scalars(
        select(table.id)
        .where(
            table.status == Status.PUBLISHED,
            # said as the index says it, beside what is asked
            table.subscription_status != SubscriptionStatus.CANCELLED,
            table.subscription_status == SubscriptionStatus.ACTIVE,
            table.subscription_type == SubscriptionType.STANDALONE,
            table.auto_invoice_threshold > 0,
            table.id > after,
        )
        .order_by(table.id)
        .limit(limit)
    )
    return list(rows)


async def cut_period(session: AsyncSession, subscription: Subscription, now: datetime) -> Billable:
    """Close the open period of a locked subscription at `now`, because its usage has reached the threshold.

    The period's end stays, and so does where it began in full. Raises InvalidOperation unless it is active and `now`
    lies inside the period.
    Rule: docs/rules/billing.md#progressive-billing
    """
    require(subscription, SubscriptionStatus.ACTIVE, to="invoice in mid-period")
    if not subscription.current_period_start < now < subscription.current_period_end:
        raise InvalidOperation("The moment does not lie inside the open period", {"subscription_id": subscription.id})
    window = Period(subscription.current_period_start, now)
    subscription.current_period_start = now
    await record_change(session, subscription)
    return Billable(subscription.id, InvoiceTrigger.THRESHOLD, window, full_start=subscription.full_period_start)


async def _resume(session: AsyncSession, subscription: Subscription, now: datetime) -> None:
    pause = await lock_row(session, SubscriptionPause, subscription.active_pause_id or "")
    ends = effective_end(subscription)
    if pause.pause_end is not None and pause.pause_end <= now and not (ends is not None and ends <= pause.pause_end):
        await pausing.end(session, subscription, pause.pause_end)


async def _end_if_over(session: AsyncSession, subscription: Subscription, now: datetime) -> None:
    ends = effective_end(subscription)
    if ends is not None and ends <= now:
        await _end(session, subscription, ends, now)


async def _end_paused(session: AsyncSession, done: AdvanceResult, now: datetime) -> None:
    """End what is over while it is paused; what its open period owes from before the pause is billed first."""
    subscription = done.subscription
    ends = effective_end(subscription)
    if ends is None or ends > now:
        return
    if subscription.current_period_start < ends:
        done.billables.append(_closed(subscription, Period(subscription.current_period_start, ends)))
    await _end_and_settle(session, done, subscription, ends, now)


def _closed(subscription: Subscription, period: Period) -> Billable:
    """The cycle of a period that is over; it remembers where the period began before threshold invoices cut it."""
    began = subscription.full_period_start if period.start == subscription.current_period_start else period.start
    cut = began if began < period.start else None
    return Billable(subscription.id, InvoiceTrigger.CYCLE, period, at_once=False, full_start=cut)


async def _leave_trial(session: AsyncSession, done: AdvanceResult, now: datetime) -> None:
    subscription = done.subscription
    ends, trial_end = effective_end(subscription), subscription.trial_end
    if ends is not None and ends <= now and (trial_end is None or ends <= trial_end):
        await _end(session, subscription, ends, now)
    elif trial_end is not None and trial_end <= now:
        done.billables.append(await activation.end_trial(session, subscription, trial_end))


async def _roll(session: AsyncSession, done: AdvanceResult, now: datetime, *, nothing_waits: bool) -> None:
    """Hand every completed period to invoicing, up to now, a pause that begins, or the end."""
    subscription = done.subscription
    pauses_at = subscription.pause_due_at if subscription.pause_status is PauseStatus.SCHEDULED else None
    horizon = now if pauses_at is None or pauses_at > now else pauses_at - _INSTANT
    ends = effective_end(subscription)
    current = open_period(subscription)
    if ends is not None and current.start < ends < current.end:
        current = Period(current.start, ends)
    if ends is not None and ends <= current.start and ends <= horizon:
        await _end_and_settle(session, done, subscription, ends, now)
        return
    progress = periods_until(current, recurrence(subscription), horizon, ends)
    for period in progress.completed:
        if not nothing_waits:
            await _change_in_place(session, subscription, period, now)
        done.billables.append(_closed(subscription, period))
    if progress.current is None:
        if len(progress.completed) > 1:
            open_at(subscription, progress.completed[-1])
        await _end_and_settle(session, done, subscription, progress.completed[-1].end, now)
        return
    if progress.completed:
        open_at(subscription, progress.current)
        await _end_children(session, done)
        await hierarchy.mirror(session, subscription)
        if nothing_waits:
            subscription.version += 1
            await record_subscription_event(session, subscription, "updated")
        else:
            await record_change(session, subscription)
            done.replacement = await _replacement(session, subscription, now)
    if pauses_at is not None and pauses_at <= now:
        await pausing.begin(session, subscription)


async def _end_and_settle(
    session: AsyncSession, done: AdvanceResult, subscription: Subscription, at: datetime, now: datetime
) -> None:
    """End a subscription that was paid for, and hand over what its end cuts short where that prorates."""
    behavior = subscription.end_proration_behavior or subscription.proration_behavior
    if behavior is ProrationBehavior.CREATE_PRORATIONS:
        before = await load_one(session, subscription.id)
        done.ended.append(EndedInTime(before, closing(before, at)))
    await _end(session, subscription, at, now)


async def _end(session: AsyncSession, subscription: Subscription, at: datetime, now: datetime) -> None:
    """The subscription is over: a cancellation that was scheduled is done, whatever else waits is dropped."""
    for schedule in await schedules.pending(session, subscription.id, ScheduleType.CANCELLATION):
        schedules.mark_executed(schedule, {"subscription_id": subscription.id, "effective_date": instant(at)}, now)
    await session.flush()
    await schedules.drop_pending(session, subscription.id, now)
    await finish(session, subscription, at, at)


async def _end_children(session: AsyncSession, done: AdvanceResult) -> None:
    """End the grouped children that were to end in the periods just closed; nothing else is due for them."""
    parent = done.subscription
    if parent.subscription_type is not SubscriptionType.PARENT:
        return
    await session.flush()
    for child in await hierarchy.children_of(session, parent.id, SubscriptionType.GROUPED_INVOICING):
        ends = effective_end(child)
        if ends is not None and ends <= parent.current_period_start:
            await _end_and_settle(session, done, child, ends, ends)


async def _change_in_place(session: AsyncSession, subscription: Subscription, period: Period, now: datetime) -> None:
    """Make a plan change (v2) that is scheduled at the end of a completed period, before its invoice is computed."""
    for schedule in await schedules.pending(session, subscription.id, ScheduleType.PLAN_CHANGE):
        planned_terms = planned_change(schedule.configuration)
        if schedule.scheduled_at < period.start:
            await schedules.fail(session, subscription, schedule, "its time has passed without it")
        if isinstance(planned_terms, PlannedReplacement) or schedule.scheduled_at != period.end:
            continue
        former = subscription.plan_id
        try:
            async with session.begin_nested():
                default, overrides = planned_terms.addon_policies
                planned, _ = await change_plan(
                    session,
                    subscription.id,
                    planned_terms.target_plan_id,
                    ProrationBehavior.NONE,
                    period.end,
                    now,
                    default,
                    overrides,
                    planned_terms.change_metadata,
                    planned_terms.line_items,
                )
        except FarthingError as error:
            await session.refresh(schedule)
            await session.refresh(subscription)
            await schedules.fail(session, subscription, schedule, schedules.reason_of(error))
            continue
        schedules.mark_executed(
            schedule,
            {
                "subscription_id": subscription.id,
                "from_plan_id": former,
                "to_plan_id": subscription.plan_id,
                "change_type": planned.change_type.value,
                "effective_date": instant(period.end),
            },
            now,
        )


async def _replacement(session: AsyncSession, subscription: Subscription, now: datetime) -> SubscriptionSchedule | None:
    for schedule in await schedules.pending(session, subscription.id, ScheduleType.PLAN_CHANGE):
        replaces = isinstance(planned_change(schedule.configuration), PlannedReplacement)
        if replaces and schedule.scheduled_at <= now:
            if schedule.scheduled_at < subscription.current_period_start:
                await schedules.fail(session, subscription, schedule, "its time has passed without it")
            else:
                return schedule
    return None
