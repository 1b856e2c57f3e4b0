"""What a provider is told of a payment when it is asked for its charge, or for a page to pay on."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.invoices.tables import Invoice
from farthing.payments.integrations import saved_methods
from farthing.payments.integrations.gateways import connection_to
from farthing.payments.providers.interface import Account, ChargeLookup, Declined, Fatal, Provider, Retryable
from farthing.payments.tables import Connection, DestinationType, Payment
from farthing.storage.midway import commit_midway
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


async def find_account_and_method(
    session: AsyncSession, provider: Provider, connection: Connection, payment: Payment
) -> tuple[Account | None, str]:
    """The payer's account at the provider, and the method to charge: the one given, or the default one saved."""
    customer_id = await find_payer(session, payment)
    account = await saved_methods.account_at(session, provider, connection, customer_id)
    await commit_midway(session)  # the account is mapped; no connection waits for the provider
    if payment.payment_method_id or account is None:
        return account, payment.payment_method_id
    saved = await provider.list_methods(account)
    if isinstance(saved, (Declined, Retryable, Fatal)):
        return account, ""
    chargeable = [method for method in saved if method.active and method.chargeable]
    return account, chargeable[0].id if chargeable else ""


def title_of(invoice: Invoice | None) -> str:
    """What a payer reads above the amount."""
    return f"Invoice {invoice.invoice_number}" if invoice is not None and invoice.invoice_number else "Payment"
