"""Writing the demo's story: each step through the function behind its route, at the time it happened."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.money import plain
from farthing.customers.lifecycle import create as create_customer
from farthing.customers.schemas import CreateCustomerRequest
from farthing.customers.tables import Customer
from farthing.demo.company import Bill, DemoCustomer
from farthing.invoices import lifecycle, one_off
from farthing.invoices.requests import CreateInvoiceRequest
from farthing.invoices.tables import Invoice
from farthing.payments import creation, processing
from farthing.payments.gateways import Gateways
from farthing.payments.schemas import CreatePaymentRequest
from farthing.payments.voiding import PaymentEffects
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.storage.rows import locked
from farthing.storage.scope import Scope


class StoryClock:
    """Stands where the story is."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at


class Ledger:
    """Where the story is written, and how much of it there is so far."""

    def __init__(self, settings: Settings, database: Database, scope: Scope) -> None:
        self.database = database
        self.scope = scope
        self.effects = PaymentEffects()
        self.gateways = Gateways(database, settings, self.effects)
        self.invoices = 0
        self.payments = 0

    async def present(self) -> set[str]:
        """External ids of the customers that are there."""
        async with self.database.transaction(self.scope, read_only=True) as session:
            return set(await session.scalars(select(Customer.external_id)))


async def load_customer(ledger: Ledger, customer: DemoCustomer) -> None:
    """One customer with all its invoices and payments, in one transaction."""
    clock = StoryClock(customer.since)
    async with ledger.database.session(ledger.scope, clock=clock) as session:
        row = await create_customer(session, _asked(customer), strict_ids=False)
        for bill in customer.bills:
            await _write(ledger, session, clock, row.id, customer.external_id, bill)
        await session.commit()


def _asked(customer: DemoCustomer) -> CreateCustomerRequest:
    return msgspec.convert(
        {
            "external_id": customer.external_id,
            "name": customer.name,
            "email": customer.email,
            "address_line1": customer.street,
            "address_city": customer.city,
            "address_country": customer.country,
            "timezone": customer.timezone,
            "billing_currency": customer.billing_currency,
        },
        CreateCustomerRequest,
    )


async def _write(
    ledger: Ledger, session: AsyncSession, clock: StoryClock, customer_id: str, name: str, bill: Bill
) -> None:
    clock.at = bill.issued
    asked = msgspec.convert(
        {
            "customer_id": customer_id,
            "currency": bill.currency,
            "amount_due": plain(bill.total),
            "subtotal": plain(bill.total),
            "total": plain(bill.total),
            "invoice_status": "DRAFT" if bill.draft else "FINALIZED",
            "due_date": bill.due.isoformat(),
            "idempotency_key": f"demo-{name}-{bill.number}",
            "line_items": [
                {
                    "display_name": charge.name,
                    "price_type": charge.type.value,
                    "quantity": str(charge.quantity),
                    "amount": plain(charge.amount),
                }
                for charge in bill.charges
            ],
        },
        CreateInvoiceRequest,
    )
    invoice = await one_off.create(session, asked, clock.now(), effects=ledger.effects)
    ledger.invoices += 1
    if bill.draft:
        return
    for at, amount in bill.payments:
        clock.at = at
        await _pay(ledger, session, clock, invoice.id, bill.currency, plain(amount))
    if bill.failed is not None:
        clock.at = bill.failed
        await lifecycle.payment_failed(session, await locked(session, Invoice, invoice.id), clock.now())
    if bill.voided is not None:
        clock.at = bill.voided
        row = await locked(session, Invoice, invoice.id)
        await lifecycle.void(session, row, clock.now(), effects=ledger.effects)


async def _pay(
    ledger: Ledger, session: AsyncSession, clock: StoryClock, invoice_id: str, currency: str, amount: str
) -> None:
    asked = msgspec.convert(
        {
            "destination_type": "INVOICE",
            "destination_id": invoice_id,
            "payment_method_type": "OFFLINE",
            "amount": amount,
            "currency": currency,
        },
        CreatePaymentRequest,
    )
    payment, _ = await creation.create(session, asked, clock.now())
    await processing.process(session, ledger.gateways, payment.id, clock)
    ledger.payments += 1
