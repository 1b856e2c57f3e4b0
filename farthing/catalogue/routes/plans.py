"""Endpoints of plans and addons."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Request, delete, get, post, put
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.api.queries.expand import expansions
from farthing.api.queries.lists import page, read_query, reader
from farthing.api.work import UnitOfWork, unit_of_work
from farthing.catalogue.answers.plans import EVERYTHING, EXPANDABLE, addon_answers, plan_answers
from farthing.catalogue.answers.schemas import AddonResponse, ListAddonsResponse, ListPlansResponse, PlanResponse
from farthing.catalogue.answers.shapes import PLANS
from farthing.catalogue.plans import addons, plans
from farthing.catalogue.plans.cloning import clone
from farthing.catalogue.plans.schemas import (
    AddonFilter,
    AddonQuery,
    ClonePlanRequest,
    CreateAddonRequest,
    CreatePlanRequest,
    PlanFilter,
    PlanQuery,
    UpdateAddonRequest,
    UpdatePlanRequest,
)
from farthing.catalogue.plans.tables import Addon, Plan
from farthing.core.clock import Clock
from farthing.core.encoding.wire import Message
from farthing.storage.queries.listing import select_entities
from farthing.storage.queries.pages import read_answers, rows_of
from farthing.storage.queries.rows import find


class Plans(Controller):
    """What subscriptions subscribe to."""

    path = "/plans"
    tags = ("Plans",)

    @post("/", operation_id="createPlan", guards=[needs("plan", "write")])
    async def create(self, data: CreatePlanRequest, session: AsyncSession, clock: Clock) -> PlanResponse:
        """Create a plan, and its prices if the body has any."""
        plan = await plans.create(session, data, clock.now())
        if not data.prices:
            return PlanResponse.of(plan)
        return (await plan_answers(session, [plan], {"prices": set()}, clock.now()))[0]

    @get("/", operation_id="listPlans", guards=[needs("plan", "read")], opt={"query": PlanQuery})
    async def browse(self, request: Request[Any, Any, Any]) -> ListPlansResponse:
        """List plans."""
        return await _plans_page(unit_of_work(request), read_query(request, PlanQuery))

    @post("/search", operation_id="queryPlan", guards=[needs("plan", "read")], status_code=200)
    async def search(self, request: Request[Any, Any, Any], data: PlanFilter | None = None) -> ListPlansResponse:
        """Search plans."""
        query = data or PlanFilter()
        return await _plans_page(unit_of_work(request), query, query.metadata)

    @get("/{id:str}", operation_id="getPlan", guards=[needs("plan", "read")])
    async def read(self, id: str, session: AsyncSession) -> PlanResponse:
        """Get a plan with its prices, ended ones included, its entitlements and its credit grants."""
        return (await plan_answers(session, [await find(session, Plan, id)], EVERYTHING, live_at=None))[0]

    @put("/{id:str}", operation_id="updatePlan", guards=[needs("plan", "write")])
    async def update(self, id: str, data: UpdatePlanRequest, session: AsyncSession) -> PlanResponse:
        """Update a plan."""
        return PlanResponse.of(await plans.update(session, id, data))

    @delete("/{id:str}", operation_id="deletePlan", guards=[needs("plan", "write")], status_code=200)
    async def archive(self, id: str, session: AsyncSession) -> Message:
        """Archive a plan that nobody subscribes to."""
        await plans.archive(session, id)
        # what clients of this API have always been told
        return Message(message="price deleted successfully")

    @post("/{id:str}/clone", operation_id="clonePlan", guards=[needs("plan", "write")])
    async def copy(self, id: str, data: ClonePlanRequest, session: AsyncSession, clock: Clock) -> PlanResponse:
        """Copy a plan with its prices, entitlements and credit grants."""
        plan = await clone(session, id, data, clock.now())
        return (await plan_answers(session, [plan], EVERYTHING, live_at=None))[0]


class Addons(Controller):
    """What can be attached to a subscription beside its plan."""

    path = "/addons"
    tags = ("Addons",)

    @post("/", operation_id="createAddon", guards=[needs("addon", "write")])
    async def create(self, data: CreateAddonRequest, session: AsyncSession) -> AddonResponse:
        """Create an addon."""
        return AddonResponse.of(await addons.create(session, data))

    @get("/", operation_id="listAddons", guards=[needs("addon", "read")], opt={"query": AddonQuery})
    async def browse(self, request: Request[Any, Any, Any], session: AsyncSession, clock: Clock) -> ListAddonsResponse:
        """List addons."""
        return await _addons_page(session, read_query(request, AddonQuery), clock)

    @post("/search", operation_id="queryAddon", guards=[needs("addon", "read")], status_code=200)
    async def search(self, session: AsyncSession, clock: Clock, data: AddonFilter | None = None) -> ListAddonsResponse:
        """Search addons."""
        return await _addons_page(session, data or AddonFilter(), clock)

    @get("/lookup/{lookup_key:str}", operation_id="getAddonByLookupKey", guards=[needs("addon", "read")])
    async def read_by_lookup_key(self, lookup_key: str, session: AsyncSession) -> AddonResponse:
        """Get the published addon with this key, with all that belongs to it."""
        return await _whole_addon(session, await addons.by_lookup_key(session, lookup_key))

    @get("/{id:str}", operation_id="getAddon", guards=[needs("addon", "read")])
    async def read(self, id: str, session: AsyncSession) -> AddonResponse:
        """Get an addon with its prices, ended ones included, its entitlements and its credit grants."""
        return await _whole_addon(session, await find(session, Addon, id))

    @put("/{id:str}", operation_id="updateAddon", guards=[needs("addon", "write")])
    async def update(self, id: str, data: UpdateAddonRequest, session: AsyncSession) -> AddonResponse:
        """Update an addon."""
        return AddonResponse.of(await addons.update(session, id, data))

    @delete("/{id:str}", operation_id="deleteAddon", guards=[needs("addon", "write")], status_code=200)
    async def archive(self, id: str, session: AsyncSession) -> Message:
        """Archive an addon that is attached nowhere."""
        await addons.archive(session, id)
        return Message(message="addon deleted successfully")


async def _plans_page(work: UnitOfWork, query: PlanQuery, metadata: dict[str, str] | None = None) -> ListPlansResponse:
    wanted = expansions(query.expand, EXPANDABLE)
    statements = plans.page_of_plans(query, metadata)
    if wanted:
        session = await work.admitted_session()
        found, total = await select_entities(session, Plan, statements)
        items = await plan_answers(session, found, wanted, live_at=work.clock.now())
    else:
        read = rows_of(await work.admitted_session()) if metadata else await reader(work, query)
        items, total = await read_answers(read, PLANS, statements)
    answer: ListPlansResponse = page(items, total, query, next_offset=True)
    return answer


async def _addons_page(session: AsyncSession, query: AddonQuery, clock: Clock) -> ListAddonsResponse:
    wanted = expansions(query.expand, EXPANDABLE)
    found, total = await addons.search(session, query)
    items = await addon_answers(session, found, wanted, live_at=clock.now())
    answer: ListAddonsResponse = page(items, total, query, next_offset=True)
    return answer


async def _whole_addon(session: AsyncSession, addon: Addon) -> AddonResponse:
    return (await addon_answers(session, [addon], EVERYTHING, live_at=None))[0]
