"""Entitlements as they travel, with what is asked for beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.answers.schemas import AddonResponse, EntitlementResponse, PlanResponse
from farthing.catalogue.entitlements.enums import EntitlementOwner
from farthing.catalogue.entitlements.tables import Entitlement
from farthing.catalogue.plans.tables import Addon, Plan
from farthing.catalogue.products.answers import feature_answers
from farthing.catalogue.products.tables import Feature
from farthing.storage.queries.listing import by_id
from farthing.storage.tables import Base

Row = TypeVar("Row", bound=Base)

EXPANDABLE = {
    "features": frozenset[str](),
    "meters": frozenset[str](),
    "plans": frozenset[str](),
    "addons": frozenset[str](),
}


async def entitlement_answers(
    session: AsyncSession, entitlements: Sequence[Entitlement], wanted: set[str]
) -> list[EntitlementResponse]:
    """Entitlements with their `features` (and these with their `meters`), `plans` and `addons`: a query per kind."""
    features = {}
    if wanted & {"features", "meters"}:
        ids = {entitlement.feature_id for entitlement in entitlements}
        rows = (await session.scalars(select(Feature).where(Feature.id.in_(ids)))).all()
        answers = await feature_answers(session, rows, meters="meters" in wanted)
        features = {answer.id: answer for answer in answers}
    plans = await _owners(session, Plan, entitlements, EntitlementOwner.PLAN) if "plans" in wanted else {}
    addons = await _owners(session, Addon, entitlements, EntitlementOwner.ADDON) if "addons" in wanted else {}
    return [
        EntitlementResponse.of(
            entitlement,
            plan=PlanResponse.of(plans[entitlement.entity_id]) if entitlement.entity_id in plans else None,
            addon=AddonResponse.of(addons[entitlement.entity_id]) if entitlement.entity_id in addons else None,
            usage_reset_period=entitlement.usage_reset_period or None,
            plan_id=entitlement.entity_id if entitlement.entity_type is EntitlementOwner.PLAN else None,
            feature=features.get(entitlement.feature_id),
        )
        for entitlement in entitlements
    ]


async def _owners(
    session: AsyncSession, table: type[Row], entitlements: Sequence[Entitlement], entity_type: EntitlementOwner
) -> dict[str, Row]:
    ids = {entitlement.entity_id for entitlement in entitlements if entitlement.entity_type is entity_type}
    return by_id((await session.scalars(select(table).where(table.id.in_(ids)))).all()) if ids else {}
