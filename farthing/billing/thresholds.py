"""Progressive billing: a subscription is invoiced in mid-period when its usage has come to a threshold.

Rule: commitments, "progressive billing".
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.bill import bill
from farthing.billing.gather import Asked, gather
from farthing.billing.issuing import issue_at_once
from farthing.billing.persist import Wanted
from farthing.billing.run import Run, Summary
from farthing.calendar.period import Period
from farthing.subscriptions import rolling
from farthing.subscriptions.tables import Subscription
from farthing.subscriptions.words import Occasion, SubscriptionStatus


async def invoice_thresholds(run: Run, done: Summary) -> None:
    """Invoice what has come to its threshold since the last invoice, and let the period go on from now."""
    after = ""
    while True:
        async with run.database.transaction(run.scope, read_only=True) as session:
            ids = await rolling.with_threshold(session, run.batch, after)
        if not ids:
            return
        after = ids[-1]
        await run.each(ids, lambda session, some: _cut_some(run, session, some), "thresholds", done)


async def _cut_some(run: Run, session: AsyncSession, ids: Sequence[str]) -> Summary:
    did = Summary()
    taken = await session.scalars(
        select(Subscription)
        .where(Subscription.id.in_(ids), Subscription.subscription_status == SubscriptionStatus.ACTIVE)
        .order_by(Subscription.id)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    inside = {one.id: one for one in taken.all() if one.current_period_start < run.now < one.current_period_end}
    asked = [Asked(one.id, Occasion.THRESHOLD, Period(one.current_period_start, run.now)) for one in inside.values()]
    for found in await gather(session, asked, run.now):
        subscription = inside[found.work.snapshot.id]
        owed = bill(found.work, found.known).subtotal
        if subscription.auto_invoice_threshold is None or owed < subscription.auto_invoice_threshold:
            continue
        billable = await rolling.cut(session, subscription, run.now)
        wanted = [Wanted(subscription, billable.occasion, billable.period)]
        for invoice in await issue_at_once(session, wanted, run.now, run.effects):
            did.drafted += 1
            did.count(invoice)
    return did
