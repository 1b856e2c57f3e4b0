"""Subscriptions that end because their invoices stay unpaid.

Rule: docs/rules/invoices-and-payments.md#grace-and-automatic-cancellation
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Select, exists, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.dunning.retries import retry_to_come
from farthing.billing.run.passes import Run, Summary
from farthing.calendar.due import grace_is_over
from farthing.identity.settings.catalogue import SubscriptionConfig
from farthing.identity.settings.current import read
from farthing.invoices.receivable import UNPAID, InvoiceType, PaymentStatus
from farthing.invoices.tables import Invoice
from farthing.payments.integrations.marketplaces import collected_by_marketplace
from farthing.payments.tables import Payment
from farthing.subscriptions.enums import SubscriptionStatus
from farthing.subscriptions.lifecycle import cancellation
from farthing.subscriptions.tables import Subscription

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
