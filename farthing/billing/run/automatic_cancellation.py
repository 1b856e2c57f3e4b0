"""Subscriptions that end because their invoices stay unpaid, and the notice that a renewal is near.

Rule: docs/rules/invoices-and-payments.md#grace-and-automatic-cancellation
Rule: docs/rules/recorded-events.md#renewal-notice
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, exists, or_, select, text, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.dunning.retries import retry_to_come
from farthing.billing.run.passes import Run, Summary
from farthing.calendar.due import grace_is_over
from farthing.core.enums import Status
from farthing.identity.settings.catalogue import SubscriptionConfig
from farthing.identity.settings.current import read
from farthing.invoices.receivable import UNPAID, InvoiceType, PaymentStatus
from farthing.invoices.tables import Invoice
from farthing.payments.integrations.marketplaces import collected_by_marketplace
from farthing.payments.tables import Payment
from farthing.storage.queries.rows import in_array
from farthing.storage.record.outbox import record_event
from farthing.subscriptions.enums import SubscriptionStatus
from farthing.subscriptions.events import event_snapshot
from farthing.subscriptions.lifecycle import cancellation
from farthing.subscriptions.tables import Subscription

NOTICE = timedelta(hours=24)
RENEWAL_DUE = "subscription.renewal.due"
_OWED = (text(UNPAID), Invoice.invoice_type == InvoiceType.SUBSCRIPTION)
"""What is still owed for subscriptions."""


async def cancel_unpaid(run: Run, done: Summary) -> None:
    """Cancel active subscriptions whose invoices are overdue beyond the grace period, where that is switched on."""
    async with run.database.transaction(run.scope, read_only=True) as session:
        config = await read(session, SubscriptionConfig)
    if not config.auto_cancellation_enabled:
        return
    latest_due = run.now - timedelta(days=config.grace_period_days)
    after = ("", "")
    while True:
        async with run.database.transaction(run.scope, read_only=True) as session:
            page = (await session.execute(_overdue(latest_due, after, run.batch))).all()
        if not page:
            return
        after = page[-1].customer_id, page[-1].id
        # one transaction each, because a cancellation locks much more than the subscription
        for subscription_id in sorted({row.subscription_id for row in page}):
            await run.each([subscription_id], lambda session, ids: _cancel(run, session, ids), "cancellations", done)


def _overdue(latest_due: datetime, after: tuple[str, str], limit: int) -> Select[str, str, str | None]:
    """A page of active subscriptions' unpaid invoices that were due before `latest_due`, payer by payer.

    The order is that of the index of what payers owe, so that no page reads what an earlier one has read.
    """
    position = tuple_(Invoice.customer_id, Invoice.id)
    return (
        select(Invoice.customer_id, Invoice.id, Invoice.subscription_id)
        .where(
            *_OWED,
            Invoice.due_date < latest_due,
            ~collected_by_marketplace(Invoice.subscription_id),
            exists().where(
                Subscription.id == Invoice.subscription_id,
                Subscription.subscription_status == SubscriptionStatus.ACTIVE,
            ),
            Invoice.customer_id >= after[0],
            position > tuple_(*after),
        )
        .order_by(Invoice.customer_id, Invoice.id)
        .limit(limit)
    )


async def _cancel(run: Run, session: AsyncSession, ids: Sequence[str]) -> Summary:
    """Everything is looked at once more under the locks: somebody may have paid, or be paying."""
    did = Summary()
    subscription = await session.scalar(
        select(Subscription)
        .where(Subscription.id.in_(ids), Subscription.subscription_status == SubscriptionStatus.ACTIVE)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if subscription is None:
        return did
    config = await read(session, SubscriptionConfig)
    invoices = await session.scalars(
        select(Invoice)
        .where(Invoice.subscription_id == subscription.id, *_OWED)
        .order_by(Invoice.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    late = [
        invoice.id
        for invoice in invoices.all()
        if invoice.due_date is not None and grace_is_over(invoice.due_date, config.grace_period_days, run.now)
    ]
    paying = await session.scalar(
        select(exists().where(Payment.destination_id.in_(late), Payment.payment_status == PaymentStatus.PROCESSING))
    )
    retried = await session.scalar(select(retry_to_come(subscription.id)))
    if late and not paying and not retried:
        await cancellation.cancel_now(session, subscription, run.now, run.now, reason="unpaid invoice")
        did.rolled += 1
    return did


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
