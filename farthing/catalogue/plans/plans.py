"""Plans: made, relabelled, copied with all that belongs to them, archived."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.lists import select_page
from farthing.catalogue import in_use
from farthing.catalogue.fields import demand_published
from farthing.catalogue.plans.included import COPIERS
from farthing.catalogue.plans.schemas import ClonePlanRequest, CreatePlanRequest, PlanQuery, UpdatePlanRequest
from farthing.catalogue.plans.tables import Plan
from farthing.catalogue.prices.references import lock_prices_of
from farthing.catalogue.prices.tables import Price, PriceEntityType
from farthing.core.enums import Status
from farthing.core.errors import AlreadyExists
from farthing.core.ids import Kind, new_id
from farthing.core.wire import checked_metadata
from farthing.storage.rows import find, locked, violated

SOURCE_KEY = "source_plan_id"
"""The metadata key of a copy that names what it was copied from."""

SEARCHABLE = ("id", "name", "lookup_key", "description", "display_order", "status", "created_at", "updated_at")

_OF_ITS_OWN = frozenset(
    {
        "id",
        "entity_id",
        "lookup_key",
        "parent_price_id",
        "replaces_price_id",
        "sequence",
        "tenant_id",
        "environment_id",
        "created_at",
        "updated_at",
        "created_by",
        "updated_by",
    }
)
"""What a copied price does not take from its source."""


async def create(session: AsyncSession, request: CreatePlanRequest) -> Plan:
    """Insert a plan. Raises AlreadyExists when a published plan has the key."""
    plan = Plan(
        id=new_id(Kind.PLAN),
        name=request.name,
        lookup_key=request.lookup_key or "",
        description=request.description or "",
        display_order=request.display_order,
        meta=request.metadata or {},
    )
    async with _refusing_duplicates(session, plan.lookup_key):
        session.add(plan)
    return plan


async def update(session: AsyncSession, plan_id: str, request: UpdatePlanRequest) -> Plan:
    """Change what `request` names. Raises NotFound, AlreadyExists, InvalidOperation on an archived plan."""
    plan = await locked(session, Plan, plan_id)
    demand_published(plan)
    async with _refusing_duplicates(session, request.lookup_key or ""):
        for name in ("name", "lookup_key", "description", "display_order"):
            value = getattr(request, name)
            if value is not None:
                setattr(plan, name, value)
        if request.metadata is not None:
            plan.meta = request.metadata
    return plan


async def archive(session: AsyncSession, plan_id: str) -> None:
    """Archive a plan; what belongs to it stays, out of reach. Raises InvalidOperation while somebody subscribes."""
    plan = await locked(session, Plan, plan_id)
    demand_published(plan)
    await in_use.refuse_if_used(session, in_use.PLANS, Plan.label, plan.id)
    plan.status = Status.ARCHIVED
    await session.flush()


async def clone(session: AsyncSession, plan_id: str, request: ClonePlanRequest, now: datetime) -> Plan:
    """A copy of a plan with its prices that have not ended, its entitlements and its credit grants.

    Raises NotFound, AlreadyExists when a published plan has the key. Rule: catalogue, "clone".
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
    async with _refusing_duplicates(session, plan.lookup_key):
        session.add(plan)
    # the source's too, so that no price is copied while it is being ended
    await lock_prices_of(session, [source.id, plan.id])
    session.add_all([copy_of(price, plan.id) for price in await _live_prices(session, source.id, now)])
    await session.flush()
    for copy in COPIERS:
        await copy(session, source.id, plan.id)
    return plan


async def _live_prices(session: AsyncSession, plan_id: str, now: datetime) -> list[Price]:
    query = select(Price).where(
        Price.entity_type == PriceEntityType.PLAN,
        Price.entity_id == plan_id,
        Price.status == Status.PUBLISHED,
        or_(Price.end_date.is_(None), Price.end_date > now),
    )
    return list(await session.scalars(query.order_by(Price.sequence)))


def copy_of(price: Price, plan_id: str) -> Price:
    """The same price for another plan, the first of a lineage of its own and without a key."""
    names = [attribute.key for attribute in Price.__mapper__.column_attrs]
    kept = {name: getattr(price, name) for name in names if name not in _OF_ITS_OWN}
    return Price(id=new_id(Kind.PRICE), entity_id=plan_id, lookup_key="", **kept)


async def search(
    session: AsyncSession, query: PlanQuery, metadata: dict[str, str] | None = None
) -> tuple[list[Plan], int]:
    """One page of plans and the count of all that match; `metadata` demands all its pairs."""
    statement = select(Plan)
    if query.plan_ids:
        statement = statement.where(Plan.id.in_(query.plan_ids))
    if query.lookup_key:
        statement = statement.where(Plan.lookup_key == query.lookup_key)
    if metadata:
        statement = statement.where(Plan.meta.contains(metadata))
    return await select_page(session, Plan, query, SEARCHABLE, statement)


@asynccontextmanager
async def _refusing_duplicates(session: AsyncSession, lookup_key: str) -> AsyncIterator[None]:
    try:
        async with session.begin_nested():
            yield
    except IntegrityError as error:
        if violated(error) != "uq_plans_lookup_key":
            raise
        raise AlreadyExists(f"A plan with the lookup key '{lookup_key}' exists", {"lookup_key": lookup_key}) from error
