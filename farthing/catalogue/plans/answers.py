"""Plans and addons as they travel, with what belongs to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.plans.included import LOADERS
from farthing.catalogue.plans.schemas import AddonResponse, PlanResponse
from farthing.catalogue.plans.tables import Addon, Plan
from farthing.catalogue.prices.answers import WHOLE, price_answers
from farthing.catalogue.prices.schemas import PriceResponse
from farthing.catalogue.prices.tables import Price, PriceEntityType
from farthing.core.enums import Status

Wanted = Mapping[str, set[str]]

EXPANDABLE: Final = {
    "prices": frozenset({"meters", "priceunit"}),
    "meters": frozenset[str](),
    "entitlements": frozenset({"features"}),
    "features": frozenset[str](),
    "credit_grant": frozenset({"features"}),
    "priceunit": frozenset[str](),
}
EVERYTHING: Final[Wanted] = {"prices": set(WHOLE), "entitlements": {"features"}, "credit_grant": set()}
_FIELDS = {"entitlements": "entitlements", "credit_grants": "credit_grant"}


async def plan_answers(
    session: AsyncSession, plans: Sequence[Plan], wanted: Wanted, live_at: datetime | None
) -> list[PlanResponse]:
    """Plans with what is `wanted` of `EXPANDABLE`; prices that have not ended by `live_at`, or all if it is None."""
    parts = await _parts(session, PriceEntityType.PLAN, [one.id for one in plans], wanted, live_at)
    return [PlanResponse.of(one, **{name: of.get(one.id, []) for name, of in parts.items()}) for one in plans]


async def addon_answers(
    session: AsyncSession, addons: Sequence[Addon], wanted: Wanted, live_at: datetime | None
) -> list[AddonResponse]:
    """Addons with what is `wanted` of `EXPANDABLE`; prices that have not ended by `live_at`, or all if it is None."""
    parts = await _parts(session, PriceEntityType.ADDON, [one.id for one in addons], wanted, live_at)
    return [AddonResponse.of(one, **{name: of.get(one.id, []) for name, of in parts.items()}) for one in addons]


async def _parts(
    session: AsyncSession, kind: PriceEntityType, ids: Sequence[str], wanted: Wanted, live_at: datetime | None
) -> dict[str, Mapping[str, list[Any]]]:
    parts: dict[str, Mapping[str, list[Any]]] = {}
    if "prices" in wanted:
        nested = frozenset(wanted["prices"]) | ({"meters", "priceunit"} & wanted.keys())
        parts["prices"] = await _prices(session, kind, ids, nested, live_at)
    for field, root in _FIELDS.items():
        if root in wanted:
            nested = frozenset(wanted[root]) | ({"features"} & wanted.keys())
            parts[field] = await LOADERS[field](session, kind, ids, nested) if field in LOADERS else {}
    return parts


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
