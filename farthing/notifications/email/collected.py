"""Which invoices are collected without the payer's doing: those get "payment failed" where others get reminders.

Rule: docs/rules/email.md#reminders
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, exists, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.invoices.tables import Invoice
from farthing.payments.integrations.marketplaces import collected_by_marketplace
from farthing.payments.processing.collection import collected_elsewhere
from farthing.payments.tables import Payment, PaymentMethodType
from farthing.subscriptions.enums import CollectionMethod
from farthing.subscriptions.tables import Subscription

_SAVED_METHODS = (PaymentMethodType.CARD, PaymentMethodType.ACH, PaymentMethodType.UPI)


def is_of_automatic_subscription() -> ColumnElement[bool]:
    """Whether an invoice's subscription is charged automatically."""
    return exists().where(
        Subscription.id == Invoice.subscription_id,
        Subscription.collection_method == CollectionMethod.CHARGE_AUTOMATICALLY,
    )


def was_charged_automatically() -> ColumnElement[bool]:
    """Whether an invoice's subscription is charged automatically, and its payer has a method that was charged for it.

    A saved method is at its provider; that there is one shows in the payment that is made as soon as an invoice is due.
    """
    charged = exists().where(
        Payment.destination_id == Invoice.id,
        Payment.payment_method_type.in_(_SAVED_METHODS),
        Payment.payment_gateway.is_not(None),
    )
    return and_(is_of_automatic_subscription(), charged)


async def automatic_collection(session: AsyncSession) -> ColumnElement[bool]:
    """Whether an invoice is collected automatically; a connected provider that gets every invoice collects them too."""
    if await collected_elsewhere(session):
        return Invoice.subscription_id.is_not(None)
    return or_(was_charged_automatically(), collected_by_marketplace(Invoice.subscription_id))


async def is_collected_automatically(session: AsyncSession, invoice_id: str) -> bool:
    """The same for one invoice."""
    condition = await automatic_collection(session)
    return await session.scalar(select(Invoice.id).where(Invoice.id == invoice_id, condition)) is not None
