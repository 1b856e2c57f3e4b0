"""Endpoints of credit grants and their applications."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestar import Controller, Request, delete, get, post, put
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.api.queries.lists import page, read_query
from farthing.catalogue.plans.credit_grants import CreateCreditGrantRequest, CreditGrantScope
from farthing.catalogue.plans.tables import Addon, Plan
from farthing.catalogue.schemas import IncludedCreditGrant
from farthing.core.clock import Clock
from farthing.core.encoding.wire import Message
from farthing.core.enums import Status
from farthing.core.errors import NotFound
from farthing.credits.grants import lifecycle, reads
from farthing.credits.grants.schemas import (
    CreditGrantApplicationResponse,
    CreditGrantQuery,
    DeleteCreditGrantRequest,
    ListCreditGrantApplicationsResponse,
    ListCreditGrantsResponse,
    UpdateCreditGrantRequest,
)
from farthing.credits.grants.tables import CreditGrant, CreditGrantApplication
from farthing.customers.tables import Customer
from farthing.storage.queries.listing import LARGEST_LIMIT, ListQuery
from farthing.storage.queries.rows import find
from farthing.subscriptions.enums import SubscriptionStatus
from farthing.subscriptions.tables import Subscription

READ, WRITE = needs("creditgrant", "read"), needs("creditgrant", "write")
RECEIVING = (SubscriptionStatus.ACTIVE, SubscriptionStatus.TRIALING)
HttpRequest = Request[Any, Any, Any]


class CreditGrants(Controller):
    """Credit grants."""

    path = "/creditgrants"
    tags = ("Credit Grants",)

    @post("/", operation_id="createCreditGrant", guards=[WRITE])
    async def create(self, data: CreateCreditGrantRequest, session: AsyncSession, clock: Clock) -> IncludedCreditGrant:
        """Create a credit grant."""
        return IncludedCreditGrant.of(await lifecycle.create(session, data, clock.now()))

    @get("/", operation_id="listCreditGrants", guards=[READ], opt={"query": CreditGrantQuery})
    async def browse(self, request: HttpRequest, session: AsyncSession) -> ListCreditGrantsResponse:
        """List credit grants."""
        return await _page(session, read_query(request, CreditGrantQuery))

    @get("/{id:str}", operation_id="getCreditGrant", guards=[READ])
    async def read(self, id: str, session: AsyncSession) -> IncludedCreditGrant:
        """Get a credit grant, archived ones included."""
        return IncludedCreditGrant.of(await find(session, CreditGrant, id))

    @put("/{id:str}", operation_id="updateCreditGrant", guards=[WRITE])
    async def update(
        self, id: str, data: UpdateCreditGrantRequest, session: AsyncSession, clock: Clock
    ) -> IncludedCreditGrant:
        """Change the name or the metadata of a credit grant, or end a subscription's."""
        return IncludedCreditGrant.of(await lifecycle.update(session, id, data, clock.now()))

    @delete("/{id:str}", operation_id="deleteCreditGrant", guards=[WRITE], status_code=200)
    async def remove(
        self, id: str, session: AsyncSession, clock: Clock, data: DeleteCreditGrantRequest | None = None
    ) -> Message:
        """Archive the credit grant of a plan or an addon, or end a subscription's."""
        await lifecycle.delete(session, id, data.effective_date if data else None, clock.now())
        return Message(message="credit grant deleted successfully")

    @get(
        "/{id:str}/applications",
        operation_id="listCreditGrantApplications",
        guards=[READ],
        opt={"query": ListQuery},
    )
    async def applications(
        self, id: str, request: HttpRequest, session: AsyncSession
    ) -> ListCreditGrantApplicationsResponse:
        """List what became of a credit grant, period by period, newest first."""
        query = read_query(request, ListQuery)
        await find(session, CreditGrant, id)
        rows, total = await reads.applications_page(session, id, query)
        answer: ListCreditGrantApplicationsResponse = page(_answers(rows), total, query, next_offset=False)
        return answer


class PlanCreditGrants(Controller):
    """The credit grants of a plan."""

    path = "/plans/{id:str}/creditgrants"
    tags = ("Credit Grants",)

    @get("/", operation_id="getPlanCreditGrants", guards=[READ], opt={"query": CreditGrantQuery})
    async def browse(self, id: str, request: HttpRequest, session: AsyncSession) -> ListCreditGrantsResponse:
        """List the credit grants of a plan, up to 1000 at once unless asked for fewer."""
        await find(session, Plan, id)
        query = _of_owner(request, CreditGrantScope.PLAN)
        query.plan_ids = [id]
        return await _page(session, query)


class AddonCreditGrants(Controller):
    """The credit grants of an addon."""

    path = "/addons/{id:str}/creditgrants"
    tags = ("Credit Grants",)

    @get("/", operation_id="getAddonCreditGrants", guards=[READ], opt={"query": CreditGrantQuery})
    async def browse(self, id: str, request: HttpRequest, session: AsyncSession) -> ListCreditGrantsResponse:
        """List the credit grants of an addon, up to 1000 at once unless asked for fewer."""
        await find(session, Addon, id)
        query = _of_owner(request, CreditGrantScope.ADDON)
        query.addon_ids = [id]
        return await _page(session, query)


class SubscriptionGrants(Controller):
    """What a subscription will be granted."""

    path = "/subscriptions/{id:str}/grants"
    tags = ("Subscriptions",)

    @get("/upcoming", operation_id="getSubscriptionUpcomingGrants", guards=[READ])
    async def upcoming(self, id: str, session: AsyncSession, clock: Clock) -> ListCreditGrantApplicationsResponse:
        """List what an active or trialing subscription will be granted, soonest first."""
        subscription = await find(session, Subscription, id)
        if subscription.subscription_status not in RECEIVING:
            raise NotFound(
                f"The subscription is {subscription.subscription_status.value}; only an active or trialing one "
                "has upcoming grants",
                {"subscription_id": id, "subscription_status": subscription.subscription_status.value},
            )
        return _whole(await reads.upcoming(session, [id], clock.now()))


class CustomerGrants(Controller):
    """What a customer will be granted."""

    path = "/customers/{id:str}/grants"
    tags = ("Customers",)

    @get("/upcoming", operation_id="getCustomerUpcomingGrants", guards=[READ])
    async def upcoming(self, id: str, session: AsyncSession, clock: Clock) -> ListCreditGrantApplicationsResponse:
        """List what the subscriptions of a customer will be granted, soonest first."""
        customer = await find(session, Customer, id)
        receiving = await session.scalars(
            select(Subscription.id).where(
                Subscription.customer_id == customer.id,
                Subscription.status == Status.PUBLISHED,
                Subscription.subscription_status.in_(RECEIVING),
            )
        )
        return _whole(await reads.upcoming(session, receiving.all(), clock.now()))


def _of_owner(request: HttpRequest, scope: CreditGrantScope) -> CreditGrantQuery:
    query = read_query(request, CreditGrantQuery)
    query.scope, query.limit = scope, query.limit or LARGEST_LIMIT
    return query


async def _page(session: AsyncSession, query: CreditGrantQuery) -> ListCreditGrantsResponse:
    grants, total = await reads.grants_page(session, query)
    answers = [IncludedCreditGrant.of(grant) for grant in grants]
    answer: ListCreditGrantsResponse = page(answers, total, query, next_offset=True)
    return answer


def _whole(applications: Sequence[CreditGrantApplication]) -> ListCreditGrantApplicationsResponse:
    """A list that is always answered whole."""
    count = len(applications)
    query = ListQuery(limit=LARGEST_LIMIT)
    answer: ListCreditGrantApplicationsResponse = page(_answers(applications), count, query, next_offset=False)
    return answer


def _answers(applications: Sequence[CreditGrantApplication]) -> list[CreditGrantApplicationResponse]:
    return [CreditGrantApplicationResponse.of(application) for application in applications]
