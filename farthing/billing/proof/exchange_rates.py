"""Which customers cannot be invoiced because the currency that they are billed in has no usable rate. Reads only.

Rule: docs/rules/currencies.md#without-a-rate
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import exists, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.fx.lookup import ConversionNeed, NoRate, rates_for
from farthing.core.enums import Status
from farthing.customers.tables import Customer
from farthing.invoices.receivable import InvoiceStatus
from farthing.invoices.tables import Invoice
from farthing.subscriptions.enums import SubscriptionStatus
from farthing.subscriptions.tables import Subscription

ENDED = (SubscriptionStatus.CANCELLED, SubscriptionStatus.DRAFT)


async def customers_without_rate(session: AsyncSession, now: datetime) -> dict[str, str]:
    """Why each payer of a live subscription, or of one that has ended with an invoice to come, cannot be invoiced, by
    customer; those who can be are left out."""
    has_draft = exists().where(
        Invoice.subscription_id == Subscription.id,
        Invoice.invoice_status == InvoiceStatus.DRAFT,
        Invoice.status == Status.PUBLISHED,
    )
    rows = await session.execute(
        select(Subscription.id, Subscription.currency, Subscription.payer_id, Customer.billing_currency)
        .join(Customer, Customer.id == Subscription.payer_id)
        .where(
            Subscription.status == Status.PUBLISHED,
            or_(Subscription.subscription_status.not_in(ENDED), has_draft),
            Customer.billing_currency.is_not(None),
            Customer.billing_currency != Subscription.currency,
        )
        .order_by(Subscription.payer_id)
    )
    needs = [
        ConversionNeed(charged_in, billed_in, payer_id, subscription_id)
        for subscription_id, charged_in, payer_id, billed_in in rows
        if billed_in is not None
    ]
    found = await rates_for(session, needs, now)
    return {need.payer_id: rate.refusal().message for need, rate in found.items() if isinstance(rate, NoRate)}
