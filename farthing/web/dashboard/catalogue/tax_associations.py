"""Whom a tax rate applies to, on pages: to apply it, to change how, and to end it."""

from __future__ import annotations

from functools import partial
from typing import Any

from litestar import Controller, Response, get, post
from litestar.response import Redirect
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.taxes import associations
from farthing.catalogue.taxes.enums import TaxEntityType
from farthing.catalogue.taxes.schemas import CreateTaxAssociationRequest, TaxAssociationUpdateRequest
from farthing.catalogue.taxes.tables import TaxAssociation, TaxRateRow
from farthing.core.clock import Clock
from farthing.core.encoding.decoding import convert
from farthing.core.errors import FarthingError
from farthing.storage.queries.rows import find
from farthing.web.access.visitors import changes, prepares, visitor_of
from farthing.web.dashboard.catalogue.taxes import CRUMBS, HOME, taxed_names
from farthing.web.dashboard.choosing import customer_id_of
from farthing.web.forms.fields import FieldKind, FormField, FormSection, metadata_rows, when
from farthing.web.forms.filled import FilledForm
from farthing.web.forms.pages import (
    Confirmation,
    FormPage,
    answer_form,
    confirm_page,
    form_page,
    made_once,
    typed,
)
from farthing.web.forms.reading import change_of, creation_of, shown_values
from farthing.web.rendering.answers import HttpRequest, done, refused

_CUSTOMER = "entity_id"
_SUBSCRIPTION = "subscription_id"
_HOW = (
    FormField(
        "priority", "Place among several rates", FieldKind.WHOLE, placeholder="0", hint="The smallest comes first"
    ),
    FormField(
        "auto_apply",
        "Applied by itself",
        FieldKind.TICK,
        initial="yes",
        hint="New customers have it from everybody, new subscriptions from their customer",
    ),
)
_MORE = FormSection("Metadata", (metadata_rows(),), folded=True)
NEW_ASSOCIATION = (
    FormSection(
        "Whom it applies to",
        (
            FormField(
                "entity_type",
                "It applies to",
                FieldKind.CHOICE,
                required=True,
                initial=TaxEntityType.TENANT.value,
                options=(
                    (TaxEntityType.TENANT.value, "Every new customer"),
                    (TaxEntityType.CUSTOMER.value, "One customer"),
                    (TaxEntityType.SUBSCRIPTION.value, "One subscription"),
                ),
            ),
            FormField(
                _CUSTOMER, "Customer", only_when=when("entity_type", TaxEntityType.CUSTOMER), hint="Name, e-mail or id"
            ),
            FormField(
                _SUBSCRIPTION, "Id of the subscription", only_when=when("entity_type", TaxEntityType.SUBSCRIPTION)
            ),
            FormField("currency", "Only in the currency", FieldKind.CURRENCY, longest=3, placeholder="any"),
            FormField("start_date", "From", FieldKind.DATE, hint="Blank: from now on. Days begin at 00:00 UTC"),
            FormField("end_date", "Until, exclusive", FieldKind.DATE, hint="Blank: without end"),
            *_HOW,
        ),
    ),
    _MORE,
)
CHANGED_ASSOCIATION = (FormSection("How it applies", _HOW), _MORE)


class TaxAssociationPages(Controller):
    """What tax rates apply to."""

    path = HOME
    include_in_schema = False

    @get("/{rate_id:str}/associations/new", guards=[prepares("tax")])
    async def begin(self, rate_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """The form of whom a rate applies to."""
        rate = await find(session, TaxRateRow, rate_id)
        return form_page(request, _new_page(rate), FilledForm(NEW_ASSOCIATION))

    @post("/{rate_id:str}/associations/new", guards=[changes("tax")])
    async def create(self, rate_id: str, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[Any]:
        """Apply a rate."""
        rate, given = await find(session, TaxRateRow, rate_id), typed(request)
        page = _new_page(rate)

        async def make() -> tuple[str, str]:
            body = creation_of(NEW_ASSOCIATION, given) | {"tax_rate_code": rate.code}
            if body["entity_type"] == TaxEntityType.TENANT.value:
                body["entity_id"] = visitor_of(request).caller.tenant_id
            elif body["entity_type"] == TaxEntityType.CUSTOMER.value:
                body["entity_id"] = await customer_id_of(session, body.get(_CUSTOMER, ""), _CUSTOMER)
            else:
                body["entity_id"] = body.pop(_SUBSCRIPTION, "")
            await associations.create(session, convert(body, CreateTaxAssociationRequest), clock.now())
            return f"{HOME}/{rate_id}", f"{rate.name} applies."

        save = partial(made_once, request, session, clock.now(), make)
        return await answer_form(request, page, NEW_ASSOCIATION, given, save)

    @get("/associations/{association_id:str}/edit", guards=[prepares("tax")])
    async def edit(self, association_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """The form of a change."""
        row = await find(session, TaxAssociation, association_id)
        stands = {"priority": row.priority, "auto_apply": row.auto_apply, "metadata": row.meta}
        filled = FilledForm(CHANGED_ASSOCIATION, shown_values(CHANGED_ASSOCIATION, stands), is_filled=True)
        return form_page(request, await _edit_page(session, row), filled)

    @post("/associations/{association_id:str}/edit", guards=[changes("tax")])
    async def change(self, association_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Change how a rate applies."""
        row, given = await find(session, TaxAssociation, association_id), typed(request)
        page = await _edit_page(session, row)
        rate_id = row.tax_rate_id

        async def save() -> Redirect:
            asked = convert(change_of(CHANGED_ASSOCIATION, given), TaxAssociationUpdateRequest)
            await associations.update(session, association_id, asked)
            return done(request, f"{HOME}/{rate_id}", "Saved.")

        return await answer_form(request, page, CHANGED_ASSOCIATION, given, save)

    @get("/associations/{association_id:str}/end", guards=[prepares("tax")])
    async def ask_end(self, association_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """What ending it means."""
        row = await find(session, TaxAssociation, association_id)
        rate = await find(session, TaxRateRow, row.tax_rate_id)
        (named, _) = (await taxed_names(session, [(row.entity_type, row.entity_id)]))[row.entity_id]
        consequences = (
            f"{named}: {rate.name} is not applied any more, from now on.",
            "What was invoiced with it stays. This cannot be undone, but the rate can be applied again.",
        )
        crumbs = (*CRUMBS, (f"{HOME}/{rate.id}", rate.name))
        return confirm_page(request, Confirmation(f"End {rate.name} for {named}", crumbs, "End it", consequences))

    @post("/associations/{association_id:str}/end", guards=[changes("tax")])
    async def end(self, association_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """End it."""
        rate_id = (await find(session, TaxAssociation, association_id)).tax_rate_id
        try:
            await associations.archive(session, association_id)
        except FarthingError as error:
            return await refused(request, f"{HOME}/{rate_id}", error)
        return done(request, f"{HOME}/{rate_id}", "It applies there no longer.")


def _new_page(rate: TaxRateRow) -> FormPage:
    lead = "A customer who exists already does not get it by being one of every new customer."
    return FormPage(f"Apply {rate.name}", (*CRUMBS, (f"{HOME}/{rate.id}", rate.name)), "Apply it", lead)


async def _edit_page(session: AsyncSession, row: TaxAssociation) -> FormPage:
    rate = await find(session, TaxRateRow, row.tax_rate_id)
    (named, _) = (await taxed_names(session, [(row.entity_type, row.entity_id)]))[row.entity_id]
    return FormPage(f"{rate.name} for {named}", (*CRUMBS, (f"{HOME}/{rate.id}", rate.name)), "Save")
