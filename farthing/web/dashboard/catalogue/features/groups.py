"""Groups on pages: headings under which features or prices stand, with their members."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from litestar import Controller, Response, get, post
from litestar.response import Redirect
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.enums import PriceEntityType
from farthing.catalogue.plans.tables import Addon, Plan
from farthing.catalogue.prices import versions
from farthing.catalogue.prices.schemas import UpdatePriceRequest
from farthing.catalogue.prices.tables import Price
from farthing.catalogue.products import features, groups
from farthing.catalogue.products.enums import GroupEntityType
from farthing.catalogue.products.schemas import CreateGroupRequest, UpdateFeatureRequest
from farthing.catalogue.products.tables import Feature, GroupRow
from farthing.core.caller import WRITE
from farthing.core.clock import Clock
from farthing.core.encoding.decoding import convert
from farthing.core.enums import Status
from farthing.core.errors import FarthingError, PermissionDenied
from farthing.storage.queries.rows import find
from farthing.web.access.visitors import changes, form_of, prepares, shows, visitor_of
from farthing.web.forms.fields import FieldKind, FormField, FormSection
from farthing.web.forms.filled import FilledForm
from farthing.web.forms.pages import Confirmation, FormPage, answer_form, confirm_page, form_page, typed
from farthing.web.forms.reading import creation_of
from farthing.web.rendering.answers import HttpRequest, done, refused, render

HOME = "/catalogue/groups"
_CRUMBS = (("/catalogue", "Catalogue"), (HOME, "Groups"))
_MOST = 500
_NEW = FormPage(
    "New group",
    _CRUMBS,
    "Create the group",
    "A heading under which features or prices stand together, and whose spend can be watched. It changes no amount.",
)
_FORM = (
    FormSection(
        "Group",
        (
            FormField("name", "Name", required=True),
            FormField(
                "entity_type",
                "It holds",
                FieldKind.CHOICE,
                required=True,
                options=((GroupEntityType.FEATURE.value, "Features"), (GroupEntityType.PRICE.value, "Prices")),
                initial=GroupEntityType.FEATURE.value,
                hint="It never changes",
            ),
            FormField("lookup_key", "Key", required=True, hint="For programs; no two groups have the same"),
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class GroupMember:
    """A feature or a price, and its page."""

    id: str
    name: str
    path: str


class GroupPages(Controller):
    """Groups of features and of prices."""

    path = HOME
    include_in_schema = False

    @get("/", guards=[shows("group")])
    async def all(self, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Every group, with how many it holds."""
        rows = await session.scalars(
            select(GroupRow)
            .where(GroupRow.status == Status.PUBLISHED)
            .order_by(func.lower(GroupRow.name), GroupRow.id)
            .limit(_MOST)
        )
        counts: dict[str, int] = {}
        for member in (Feature, Price):
            grouped = await session.execute(
                select(member.group_id, func.count())
                .where(member.group_id.is_not(None), member.status == Status.PUBLISHED)
                .group_by(member.group_id)
            )
            counts |= {group_id: count for group_id, count in grouped if group_id}
        return render(request, "catalogue/groups.html", tab="groups", groups=rows.all(), counts=counts)

    @get("/new", guards=[prepares("group")])
    async def begin(self, request: HttpRequest) -> Response[str]:
        """The form of a new group."""
        return form_page(request, _NEW, FilledForm(_FORM))

    @post("/new", guards=[changes("group")])
    async def create(self, request: HttpRequest, session: AsyncSession) -> Response[Any]:
        """Make a group."""
        given = typed(request)

        async def save() -> Redirect:
            group = await groups.create(session, convert(creation_of(_FORM, given), CreateGroupRequest))
            return done(request, f"{HOME}/{group.id}", f"{group.name} is made. Now put something into it.")

        return await answer_form(request, _NEW, _FORM, given, save)

    @get("/{group_id:str}", guards=[shows("group")])
    async def read(self, group_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """One group, and what it holds."""
        row = await find(session, GroupRow, group_id)
        inside, outside = await _members(session, row)
        may_change = row.status is Status.PUBLISHED and visitor_of(request).may(WRITE, row.entity_type.value)
        return render(request, "catalogue/group.html", group=row, members=inside, others=outside, may_change=may_change)

    @post("/{group_id:str}/members", guards=[changes("group")])
    async def move(self, group_id: str, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[Any]:
        """Put a feature or a price into the group, or take one out."""
        given, here = form_of(request), f"{HOME}/{group_id}"
        try:
            row = await find(session, GroupRow, group_id)
            if not visitor_of(request).may(WRITE, row.entity_type.value):
                raise PermissionDenied("Your role does not allow this")
            into = row.id if given.get("action") == "add" else ""
            if row.entity_type is GroupEntityType.FEATURE:
                await features.update(session, given.get("member", ""), UpdateFeatureRequest(group_id=into))
            else:
                asked = UpdatePriceRequest(group_id=into)
                await versions.update(session, given.get("member", ""), asked, clock.now())
        except FarthingError as error:
            return await refused(request, here, error)
        return done(request, here, "It stands in the group now." if into else "It is out of the group.")

    @get("/{group_id:str}/archive", guards=[prepares("group")])
    async def ask_archive(self, group_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """What archiving a group means."""
        row = await find(session, GroupRow, group_id)
        consequences = (
            "What it holds stays, and stands in no group.",
            "Nobody watches the spend of the group any more.",
            f"Its key {row.lookup_key} is free for another group. This cannot be undone.",
        )
        crumbs = (*_CRUMBS, (f"{HOME}/{row.id}", row.name))
        return confirm_page(request, Confirmation(f"Archive {row.name}", crumbs, "Archive it", consequences))

    @post("/{group_id:str}/archive", guards=[changes("group")])
    async def archive(self, group_id: str, request: HttpRequest, session: AsyncSession) -> Response[Any]:
        """Archive a group."""
        try:
            await groups.archive(session, group_id)
        except FarthingError as error:
            return await refused(request, f"{HOME}/{group_id}/archive", error)
        return done(request, HOME, "The group is archived.")


async def _members(session: AsyncSession, row: GroupRow) -> tuple[Sequence[GroupMember], Sequence[GroupMember]]:
    """What a group holds, and what it could hold besides; by name."""
    inside: list[GroupMember] = []
    outside: list[GroupMember] = []
    if row.entity_type is GroupEntityType.FEATURE:
        features_by_name = select(Feature).where(Feature.status == Status.PUBLISHED).order_by(Feature.name, Feature.id)
        for feature in await session.scalars(features_by_name.limit(_MOST)):
            member = GroupMember(feature.id, feature.name, f"/catalogue/features/{feature.id}")
            (inside if feature.group_id == row.id else outside).append(member)
        return inside, outside
    prices = await session.execute(
        select(Price, func.coalesce(Plan.name, Addon.name, ""))
        .outerjoin(Plan, Plan.id == Price.entity_id)
        .outerjoin(Addon, Addon.id == Price.entity_id)
        .where(
            Price.status == Status.PUBLISHED,
            Price.end_date.is_(None),
            Price.entity_type.in_((PriceEntityType.PLAN, PriceEntityType.ADDON)),
        )
        .order_by(func.coalesce(Plan.name, Addon.name), Price.display_name, Price.id)
        .limit(_MOST)
    )
    for price, owner in prices:
        name = f"{owner}: {price.display_name or 'Fee'} ({price.currency.upper()})"
        member = GroupMember(price.id, name, f"/catalogue/prices/{price.id}")
        (inside if price.group_id == row.id else outside).append(member)
    return inside, outside
