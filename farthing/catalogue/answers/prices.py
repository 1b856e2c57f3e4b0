"""Prices and price units as they travel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.answers.schemas import AddonResponse, PlanResponse, PriceResponse
from farthing.catalogue.enums import PriceEntityType
from farthing.catalogue.plans.tables import Addon, Plan
from farthing.catalogue.prices.schemas import PriceTier, PriceUnitResponse, TransformQuantity
from farthing.catalogue.prices.tables import Price, PriceUnit
from farthing.catalogue.products.answers import group_answer, groups_by_id, meter_answer, meters_by_id
from farthing.storage.queries.listing import by_id
from farthing.storage.tables import Base

EXPANDABLE: Final = {name: frozenset[str]() for name in ("meters", "priceunit", "plan", "addons", "groups")}
WHOLE: Final = frozenset({"meters", "groups", "priceunit"})
"""What a single price is answered with."""


def _tiers(stored: list[Any] | None) -> list[PriceTier] | None:
    if stored is None:
        return None
    return [
        PriceTier(unit_amount=tier["unit_amount"], up_to=tier.get("up_to"), flat_amount=tier.get("flat_amount"))
        for tier in stored
    ]


async def price_answers(session: AsyncSession, prices: Sequence[Price], wanted: frozenset[str]) -> list[PriceResponse]:
    """Prices with what is `wanted` of `EXPANDABLE`, one query per kind."""
    meters = await meters_by_id(session, (price.meter_id for price in prices)) if "meters" in wanted else {}
    groups = await groups_by_id(session, (price.group_id for price in prices)) if "groups" in wanted else {}
    units = await _rows(session, PriceUnit, [price.price_unit_id for price in prices] if "priceunit" in wanted else ())
    plans = await _rows(session, Plan, _owners(prices, PriceEntityType.PLAN) if "plan" in wanted else ())
    addons = await _rows(session, Addon, _owners(prices, PriceEntityType.ADDON) if "addons" in wanted else ())
    answers = []
    for price in prices:
        meter, group = meters.get(price.meter_id or ""), groups.get(price.group_id or "")
        unit, plan, addon = (
            units.get(price.price_unit_id or ""),
            plans.get(price.entity_id),
            addons.get(price.entity_id),
        )
        answers.append(
            PriceResponse.of(
                price,
                meter_id=price.meter_id or "",
                transform_quantity=TransformQuantity(**price.transform_quantity),
                tiers=_tiers(price.tiers),
                price_unit_tiers=_tiers(price.price_unit_tiers),
                meter=meter and meter_answer(meter),
                group=group and group_answer(group),
                pricing_unit=unit and PriceUnitResponse.of(unit),
                plan=plan and PlanResponse.of(plan),
                addon=addon and AddonResponse.of(addon),
            )
        )
    return answers


async def price_answer(session: AsyncSession, price: Price) -> PriceResponse:
    """One price with its meter, group and unit."""
    return (await price_answers(session, [price], WHOLE))[0]


def _owners(prices: Sequence[Price], kind: PriceEntityType) -> list[str]:
    return [price.entity_id for price in prices if price.entity_type is kind]


async def _rows(session: AsyncSession, table: type[Any], ids: Sequence[str | None]) -> dict[str, Any]:
    wanted: set[str] = {row_id for row_id in ids if row_id}
    if not wanted:
        return {}
    found: Sequence[Base] = (await session.scalars(select(table).where(table.id.in_(wanted)))).all()
    return by_id(found)
