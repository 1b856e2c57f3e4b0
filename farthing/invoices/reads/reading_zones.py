"""The time zone in which the days of an invoice are read: its service periods and its due date.

Rule: docs/rules/invoices-and-payments.md#dates-that-people-read
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.customers.tables import Customer
from farthing.invoices.tables import Invoice
from farthing.storage.queries.rows import in_array
from farthing.subscriptions.tables import Subscription


async def reading_zones(session: AsyncSession, invoices: Sequence[Invoice]) -> dict[str, str]:
    """The zone of each invoice, by its id: the subscription's, in which periods were cut, else the customer's."""
    if not invoices:
        return {}
    rows = await session.execute(
        select(Invoice.id, func.coalesce(Subscription.timezone, Customer.timezone))
        .join(Customer, Customer.id == Invoice.customer_id)
        .outerjoin(Subscription, Subscription.id == Invoice.subscription_id)
        .where(in_array(Invoice.id, [invoice.id for invoice in invoices]))
    )
    return dict(rows.all())


async def reading_zone(session: AsyncSession, invoice: Invoice) -> str:
    """The zone of one invoice."""
    return (await reading_zones(session, [invoice]))[invoice.id]
