"""Who a customer is on its invoices, and how it is written to: shown, and changed by itself.

Rule: docs/rules/customers.md#portal
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from babel import Locale
from litestar import Controller, Response, get, post
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.errors import as_domain_error
from farthing.api.work import unit_of_work
from farthing.core.composition import Composition
from farthing.core.encoding.decoding import convert
from farthing.core.errors import FarthingError
from farthing.core.standards.trade_codes import countries
from farthing.customers import lifecycle
from farthing.customers.schemas import UpdateCustomerRequest
from farthing.customers.tables import Customer
from farthing.settings import Settings
from farthing.web.access.visitors import form_of
from farthing.web.portal.visit.session import PortalVisit, customer_of, in_path, visit_of
from farthing.web.portal.visit.showing import done_here, portal_page, problem_text, refused_fields
from farthing.web.rendering.answers import HttpRequest

_FIELDS = {
    "name": 255,
    "email": 320,
    "contact": 20,
    "address_line1": 255,
    "address_line2": 255,
    "address_postal_code": 20,
    "address_city": 100,
    "address_state": 100,
    "address_country": 2,
    "language": 2,
}
"""What a customer may change, and how long each may be."""
_TAX_ID = {"tax_id": 100}


class PortalDetails(Controller):
    """Name, address and language of one customer; the address is the credential."""

    path = "/portal/{token:str}/details"
    include_in_schema = False

    @get("/", guards=[in_path("edit_details")])
    async def show(self, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """The details as they stand, to be changed."""
        customer = await customer_of(session, visit_of(request))
        given = {name: getattr(customer, name) or "" for name in _changeable(visit_of(request))}
        return _page(request, given, customer)

    @post("/", guards=[in_path("edit_details", read_only=False)], status_code=200)
    async def change(self, request: HttpRequest, session: AsyncSession, services: Composition) -> Response[str]:
        """Change them, and nothing else."""
        visit, form = visit_of(request), form_of(request)
        customer = await customer_of(session, visit)
        given = {name: form[name] for name in _changeable(visit) if name in form}
        # what stays as it is passes, also where it could not be chosen today
        changed = {name: value for name, value in given.items() if value != (getattr(customer, name) or "")}
        try:
            await lifecycle.update(
                session,
                convert(changed, UpdateCustomerRequest),
                customer_id=visit.customer_id,
                strict_ids=services.part(Settings).strict_external_ids,
            )
        except (FarthingError, msgspec.ValidationError) as error:
            session.expunge_all()
            await unit_of_work(request).finish(commit=False)
            return _page(request, given, customer, as_domain_error(error))
        return done_here(request, "/details", "details_saved")


def _changeable(visit: PortalVisit) -> Mapping[str, int]:
    return _FIELDS | (_TAX_ID if visit.offers("edit_tax_id") else {})


def _page(
    request: HttpRequest, given: Mapping[str, Any], customer: Customer, error: FarthingError | None = None
) -> Response[str]:
    words = visit_of(request).words
    names = Locale(words.language).territories
    return portal_page(
        request,
        "portal/details.html",
        status=200 if error is None else 400,
        given=given,
        lengths=_changeable(visit_of(request)),
        tax_id=customer.tax_id or "",
        problem="" if error is None else problem_text(words, error),
        wrong={} if error is None else refused_fields(words, error),
        countries=sorted(((code, names.get(code, code)) for code in countries()), key=lambda option: option[1]),
    )
