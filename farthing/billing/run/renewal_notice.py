"""The notice that a renewal is near, a day before.

Rule: docs/rules/recorded-events.md#renewal-notice
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.run.passes import Run, Summary
from farthing.core.enums import Status
from farthing.storage.queries.rows import in_array
from farthing.storage.record.outbox import record_event
from farthing.subscriptions.changes.events import event_snapshot
from farthing.subscriptions.enums import SubscriptionStatus
from farthing.subscriptions.tables import Subscription

NOTICE = timedelta(hours=24)
RENEWAL_DUE = "subscription.renewal.due"


def renews() -> tuple[ColumnElement[bool], ...]:
    """Which subscriptions will renew when their period ends: active ones, billed by themselves, that do not end."""
    table = Subscription
    return (
        table.status == Status.PUBLISHED,
        table.subscription_status == SubscriptionStatus.ACTIVE,
        table.due_at.is_not(None),
        table.cancel_at_period_end.is_(False),
        or_(table.cancel_at.is_(None), table.cancel_at > table.current_period_end),
        or_(table.end_date.is_(None), table.end_date > table.current_period_end),
    )


def _unannounced(run: Run) -> tuple[ColumnElement[bool], ...]:
    """Which subscriptions renew within a day and have not been announced for the period that ends then."""
    table = Subscription
    return (
        *renews(),
        table.due_at > run.now,
        table.due_at <= run.now + NOTICE,  # never later than the period's end; the index is in this order
        table.current_period_end <= run.now + NOTICE,
        table.renewal_notice_for.is_distinct_from(table.current_period_end),
    )


async def announce_renewals(run: Run, done: Summary) -> None:
    """Tell once, a day before, that an active subscription will renew."""
    table = Subscription
    after: tuple[datetime, str] = (run.now, "")
    while True:
        async with run.database.transaction(run.scope, read_only=True) as session:
            page = (
                await session.execute(
                    select(table.due_at, table.id)
                    .where(*_unannounced(run), tuple_(table.due_at, table.id) > tuple_(*after))
                    .order_by(table.due_at, table.id)
                    .limit(run.batch)
                )
            ).all()
        if not page:
            return
        after = page[-1].due_at, page[-1].id
        await run.each([row.id for row in page], lambda session, ids: _announce(run, session, ids), "renewals", done)


async def _announce(run: Run, session: AsyncSession, ids: Sequence[str]) -> Summary:
    did = Summary()
    rows = await session.scalars(
        select(Subscription)
        .where(in_array(Subscription.id, ids), *_unannounced(run))
        .order_by(Subscription.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    announced = rows.all()
    for subscription in announced:
        await record_event(
            session, RENEWAL_DUE, "subscription", subscription.id, {"subscription": event_snapshot(subscription)}
        )
    # the mark is the service's own: the subscription has not been changed by anybody
    await session.execute(
        update(Subscription)
        .where(in_array(Subscription.id, [subscription.id for subscription in announced]))
        .values(renewal_notice_for=Subscription.current_period_end)
        .execution_options(synchronize_session=False)
    )
    did.rolled += len(announced)
    return did
