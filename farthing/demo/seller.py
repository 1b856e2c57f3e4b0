"""Who sells in the demo: a company with an address, a VAT id and a logo, as its invoices show them."""

from __future__ import annotations

import base64
from pathlib import Path

import msgspec

from farthing.demo.books import Ledger
from farthing.identity import tenants
from farthing.identity.settings import current
from farthing.identity.settings.catalogue import InvoicePdfConfig
from farthing.identity.tables import Tenant
from farthing.settings import DEFAULT_TENANT_NAME
from farthing.storage.rows import find

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
LOGO = Path(__file__).with_name("logo.png")


async def load_seller(ledger: Ledger) -> None:
    """Give the company its details and logo, unless it has some already; and a name, unless somebody chose one."""
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
