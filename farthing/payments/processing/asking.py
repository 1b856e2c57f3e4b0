"""What a provider is told of a payment when it is asked for its charge."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.invoices.tables import Invoice
from farthing.payments.integrations import saved_methods
from farthing.payments.integrations.gateways import connection_to
from farthing.payments.providers.interface import Account, ChargeLookup
from farthing.payments.tables import DestinationType, Payment
from farthing.storage.queries.rows import find


async def find_payer(session: AsyncSession, payment: Payment) -> str:
    """The id of the customer that pays."""
    if payment.destination_type is DestinationType.CUSTOMER:
        return payment.destination_id
    return (await find(session, Invoice, payment.destination_id)).customer_id


async def find_account(session: AsyncSession, payment: Payment) -> Account | None:
    """The payer's account at the payment's provider, as far as it was ever made."""
    connection = await connection_to(session, payment.payment_gateway)
    if connection is None:
        return None
    return await saved_methods.mapped_account(session, connection, await find_payer(session, payment))


def lookup_of(payment: Payment, account: Account | None) -> ChargeLookup:
    """What is known of a payment whose charge is asked for."""
    return ChargeLookup(
        payment.id, payment.gateway_payment_id, payment.gateway_tracking_id, account, payment.success_url
    )
