"""A copy of a plan, with everything that belongs to it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase

from farthing.catalogue.entitlements.enums import EntitlementOwner
from farthing.catalogue.entitlements.tables import Entitlement
from farthing.catalogue.enums import PriceEntityType
from farthing.catalogue.plans.plans import refusing_duplicates
from farthing.catalogue.plans.schemas import ClonePlanRequest
from farthing.catalogue.plans.tables import Plan
from farthing.catalogue.ports import CataloguePorts
from farthing.catalogue.prices.references import lock_prices_of
from farthing.catalogue.prices.tables import Price
from farthing.core.encoding.wire import checked_metadata
from farthing.core.enums import Status
from farthing.core.ids import Kind, new_id
from farthing.storage.postgres import ports_of
from farthing.storage.queries.rows import find

SOURCE_KEY = "source_plan_id"
"""The metadata key of a copy that names what it was copied from."""

_STAMPED = ("tenant_id", "environment_id", "created_at", "updated_at", "created_by", "updated_by")

Row = TypeVar("Row", bound=DeclarativeBase)


async def clone(session: AsyncSession, plan_id: str, request: ClonePlanRequest, now: datetime) -> Plan:
    """A copy of a plan with its prices that have not ended, its entitlements and its credit grants.

    Raises NotFound, AlreadyExists when a published plan has the key.
    Rule: docs/rules/catalogue.md#copy-of-a-plan
    """
    source = await find(session, Plan, plan_id)
    plan = Plan(
        id=new_id(Kind.PLAN),
        name=request.name,
        lookup_key=request.lookup_key,
        description=source.description if request.description is None else request.description,
        display_order=source.display_order if request.display_order is None else request.display_order,
        meta=checked_metadata({**source.meta, **(request.metadata or {}), SOURCE_KEY: source.id}),
    )
    async with refusing_duplicates(session, plan.lookup_key):
        session.add(plan)
    # the source's too, so that no price is copied while it is being ended
    await lock_prices_of(session, [source.id, plan.id])
    session.add_all(price_copy(price, entity_id=plan.id) for price in await live_prices(session, source.id, now))
    session.add_all(
        entitlement_copy(entitlement, entity_id=plan.id) for entitlement in await entitlements(session, source.id)
    )
    await session.flush()
    ports = ports_of(session, CataloguePorts)
    grants = await ports.load_credit_grants(session, PriceEntityType.PLAN, [source.id])
    await ports.copy_credit_grants(session, grants.get(source.id, []), plan.id)
    return plan


async def live_prices(session: AsyncSession, plan_id: str, now: datetime) -> list[Price]:
    """A plan's prices that have not ended, those to come included, oldest first."""
    query = select(Price).where(
        Price.entity_type == PriceEntityType.PLAN,
        Price.entity_id == plan_id,
        Price.status == Status.PUBLISHED,
        or_(Price.end_date.is_(None), Price.end_date > now),
    )
    return list(await session.scalars(query.order_by(Price.sequence)))


async def entitlements(session: AsyncSession, plan_id: str) -> list[Entitlement]:
    """A plan's published entitlements, oldest first."""
    query = select(Entitlement).where(
        Entitlement.entity_type == EntitlementOwner.PLAN,
        Entitlement.entity_id == plan_id,
        Entitlement.status == Status.PUBLISHED,
    )
    return list(await session.scalars(query.order_by(Entitlement.id)))


def price_copy(price: Price, **different: Any) -> Price:
    """The same price, first of a lineage of its own and without a key, but for what is `different`."""
    fresh = {"id": new_id(Kind.PRICE), "lookup_key": "", "parent_price_id": None, "replaces_price_id": None}
    return _copy(price, ("sequence", *_STAMPED), fresh | different)


def entitlement_copy(entitlement: Entitlement, **different: Any) -> Entitlement:
    """The same entitlement, but for what is `different`."""
    return _copy(entitlement, _STAMPED, {"id": new_id(Kind.ENTITLEMENT)} | different)


def _copy(row: Row, without: tuple[str, ...], different: dict[str, Any]) -> Row:
    names = [attribute.key for attribute in type(row).__mapper__.column_attrs if attribute.key not in without]
    return type(row)(**{name: getattr(row, name) for name in names} | different)
