"""Plans: made, relabelled, archived."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue import in_use
from farthing.catalogue.fields import require_published
from farthing.catalogue.plans.schemas import CreatePlanRequest, PlanQuery, UpdatePlanRequest
from farthing.catalogue.plans.tables import Plan
from farthing.catalogue.ports import CataloguePorts
from farthing.catalogue.prices import lifecycle as prices
from farthing.catalogue.prices.schemas import PriceOfNewPlan
from farthing.core.enums import Status
from farthing.core.errors import AlreadyExists, ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.storage.postgres import ports_of
from farthing.storage.queries.listing import PageStatements, one_of, page_statements
from farthing.storage.queries.rows import lock_row, unique

SEARCHABLE = ("id", "name", "lookup_key", "description", "display_order", "status", "created_at", "updated_at")


async def create(session: AsyncSession, request: CreatePlanRequest, now: datetime) -> Plan:
    """Insert a plan and the prices that the request has for it.

    Raises AlreadyExists when a published plan has the key, and what making a price raises, by its place.
    """
    plan = Plan(
        id=new_id(Kind.PLAN),
        name=request.name,
        lookup_key=request.lookup_key or "",
        description=request.description or "",
        display_order=request.display_order,
        meta=request.metadata or {},
    )
    async with refusing_duplicates(session, plan.lookup_key):
        session.add(plan)
    await _create_prices(session, plan, request.prices or (), now)
    return plan


async def _create_prices(session: AsyncSession, plan: Plan, given: Sequence[PriceOfNewPlan], now: datetime) -> None:
    for index, price in enumerate(given):
        price.entity_id = plan.id
        try:
            await prices.create(session, price, now)
        except ValidationFailed as error:
            raise error.within(f"prices[{index}]") from error


async def update(session: AsyncSession, plan_id: str, request: UpdatePlanRequest) -> Plan:
    """Change what `request` names. Raises NotFound, AlreadyExists, InvalidOperation on an archived plan."""
    plan = await lock_row(session, Plan, plan_id)
    require_published(plan)
    async with refusing_duplicates(session, request.lookup_key or ""):
        for name in ("name", "lookup_key", "description", "display_order"):
            value = getattr(request, name)
            if value is not None:
                setattr(plan, name, value)
        if request.metadata is not None:
            plan.meta = request.metadata
    return plan


async def archive(session: AsyncSession, plan_id: str) -> None:
    """Archive a plan; what belongs to it stays, out of reach. Raises InvalidOperation while somebody subscribes."""
    plan = await lock_row(session, Plan, plan_id)
    require_published(plan)
    counts = (ports_of(session, CataloguePorts).count_subscriptions_of_plan,)
    await in_use.refuse_if_used(session, counts, Plan.label, plan.id)
    plan.status = Status.ARCHIVED
    await session.flush()


def page_of_plans(query: PlanQuery, metadata: dict[str, str] | None = None) -> PageStatements:
    """One page of plans and the count of all that match; `metadata` demands all its pairs."""
    statement = select(Plan)
    if query.plan_ids:
        statement = statement.where(one_of(Plan.id, query.plan_ids))
    if query.lookup_key:
        statement = statement.where(Plan.lookup_key == query.lookup_key)
    if metadata:
        statement = statement.where(Plan.meta.contains(metadata))
    return page_statements(Plan, query, SEARCHABLE, statement)


def refusing_duplicates(session: AsyncSession, lookup_key: str) -> AbstractAsyncContextManager[None]:
    """Turn a key that the database refuses into AlreadyExists."""
    return unique(
        session,
        uq_plans_lookup_key=AlreadyExists(
            f"A plan with the lookup key '{lookup_key}' exists", {"lookup_key": lookup_key}
        ),
    )
