"""Endpoints of customers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestar import Controller, Request, Response, delete, get, post, put
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.api.queries.expand import expansions
from farthing.api.queries.lists import page, read_query
from farthing.api.work import UnitOfWork, unit_of_work
from farthing.core.clock import instant
from farthing.core.composition import Composition
from farthing.customers import lifecycle, lookup, mappings, portal
from farthing.customers.schemas import (
    CreateCustomerRequest,
    CustomerFilter,
    CustomerQuery,
    CustomerResponse,
    EntityIntegrationMappingResponse,
    ListCustomersResponse,
    PortalSessionResponse,
    UpdateCustomerRequest,
)
from farthing.customers.tables import Customer, IntegrationEntityType, IntegrationMapping
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.storage.queries.pages import rows_of
from farthing.storage.queries.rows import find

EXPANDABLE = {"integrations": frozenset[str]()}


class Customers(Controller):
    """Customers and their sessions in the portal."""

    path = "/customers"
    tags = ("Customers",)

    @post("/", operation_id="createCustomer", guards=[needs("customer", "write")])
    async def create(
        self, data: CreateCustomerRequest, session: AsyncSession, services: Composition
    ) -> CustomerResponse:
        """Create a customer."""
        strict = services.part(Settings).strict_external_ids
        return CustomerResponse.of(await lifecycle.create(session, data, strict_ids=strict))

    @get("/", operation_id="listCustomers", guards=[needs("customer", "read")], opt={"query": CustomerQuery})
    async def browse(self, request: Request[Any, Any, Any]) -> ListCustomersResponse:
        """List customers."""
        return await _page(unit_of_work(request), read_query(request, CustomerQuery))

    @post("/search", operation_id="queryCustomer", guards=[needs("customer", "read")], status_code=200)
    async def search(
        self, request: Request[Any, Any, Any], data: CustomerFilter | None = None
    ) -> ListCustomersResponse:
        """Search customers."""
        query = data or CustomerFilter()
        return await _page(unit_of_work(request), query, query.metadata)

    @get("/{id:str}", operation_id="getCustomer", guards=[needs("customer", "read")])
    async def read(self, id: str, request: Request[Any, Any, Any], expand: str | None = None) -> CustomerResponse:
        """Get a customer, archived ones included."""
        wanted = expansions(expand, EXPANDABLE)
        work = unit_of_work(request)
        if not wanted and (found := await lookup.customer_answer(work.read_once, id)):
            return found
        session = await work.admitted_session()
        return await _answer(session, await find(session, Customer, id), wanted)

    @get("/external/{external_id:str}", operation_id="getCustomerByExternalId", guards=[needs("customer", "read")])
    async def read_by_external_id(
        self, external_id: str, session: AsyncSession, expand: str | None = None
    ) -> CustomerResponse:
        """Get the published customer with this external id."""
        wanted = expansions(expand, EXPANDABLE)
        return await _answer(session, await lookup.by_external_id(session, external_id), wanted)

    @get("/lookup/{lookup_key:str}", operation_id="lookupCustomer", guards=[needs("customer", "read")])
    async def read_by_lookup_key(self, lookup_key: str, session: AsyncSession) -> CustomerResponse:
        """Get the published customer with this external id, by the older name of the route."""
        return CustomerResponse.of(await lookup.by_external_id(session, lookup_key))

    @put("/", operation_id="updateCustomer", guards=[needs("customer", "write")])
    async def update(
        self,
        data: UpdateCustomerRequest,
        session: AsyncSession,
        services: Composition,
        id: str | None = None,
        external_customer_id: str | None = None,
    ) -> CustomerResponse:
        """Update the customer with this id or this external id."""
        strict = services.part(Settings).strict_external_ids
        return CustomerResponse.of(
            await lifecycle.update(session, data, customer_id=id, external_id=external_customer_id, strict_ids=strict)
        )

    @put("/{id:str}", operation_id="updateCustomerById", guards=[needs("customer", "write")])
    async def update_by_id(
        self, id: str, data: UpdateCustomerRequest, session: AsyncSession, services: Composition
    ) -> CustomerResponse:
        """Update a customer."""
        strict = services.part(Settings).strict_external_ids
        return CustomerResponse.of(await lifecycle.update(session, data, customer_id=id, strict_ids=strict))

    @delete("/{id:str}", operation_id="deleteCustomer", guards=[needs("customer", "write")])
    async def archive(self, id: str, session: AsyncSession, require_settled: bool = False) -> None:
        """Archive a customer that has no live subscription and no active wallet.

        `require_settled` also refuses one that has unpaid invoices.
        """
        await lifecycle.archive(session, id, require_settled=require_settled)

    # a GET that signs a token, because clients expect it; it writes nothing, yet grants access, hence "write"
    @get(
        "/portal/{external_id:str}",
        operation_id="createCustomerPortalSession",
        guards=[needs("customer", "write")],
    )
    async def portal_session(
        self, external_id: str, session: AsyncSession, services: Composition
    ) -> Response[PortalSessionResponse]:
        """Let a customer into the portal."""
        return await _portal_session(session, services, external_id)

    @post(
        "/portal/{external_id:str}",
        operation_id="openCustomerPortalSession",
        guards=[needs("customer", "write")],
        status_code=200,
    )
    async def posted_portal_session(
        self, external_id: str, session: AsyncSession, services: Composition
    ) -> Response[PortalSessionResponse]:
        """Let a customer into the portal; the same as GET."""
        return await _portal_session(session, services, external_id)


async def _page(
    work: UnitOfWork, query: CustomerQuery, metadata: dict[str, str] | None = None
) -> ListCustomersResponse:
    wanted = expansions(query.expand, EXPANDABLE)
    if query.is_plain and not (wanted or metadata):
        items, total = await lookup.customers_page(work.read_once, query)
    else:
        session = await work.admitted_session()
        items, total = await lookup.customers_page(rows_of(session), query, metadata)
        await _expand(session, items, wanted)
    answer: ListCustomersResponse = page(items, total, query, next_offset=True)
    return answer


async def _answer(session: AsyncSession, customer: Customer, wanted: dict[str, set[str]]) -> CustomerResponse:
    answer = CustomerResponse.of(customer)
    await _expand(session, [answer], wanted)
    return answer


async def _expand(session: AsyncSession, answers: Sequence[CustomerResponse], wanted: dict[str, set[str]]) -> None:
    if "integrations" not in wanted:
        return
    ids = [answer.id for answer in answers]
    found = await mappings.of_entities(session, IntegrationEntityType.CUSTOMER, ids)
    for answer in answers:
        answer.integrations = [mapping_answer(mapping) for mapping in found.get(answer.id, ())]


def mapping_answer(mapping: IntegrationMapping) -> EntityIntegrationMappingResponse:
    """A mapping as it travels: its times have whole seconds."""
    return EntityIntegrationMappingResponse.of(
        mapping,
        created_at=instant(mapping.created_at.replace(microsecond=0)),
        updated_at=instant(mapping.updated_at.replace(microsecond=0)),
    )


async def _portal_session(
    session: AsyncSession, services: Composition, external_id: str
) -> Response[PortalSessionResponse]:
    customer = await lookup.by_external_id(session, external_id)
    settings = services.part(Settings)
    # sessions live in real time, whatever an environment's test clock says
    now = services.part(Database).clock.now()
    opened = portal.open_session(customer, settings.master_key(), now, settings.portal_session_seconds)
    answer = PortalSessionResponse(
        url=opened.url(settings.portal_url or f"{settings.base_url}/portal"),
        token=opened.token,
        expires_at=instant(opened.expires_at),
    )
    return Response(answer, headers={"Cache-Control": "no-store"}, media_type="application/json")
