"""What invoices and e-invoices say of a customer: shown, and changed, on a page that a lacking e-invoice leads to."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Response, get, post
from litestar.response import Redirect
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.encoding.decoding import convert
from farthing.core.enums import Status
from farthing.customers import lifecycle
from farthing.customers.schemas import UpdateCustomerRequest
from farthing.customers.tables import Customer
from farthing.storage.queries.rows import find
from farthing.web.access.visitors import changes, shows, visitor_of
from farthing.web.dashboard.accounts.customer_form import billing_form
from farthing.web.forms.changed_meanwhile import require_unchanged, with_mark
from farthing.web.forms.fields import Sections, parts_of
from farthing.web.forms.filled import FilledForm
from farthing.web.forms.pages import FormPage, answer_form, form_page, typed
from farthing.web.forms.reading import change_of, shown_values
from farthing.web.rendering.answers import HttpRequest, done, render

_LEAD = "As invoices and e-invoices name the customer, from the next one on."
_METADATA = "metadata."


class BillingDetails(Controller):
    """The billing details of one customer."""

    path = "/customers/{customer_id:str}/billing-details"
    include_in_schema = False

    @get("/", guards=[shows("customer")])
    async def show(self, customer_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """What invoices say of a customer."""
        customer, sections = await find(session, Customer, customer_id), billing_form()
        form = FilledForm(sections, with_mark(_shown(sections, customer)), is_filled=True)
        if visitor_of(request).may("write", "customer") and customer.status is Status.PUBLISHED:
            return form_page(request, _page(customer), form)
        return render(request, "billing_details.html", customer=customer, page=_page(customer), form=form)

    @post("/", guards=[changes("customer")])
    async def change(self, customer_id: str, request: HttpRequest, session: AsyncSession) -> Response[Any]:
        """Change what invoices say of a customer."""
        customer, sections, given = await find(session, Customer, customer_id), billing_form(), typed(request)
        here = f"/customers/{customer_id}/billing-details"

        async def save() -> Redirect:
            require_unchanged(given, _shown(sections, customer))
            body = change_of(sections, given)
            ours = {part.name.removeprefix(_METADATA) for part, _ in parts_of(sections)}
            others = {name: text for name, text in customer.meta.items() if name not in ours}
            body["metadata"] = others | body.get("metadata", {})
            # what stays as it is passes, also where it could not be chosen today
            changed = {name: value for name, value in body.items() if value != getattr(customer, name, None)}
            asked = convert(changed, UpdateCustomerRequest)
            await lifecycle.update(session, asked, customer_id=customer_id, strict_ids=False)
            return done(request, here, "Saved. Invoices say it from now on.")

        return await answer_form(request, _page(customer), sections, given, save)


def _shown(sections: Sections, customer: Customer) -> dict[str, str]:
    """What the form shows of a customer."""
    stands = {column.key: getattr(customer, column.key) for column in Customer.__mapper__.column_attrs}
    stands["metadata"] = customer.meta
    return shown_values(sections, stands)


def _page(customer: Customer) -> FormPage:
    return FormPage("Billing details", ((f"/customers/{customer.id}", customer.name),), "Save", _LEAD)
