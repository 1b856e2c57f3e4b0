"""Features on pages: what is sold or counted, with the meter that counts it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar import Controller, Response, get, post
from litestar.response import Redirect
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.entitlements.tables import Entitlement
from farthing.catalogue.enums import PriceEntityType
from farthing.catalogue.plans.tables import Addon, Plan
from farthing.catalogue.prices.tables import Price
from farthing.catalogue.products import features
from farthing.catalogue.products.answers import feature_answers
from farthing.catalogue.products.enums import GroupEntityType
from farthing.catalogue.products.schemas import CreateFeatureRequest, UpdateFeatureRequest
from farthing.catalogue.products.tables import Feature, MeterRow
from farthing.core.composition import Composition
from farthing.core.encoding.decoding import convert
from farthing.core.enums import Status
from farthing.core.errors import FarthingError
from farthing.settings import Settings
from farthing.storage.queries.rows import find
from farthing.web.access.visitors import changes, prepares, shows
from farthing.web.dashboard.catalogue.features.feature_form import CHANGED_FEATURE, CHANGED_METER, NEW_FEATURE
from farthing.web.dashboard.catalogue.features.group_field import moved, with_group
from farthing.web.dashboard.events.event_example import event_by_curl
from farthing.web.dashboard.timeline import newest_activities
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
from farthing.web.rendering.answers import HttpRequest, done, refused, render

HOME = "/catalogue/features"
_CRUMBS = (("/catalogue", "Catalogue"), (HOME, "Features"))
_NEW = FormPage(
    "New feature",
    _CRUMBS,
    "Create the feature",
    "What customers use or get. A metered one counts events, so that a price can charge for what was used.",
)
_MOST_USES = 50


@dataclass(frozen=True, slots=True)
class FeatureUse:
    """A plan or an addon that includes a feature or charges for it."""

    name: str
    path: str
    includes: bool
    charges: bool


class FeaturePages(Controller):
    """One feature, a new one, and changes."""

    path = HOME
    include_in_schema = False

    @get("/new", guards=[prepares("feature")])
    async def begin(self, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """The form of a new feature."""
        return form_page(request, _NEW, FilledForm(await _new_form(session)))

    @post("/new", guards=[changes("feature")])
    async def create(self, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Make a feature, and the meter of a metered one."""
        given, sections = typed(request), await _new_form(session)

        async def save() -> Redirect:
            body = creation_of(sections, given)
            if "meter" in body:
                body["meter"]["name"] = body["name"]
            feature = await features.create(session, convert(body, CreateFeatureRequest))
            return done(
                request, f"{HOME}/{feature.id}", f"{feature.name} is made. Now a plan can include or charge for it."
            )

        return await answer_form(request, _NEW, sections, given, save)

    @get("/{feature_id:str}", guards=[shows("feature")])
    async def read(
        self, feature_id: str, request: HttpRequest, session: AsyncSession, services: Composition
    ) -> Response[str]:
        """One feature: what it counts, how a program sends that, and who includes it or charges for it."""
        row = await find(session, Feature, feature_id)
        meter = await find(session, MeterRow, row.meter_id) if row.meter_id else None
        base_url = services.part(Settings).base_url
        return render(
            request,
            "catalogue/feature.html",
            feature=row,
            meter=meter,
            example="" if meter is None else event_by_curl(base_url, meter.event_name, "acme", meter.field),
            uses=await _uses(session, row),
            activities=await newest_activities(request, session, entity_id=row.id),
            activity_query={"entity_id": row.id},
        )

    @get("/{feature_id:str}/edit", guards=[prepares("feature")])
    async def edit(self, feature_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """The form of a change."""
        row = await find(session, Feature, feature_id)
        sections = await _change_form(session, row)
        (stands,) = await feature_answers(session, [row])
        return form_page(
            request, _edit_page(row), FilledForm(sections, shown_values(sections, msgspec.to_builtins(stands)))
        )

    @post("/{feature_id:str}/edit", guards=[changes("feature")])
    async def change(self, feature_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Change a feature; filters of its meter are only added to."""
        row = await find(session, Feature, feature_id)
        sections, page, given = await _change_form(session, row), _edit_page(row), typed(request)

        async def save() -> Redirect:
            body = {**change_of(sections, given), **moved(sections, given)}
            await features.update(session, feature_id, convert(body, UpdateFeatureRequest))
            return done(request, f"{HOME}/{feature_id}", "Saved.")

        return await answer_form(request, page, sections, given, save)

    @get("/{feature_id:str}/archive", guards=[prepares("feature")])
    async def ask_archive(self, feature_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """What archiving a feature means, or what stands in the way."""
        row = await find(session, Feature, feature_id)
        names = {row.id: row.name, row.meter_id or row.id: row.name}
        obstacle = await obstacle_to(request, lambda undone: features.archive(undone, feature_id), names)
        ways_out = [(use.path, use.name) for use in await _uses(session, row)] if obstacle else []
        consequences = (
            "No plan can include it any more, and no price can charge for it.",
            "Its events are not counted from then on; what was counted and invoiced stays.",
            f"Its key {row.lookup_key} is free for another feature. This cannot be undone.",
        )
        crumbs = (*_CRUMBS, (f"{HOME}/{row.id}", row.name))
        return confirm_page(
            request, Confirmation(f"Archive {row.name}", crumbs, "Archive it", consequences, obstacle, ways_out)
        )

    @post("/{feature_id:str}/archive", guards=[changes("feature")])
    async def archive(self, feature_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Archive a feature, and disable its meter."""
        try:
            feature = await features.archive(session, feature_id)
        except FarthingError as error:
            return await refused(request, f"{HOME}/{feature_id}/archive", error)
        return done(request, HOME, f"{feature.name} is archived.")


async def _new_form(session: AsyncSession) -> Sections:
    return await with_group(session, NEW_FEATURE, GroupEntityType.FEATURE)


async def _change_form(session: AsyncSession, row: Feature) -> Sections:
    form = CHANGED_FEATURE if row.meter_id is None else (*CHANGED_FEATURE, CHANGED_METER)
    return await with_group(session, form, GroupEntityType.FEATURE)


def _edit_page(row: Feature) -> FormPage:
    crumbs = (*_CRUMBS, (f"{HOME}/{row.id}", row.name))
    lead = "Its key and what its meter counts never change, so that past usage stays what it was."
    return FormPage(f"Edit {row.name}", crumbs, "Save", lead if row.meter_id else "Its key and its kind never change.")


async def _uses(session: AsyncSession, row: Feature) -> Sequence[FeatureUse]:
    """The plans and addons that include a feature or have a live price for it, by name."""
    included = await session.scalars(
        select(Entitlement.entity_id)
        .where(Entitlement.feature_id == row.id, Entitlement.status == Status.PUBLISHED)
        .limit(_MOST_USES)
    )
    priced = await session.scalars(
        select(Price.entity_id)
        .where(
            # a fixed fee has no meter either
            Price.meter_id.is_not(None),
            Price.meter_id == row.meter_id,
            Price.status == Status.PUBLISHED,
            Price.end_date.is_(None),
            Price.entity_type.in_((PriceEntityType.PLAN, PriceEntityType.ADDON)),
        )
        .limit(_MOST_USES)
    )
    including, charging = set(included), set(priced)
    uses: list[FeatureUse] = []
    tables: tuple[tuple[Any, str], ...] = ((Plan, "plans"), (Addon, "addons"))
    for table, words in tables:
        named = select(table.id, table.name).where(table.id.in_(including | charging)).order_by(table.name)
        uses += [
            FeatureUse(name, f"/catalogue/{words}/{owner_id}", owner_id in including, owner_id in charging)
            for owner_id, name in await session.execute(named)
        ]
    return uses
