"""Endpoints of entitlements."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Request, delete, get, post, put
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.api.queries.expand import expansions
from farthing.api.queries.lists import page, read_query, reader
from farthing.api.work import UnitOfWork, unit_of_work
from farthing.catalogue.answers.entitlements import EXPANDABLE, entitlement_answers
from farthing.catalogue.answers.schemas import (
    CreateBulkEntitlementResponse,
    EntitlementResponse,
    ListEntitlementsResponse,
)
from farthing.catalogue.answers.shapes import ENTITLEMENTS
from farthing.catalogue.entitlements import lifecycle
from farthing.catalogue.entitlements.enums import EntitlementOwner
from farthing.catalogue.entitlements.schemas import (
    CreateBulkEntitlementRequest,
    CreateEntitlementRequest,
    EntitlementFilter,
    EntitlementQuery,
    UpdateEntitlementRequest,
)
from farthing.catalogue.entitlements.tables import Entitlement
from farthing.catalogue.plans.tables import Addon, Plan
from farthing.core.encoding.wire import Message
from farthing.storage.queries.listing import LARGEST_LIMIT, select_entities
from farthing.storage.queries.pages import read_answers
from farthing.storage.queries.rows import find


class Entitlements(Controller):
    """What plans, addons and subscriptions include."""

    path = "/entitlements"
    tags = ("Entitlements",)

    @post("/", operation_id="createEntitlement", guards=[needs("entitlement", "write")])
    async def create(self, data: CreateEntitlementRequest, session: AsyncSession) -> EntitlementResponse:
        """Create an entitlement."""
        made = await lifecycle.create(session, [data])
        return (await entitlement_answers(session, made, {"features", "plans"}))[0]

    @post("/bulk", operation_id="createEntitlementsBulk", guards=[needs("entitlement", "write")])
    async def create_many(
        self, data: CreateBulkEntitlementRequest, session: AsyncSession
    ) -> CreateBulkEntitlementResponse:
        """Create entitlements, all of them or none."""
        made = await lifecycle.create(session, data.items)
        return CreateBulkEntitlementResponse(items=await entitlement_answers(session, made, set()))

    @get("/", operation_id="listEntitlements", guards=[needs("entitlement", "read")], opt={"query": EntitlementQuery})
    async def browse(self, request: Request[Any, Any, Any]) -> ListEntitlementsResponse:
        """List entitlements."""
        return await _page(unit_of_work(request), read_query(request, EntitlementQuery))

    @post("/search", operation_id="queryEntitlement", guards=[needs("entitlement", "read")], status_code=200)
    async def search(
        self, request: Request[Any, Any, Any], data: EntitlementFilter | None = None
    ) -> ListEntitlementsResponse:
        """Search entitlements."""
        return await _page(unit_of_work(request), data or EntitlementFilter())

    @get("/{id:str}", operation_id="getEntitlement", guards=[needs("entitlement", "read")])
    async def read(self, id: str, session: AsyncSession) -> EntitlementResponse:
        """Get an entitlement with its feature and plan, archived ones included."""
        found = await find(session, Entitlement, id)
        return (await entitlement_answers(session, [found], {"features", "plans"}))[0]

    @put("/{id:str}", operation_id="updateEntitlement", guards=[needs("entitlement", "write")])
    async def update(self, id: str, data: UpdateEntitlementRequest, session: AsyncSession) -> EntitlementResponse:
        """Change an entitlement; the next invoice computed follows it."""
        changed = await lifecycle.update(session, id, data)
        return (await entitlement_answers(session, [changed], {"features", "plans"}))[0]

    @delete("/{id:str}", operation_id="deleteEntitlement", guards=[needs("entitlement", "write")], status_code=200)
    async def archive(self, id: str, session: AsyncSession) -> Message:
        """Archive an entitlement."""
        await lifecycle.archive(session, id)
        return Message(message="entitlement deleted successfully")


class PlanEntitlements(Controller):
    """What a plan includes."""

    path = "/plans/{id:str}/entitlements"
    tags = ("Entitlements",)

    @get(
        "/", operation_id="getPlanEntitlements", guards=[needs("entitlement", "read")], opt={"query": EntitlementQuery}
    )
    async def browse(self, id: str, request: Request[Any, Any, Any], session: AsyncSession) -> ListEntitlementsResponse:
        """List what a plan includes, up to 1000 at once unless asked for fewer."""
        await find(session, Plan, id)
        return await _of_owner(unit_of_work(request), read_query(request, EntitlementQuery), EntitlementOwner.PLAN, id)


class AddonEntitlements(Controller):
    """What an addon includes."""

    path = "/addons/{id:str}/entitlements"
    tags = ("Entitlements",)

    @get(
        "/", operation_id="getAddonEntitlements", guards=[needs("entitlement", "read")], opt={"query": EntitlementQuery}
    )
    async def browse(self, id: str, request: Request[Any, Any, Any], session: AsyncSession) -> ListEntitlementsResponse:
        """List what an addon includes, up to 1000 at once unless asked for fewer."""
        await find(session, Addon, id)
        return await _of_owner(unit_of_work(request), read_query(request, EntitlementQuery), EntitlementOwner.ADDON, id)


async def _of_owner(
    work: UnitOfWork, query: EntitlementQuery, entity_type: EntitlementOwner, entity_id: str
) -> ListEntitlementsResponse:
    query.entity_type, query.entity_ids = entity_type, [entity_id]
    query.limit = query.limit or LARGEST_LIMIT
    query.expand = query.expand or "features"
    return await _page(work, query)


async def _page(work: UnitOfWork, query: EntitlementQuery) -> ListEntitlementsResponse:
    wanted = set(expansions(query.expand, EXPANDABLE))
    statements = lifecycle.page_of_entitlements(query)
    if wanted:
        session = await work.admitted_session()
        found, total = await select_entities(session, Entitlement, statements)
        answers = await entitlement_answers(session, found, wanted)
    else:
        answers, total = await read_answers(await reader(work, query), ENTITLEMENTS, statements)
    answer: ListEntitlementsResponse = page(answers, total, query, next_offset=True)
    return answer
