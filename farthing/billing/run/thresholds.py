"""Progressive billing: a subscription is invoiced in mid-period when its usage has come to a threshold.

The duty looks every five minutes; a test clock, which passes months at once, looks for the first of those instants at
which it would have found something.
Rule: docs/rules/billing.md#progressive-billing
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.calculation.bill import bill
from farthing.billing.periods.drafts import WantedDraft
from farthing.billing.periods.finalize import WithoutRate, issue_at_once
from farthing.billing.periods.inputs import GatheredParts, InvoiceRequest, gather
from farthing.billing.run.passes import Run, Summary
from farthing.calendar.period import Period
from farthing.subscriptions import roll_forward
from farthing.subscriptions.enums import InvoiceTrigger, SubscriptionStatus
from farthing.subscriptions.tables import Subscription

EVERY = timedelta(minutes=5)
"""How often the duty looks."""
_INSTANT = timedelta(microseconds=1)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


async def invoice_thresholds(run: Run, done: Summary) -> None:
    """Invoice what has come to its threshold since the last invoice, and let the period go on from now."""
    after = ""
    while True:
        async with run.database.transaction(run.scope, read_only=True) as session:
            ids = await roll_forward.with_threshold(session, run.batch, after)
        if not ids:
            return
        after = ids[-1]
        await run.each(ids, lambda session, some: _cut_some(run, session, some), "thresholds", done)


async def crossing(run: Run, until: datetime) -> datetime | None:
    """The first instant of the duty after the run's, `until` at the latest, at which usage has come to a threshold.

    Found by halving the time, because what is owed only grows with it: gauges that fall again may be met late.
    """
    after, first = "", None
    while True:
        async with run.database.transaction(run.scope, read_only=True) as session:
            ids = await roll_forward.with_threshold(session, run.batch, after)
            if not ids:
                return first
            after = ids[-1]
            rows = await session.scalars(select(Subscription).where(Subscription.id.in_(ids)))
            ahead = {
                subscription: _last_tick(min(first or until, subscription.current_period_end - _INSTANT))
                for subscription in rows.all()
            }
            ahead = {subscription: at for subscription, at in ahead.items() if at > run.now}
            for subscription in await _reached(session, ahead):
                found = await _search(session, subscription, run.now, ahead[subscription])
                first = found if first is None else min(first, found)


def is_tick(moment: datetime) -> bool:
    """Whether the duty runs at this instant."""
    return (moment - _EPOCH) % EVERY == timedelta(0)


def tick_from(moment: datetime) -> datetime:
    """The first instant at or after `moment` at which the duty runs."""
    return _tick(-((_EPOCH - moment) // EVERY))


async def _search(session: AsyncSession, subscription: Subscription, now: datetime, last: datetime) -> datetime:
    """The first tick after `now` at which the subscription owes its threshold, as it does at the tick `last`."""
    low, high = (max(now, subscription.current_period_start) - _EPOCH) // EVERY, (last - _EPOCH) // EVERY
    while high - low > 1:
        middle = (low + high) // 2
        if await _reached(session, {subscription: _tick(middle)}):
            high = middle
        else:
            low = middle
    return _tick(high)


def _last_tick(moment: datetime) -> datetime:
    return _tick((moment - _EPOCH) // EVERY)


def _tick(number: int) -> datetime:
    return _EPOCH + number * EVERY


async def _reached(session: AsyncSession, moments: Mapping[Subscription, datetime]) -> list[Subscription]:
    """Those of these subscriptions that by the moment given owe their threshold since their last invoice."""
    inside = {
        subscription.id: (
            subscription,
            InvoiceRequest(subscription.id, InvoiceTrigger.THRESHOLD, Period(subscription.current_period_start, at)),
        )
        for subscription, at in moments.items()
        if subscription.current_period_start < at < subscription.current_period_end
    }
    if not inside:
        return []
    requests = [asked for _, asked in inside.values()]
    found = await gather(session, requests, max(moments.values()), GatheredParts.CHARGES)
    reached = []
    for invoice_input in found:
        subscription, _ = inside[invoice_input.work.snapshot.id]
        threshold = subscription.auto_invoice_threshold
        if threshold is not None and bill(invoice_input.work, invoice_input.known).subtotal >= threshold:
            reached.append(subscription)
    return reached


async def _cut_some(run: Run, session: AsyncSession, ids: Sequence[str]) -> Summary:
    did = Summary()
    taken = await session.scalars(
        select(Subscription)
        .where(Subscription.id.in_(ids), Subscription.subscription_status == SubscriptionStatus.ACTIVE)
        .order_by(Subscription.id)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    for subscription in await _reached(session, dict.fromkeys(taken.all(), run.now)):
        billable = await roll_forward.cut_period(session, subscription, run.now)
        wanted = [WantedDraft(subscription, billable.occasion, billable.period)]
        for invoice in await issue_at_once(session, wanted, run.now, run.effects, without_rate=WithoutRate.WAIT):
            did.drafted += 1
            did.count(invoice)
    return did
