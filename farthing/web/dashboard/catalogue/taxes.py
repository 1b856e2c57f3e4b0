"""Tax rates on pages: a new one, one with what it applies to, changes, and its end."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Response, get, post
from litestar.response import Redirect
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.taxes import rates
from farthing.catalogue.taxes.enums import TaxEntityType, TaxRateStatus
from farthing.catalogue.taxes.schemas import CreateTaxRateRequest, UpdateTaxRateRequest
from farthing.catalogue.taxes.tables import TaxAssociation, TaxRateRow
from farthing.core.encoding.decoding import convert
from farthing.core.enums import Status
from farthing.core.errors import FarthingError
from farthing.core.standards.trade_codes import VatCategory
from farthing.rating.totals.taxes import TaxRateType
from farthing.storage.queries.rows import find, in_array
from farthing.subscriptions.tables import Subscription
from farthing.web.access.visitors import changes, prepares, shows
from farthing.web.dashboard.customer_names import names_of
from farthing.web.forms.fields import FieldKind, FormField, FormSection, metadata_rows, when
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
from farthing.web.rendering.answers import HttpRequest, done, refused, render

HOME = "/catalogue/taxes"
CRUMBS = (("/catalogue", "Catalogue"), (HOME, "Taxes"))
_MOST_SHOWN = 100
VAT_CATEGORIES = (
    (VatCategory.STANDARD.value, "S: standard rate"),
    (VatCategory.ZERO_RATED.value, "Z: zero rate"),
    (VatCategory.EXEMPT.value, "E: exempt"),
    (VatCategory.REVERSE_CHARGE.value, "AE: reverse charge"),
    (VatCategory.INTRA_COMMUNITY.value, "K: supply within the European Union"),
    (VatCategory.EXPORT.value, "G: export"),
    (VatCategory.OUTSIDE_SCOPE.value, "O: outside the scope of VAT"),
)
_NAMES = (
    FormField("name", "Name", required=True, hint="As invoices show it: VAT 19%"),
    FormField("code", "Code", required=True, placeholder="DE19", hint="For programs; no two rates have the same"),
)
_DESCRIPTION = FormField("description", "Description", FieldKind.AREA, longest=1000)
_VAT = FormSection(
    "On e-invoices",
    (
        FormField(
            "metadata.vat_category",
            "VAT category",
            FieldKind.CHOICE,
            options=VAT_CATEGORIES,
            placeholder="Standard rate, or zero rate at 0%",
        ),
        FormField("metadata.vat_exemption_reason", "Why no VAT is charged", hint="Where the category needs a reason"),
        FormField("metadata.vat_exemption_code", "Or its code", placeholder="VATEX-EU-AE"),
        metadata_rows(),
    ),
    folded=True,
)
NEW_RATE = (
    FormSection(
        "Tax rate",
        (
            *_NAMES,
            FormField(
                "tax_rate_type",
                "It is",
                FieldKind.CHOICE,
                required=True,
                initial=TaxRateType.PERCENTAGE.value,
                options=(
                    (TaxRateType.PERCENTAGE.value, "A percentage"),
                    (TaxRateType.FIXED.value, "A fixed amount per invoice"),
                ),
            ),
            FormField(
                "percentage_value",
                "Percent",
                FieldKind.AMOUNT,
                placeholder="19",
                only_when=when("tax_rate_type", TaxRateType.PERCENTAGE),
            ),
            FormField(
                "fixed_value",
                "Amount",
                FieldKind.AMOUNT,
                placeholder="2.50",
                only_when=when("tax_rate_type", TaxRateType.FIXED),
            ),
            _DESCRIPTION,
        ),
    ),
    _VAT,
)
CHANGED_RATE = (
    FormSection(
        "Tax rate",
        (
            *_NAMES,
            FormField(
                "tax_rate_status",
                "State",
                FieldKind.CHOICE,
                required=True,
                options=((TaxRateStatus.ACTIVE.value, "Active"), (TaxRateStatus.INACTIVE.value, "Inactive")),
            ),
            _DESCRIPTION,
        ),
    ),
    _VAT,
)
_NEW = FormPage(
    "New tax rate", CRUMBS, "Create the rate", "The figure of a rate never changes: for another one, make another rate."
)


class TaxPages(Controller):
    """Tax rates."""

    path = HOME
    include_in_schema = False

    @get("/new", guards=[prepares("tax")])
    async def begin(self, request: HttpRequest) -> Response[str]:
        """The form of a new rate."""
        return form_page(request, _NEW, FilledForm(NEW_RATE))

    @post("/new", guards=[changes("tax")])
    async def create(self, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Make a rate."""
        given = typed(request)

        async def save() -> Redirect:
            rate = await rates.create(session, convert(creation_of(NEW_RATE, given), CreateTaxRateRequest))
            return done(request, f"{HOME}/{rate.id}", f"{rate.name} is made. Say now whom it applies to.")

        return await answer_form(request, _NEW, NEW_RATE, given, save)

    @get("/{rate_id:str}", guards=[shows("tax")])
    async def read(self, rate_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """One rate, and what it applies to."""
        row = await find(session, TaxRateRow, rate_id)
        applied = select(TaxAssociation).where(
            TaxAssociation.tax_rate_id == row.id, TaxAssociation.status == Status.PUBLISHED
        )
        newest = applied.order_by(TaxAssociation.created_at.desc(), TaxAssociation.id.desc()).limit(_MOST_SHOWN)
        associations = (await session.scalars(newest)).all()
        return render(
            request,
            "catalogue/tax.html",
            rate=row,
            associations=associations,
            most=_MOST_SHOWN,
            taxed=await taxed_names(session, [(each.entity_type, each.entity_id) for each in associations]),
            category=dict(VAT_CATEGORIES).get(row.meta.get("vat_category", ""), ""),
        )

    @get("/{rate_id:str}/edit", guards=[prepares("tax")])
    async def edit(self, rate_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """The form of a change."""
        row = await find(session, TaxRateRow, rate_id)
        stands: dict[str, Any] = {field: getattr(row, field) for field in ("name", "code", "description")}
        stands |= {"tax_rate_status": row.tax_rate_status, "metadata": row.meta}
        return form_page(request, _edit_page(row), FilledForm(CHANGED_RATE, shown_values(CHANGED_RATE, stands)))

    @post("/{rate_id:str}/edit", guards=[changes("tax")])
    async def change(self, rate_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Change a rate that nothing uses."""
        page, given = _edit_page(await find(session, TaxRateRow, rate_id)), typed(request)

        async def save() -> Redirect:
            await rates.update(session, rate_id, convert(change_of(CHANGED_RATE, given), UpdateTaxRateRequest))
            return done(request, f"{HOME}/{rate_id}", "Saved.")

        return await answer_form(request, page, CHANGED_RATE, given, save)

    @get("/{rate_id:str}/archive", guards=[prepares("tax")])
    async def ask_archive(self, rate_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """What archiving a rate means, or what stands in the way."""
        row = await find(session, TaxRateRow, rate_id)
        obstacle = await obstacle_to(request, lambda undone: rates.archive(undone, rate_id), {row.code: row.name})
        consequences = (
            "It can be applied to nobody any more. What was charged with it stays.",
            f"Its code {row.code} is free for another rate. This cannot be undone.",
        )
        crumbs = (*CRUMBS, (f"{HOME}/{row.id}", row.name))
        ways_out = ((f"{HOME}/{row.id}", "See what it applies to, and end that first"),)
        return confirm_page(
            request, Confirmation(f"Archive {row.name}", crumbs, "Archive it", consequences, obstacle, ways_out)
        )

    @post("/{rate_id:str}/archive", guards=[changes("tax")])
    async def archive(self, rate_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Archive a rate."""
        try:
            await rates.archive(session, rate_id)
        except FarthingError as error:
            return await refused(request, f"{HOME}/{rate_id}/archive", error)
        return done(request, HOME, "The rate is archived.")


def _edit_page(row: TaxRateRow) -> FormPage:
    lead = "A rate changes only while it applies to nothing and was never charged. Its figure never changes."
    return FormPage(f"Edit {row.name}", (*CRUMBS, (f"{HOME}/{row.id}", row.name)), "Save", lead)


async def taxed_names(session: AsyncSession, entities: list[tuple[TaxEntityType, str]]) -> dict[str, tuple[str, str]]:
    """Whom rates apply to, by id: in words, and the page of that."""
    customers = {entity_id for kind, entity_id in entities if kind is TaxEntityType.CUSTOMER}
    subscriptions = {entity_id for kind, entity_id in entities if kind is TaxEntityType.SUBSCRIPTION}
    owners = select(Subscription.id, Subscription.customer_id).where(in_array(Subscription.id, subscriptions))
    owner_of = dict((await session.execute(owners)).all())
    names = await names_of(session, customers | set(owner_of.values()))
    taxed = {entity_id: (names.get(entity_id, entity_id), f"/customers/{entity_id}") for entity_id in customers}
    for entity_id in subscriptions:
        name = names.get(owner_of.get(entity_id, ""), "")
        taxed[entity_id] = (f"Subscription of {name}" if name else entity_id, f"/subscriptions/{entity_id}")
    taxed |= {entity_id: ("Every new customer", "") for kind, entity_id in entities if kind is TaxEntityType.TENANT}
    return taxed
