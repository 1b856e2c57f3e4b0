"""Plans and addons on pages: one with its prices and what it includes, a new one, changes, and its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from litestar import Controller, Response, get, post
from litestar.response import Redirect
from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.answers.plans import addon_answers, plan_answers
from farthing.catalogue.enums import PriceEntityType
from farthing.catalogue.plans import addons, plans
from farthing.catalogue.plans.schemas import (
    CreateAddonRequest,
    UpdateAddonRequest,
    UpdatePlanRequest,
)
from farthing.catalogue.plans.tables import Addon, Plan
from farthing.catalogue.prices.tables import Price
from farthing.core.caller import WRITE
from farthing.core.clock import Clock
from farthing.core.encoding.decoding import convert
from farthing.core.enums import Status
from farthing.core.errors import FarthingError
from farthing.storage.queries.rows import find, in_array
from farthing.web.access.visitors import changes, prepares, shows, visitor_of
from farthing.web.dashboard.catalogue.plans.new_plan import create_plan, first_prices, usual_currency
from farthing.web.dashboard.catalogue.plans.price_words import by_currency, shown_prices
from farthing.web.dashboard.overview.first_steps import next_step
from farthing.web.dashboard.timeline import newest_activities
from farthing.web.forms.fields import FieldKind, FormField, FormSection, Sections, metadata_rows
from farthing.web.forms.filled import FilledForm
from farthing.web.forms.pages import (
    Confirmation,
    FormPage,
    answer_form,
    confirm_page,
    form_page,
    made_once,
    obstacle_to,
    typed,
)
from farthing.web.forms.reading import change_of, creation_of, shown_values
from farthing.web.rendering.answers import HttpRequest, done, refused, render

_NAME = FormField("name", "Name", required=True)
_DESCRIPTION = FormField("description", "Description", FieldKind.AREA, longest=10_000)
_MORE = FormSection("Metadata", (metadata_rows(),), folded=True)
PLAN_FORM = (
    FormSection(
        "Plan",
        (
            _NAME,
            FormField("lookup_key", "Key", hint="For programs; no two plans have the same"),
            FormField("display_order", "Place in lists", FieldKind.WHOLE, hint="The smallest number comes first"),
            _DESCRIPTION,
        ),
    ),
    _MORE,
)
NEW_ADDON = (
    FormSection(
        "Addon",
        (_NAME, FormField("lookup_key", "Key", required=True, hint="For programs; it never changes"), _DESCRIPTION),
    ),
    _MORE,
)
CHANGED_ADDON = (FormSection("Addon", (_NAME, _DESCRIPTION)), _MORE)
_PLANS = (("/catalogue", "Catalogue"),)
_ADDONS = (*_PLANS, ("/catalogue/addons", "Addons"))
_NEW_PLAN = FormPage("New plan", _PLANS, "Create the plan", "What customers subscribe to, and what it costs.")
_NEW_ADDON = FormPage("New addon", _ADDONS, "Create the addon", "What can be added to a subscription beside its plan.")


class PlanPages(Controller):
    """Plans."""

    path = "/catalogue/plans"
    include_in_schema = False

    @get("/new", guards=[prepares("plan")])
    async def begin(self, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """The form of a new plan."""
        return form_page(request, _NEW_PLAN, FilledForm(await _new_form(request, session)))

    @post("/new", guards=[changes("plan")])
    async def create(self, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[Any]:
        """Make a plan, with the prices and features that it begins with."""
        form, given = await _new_form(request, session), typed(request)

        async def make() -> tuple[str, str]:
            plan = await create_plan(session, form, given, clock.now())
            live, _ = await live_prices(session, PriceEntityType.PLAN, [plan.id], clock.now(), 1)
            then = await next_step(request, session) if live else " Give it its prices now."
            words = f"{plan.name} is made.{then}"
            return f"/catalogue/plans/{plan.id}", words

        return await answer_form(
            request, _NEW_PLAN, form, given, partial(made_once, request, session, clock.now(), make)
        )

    @get("/{plan_id:str}", guards=[shows("plan")])
    async def read(self, plan_id: str, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """One plan."""
        row = await find(session, Plan, plan_id)
        wanted = {"entitlements": {"features", "meters"}, "credit_grant": set[str]()}
        (whole,) = await plan_answers(session, [row], wanted, clock.now())
        return await _owner_page(request, session, PriceEntityType.PLAN, row, whole, clock)

    @get("/{plan_id:str}/edit", guards=[prepares("plan")])
    async def edit(self, plan_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """The form of a change."""
        row = await find(session, Plan, plan_id)
        return form_page(request, _edit_page(_PLANS, "plans", row), FilledForm(PLAN_FORM, _stands(PLAN_FORM, row)))

    @post("/{plan_id:str}/edit", guards=[changes("plan")])
    async def change(self, plan_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Change a plan."""
        page, given = _edit_page(_PLANS, "plans", await find(session, Plan, plan_id)), typed(request)

        async def save() -> Redirect:
            await plans.update(session, plan_id, convert(change_of(PLAN_FORM, given), UpdatePlanRequest))
            return done(request, f"/catalogue/plans/{plan_id}", "Saved.")

        return await answer_form(request, page, PLAN_FORM, given, save)

    @get("/{plan_id:str}/archive", guards=[prepares("plan")])
    async def ask_archive(self, plan_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """What archiving a plan means, or what stands in the way."""
        row = await find(session, Plan, plan_id)
        obstacle = await obstacle_to(request, lambda undone: plans.archive(undone, plan_id), {row.id: row.name})
        consequences = (
            "Nobody can subscribe to it any more.",
            "Its prices and what it includes stay as they are, for what was invoiced.",
            "Its key is free for another plan. This cannot be undone.",
        )
        ways_out = (
            (f"/subscriptions?plan={row.id}", "See its subscriptions"),
            (f"/catalogue/plans/{row.id}/edit", "Rename it instead"),
        )
        crumbs = (*_PLANS, (f"/catalogue/plans/{row.id}", row.name))
        return confirm_page(
            request, Confirmation(f"Archive {row.name}", crumbs, "Archive it", consequences, obstacle, ways_out)
        )

    @post("/{plan_id:str}/archive", guards=[changes("plan")])
    async def archive(self, plan_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Archive a plan."""
        try:
            await plans.archive(session, plan_id)
        except FarthingError as error:
            return await refused(request, f"/catalogue/plans/{plan_id}/archive", error)
        return done(request, "/catalogue", "The plan is archived.")


class AddonPages(Controller):
    """Addons."""

    path = "/catalogue/addons"
    include_in_schema = False

    @get("/new", guards=[prepares("addon")])
    async def begin(self, request: HttpRequest) -> Response[str]:
        """The form of a new addon."""
        return form_page(request, _NEW_ADDON, FilledForm(NEW_ADDON))

    @post("/new", guards=[changes("addon")])
    async def create(self, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Make an addon."""
        given = typed(request)

        async def save() -> Redirect:
            addon = await addons.create(session, convert(creation_of(NEW_ADDON, given), CreateAddonRequest))
            return done(request, f"/catalogue/addons/{addon.id}", f"{addon.name} is made. Give it its prices now.")

        return await answer_form(request, _NEW_ADDON, NEW_ADDON, given, save)

    @get("/{addon_id:str}", guards=[shows("addon")])
    async def read(self, addon_id: str, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """One addon."""
        row = await find(session, Addon, addon_id)
        wanted = {"entitlements": {"features", "meters"}, "credit_grant": set[str]()}
        (whole,) = await addon_answers(session, [row], wanted, clock.now())
        return await _owner_page(request, session, PriceEntityType.ADDON, row, whole, clock)

    @get("/{addon_id:str}/edit", guards=[prepares("addon")])
    async def edit(self, addon_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """The form of a change."""
        row = await find(session, Addon, addon_id)
        return form_page(
            request, _edit_page(_ADDONS, "addons", row), FilledForm(CHANGED_ADDON, _stands(CHANGED_ADDON, row))
        )

    @post("/{addon_id:str}/edit", guards=[changes("addon")])
    async def change(self, addon_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Change an addon; metadata that is no text stays as it is."""
        row, given = await find(session, Addon, addon_id), typed(request)
        page = _edit_page(_ADDONS, "addons", row)

        async def save() -> Redirect:
            body = change_of(CHANGED_ADDON, given)
            structured = {key: value for key, value in row.meta.items() if not isinstance(value, str)}
            body["metadata"] = structured | body.get("metadata", {})
            await addons.update(session, addon_id, convert(body, UpdateAddonRequest))
            return done(request, f"/catalogue/addons/{addon_id}", "Saved.")

        return await answer_form(request, page, CHANGED_ADDON, given, save)

    @get("/{addon_id:str}/archive", guards=[prepares("addon")])
    async def ask_archive(self, addon_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """What archiving an addon means, or what stands in the way."""
        row = await find(session, Addon, addon_id)
        obstacle = await obstacle_to(request, lambda undone: addons.archive(undone, addon_id), {row.id: row.name})
        consequences = (
            "It cannot be added to a subscription any more.",
            f"Its key {row.lookup_key} is free for another addon. This cannot be undone.",
        )
        crumbs = (*_ADDONS, (f"/catalogue/addons/{row.id}", row.name))
        ways_out = (("/subscriptions", "See the subscriptions"),)
        return confirm_page(
            request, Confirmation(f"Archive {row.name}", crumbs, "Archive it", consequences, obstacle, ways_out)
        )

    @post("/{addon_id:str}/archive", guards=[changes("addon")])
    async def archive(self, addon_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Archive an addon."""
        try:
            await addons.archive(session, addon_id)
        except FarthingError as error:
            return await refused(request, f"/catalogue/addons/{addon_id}/archive", error)
        return done(request, "/catalogue/addons", "The addon is archived.")


async def _new_form(request: HttpRequest, session: AsyncSession) -> Sections:
    """The fields of a plan, and its first prices for who may make prices and features."""
    visitor = visitor_of(request)
    if not (visitor.may(WRITE, "price") and visitor.may(WRITE, "feature")):
        return PLAN_FORM
    name, *others = PLAN_FORM[0].parts
    more = FormSection("Key, description and metadata", (*others, *PLAN_FORM[1].parts), folded=True)
    return (FormSection("Plan", (name,)), *first_prices(await usual_currency(session)), more)


def _stands(form: Sections, row: Plan | Addon) -> dict[str, str]:
    stands: Mapping[str, Any] = {
        "name": row.name,
        "lookup_key": row.lookup_key,
        "description": row.description,
        "metadata": row.meta,
        "display_order": row.display_order if isinstance(row, Plan) else None,
    }
    return shown_values(form, stands)


def _edit_page(crumbs: tuple[tuple[str, str], ...], words: str, row: Plan | Addon) -> FormPage:
    return FormPage(f"Edit {row.name}", (*crumbs, (f"/catalogue/{words}/{row.id}", row.name)), "Save")


def owners_of(request: HttpRequest) -> str:
    """ "plans" or "addons": which of them an address below the catalogue is about."""
    return request.url.path.split("/")[2]


async def live_prices(
    session: AsyncSession, kind: PriceEntityType, owner_ids: Sequence[str], now: datetime, most: int
) -> tuple[Sequence[Price], dict[str, int]]:
    """The oldest prices of plans or addons that have not ended, `most` of each, and how many each has."""
    live = (
        Price.entity_type == kind,
        in_array(Price.entity_id, set(owner_ids)),
        Price.status == Status.PUBLISHED,
        or_(Price.end_date.is_(None), Price.end_date > now),
    )
    place = func.row_number().over(partition_by=Price.entity_id, order_by=(Price.created_at, Price.id))
    numbered = select(Price.id, place.label("place")).where(*live).subquery()
    shown = select(Price).join(numbered, Price.id == numbered.c.id).where(numbered.c.place <= most)
    counted = await session.execute(select(Price.entity_id, func.count()).where(*live).group_by(Price.entity_id))
    return (await session.scalars(shown.order_by(Price.created_at, Price.id))).all(), dict(counted.all())


async def _owner_page(
    request: HttpRequest, session: AsyncSession, kind: PriceEntityType, row: Plan | Addon, whole: Any, clock: Clock
) -> Response[str]:
    now = clock.now()
    ended = select(Price).where(Price.entity_type == kind, Price.entity_id == row.id, Price.end_date <= now)
    count = await session.scalar(select(func.count()).select_from(ended.subquery())) or 0
    newest = await session.scalars(ended.order_by(Price.end_date.desc(), Price.id).limit(_MOST_ENDED))
    live, counts = await live_prices(session, kind, [row.id], now, MOST_SHOWN)
    return render(
        request,
        "catalogue/plan.html",
        owner=whole,
        row=row,
        crumbs=_PLANS if kind is PriceEntityType.PLAN else _ADDONS,
        entity=kind.value.lower(),
        prices=by_currency(await shown_prices(session, live)),
        left_out=counts.get(row.id, 0) - len(live),
        ended=await shown_prices(session, newest),
        ended_count=count,
        now=now,
        zone="UTC",
        activities=await newest_activities(request, session, entity_id=row.id),
        activity_query={"entity_id": row.id},
    )


MOST_SHOWN = 200
_MOST_ENDED = 20
