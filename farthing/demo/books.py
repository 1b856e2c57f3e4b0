"""Writing the demo's story: each step through the function behind its route, at the time it happened."""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import select

from farthing.core.encoding.decoding import convert
from farthing.core.money import plain
from farthing.customers.lifecycle import create as create_customer
from farthing.customers.schemas import CreateCustomerRequest
from farthing.customers.tables import Customer
from farthing.demo.company import DemoCustomer, DemoInvoice
from farthing.invoices.lifecycle import one_off, transitions
from farthing.invoices.ports import InvoicePorts
from farthing.invoices.requests import CreateInvoiceRequest
from farthing.invoices.tables import Invoice
from farthing.payments.integrations.gateways import Gateways
from farthing.payments.processing import execution
from farthing.payments.schemas import CreatePaymentRequest
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.storage.queries.rows import lock_row
from farthing.storage.scope import Scope

_KEY = "demo-"


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
        self.effects = database.ports.part(InvoicePorts).hooks
        self.gateways = Gateways(database, settings, self.effects)
        self.invoices = 0
        self.payments = 0

    async def present(self) -> tuple[dict[str, str], set[str]]:
        """The customers that are there, their ids by external id, and the keys of the bills that are."""
        async with self.database.transaction(self.scope, read_only=True) as session:
            customers = await session.execute(select(Customer.external_id, Customer.id))
            bills = await session.scalars(
                select(Invoice.idempotency_key).where(Invoice.idempotency_key.startswith(_KEY, autoescape=True))
            )
            return dict(customers.all()), {key for key in bills if key is not None}


def key_of(customer: DemoCustomer, bill: DemoInvoice) -> str:
    """What a bill of the story is known by: it is there if and only if an invoice has this key."""
    return f"{_KEY}{customer.external_id}-{bill.number}"


async def load_customer(ledger: Ledger, customer: DemoCustomer) -> str:
    """Make a customer; the id."""
    async with ledger.database.transaction(ledger.scope, clock=StoryClock(customer.since)) as session:
        return (await create_customer(session, _asked(customer), strict_ids=False)).id


async def load_bill(ledger: Ledger, customer_id: str, customer: DemoCustomer, bill: DemoInvoice) -> None:
    """One invoice and all that became of it, in one transaction."""
    clock = StoryClock(bill.issued)
    async with ledger.database.transaction(ledger.scope, clock=clock) as session:
        invoice = await one_off.create(
            session, _billed(bill, customer_id, key_of(customer, bill)), clock.now(), effects=ledger.effects
        )
        for number, (at, amount) in enumerate(bill.payments):
            clock.at = at
            paid = _paid(invoice.id, bill.currency, plain(amount), f"{key_of(customer, bill)}-{number}")
            await execution.record_payment(session, ledger.gateways, paid, clock)
        if bill.failed is not None:
            clock.at = bill.failed
            await transitions.payment_failed(session, await lock_row(session, Invoice, invoice.id), clock.now())
        if bill.voided is not None:
            clock.at = bill.voided
            row = await lock_row(session, Invoice, invoice.id)
            await transitions.void(session, row, clock.now(), effects=ledger.effects)
    ledger.invoices += 1
    ledger.payments += len(bill.payments)


def _asked(customer: DemoCustomer) -> CreateCustomerRequest:
    return convert(
        {
            "external_id": customer.external_id,
            "name": customer.name,
            "email": customer.email,
            "address_line1": customer.street,
            "address_city": customer.city,
            "address_country": customer.country,
            "timezone": customer.timezone,
            "billing_currency": customer.billing_currency,
            **_buyer_of(customer),
        },
        CreateCustomerRequest,
    )


_VAT_SCHEMES = {"DE": ("9930", 9), "FR": ("9957", 11), "PT": ("9946", 9)}
"""Where customers of the demo are known by their VAT number: the scheme of such an address, and its digits."""


def _buyer_of(customer: DemoCustomer) -> dict[str, Any]:
    """What e-invoices say of a customer, of those to whom businesses send them."""
    if customer.country not in _VAT_SCHEMES:
        return {}
    scheme, digits = _VAT_SCHEMES[customer.country]
    number = str(int(sha256(customer.external_id.encode()).hexdigest(), 16))[:digits]
    vat_id = f"{customer.country}{number}"
    metadata = {"buyer_reference": customer.external_id, "electronic_address_scheme": scheme}
    postal_code = {"DE": "10117", "FR": "69002", "PT": "4050-159"}[customer.country]
    return {
        "address_postal_code": postal_code,
        "tax_id": vat_id,
        "metadata": {**metadata, "electronic_address_id": vat_id},
    }


def _billed(bill: DemoInvoice, customer_id: str, key: str) -> CreateInvoiceRequest:
    return convert(
        {
            "customer_id": customer_id,
            "currency": bill.currency,
            "amount_due": plain(bill.total),
            "subtotal": plain(bill.total),
            "total": plain(bill.total),
            "invoice_status": "DRAFT" if bill.draft else "FINALIZED",
            "due_date": bill.due.isoformat(),
            "idempotency_key": key,
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


def _paid(invoice_id: str, currency: str, amount: str, key: str) -> CreatePaymentRequest:
    return convert(
        {
            "destination_type": "INVOICE",
            "destination_id": invoice_id,
            "payment_method_type": "OFFLINE",
            "amount": amount,
            "currency": currency,
            "process_payment": True,
            "idempotency_key": key,
        },
        CreatePaymentRequest,
    )
