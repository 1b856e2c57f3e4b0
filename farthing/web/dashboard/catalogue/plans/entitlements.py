"""What a plan or an addon includes, on pages: something more, changes, and what is taken out again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from litestar import Controller, Response, get, post
from litestar.response import Redirect
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.entitlements import lifecycle
from farthing.catalogue.entitlements.enums import (
    AggregationMode,
    EntitlementOwner,
    GrantAllocation,
    GrantDurationUnit,
    GrantMeasure,
    UsageResetPeriod,
)
from farthing.catalogue.entitlements.schemas import CreateEntitlementRequest, UpdateEntitlementRequest
from farthing.catalogue.entitlements.tables import Entitlement
from farthing.catalogue.plans.tables import Addon, Plan
from farthing.catalogue.products.enums import FeatureType
from farthing.catalogue.products.tables import Feature
from farthing.core.clock import Clock
from farthing.core.encoding.decoding import convert
from farthing.core.enums import Status
from farthing.core.errors import FarthingError, ValidationFailed
from farthing.storage.queries.rows import find
from farthing.web.access.visitors import changes, prepares
from farthing.web.dashboard.catalogue.plans.pages import owners_of
from farthing.web.forms.fields import FieldKind, FormField, FormSection, Sections, ShownWhen, when
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

_OWNERS: Mapping[str, tuple[EntitlementOwner, type[Plan] | type[Addon]]] = {
    "plans": (EntitlementOwner.PLAN, Plan),
    "addons": (EntitlementOwner.ADDON, Addon),
}
_OF_OWNERS = [f"/{owners}/{{owner_id:str}}/entitlements/new" for owners in _OWNERS]
_MOST_FEATURES = 500
_WINDOWS = (GrantDurationUnit.HOUR, GrantDurationUnit.DAY, GrantDurationUnit.WEEK)
_RESETS = (
    (UsageResetPeriod.DAILY, "Day"),
    (UsageResetPeriod.WEEKLY, "Week"),
    (UsageResetPeriod.MONTHLY, "Month"),
    (UsageResetPeriod.QUARTERLY, "Quarter"),
    (UsageResetPeriod.HALF_YEARLY, "Half-year"),
    (UsageResetPeriod.ANNUAL, "Year"),
    (UsageResetPeriod.NEVER, "Never"),
)
_HOW = "counted_by"
"""The field that says whether usage is limited or granted by quota; requests do not have it."""
_LIMIT, _QUOTA, _EVERYTHING = "limit", "quota", "everything"


_CHOICES = (
    (_LIMIT, "Up to a limit"),
    (_QUOTA, "A quota for a time, again and again"),
    (_EVERYTHING, "As much as is used"),
)
_LIMIT_FIELDS = (
    FormField("usage_limit", "Limit", FieldKind.WHOLE, placeholder="1000"),
    FormField(
        "usage_reset_period", "It starts anew every", FieldKind.CHOICE, options=_RESETS, placeholder="Billing period"
    ),
    FormField("is_soft_limit", "More may be used, and is charged", FieldKind.TICK),
)
_QUOTA_FIELDS = (
    FormField("grant_quota", "Quota", FieldKind.AMOUNT, placeholder="100"),
    FormField(
        "grant_measure",
        "It counts",
        FieldKind.CHOICE,
        required=True,
        initial=GrantMeasure.QUANTITY.value,
        options=((GrantMeasure.QUANTITY.value, "Units"), (GrantMeasure.AMOUNT.value, "Money")),
    ),
    FormField(
        "aggregation_mode",
        "With other quotas of the feature",
        FieldKind.CHOICE,
        required=True,
        initial=AggregationMode.ADDITIVE.value,
        options=((AggregationMode.ADDITIVE.value, "Added up"), (AggregationMode.PARALLEL.value, "Side by side")),
    ),
    FormField(
        "grant_duration_unit",
        "It lasts for",
        FieldKind.CHOICE,
        required=True,
        initial=GrantDurationUnit.SUBSCRIPTION_PERIOD.value,
        options=(
            (GrantDurationUnit.SUBSCRIPTION_PERIOD.value, "The billing period"),
            (GrantDurationUnit.HOUR.value, "Hours"),
            (GrantDurationUnit.DAY.value, "Days"),
            (GrantDurationUnit.WEEK.value, "Weeks"),
        ),
    ),
)
_WINDOW_FIELDS = (
    FormField("grant_duration_value", "How many of them", FieldKind.WHOLE, placeholder="1"),
    FormField(
        "grant_allocation_behavior",
        "It begins",
        FieldKind.CHOICE,
        required=True,
        initial=GrantAllocation.FIRST_USAGE.value,
        options=(
            (GrantAllocation.FIRST_USAGE.value, "With the first usage"),
            (GrantAllocation.UNIT_START.value, "Where the hour, day or week begins"),
        ),
    ),
)


class EntitlementPages(Controller):
    """What plans and addons include."""

    path = "/catalogue"
    include_in_schema = False

    @get(_OF_OWNERS, guards=[prepares("entitlement")])
    async def begin(self, owner_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """The form of something more to include."""
        owners = owners_of(request)
        _, row = await _owner(session, owners, owner_id)
        return form_page(
            request, _page(owners, row, f"Include in {row.name}", "Include it"), FilledForm(await _new(session))
        )

    @post(_OF_OWNERS, guards=[changes("entitlement")])
    async def create(self, owner_id: str, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[Any]:
        """Include a feature."""
        owners = owners_of(request)
        kind, row = await _owner(session, owners, owner_id)
        form, given = await _new(session), typed(request)
        page = _page(owners, row, f"Include in {row.name}", "Include it")

        async def make() -> tuple[str, str]:
            body = _without_choice(creation_of(form, given))
            feature = await find(session, Feature, body["feature_id"])
            body |= {"entity_type": kind.value, "entity_id": row.id, "feature_type": feature.type.value}
            body.setdefault("is_enabled", True)
            await lifecycle.create(session, [convert(body, CreateEntitlementRequest)])
            return f"/catalogue/{owners}/{owner_id}", f"{feature.name} is included."

        save = partial(made_once, request, session, clock.now(), make)
        return await answer_form(request, page, form, given, save)

    @get("/entitlements/{entitlement_id:str}/edit", guards=[prepares("entitlement")])
    async def edit(self, entitlement_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """The form of a change."""
        row = await find(session, Entitlement, entitlement_id)
        form = _change_form(row)
        stands = {
            column.key: getattr(row, column.key) for column in Entitlement.__table__.columns if column.key in _SHOWN
        }
        stands[_HOW] = _QUOTA if row.grant_measure else _EVERYTHING if row.usage_limit is None else _LIMIT
        filled = FilledForm(form, shown_values(form, stands), is_filled=True)
        return form_page(request, await _edit_page(session, row), filled)

    @post("/entitlements/{entitlement_id:str}/edit", guards=[changes("entitlement")])
    async def change(self, entitlement_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Change what is included."""
        row, given = await find(session, Entitlement, entitlement_id), typed(request)
        form, page = _change_form(row), await _edit_page(session, row)

        async def save() -> Redirect:
            asked = convert(_change(row, change_of(form, given)), UpdateEntitlementRequest)
            await lifecycle.update(session, entitlement_id, asked)
            return done(request, page.crumbs[-1][0], "Saved. The next invoice that is computed follows it.")

        return await answer_form(request, page, form, given, save)

    @get("/entitlements/{entitlement_id:str}/archive", guards=[prepares("entitlement")])
    async def ask_archive(self, entitlement_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """What it means that a feature is not included any more."""
        row = await find(session, Entitlement, entitlement_id)
        page, feature = await _edit_page(session, row), await find(session, Feature, row.feature_id)
        consequences = (
            f"Nobody gets {feature.name} from here any more, also not who subscribes already.",
            "Its usage is charged in full from the next invoice that is computed.",
            "This cannot be undone, but the feature can be included again.",
        )
        return confirm_page(request, Confirmation(f"Take out {feature.name}", page.crumbs, "Take it out", consequences))

    @post("/entitlements/{entitlement_id:str}/archive", guards=[changes("entitlement")])
    async def archive(self, entitlement_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """End what is included."""
        home = (await _edit_page(session, await find(session, Entitlement, entitlement_id))).crumbs[-1][0]
        try:
            await lifecycle.archive(session, entitlement_id)
        except FarthingError as error:
            return await refused(request, home, error)
        return done(request, home, "It is not included any more.")


_SHOWN = frozenset(
    {
        "is_enabled",
        "usage_limit",
        "usage_reset_period",
        "is_soft_limit",
        "static_value",
        "config_value",
        "aggregation_mode",
        "grant_measure",
        "grant_quota",
        "grant_duration_unit",
        "grant_duration_value",
        "grant_allocation_behavior",
    }
)


def _metered_fields(metered: tuple[ShownWhen, ...]) -> tuple[FormField, ...]:
    """How much of a metered feature is included, where `metered` holds."""
    chosen = FormField(
        _HOW, "How much", FieldKind.CHOICE, required=True, initial=_LIMIT, options=_CHOICES, only_when=metered
    )
    limit, quota = when(_HOW, _LIMIT), when(_HOW, _QUOTA)
    window = (*quota, *when("grant_duration_unit", *_WINDOWS))
    parts = [(field, limit) for field in _LIMIT_FIELDS]
    parts += [(field, quota) for field in _QUOTA_FIELDS] + [(field, window) for field in _WINDOW_FIELDS]
    return (chosen, *(replace(field, only_when=(*metered, *conditions)) for field, conditions in parts))


async def _new(session: AsyncSession) -> Sections:
    """The form, whose fields follow the type of the feature that is chosen."""
    published = select(Feature).where(Feature.status == Status.PUBLISHED).order_by(Feature.name, Feature.id)
    features = (await session.scalars(published.limit(_MOST_FEATURES))).all()

    def of_type(wanted: FeatureType) -> tuple[ShownWhen, ...]:
        return when("feature_id", *(feature.id for feature in features if feature.type is wanted))

    return (
        FormSection(
            "What is included",
            (
                FormField(
                    "feature_id",
                    "Feature",
                    FieldKind.CHOICE,
                    required=True,
                    options=[(feature.id, feature.name) for feature in features],
                    initial=_first_metered(features),
                ),
                FormField("static_value", "Value", placeholder="Priority", only_when=of_type(FeatureType.STATIC)),
                FormField(
                    "config_value",
                    "Configuration",
                    FieldKind.JSON,
                    placeholder='{"model": "fast"}',
                    longest=10_000,
                    only_when=of_type(FeatureType.CONFIG),
                    hint="As JSON",
                ),
                *_metered_fields(of_type(FeatureType.METERED)),
            ),
        ),
    )


def _first_metered(features: Sequence[Feature]) -> str:
    metered = [feature.id for feature in features if feature.type is FeatureType.METERED]
    return (metered or [feature.id for feature in features] or [""])[0]


def _change_form(row: Entitlement) -> Sections:
    parts: tuple[FormField, ...] = (FormField("is_enabled", "Included", FieldKind.TICK),)
    if row.feature_type is FeatureType.STATIC:
        parts = (*parts, FormField("static_value", "Value", required=True))
    elif row.feature_type is FeatureType.CONFIG:
        parts = (*parts, FormField("config_value", "Configuration", FieldKind.JSON, hint="As JSON", longest=10_000))
    elif row.feature_type is FeatureType.METERED:
        parts = (*parts, *_metered_fields(()))
    return (FormSection("What is included", parts),)


def _without_choice(body: dict[str, Any]) -> dict[str, Any]:
    """What was chosen says which fields there are; a limit that was chosen has to be given. Raises ValidationFailed."""
    choice = body.pop(_HOW, None)
    if choice == _LIMIT and body.get("usage_limit") is None:
        raise ValidationFailed.of("usage_limit", "is required, or choose that as much as is used is included")
    if choice == _QUOTA and body.get("grant_quota") is None:
        raise ValidationFailed.of("grant_quota", "is required")
    return body


def _change(row: Entitlement, body: dict[str, Any]) -> dict[str, Any]:
    """What the form says as an update: it says unlimited by 0, and takes a grant away by name."""
    choice = body.get(_HOW)
    if choice == _LIMIT and body.get("usage_limit") == 0:
        raise ValidationFailed.of("usage_limit", "cannot become 0: take the feature out instead")
    body = _without_choice(body)
    if choice is not None and choice != _LIMIT:
        body |= {"usage_limit": 0, "is_soft_limit": False}
    if choice is not None and row.grant_measure is not None:
        body["clear_grant_config"] = True
    return body


async def _owner(session: AsyncSession, owners: str, owner_id: str) -> tuple[EntitlementOwner, Plan | Addon]:
    """The plan or addon of an address. Raises NotFound."""
    kind, table = _OWNERS[owners]
    return kind, await find(session, table, owner_id)


def _page(owners: str, row: Plan | Addon, title: str, button: str) -> FormPage:
    return FormPage(title, (("/catalogue", "Catalogue"), (f"/catalogue/{owners}/{row.id}", row.name)), button)


async def _edit_page(session: AsyncSession, row: Entitlement) -> FormPage:
    feature = await find(session, Feature, row.feature_id)
    for owners, (kind, table) in _OWNERS.items():
        if row.entity_type is kind:
            owner = await find(session, table, row.entity_id)
            return _page(owners, owner, f"{feature.name} in {owner.name}", "Save")
    crumbs = (("/subscriptions", "Subscriptions"), (f"/subscriptions/{row.entity_id}", "Subscription"))
    return FormPage(feature.name, crumbs, "Save")
