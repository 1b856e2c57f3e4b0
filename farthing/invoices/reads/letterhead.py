"""What documents say around their figures: who bills and is billed, how to pay, and why there is no tax.

Rule: docs/rules/invoices-and-payments.md#what-documents-say
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from babel import Locale
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.zones import zone_or_abbreviation
from farthing.customers.buyer import buyer_terms
from farthing.customers.tables import Customer
from farthing.identity.parties.versions import terms_since
from farthing.identity.settings.catalogue import EinvoiceConfig, EmailConfig, InvoiceConfig
from farthing.identity.settings.current import read
from farthing.identity.settings.seller import SellerPayment
from farthing.identity.tables import Tenant
from farthing.invoices.pdf import figures
from farthing.invoices.pdf.document import Party
from farthing.invoices.receivable import InvoiceStatus
from farthing.invoices.tables import Invoice
from farthing.storage.queries.rows import find

_STREETS = ("address_line1", "address_line2")
_COUNTRIES: Mapping[str, str] = Locale("en").territories
_UNTAXED = {
    "Z": "VAT is charged at the zero rate.",
    "E": "Exempt from VAT.",
    "AE": "Reverse charge: VAT is to be accounted for by the recipient.",
    "K": "VAT-exempt intra-Community supply.",
    "G": "Export outside the European Union: no VAT is charged.",
    "O": "Not subject to VAT.",
}
"""What is said of each category of charges without tax, unless the seller has a reason of its own."""


def country_name(code: str) -> str:
    """The English name of a country by its two letters; anything else stays as it is."""
    return _COUNTRIES.get(code.upper(), code) if len(code) == 2 else code


async def seller_zone(session: AsyncSession) -> ZoneInfo:
    """The zone in which the seller's days begin, in which invoices are dated."""
    return zone_or_abbreviation((await read(session, InvoiceConfig)).timezone)


async def seller_of(session: AsyncSession, tenant_id: str) -> Party:
    """Who bills: the company's details, and what they lack as electronic invoices name the seller."""
    tenant = await find(session, Tenant, tenant_id)
    config = await read(session, EinvoiceConfig)
    details: Mapping[str, Any] = tenant.billing_details
    registered = config.address
    address = details.get("address") or {
        "address_line1": registered.line1,
        "address_line2": registered.line2,
        "address_city": registered.city,
        "address_state": registered.state,
        "address_postal_code": registered.postal_code,
        "address_country": registered.country,
    }
    country = address.get("address_country") or ""
    return Party(
        name=tenant.name,
        address=tuple(address_lines(address)),
        country=country if len(country) == 2 else "",
        tax_id=details.get("tax_id") or config.vat_id or config.tax_number,
        email=details.get("email") or "",
        help_email=details.get("help_email") or "",
        phone=details.get("phone") or "",
    )


async def language_of(session: AsyncSession, customer: Customer) -> str:
    """The language in which a customer's papers write days: that of its mails and of its portal."""
    return customer.language or (await read(session, EmailConfig)).language


def payer_of(customer: Customer) -> Party:
    """Who is billed, as it stands on a document."""
    return _buyer(buyer_terms(customer), customer.name or f"Customer {customer.id}")


async def buyer_of(session: AsyncSession, customer: Customer, invoice: Invoice) -> Party:
    """Who is billed by an invoice, or credited by a note of it: an erased customer as its documents keep it."""
    if customer.erased_at is None:
        return payer_of(customer)
    terms = next(iter(await terms_since(session, customer.id, invoice.buyer_version_id)), {})
    return _buyer(terms, customer.name)


def _buyer(terms: Mapping[str, str], name: str) -> Party:
    country = terms.get("address_country", "")
    return Party(
        name=terms.get("name") or name,
        address=tuple(address_lines(terms)),
        country=country if len(country) == 2 else "",
        tax_id=terms.get("tax_id", ""),
        email=terms.get("email", ""),
    )


def address_lines(parts: Mapping[str, Any]) -> list[str]:
    """One entry per printed line: streets, postal code with the city, the state, the country by its name."""
    town = " ".join(parts[name] for name in ("address_postal_code", "address_city") if parts.get(name))
    lines = [*(parts.get(name) for name in _STREETS), town, parts.get("address_state")]
    return [line for line in (*lines, country_name(parts.get("address_country") or "")) if line]


async def statements_of(session: AsyncSession, invoice: Invoice) -> tuple[str, ...]:
    """What an invoice says beside its figures: why it carries no tax, and how it is paid."""
    config = await read(session, EinvoiceConfig)
    return (*_untaxed(config, invoice), *_how_to_pay(config, invoice))


def _untaxed(config: EinvoiceConfig, invoice: Invoice) -> Iterator[str]:
    if invoice.total_tax != 0 or invoice.subtotal == 0:
        return
    if config.default_vat_category:
        yield config.default_vat_exemption_reason or _UNTAXED[config.default_vat_category]
    elif invoice.tax_exempt:
        yield "No tax is charged: the customer is exempt from it."


def _how_to_pay(config: EinvoiceConfig, invoice: Invoice) -> Iterator[str]:
    is_asked_for = invoice.invoice_status is InvoiceStatus.FINALIZED and invoice.written_off_at is None
    if not is_asked_for or invoice.amount_remaining <= 0:
        return
    yield from payment_request(
        config.payment,
        config.payment_terms_text,
        invoice.amount_remaining,
        invoice.currency,
        invoice.invoice_number or "",
    )


def payment_request(account: SellerPayment, terms: str, amount: Decimal, currency: str, number: str) -> Iterator[str]:
    """The terms in the seller's words, and a request to transfer `amount` to its account, if it has one and does not
    collect the money itself."""
    if terms:
        yield terms
    if account.is_paid_by_transfer:
        holder = f"{account.account_name}, " if account.account_name else ""
        iban = " ".join(account.iban[start : start + 4] for start in range(0, len(account.iban), 4))
        where = f"IBAN {iban}" if iban else f"account {account.account_number}"
        bank = f", BIC {account.bic}" if account.bic else account.bank_branch and f", {account.bank_branch}"
        asked = figures.money(amount, currency)
        yield f"Please transfer {asked} to {holder}{where}{bank}, with the reference {number}."
