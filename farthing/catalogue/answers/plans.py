"""Plans and addons as they travel, with what belongs to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.answers.entitlements import entitlement_answers
from farthing.catalogue.answers.prices import WHOLE, price_answers
from farthing.catalogue.answers.schemas import AddonResponse, EntitlementResponse, PlanResponse, PriceResponse
from farthing.catalogue.entitlements.enums import EntitlementOwner
from farthing.catalogue.entitlements.tables import Entitlement
from farthing.catalogue.enums import PriceEntityType
from farthing.catalogue.plans.tables import Addon, Plan
from farthing.catalogue.ports import CataloguePorts
from farthing.catalogue.prices.tables import Price
from farthing.core.enums import Status
from farthing.storage.postgres import ports_of

Wanted = Mapping[str, set[str]]

EXPANDABLE: Final = {
    "prices": frozenset({"meters", "priceunit"}),
    "meters": frozenset[str](),
    "entitlements": frozenset({"features"}),
    "features": frozenset[str](),
    "credit_grant": frozenset({"features"}),
    "priceunit": frozenset[str](),
}
EVERYTHING: Final[Wanted] = {"prices": set(WHOLE), "entitlements": {"features", "meters"}, "credit_grant": set()}


async def plan_answers(
    session: AsyncSession, plans: Sequence[Plan], wanted: Wanted, live_at: datetime | None
) -> list[PlanResponse]:
    """Plans with what is `wanted` of `EXPANDABLE`; prices that have not ended by `live_at`, or all if it is None."""
    parts = await _parts(session, PriceEntityType.PLAN, [plan.id for plan in plans], wanted, live_at)
    return [PlanResponse.of(plan, **{name: of.get(plan.id, []) for name, of in parts.items()}) for plan in plans]


async def addon_answers(
    session: AsyncSession, addons: Sequence[Addon], wanted: Wanted, live_at: datetime | None
) -> list[AddonResponse]:
    """Addons with what is `wanted` of `EXPANDABLE`; prices that have not ended by `live_at`, or all if it is None."""
    parts = await _parts(session, PriceEntityType.ADDON, [addon.id for addon in addons], wanted, live_at)
    return [AddonResponse.of(addon, **{name: of.get(addon.id, []) for name, of in parts.items()}) for addon in addons]


async def _parts(
    session: AsyncSession, kind: PriceEntityType, ids: Sequence[str], wanted: Wanted, live_at: datetime | None
) -> dict[str, Mapping[str, list[Any]]]:
    parts: dict[str, Mapping[str, list[Any]]] = {}
    if "prices" in wanted:
        nested = frozenset(wanted["prices"]) | ({"meters", "priceunit"} & wanted.keys())
        parts["prices"] = await _prices(session, kind, ids, nested, live_at)
    if "entitlements" in wanted:
        features = wanted["entitlements"] | ({"features", "meters"} & wanted.keys())
        parts["entitlements"] = await _entitlements(session, kind, ids, features)
    if "credit_grant" in wanted:
        parts["credit_grants"] = await ports_of(session, CataloguePorts).load_credit_grants(session, kind, ids)
    return parts


async def _entitlements(
    session: AsyncSession, kind: PriceEntityType, ids: Sequence[str], nested: set[str]
) -> dict[str, list[EntitlementResponse]]:
    query = select(Entitlement).where(
        Entitlement.entity_type == EntitlementOwner(kind.value),
        Entitlement.entity_id.in_(ids),
        Entitlement.status == Status.PUBLISHED,
    )
    entitlements = (await session.scalars(query.order_by(Entitlement.created_at, Entitlement.id))).all()
    by_owner: dict[str, list[EntitlementResponse]] = {}
    for answer in await entitlement_answers(session, entitlements, nested):
        by_owner.setdefault(answer.entity_id, []).append(answer)
    return by_owner


async def _prices(
    session: AsyncSession, kind: PriceEntityType, ids: Sequence[str], nested: frozenset[str], live_at: datetime | None
) -> dict[str, list[PriceResponse]]:
    query = select(Price).where(Price.entity_type == kind, Price.entity_id.in_(ids), Price.status == Status.PUBLISHED)
    if live_at is not None:
        query = query.where(or_(Price.end_date.is_(None), Price.end_date > live_at))
    prices = (await session.scalars(query.order_by(Price.created_at, Price.id))).all()
    by_owner: dict[str, list[PriceResponse]] = {}
    for price, answer in zip(prices, await price_answers(session, prices, nested), strict=True):
        by_owner.setdefault(price.entity_id, []).append(answer)
    return by_owner
