"""Who sells in the demo: a company with an address, a VAT id and a logo, as its invoices show them."""

from __future__ import annotations

import base64
from pathlib import Path

import msgspec

from farthing.demo.books import Ledger
from farthing.identity import tenants
from farthing.identity.settings import current
from farthing.identity.settings.catalogue import EinvoiceConfig, InvoicePdfConfig
from farthing.identity.tables import Tenant
from farthing.settings import DEFAULT_TENANT_NAME
from farthing.storage.queries.rows import find

NAME = "Larkspur AI"
DETAILS = {
    "email": "billing@larkspur.example",
    "help_email": "help@larkspur.example",
    "phone": "+353 1 555 0142",
    "tax_id": "IE1234567FA",
    "address": {
        "address_line1": "12 Grattan Quay",
        "address_city": "Dublin",
        "address_postal_code": "D02 XY00",
        "address_country": "IE",
    },
}
EINVOICE = {
    "legal_name": "Larkspur AI Limited",
    "vat_id": DETAILS["tax_id"],
    "registration_number": "712345",
    "address": {"line1": "12 Grattan Quay", "city": "Dublin", "postal_code": "D02 XY00", "country": "IE"},
    "electronic_address": {"scheme": "9935", "id": DETAILS["tax_id"]},
    "contact": {"name": "Billing", "phone": DETAILS["phone"], "email": DETAILS["email"]},
    "payment": {"iban": "IE29AIBK93115212345678", "bic": "AIBKIE2D", "means_code": "58"},
    "payment_terms_text": "Payable within 30 days",
    "default_vat_category": "Z",
}
LOGO = Path(__file__).with_name("logo.png")


async def load_seller(ledger: Ledger) -> None:
    """Give the company its details, logo and what e-invoices say of it, unless it has some already; and a name, unless
    somebody chose one."""
    async with ledger.database.transaction(ledger.scope) as session:
        tenant = await find(session, Tenant, ledger.scope.tenant_id)
        if not tenant.billing_details:
            await tenants.update(
                session,
                tenant.id,
                name=NAME if tenant.name == DEFAULT_TENANT_NAME else None,
                billing_details=DETAILS,
                metadata=None,
            )
        if not (await current.read(session, InvoicePdfConfig)).logo:
            logo = base64.b64encode(LOGO.read_bytes()).decode()
            await current.write(session, InvoicePdfConfig, {"logo": msgspec.Raw(msgspec.json.encode(logo))})
        if not (await current.read(session, EinvoiceConfig)).legal_name:
            said = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in EINVOICE.items()}
            await current.write(session, EinvoiceConfig, said)
