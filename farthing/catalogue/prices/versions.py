"""A price and what follows from it: versions that take its place, and overrides for one subscription."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.enums import PriceEntityType
from farthing.catalogue.prices import references
from farthing.catalogue.prices.enums import PriceUnitType
from farthing.catalogue.prices.lifecycle import end, refusing_duplicates, unnamed
from farthing.catalogue.prices.schemas import PricingChange, UpdatePriceRequest
from farthing.catalogue.prices.tables import Price, PriceUnit
from farthing.catalogue.prices.terms import Rate, apply_change, settle_terms
from farthing.catalogue.products import groups
from farthing.catalogue.products.enums import GroupEntityType
from farthing.core.ids import Kind, new_id
from farthing.storage.queries.rows import find, lock_row

_KEPT = (
    "type",
    "currency",
    "billing_cadence",
    "billing_period",
    "billing_period_count",
    "invoice_cadence",
    "meter_id",
    "min_quantity",
    "trial_period_days",
    "description",
    "group_id",
)
"""What a version and an override have in common with the price they come from."""


async def update(session: AsyncSession, price_id: str, request: UpdatePriceRequest, now: datetime) -> Price:
    """Relabel a price, or end it and begin its successor at `effective_from` (default now): the price that stands then.

    Raises NotFound, ValidationFailed, AlreadyExists for a taken key, InvalidOperation for a change of the money of a
    price that has an end.
    Rule: docs/rules/pricing.md#versions-and-termination
    """
    # before the price, as the deletion of a group locks the group before its members
    group_id = await groups.lock_group_for_member(session, request.group_id, GroupEntityType.PRICE)
    price = await lock_row(session, Price, price_id)
    if not request.changes_money:
        async with refusing_duplicates(session, [request.lookup_key or price.lookup_key]):
            _relabel(price, request, group_id)
        return price
    at = request.effective_from or now
    columns = settle_terms(apply_change(price, request), price.currency, await _rate(session, price))
    await references.require_no_money_granted(session, columns["billing_model"], _meters(price))
    await references.lock_prices_of(session, [price.entity_id])
    if request.group_id is not None:
        price.group_id = group_id
    await end(session, price, at, "effective_from")
    successor = Price(
        id=new_id(Kind.PRICE),
        entity_type=price.entity_type,
        entity_id=price.entity_id,
        lookup_key=price.lookup_key,
        display_name=price.display_name,
        meta=price.meta,
        start_date=at,
        parent_price_id=root_of(price),
        replaces_price_id=price.id,
        **_kept(price),
        **columns,
    )
    _relabel(successor, request, group_id)
    async with refusing_duplicates(session, [successor.lookup_key]):
        session.add(successor)
    return successor


def _relabel(price: Price, request: UpdatePriceRequest, group_id: str | None) -> None:
    price.lookup_key = request.lookup_key or price.lookup_key
    price.display_name = request.display_name or price.display_name
    price.description = request.description or price.description
    if request.metadata is not None:
        price.meta = request.metadata
    if request.group_id is not None:
        price.group_id = group_id


async def override(
    session: AsyncSession, price: Price, subscription_id: str, change: PricingChange, start: datetime
) -> Price:
    """A price of one subscription alone, in place of `price`, from `start`. Raises ValidationFailed.

    Rule: docs/rules/pricing.md#overrides-for-one-subscription
    """
    columns = settle_terms(apply_change(price, change), price.currency, await _rate(session, price))
    await references.require_no_money_granted(session, columns["billing_model"], _meters(price))
    await references.lock_prices_of(session, [subscription_id])
    overriding = Price(
        id=new_id(Kind.PRICE),
        entity_type=PriceEntityType.SUBSCRIPTION,
        entity_id=subscription_id,
        display_name=unnamed(price.type),
        meta=price.meta,
        start_date=start,
        parent_price_id=root_of(price),
        **_kept(price),
        **columns,
    )
    session.add(overriding)
    await session.flush()
    return overriding


def root_of(price: Price) -> str:
    """The id of the first price of the lineage."""
    return price.parent_price_id or price.id


def _meters(price: Price) -> list[str]:
    return [] if price.meter_id is None else [price.meter_id]


def _kept(price: Price) -> dict[str, Any]:
    return {name: getattr(price, name) for name in _KEPT}


async def _rate(session: AsyncSession, price: Price) -> Rate | None:
    """The rate frozen on `price`."""
    if price.price_unit_type is not PriceUnitType.CUSTOM:
        return None
    unit = await find(session, PriceUnit, price.price_unit_id or "")
    return Rate(unit.id, unit.code, unit.symbol, price.conversion_rate or unit.conversion_rate)
