"""A new customer, changes of one, and its end, on pages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from litestar import Controller, Response, get, post
from litestar.response import Redirect
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.composition import Composition
from farthing.core.encoding.decoding import convert
from farthing.core.errors import FarthingError
from farthing.core.ids import new_ulid
from farthing.customers import lifecycle
from farthing.customers.schemas import CreateCustomerRequest, UpdateCustomerRequest
from farthing.customers.tables import Customer
from farthing.identity.settings import current
from farthing.identity.settings.catalogue import InvoiceConfig
from farthing.settings import Settings
from farthing.storage.queries.rows import find
from farthing.web.access.visitors import changes, prepares
from farthing.web.dashboard.accounts.customer_form import MAIN_CONTACT, customer_form
from farthing.web.dashboard.overview.first_steps import next_step
from farthing.web.forms.changed_meanwhile import require_unchanged, with_mark
from farthing.web.forms.fields import Sections
from farthing.web.forms.filled import FilledForm
from farthing.web.forms.pages import (
    Confirmation,
    FormPage,
    answer_form,
    confirm_page,
    form_page,
    obstacle_to,
    typed,
)
from farthing.web.forms.reading import change_of, creation_of, shown_values
from farthing.web.rendering.answers import HttpRequest, done, refused

HOME = "/customers"
_NO_LETTERS = re.compile("[^a-z0-9]+")
_CRUMBS = ((HOME, "Customers"),)
_NEW = FormPage("New customer", _CRUMBS, "Create the customer")


class CustomerChanges(Controller):
    """What is changed about customers."""

    path = HOME
    include_in_schema = False

    @get("/new", guards=[prepares("customer")])
    async def begin(self, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """The form of a new customer."""
        own_zone = (await current.read(session, InvoiceConfig)).timezone
        return form_page(request, _NEW, FilledForm(customer_form(own_zone)))

    @post("/new", guards=[changes("customer")])
    async def create(self, request: HttpRequest, session: AsyncSession, services: Composition) -> Response[str]:
        """Make a customer."""
        form, given = customer_form(), typed(request)

        async def save() -> Redirect:
            body = creation_of(form, given)
            body.setdefault("external_id", _id_made_of(body["name"]))
            body["contact_persons"] = _persons(body, ())
            asked = convert(body, CreateCustomerRequest)
            strict = services.part(Settings).strict_external_ids
            customer = await lifecycle.create(session, asked, strict_ids=strict)
            return done(
                request,
                f"{HOME}/{customer.id}",
                f"{customer.name} is a customer now.{await next_step(request, session)}",
            )

        return await answer_form(request, _NEW, form, given, save)

    @get("/{customer_id:str}/edit", guards=[prepares("customer")])
    async def edit(self, customer_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """The form of a change."""
        form, row = customer_form(), await find(session, Customer, customer_id)
        return form_page(request, _edit_page(row), FilledForm(form, with_mark(_shown(form, row)), is_filled=True))

    @post("/{customer_id:str}/edit", guards=[changes("customer")])
    async def change(
        self, customer_id: str, request: HttpRequest, session: AsyncSession, services: Composition
    ) -> Response[str]:
        """Change a customer."""
        form, given = customer_form(), typed(request)
        row = await find(session, Customer, customer_id)
        page = _edit_page(row)

        async def save() -> Redirect:
            require_unchanged(given, _shown(form, row))
            body = change_of(form, given)
            body["contact_persons"] = _persons(body, row.contact_persons)
            # what stays as it is passes, also where it could not be chosen today
            changed = {name: value for name, value in body.items() if value != getattr(row, name, None)}
            asked = convert(changed, UpdateCustomerRequest)
            strict = services.part(Settings).strict_external_ids
            await lifecycle.update(session, asked, customer_id=customer_id, strict_ids=strict)
            return done(request, f"{HOME}/{customer_id}", "Saved. Invoices say it from the next one on.")

        return await answer_form(request, page, form, given, save)

    @get("/{customer_id:str}/archive", guards=[prepares("customer")])
    async def ask_archive(self, customer_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """What archiving a customer means, or what stands in the way."""
        row = await find(session, Customer, customer_id)
        here = f"{HOME}/{row.id}"

        async def archive(undone: AsyncSession) -> None:
            await lifecycle.archive(undone, customer_id, require_settled=False)

        consequences = (
            "It cannot subscribe or be invoiced any more, and is found only among the archived.",
            "Its invoices, and what it owes, stay.",
            f"Its id {row.external_id} is free for another customer. This cannot be undone.",
        )
        ways_out = ((f"{here}#subscriptions", "Its subscriptions"), (f"{here}#wallets", "Its wallets"))
        obstacle = await obstacle_to(request, archive, {row.id: row.name})
        crumbs = (*_CRUMBS, (here, row.name))
        return confirm_page(
            request, Confirmation(f"Archive {row.name}", crumbs, "Archive it", consequences, obstacle, ways_out)
        )

    @post("/{customer_id:str}/archive", guards=[changes("customer")])
    async def archive(self, customer_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Archive a customer."""
        try:
            await lifecycle.archive(session, customer_id, require_settled=False)
        except FarthingError as error:
            return await refused(request, f"{HOME}/{customer_id}/archive", error)
        return done(request, HOME, "The customer is archived.")


def _id_made_of(name: str) -> str:
    """ "Brightwater & Co" is "brightwater-co"; a name without a letter of the alphabet gives a random one."""
    return _NO_LETTERS.sub("-", name.lower()).strip("-") or new_ulid().lower()


def _persons(body: Mapping[str, Any], stand: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The contact persons of a form; what the form has no field for stays as it stands."""
    shown = {"first_name", "last_name", "email", "designation", "is_primary"}
    known = {
        person["id"]: {name: value for name, value in person.items() if name not in shown}
        for person in stand
        if person.get("id")
    }
    return [
        {**known.get(person.get("id", ""), {}), **person, "is_primary": person.get("is_primary") == MAIN_CONTACT}
        for person in body.get("contact_persons", ())
    ]


def _shown(form: Sections, row: Customer) -> dict[str, str]:
    """What the form shows of a customer."""
    stands = {column.key: getattr(row, column.key) for column in Customer.__mapper__.column_attrs}
    stands["metadata"] = row.meta
    stands["contact_persons"] = [
        {**person, "is_primary": MAIN_CONTACT if person.get("is_primary") else None} for person in row.contact_persons
    ]
    return shown_values(form, stands)


def _edit_page(row: Customer) -> FormPage:
    return FormPage(f"Edit {row.name}", (*_CRUMBS, (f"{HOME}/{row.id}", row.name)), "Save")
