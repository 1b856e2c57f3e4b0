"""Prices of plans and addons on pages: a new one with a calculator, one with its versions, changes, and its end."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from litestar import Controller, Response, get, post
from litestar.response import Redirect
from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.work import rehearsal
from farthing.calendar.billing import BillingPeriod, InvoiceCadence
from farthing.catalogue.answers.prices import price_answers
from farthing.catalogue.enums import PriceEntityType
from farthing.catalogue.plans.tables import Addon, Plan
from farthing.catalogue.prices import lifecycle, versions
from farthing.catalogue.prices.enums import PriceUnitType
from farthing.catalogue.prices.schemas import CreatePriceRequest, DeletePriceRequest, PricingChange, UpdatePriceRequest
from farthing.catalogue.prices.tables import Price
from farthing.catalogue.prices.terms import apply_change
from farthing.catalogue.products.enums import FeatureType, GroupEntityType
from farthing.catalogue.products.tables import Feature
from farthing.core.clock import Clock
from farthing.core.encoding.decoding import convert
from farthing.core.enums import PriceType, Status
from farthing.core.errors import FarthingError, InvalidOperation
from farthing.storage.queries.rows import find
from farthing.web.access.visitors import changes, prepares, shows
from farthing.web.dashboard.catalogue.features.group_field import moved, with_group
from farthing.web.dashboard.catalogue.plans.calculation import (
    FIRST_QUANTITIES,
    QUANTITY,
    Calculation,
    calculate,
    price_of,
    repriced,
    unfinished,
)
from farthing.web.dashboard.catalogue.plans.new_plan import usual_currency
from farthing.web.dashboard.catalogue.plans.pages import owners_of
from farthing.web.dashboard.catalogue.plans.price_form import CHANGED_LABELS, CHANGED_MONEY, new_price
from farthing.web.dashboard.catalogue.plans.price_words import UnitWords, shown_prices
from farthing.web.forms.fields import MOST_ROWS, FieldKind, FormField, FormSection, Sections
from farthing.web.forms.filled import FilledForm, refused_form
from farthing.web.forms.pages import ONCE, FormPage, answer_form, form_page, made_once, session_anew, typed
from farthing.web.forms.reading import change_of, creation_of, is_only_looked_at, shown_values
from farthing.web.rendering.answers import HttpRequest, done, render
from farthing.web.rendering.words.wording import chip

_OWNERS: Mapping[str, tuple[PriceEntityType, type[Plan] | type[Addon], str]] = {
    "plans": (PriceEntityType.PLAN, Plan, "Plans"),
    "addons": (PriceEntityType.ADDON, Addon, "Addons"),
}
_OF_OWNERS = [f"/{owners}/{{owner_id:str}}/prices/new" for owners in _OWNERS]
_SEEN = "seen"
"""The field that says which change was looked at before it is confirmed."""
_CALCULATOR = "catalogue/calculator.html"
_MOST_FEATURES = 500
_END = (
    FormSection(
        "When it ends",
        (FormField("end_date", "It ends on", FieldKind.DATE, hint="Blank: now. The day begins at 00:00 UTC"),),
        "Who subscribes afterwards does not get it. Subscriptions that have it keep it until they are synchronised "
        "with their plan. A price that has ended does not begin again.",
    ),
)


@dataclass(frozen=True, slots=True)
class PriceOwner:
    """A plan or an addon that a price is of, and its page."""

    kind: PriceEntityType
    id: str
    name: str
    path: str
    crumbs: tuple[tuple[str, str], ...]


class PricePages(Controller):
    """Prices of plans and addons."""

    path = "/catalogue"
    include_in_schema = False

    @get(_OF_OWNERS, guards=[prepares("price")])
    async def begin(self, owner_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """The form of a new price."""
        owner = await _owner(session, owners_of(request), owner_id)
        return await _new_page(request, session, owner, FilledForm(await _new_form(session, owner)))

    @post(_OF_OWNERS, guards=[changes("price")])
    async def create(self, owner_id: str, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[Any]:
        """Make a price, or see what it would cost."""
        owner, given = await _owner(session, owners_of(request), owner_id), typed(request)
        form = await _new_form(session, owner)
        if is_only_looked_at(given):
            return await _new_page(request, session, owner, FilledForm(form, given, is_filled=True))

        async def make() -> tuple[str, str]:
            price = await lifecycle.create(session, _creation(owner, form, given), clock.now())
            return owner.path, f"{price.display_name} is priced."

        try:
            return await made_once(request, session, clock.now(), make)
        except FarthingError as error:
            return await _new_page(request, await session_anew(request), owner, refused_form(form, given, error))

    @get("/prices/{price_id:str}", guards=[shows("price")])
    async def read(self, price_id: str, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """One price: what it charges, what a quantity costs, and its versions."""
        row = await find(session, Price, price_id)
        (shown,) = await shown_prices(session, [row])
        root = versions.root_of(row)
        lineage = await session.scalars(
            select(Price)
            .where(or_(Price.id == root, Price.parent_price_id == root), Price.entity_id == row.entity_id)
            .order_by(Price.start_date.desc(), Price.id.desc())
            .limit(_MOST_FEATURES)
        )
        return render(
            request,
            "catalogue/price.html",
            owner=await _owner_of(session, row),
            shown=shown,
            state=price_state(row, clock.now()),
            versions=await shown_prices(session, lineage),
            price_state=price_state,
            now=clock.now(),
            calculation=calculate(
                row, request.query_params.get(QUANTITY, "")[:40], await _units(session, row.meter_id)
            ),
            former=None,
        )

    @get("/prices/{price_id:str}/edit", guards=[prepares("price")])
    async def edit(self, price_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """The form of the labels of a price."""
        row = await find(session, Price, price_id)
        (stands,) = await price_answers(session, [row], frozenset())
        sections = await with_group(session, CHANGED_LABELS, GroupEntityType.PRICE)
        filled = FilledForm(sections, shown_values(sections, msgspec.to_builtins(stands)))
        return form_page(request, await _page(session, row, "Edit", "Save"), filled)

    @post("/prices/{price_id:str}/edit", guards=[changes("price")])
    async def relabel(self, price_id: str, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """Change the labels of a price."""
        page, given = await _page(session, await find(session, Price, price_id), "Edit", "Save"), typed(request)
        sections = await with_group(session, CHANGED_LABELS, GroupEntityType.PRICE)

        async def save() -> Redirect:
            asked = convert({**change_of(sections, given), **moved(sections, given)}, UpdatePriceRequest)
            await versions.update(session, price_id, asked, clock.now())
            return done(request, f"/catalogue/prices/{price_id}", "Saved.")

        return await answer_form(request, page, sections, given, save)

    @get("/prices/{price_id:str}/change", guards=[prepares("price")])
    async def begin_change(self, price_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """The form of what a price shall charge instead."""
        row = _changeable(await find(session, Price, price_id))
        (stands,) = await price_answers(session, [row], frozenset())
        return await _change_page(
            request, session, row, FilledForm(CHANGED_MONEY, shown_values(CHANGED_MONEY, msgspec.to_builtins(stands)))
        )

    @post("/prices/{price_id:str}/change", guards=[changes("price")])
    async def change(self, price_id: str, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """Let another version take the place of a price, once that was looked at and confirmed."""
        row, given = _changeable(await find(session, Price, price_id)), typed(request)
        if is_only_looked_at(given):
            return await _change_page(request, session, row, FilledForm(CHANGED_MONEY, given, is_filled=True))
        try:
            asked = convert(creation_of(CHANGED_MONEY, given), UpdatePriceRequest)
            if given.get(_SEEN) != _fingerprint(given):
                async with rehearsal(request) as undone:
                    await versions.update(undone, price_id, asked, clock.now())
                filled = FilledForm(CHANGED_MONEY, given, is_filled=True)
                return await _change_page(request, session, row, filled, confirms=True)
            successor = await versions.update(session, price_id, asked, clock.now())
        except FarthingError as error:
            anew = await session_anew(request)
            row = await find(anew, Price, price_id)
            return await _change_page(request, anew, row, refused_form(CHANGED_MONEY, given, error))
        return done(request, f"/catalogue/prices/{successor.id}", "The price is changed. This is its new version.")

    @get("/prices/{price_id:str}/end", guards=[prepares("price")])
    async def ask_end(self, price_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """The form of the end of a price."""
        return form_page(
            request,
            await _page(session, await find(session, Price, price_id), "End", "End the price"),
            FilledForm(_END),
        )

    @post("/prices/{price_id:str}/end", guards=[changes("price")])
    async def end(self, price_id: str, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """Let a price end."""
        row, given = await find(session, Price, price_id), typed(request)
        page = await _page(session, row, "End", "End the price")
        try:
            asked = convert(creation_of(_END, given), DeletePriceRequest)
            await lifecycle.terminate(session, price_id, asked.end_date or clock.now())
        except FarthingError as error:
            return form_page(request, page, refused_form(_END, given, error))
        return done(request, page.crumbs[-2][0], f"The end of {row.display_name} is set.")


async def _owner(session: AsyncSession, owners: str, owner_id: str) -> PriceOwner:
    """The plan or addon of an address. Raises NotFound."""
    kind, table, words = _OWNERS[owners]
    row = await find(session, table, owner_id)
    path = f"/catalogue/{owners}/{row.id}"
    home = "/catalogue" if owners == "plans" else f"/catalogue/{owners}"
    crumbs = (("/catalogue", "Catalogue"), (home, words), (path, row.name))
    return PriceOwner(kind, row.id, row.name, path, crumbs)


async def _owner_of(session: AsyncSession, price: Price) -> PriceOwner:
    for owners, (kind, _, _) in _OWNERS.items():
        if price.entity_type is kind:
            return await _owner(session, owners, price.entity_id)
    path = f"/subscriptions/{price.entity_id}" if price.entity_type is PriceEntityType.SUBSCRIPTION else "/catalogue"
    return PriceOwner(price.entity_type, price.entity_id, price.entity_id, path, ((path, "Its owner"),))


def price_state(price: Price, now: datetime) -> str:
    """Whether a price holds: a chip."""
    if price.end_date is not None and price.end_date <= now:
        return chip("Ended")
    return chip("To come") if price.start_date > now else chip("Active")


def _changeable(price: Price) -> Price:
    """A price that the form can show. Raises InvalidOperation."""
    if price.price_unit_type is PriceUnitType.CUSTOM:
        raise InvalidOperation("A price that is quoted in a unit of your own is changed over the API")
    if len(price.tiers or ()) > MOST_ROWS:
        raise InvalidOperation(f"A price with more than {MOST_ROWS} tiers is changed over the API")
    return price


async def _new_form(session: AsyncSession, owner: PriceOwner) -> Sections:
    metered = select(Feature).where(Feature.type == FeatureType.METERED, Feature.status == Status.PUBLISHED)
    found = await session.scalars(metered.order_by(Feature.name, Feature.id).limit(_MOST_FEATURES))
    currency = await usual_currency(session, owner.id)
    form = new_price([(feature.meter_id or "", feature.name) for feature in found], currency)
    return await with_group(session, form, GroupEntityType.PRICE)


def _creation(owner: PriceOwner, form: Sections, given: Mapping[str, str]) -> CreatePriceRequest:
    """The request that the form makes; when it is invoiced follows where nobody may choose. Raises ValidationFailed."""
    body: dict[str, Any] = {"entity_type": owner.kind.value, "entity_id": owner.id, **creation_of(form, given)}
    once = body.get("billing_period") == BillingPeriod.ONETIME.value
    usage = body.get("type") == PriceType.USAGE.value
    body.setdefault("invoice_cadence", (InvoiceCadence.ADVANCE if once and not usage else InvoiceCadence.ARREAR).value)
    return convert(body, CreatePriceRequest)


async def _units(session: AsyncSession, meter_id: str | None) -> UnitWords:
    if not meter_id:
        return UnitWords()
    feature = await session.scalar(select(Feature).where(Feature.meter_id == meter_id).order_by(Feature.created_at))
    return UnitWords.of_feature(feature)


async def _new_page(request: HttpRequest, session: AsyncSession, owner: PriceOwner, form: FilledForm) -> Response[str]:
    page = FormPage(f"New price of {owner.name}", owner.crumbs, "Create the price", aside=_CALCULATOR)
    quantity = form.given.get(QUANTITY, "")[:40]
    try:
        asked = _creation(owner, form.sections, form.given)
        calculation = calculate(price_of(asked), quantity, await _units(session, asked.meter_id))
    except FarthingError as error:
        calculation = unfinished(quantity or FIRST_QUANTITIES[PriceType.FIXED], error)
        if not form.is_filled:
            calculation = Calculation(calculation.quantity, problem="Fill in the price, and see what a quantity costs.")
    return form_page(request, page, form, calculation=calculation, former=None)


async def _page(session: AsyncSession, row: Price, verb: str, button: str) -> FormPage:
    owner = await _owner_of(session, row)
    return FormPage(
        f"{verb} {row.display_name}", (*owner.crumbs, (f"/catalogue/prices/{row.id}", row.display_name)), button
    )


async def _change_page(
    request: HttpRequest, session: AsyncSession, row: Price, form: FilledForm, *, confirms: bool = False
) -> Response[str]:
    owner, units = await _owner_of(session, row), await _units(session, row.meter_id)
    page = FormPage(
        f"Change {row.display_name}",
        (*owner.crumbs, (f"/catalogue/prices/{row.id}", row.display_name)),
        "Change the price" if confirms else "See what will happen",
        "What was invoiced stays. The price ends, and a new version takes its place.",
        aside=_CALCULATOR,
        confirmation="catalogue/price_change.html" if confirms else "",
    )
    quantity = form.given.get(QUANTITY, "")[:40]
    former = calculate(row, quantity, units)
    try:
        asked = convert(creation_of(form.sections, form.given), PricingChange)
        calculation = calculate(repriced(row, apply_change(row, asked)), quantity, units)
    except FarthingError as error:
        calculation = unfinished(former.quantity, error)
    return form_page(request, page, form, calculation=calculation, former=former, seen=_fingerprint(form.given))


def _fingerprint(given: Mapping[str, str]) -> str:
    """What a form says, in short, without what is not part of the change."""
    said = sorted(
        (name, text) for name, text in given.items() if text and name not in {_SEEN, QUANTITY, ONCE, "form_token"}
    )
    return hashlib.sha256(repr(said).encode()).hexdigest()[:32]
