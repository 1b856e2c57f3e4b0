"""The company that sells, as its invoices show it: name, address, VAT id, how to reach it, and its logo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from litestar import Controller, Response, get, post
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.errors import as_domain_error
from farthing.core.caller import READ
from farthing.core.encoding.decoding import convert
from farthing.core.errors import FarthingError
from farthing.identity import tenants
from farthing.identity.schemas import TenantResponse, UpdateTenantRequest
from farthing.identity.settings import current
from farthing.identity.settings.catalogue import InvoicePdfConfig
from farthing.identity.tables import Tenant
from farthing.storage.queries.rows import find
from farthing.web.access.visitors import changes, form_of, shows, visitor_of
from farthing.web.administration.configuration import picture_address
from farthing.web.rendering.answers import HttpRequest, done, refused, render

PAGE = "/company"
CONTACT = {"tax_id": "VAT or tax id", "email": "Email", "help_email": "Email for questions", "phone": "Telephone"}
ADDRESS = {
    "address_line1": "Street",
    "address_line2": "Second line",
    "address_postal_code": "Postal code",
    "address_city": "City",
    "address_state": "State or region",
    "address_country": "Country code",
}


class Company(Controller):
    """The company's details."""

    path = PAGE
    include_in_schema = False

    @get("/", guards=[shows("tenant")])
    async def page(self, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """What invoices say of the company."""
        visitor = visitor_of(request)
        tenant = TenantResponse.of(await find(session, Tenant, visitor.caller.tenant_id))
        stored = msgspec.to_builtins(tenant.billing_details)
        logo = (await current.read(session, InvoicePdfConfig)).logo if visitor.may(READ, "setting") else ""
        return render(
            request,
            "company.html",
            name=tenant.name,
            contact=[(field, label, stored.get(field) or "") for field, label in CONTACT.items()],
            address=[(field, label, stored["address"][field]) for field, label in ADDRESS.items()],
            logo=picture_address(logo),
        )

    @post("/", guards=[changes("tenant")])
    async def write(self, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Change what invoices say of the company."""
        given = form_of(request)
        try:
            asked = convert(_body(given), UpdateTenantRequest)
            await tenants.update(
                session,
                visitor_of(request).caller.tenant_id,
                name=asked.name,
                billing_details=msgspec.to_builtins(asked.billing_details),
                metadata=None,
            )
        except (FarthingError, msgspec.ValidationError) as error:
            return await refused(request, PAGE, as_domain_error(error))
        return done(request, PAGE, "Saved. Invoices show it from now on.")


def _body(given: Mapping[str, str]) -> dict[str, Any]:
    """The form as the body of an update, without what was left empty."""
    address = {field: given[field] for field in ADDRESS if given.get(field)}
    details: dict[str, Any] = {field: given[field] for field in CONTACT if given.get(field)}
    return {"name": given.get("name"), "billing_details": details | ({"address": address} if address else {})}
