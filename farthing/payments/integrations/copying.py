"""Copying invoices and customers to connected providers.

Rule: docs/rules/integrations.md#outbound-copies
"""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.enums import Status
from farthing.core.errors import InvalidOperation, NotImplementedHere
from farthing.core.money import EXACT
from farthing.customers.mappings import remember
from farthing.customers.tables import Customer, IntegrationEntityType
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.invoices.receivable import InvoiceStatus
from farthing.invoices.tables import Invoice
from farthing.payments.integration_schemas import SyncRequest
from farthing.payments.integrations import mappings, saved_methods
from farthing.payments.integrations.gateways import COLLECTORS, Gateways
from farthing.payments.providers.interface import (
    Account,
    Capability,
    Declined,
    Fatal,
    Provider,
    ProviderInvoice,
    Retryable,
)
from farthing.payments.providers.registry import require_capability
from farthing.payments.tables import Connection
from farthing.storage.midway import commit_midway
from farthing.storage.queries.rows import find


async def sync(session: AsyncSession, gateways: Gateways, given: SyncRequest) -> int:
    """Copy one entity to every connected provider that keeps such copies; how many there were.

    Raises InvalidOperation for an invoice that was not issued or when nothing is connected, NotFound for an entity
    that is not there, NotImplementedHere where an adapter is missing.
    """
    if given.method == "pull":
        raise NotImplementedHere("Copies are pushed; nothing can be pulled", {"method": "pull"})
    invoice = None
    customer_id = given.entity_id
    if given.entity_type == "invoice":
        invoice = await find(session, Invoice, given.entity_id)
        if invoice.invoice_status is not InvoiceStatus.FINALIZED:
            raise InvalidOperation(
                f"invoice is {invoice.invoice_status}; only a finalized one can be copied", {"invoice_id": invoice.id}
            )
        customer_id = invoice.customer_id
    await find(session, Customer, customer_id)
    connections = (
        await session.scalars(
            select(Connection)
            .where(Connection.status == Status.PUBLISHED, Connection.provider_type.in_(COLLECTORS))
            .order_by(Connection.created_at, Connection.id)
        )
    ).all()
    if not connections:
        raise InvalidOperation("no provider is connected")
    for connection in connections:
        provider = gateways.behind(connection)
        needed = Capability.CUSTOMERS if invoice is None else Capability.INVOICES
        require_capability(provider, needed, connection.provider_type)
        account = await saved_methods.account_at(session, provider, connection, customer_id)
        if invoice is not None and account is not None:
            bill = await _bill(session, invoice, account.provider_customer_id, customer_id)
            await _push(session, provider, connection, bill)
    return len(connections)


async def _push(session: AsyncSession, provider: Provider, connection: Connection, bill: ProviderInvoice) -> None:
    kind, name = IntegrationEntityType.INVOICE, connection.provider_type.value
    if await mappings.image_of(session, kind, bill.invoice_id, name) is not None:
        return
    await commit_midway(session)  # a repeat finds the copies made so far; no connection waits for the provider
    image = await provider.push_invoice(bill, key=bill.invoice_id)
    if isinstance(image, (Declined, Retryable, Fatal)):
        raise saved_methods.raise_refusal(image)
    await remember(session, kind, bill.invoice_id, name, image, {"linked_via": "sync"})


async def _bill(
    session: AsyncSession, invoice: Invoice, provider_customer_id: str, customer_id: str
) -> ProviderInvoice:
    lines = await session.scalars(
        select(InvoiceLineItem)
        .where(InvoiceLineItem.invoice_id == invoice.id, InvoiceLineItem.status == Status.PUBLISHED)
        .order_by(InvoiceLineItem.position, InvoiceLineItem.id)
    )
    return ProviderInvoice(
        invoice_id=invoice.id,
        number=invoice.invoice_number or "",
        account=Account(provider_customer_id=provider_customer_id, customer_id=customer_id),
        currency=invoice.currency,
        lines=[(line.display_name or line.plan_display_name or "Charge", _net(line)) for line in lines],
        tax=invoice.total_tax,
        due_date=invoice.due_date,
    )


def _net(line: InvoiceLineItem) -> Decimal:
    taken = EXACT.add(EXACT.add(line.line_item_discount, line.invoice_level_discount), line.prepaid_credits_applied)
    return EXACT.subtract(line.amount, taken)
