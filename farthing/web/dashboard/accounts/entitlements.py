"""Entitlements on the pages of plans and addons: a new one to a metered feature, with a limit or a grant; and the usage
windows of a subscription's grants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from litestar import Controller, Response, post
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.calculation.quota_usage import QuotaWindow
from farthing.billing.entitlement_grants.open_cycles import windows_at
from farthing.catalogue.entitlements import lifecycle
from farthing.catalogue.entitlements.enums import EntitlementOwner, GrantDurationUnit
from farthing.catalogue.entitlements.schemas import CreateEntitlementRequest
from farthing.catalogue.products.enums import FeatureType
from farthing.catalogue.products.tables import Feature
from farthing.core.encoding.decoding import convert
from farthing.core.enums import Status
from farthing.core.errors import FarthingError
from farthing.storage.queries.rows import in_array
from farthing.subscriptions.snapshot.loading import load_one
from farthing.web.access.visitors import changes, form_of
from farthing.web.rendering.answers import HttpRequest, done, refused

MOST_SHOWN = 50
_GRANT = (
    "grant_measure",
    "grant_quota",
    "grant_duration_unit",
    "grant_duration_value",
    "grant_allocation_behavior",
    "aggregation_mode",
)


@dataclass(frozen=True, slots=True)
class ShownWindow:
    """A usage window of the open period, and the name of its feature."""

    feature: str
    window: QuotaWindow
    is_open: bool


async def metered_features(session: AsyncSession) -> Sequence[Feature]:
    """The features that may be granted, by name."""
    metered = select(Feature).where(Feature.type == FeatureType.METERED, Feature.status == Status.PUBLISHED)
    return (await session.scalars(metered.order_by(Feature.name, Feature.id).limit(MOST_SHOWN * 4))).all()


async def usage_windows_of(session: AsyncSession, subscription_id: str, now: datetime) -> list[ShownWindow]:
    """The usage windows of a subscription's open period, the latest first."""
    cycles = await windows_at(session, [await load_one(session, subscription_id)], now)
    if not cycles:
        return []
    rows = await session.execute(
        select(Feature.id, Feature.name).where(in_array(Feature.id, {cycle.feature_id for cycle in cycles}))
    )
    names = dict(rows.all())
    shown = [
        ShownWindow(names.get(cycle.feature_id, cycle.feature_id), window, window.start <= now < window.end)
        for cycle in cycles
        for window in cycle.usage.windows
    ]
    return sorted(shown, key=lambda each: (each.window.start, each.window.entitlement_id), reverse=True)[:MOST_SHOWN]


class EntitlementForms(Controller):
    """What the forms of entitlements ask for."""

    path = "/catalogue"
    include_in_schema = False

    @post("/plans/{owner_id:str}/entitlements", guards=[changes("entitlement")])
    async def for_plan(self, owner_id: str, request: HttpRequest, session: AsyncSession) -> Response[Any]:
        """Include a feature in a plan."""
        return await _make(request, session, EntitlementOwner.PLAN, owner_id)

    @post("/addons/{owner_id:str}/entitlements", guards=[changes("entitlement")])
    async def for_addon(self, owner_id: str, request: HttpRequest, session: AsyncSession) -> Response[Any]:
        """Include a feature in an addon."""
        return await _make(request, session, EntitlementOwner.ADDON, owner_id)


async def _make(request: HttpRequest, session: AsyncSession, owner: EntitlementOwner, owner_id: str) -> Response[Any]:
    path = f"/catalogue/{owner.value.lower()}s/{owner_id}"
    try:
        body = _body(form_of(request)) | {"entity_type": owner.value, "entity_id": owner_id}
        await lifecycle.create(session, [convert(body, CreateEntitlementRequest, strict=False)])
    except FarthingError as error:
        return await refused(request, path, error)
    return done(request, path, "The feature is included.")


def _body(form: dict[str, str]) -> dict[str, Any]:
    """What the form says, as a request says it: a limit, or a grant where a quota is given."""
    body: dict[str, Any] = {
        "feature_id": form.get("feature_id", ""),
        "feature_type": FeatureType.METERED.value,
        "is_enabled": True,
    }
    if form.get("usage_limit"):
        body["usage_limit"] = form["usage_limit"]
    if form.get("grant_quota"):
        body |= {name: form[name] for name in _GRANT if form.get(name)}
        if body.get("grant_duration_unit") == GrantDurationUnit.SUBSCRIPTION_PERIOD.value:
            body.pop("grant_duration_value", None)
            body.pop("grant_allocation_behavior", None)
    return body
