"""Subscriptions that end because their invoices stay unpaid, and the notice that a renewal is near.

Rule: docs/rules/invoices-and-payments.md#grace-and-automatic-cancellation
Rule: docs/rules/recorded-events.md#renewal-notice
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import ColumnElement, exists, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.run.passes import Run, Summary
from farthing.calendar.due import grace_is_over
from farthing.core.clock import instant
from farthing.core.enums import Status
from farthing.identity.settings.catalogue import SubscriptionConfig
from farthing.identity.settings.current import read
from farthing.invoices.receivable import InvoiceStatus, InvoiceType, PaymentStatus, is_unpaid
from farthing.invoices.tables import Invoice
from farthing.payments.tables import Payment
from farthing.storage.outbox import SystemEvent, record_event
from farthing.subscriptions.enums import SubscriptionStatus
from farthing.subscriptions.events import event_snapshot
from farthing.subscriptions.lifecycle import cancellation
from farthing.subscriptions.tables import Subscription

NOTICE = timedelta(hours=24)
RENEWAL_DUE = "subscription.renewal.due"


async def cancel_unpaid(run: Run, done: Summary) -> None:
    """Cancel active subscriptions whose invoices are overdue beyond the grace period, where that is switched on."""
    async with run.database.transaction(run.scope, read_only=True) as session:
        config = await read(session, SubscriptionConfig)
        if not config.auto_cancellation_enabled:
            return
        overdue = await session.execute(
            select(Invoice.subscription_id, Invoice.due_date)
            .join(Subscription, Subscription.id == Invoice.subscription_id)
            .where(
                Invoice.status == Status.PUBLISHED,
                Invoice.invoice_status == InvoiceStatus.FINALIZED,
                Invoice.invoice_type == InvoiceType.SUBSCRIPTION,
                Invoice.amount_remaining > 0,
                Invoice.due_date < run.now,
                Subscription.subscription_status == SubscriptionStatus.ACTIVE,
            )
        )
        late = {
            subscription_id
            for subscription_id, due in overdue
            if subscription_id is not None and due is not None and grace_is_over(due, config.grace_period_days, run.now)
        }
    for subscription_id in sorted(late):
        await run.each([subscription_id], lambda session, some: _cancel(run, session, some), "cancellations", done)


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
        .where(
            Invoice.subscription_id == subscription.id,
            Invoice.status == Status.PUBLISHED,
            Invoice.invoice_type == InvoiceType.SUBSCRIPTION,
            Invoice.amount_remaining > 0,
        )
        .order_by(Invoice.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    late = [
        one.id
        for one in invoices.all()
        if is_unpaid(one)
        and one.due_date is not None
        and grace_is_over(one.due_date, config.grace_period_days, run.now)
    ]
    paying = await session.scalar(
        select(exists().where(Payment.destination_id.in_(late), Payment.payment_status == PaymentStatus.PROCESSING))
    )
    if late and not paying:
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


def _near(run: Run) -> tuple[ColumnElement[bool], ...]:
    table = Subscription
    return (*renews(), table.due_at > run.now, table.current_period_end <= run.now + NOTICE)


async def announce_renewals(run: Run, done: Summary) -> None:
    """Tell once, a day before, that an active subscription will renew."""
    async with run.database.transaction(run.scope, read_only=True) as session:
        near = (await session.scalars(select(Subscription.id).where(*_near(run)).order_by(Subscription.id))).all()
    for start in range(0, len(near), run.batch):
        batch = near[start : start + run.batch]
        await run.each(batch, lambda session, some: _announce(run, session, some), "renewals", done)


async def _announce(run: Run, session: AsyncSession, ids: Sequence[str]) -> Summary:
    did = Summary()
    rows = await session.scalars(
        select(Subscription)
        .where(Subscription.id.in_(ids), *_near(run))
        .order_by(Subscription.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    found = await session.execute(
        select(SystemEvent.entity_id, SystemEvent.payload["subscription"]["current_period_end"].astext).where(
            SystemEvent.entity_id.in_(ids), SystemEvent.event_name == RENEWAL_DUE
        )
    )
    told = {(id, period_end) for id, period_end in found}  # noqa: A001 (a row's id)
    for row in rows.all():
        if (row.id, instant(row.current_period_end)) not in told:
            await record_event(session, RENEWAL_DUE, "subscription", row.id, {"subscription": event_snapshot(row)})
            did.rolled += 1
    return did
