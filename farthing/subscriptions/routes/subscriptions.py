"""Endpoints of subscriptions that never make an invoice: reading, searching, the limited update, schedules.

What may end in an invoice (create, activate, cancel, pause, change, modify, line items, addons) has its endpoints in
`billing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestar import Controller, Request, get, post, put
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.api.queries.expand import expansions
from farthing.api.queries.lists import page, read_query, reader
from farthing.api.work import UnitOfWork, unit_of_work
from farthing.core.clock import Clock
from farthing.core.encoding.wire import Response
from farthing.core.errors import ValidationFailed
from farthing.customers import lookup as customers
from farthing.customers.tables import Customer
from farthing.storage.queries.listing import ListQuery, select_entities
from farthing.storage.queries.rows import find
from farthing.subscriptions.addons import lifecycle
from farthing.subscriptions.changes.tables import SubscriptionSchedule
from farthing.subscriptions.enums import ScheduleStatus
from farthing.subscriptions.lifecycle import cancellation, limited_update, schedules
from farthing.subscriptions.reads import lookup
from farthing.subscriptions.reads.answers import (
    EXPANDABLE,
    ITEMS_EXPANDABLE,
    association_answers,
    item_answers,
    pauses_of,
    schedule_answer,
    subscription_answer,
    subscription_answer_v2,
    subscription_answers,
)
from farthing.subscriptions.reads.entitlements import entitlements_of, entitlements_of_customer
from farthing.subscriptions.reads.shapes import read_subscriptions
from farthing.subscriptions.schemas.requests import UpdateSubscriptionRequest
from farthing.subscriptions.schemas.responses import (
    CancelScheduleRequest,
    CancelScheduleResponse,
    CustomerEntitlementsResponse,
    GetPendingSchedulesResponse,
    ListAddonAssociationsResponse,
    ListSubscriptionLineItemsResponse,
    ListSubscriptionsResponse,
    ScheduleQuery,
    SubscriptionEntitlementsResponse,
    SubscriptionFilter,
    SubscriptionLineItemFilter,
    SubscriptionPauseResponse,
    SubscriptionQuery,
    SubscriptionResponse,
    SubscriptionResponseV2,
    SubscriptionScheduleResponse,
)
from farthing.subscriptions.tables import Subscription

MAY_READ = [needs("subscription", "read")]
MAY_WRITE = [needs("subscription", "write")]


class SubscriptionPausesResponse(Response):
    """The pauses of a subscription, earliest first."""

    items: list[SubscriptionPauseResponse]


class Subscriptions(Controller):
    """Subscriptions, read and searched."""

    path = "/subscriptions"
    tags = ("Subscriptions",)

    @get("/", operation_id="listSubscriptions", guards=MAY_READ, opt={"query": SubscriptionQuery})
    async def browse(self, request: Request[Any, Any, Any]) -> ListSubscriptionsResponse:
        """List subscriptions."""
        return await _page(unit_of_work(request), read_query(request, SubscriptionQuery))

    @post("/search", operation_id="querySubscription", guards=MAY_READ, status_code=200)
    async def search(
        self, request: Request[Any, Any, Any], data: SubscriptionFilter | None = None
    ) -> ListSubscriptionsResponse:
        """Search subscriptions."""
        return await _page(unit_of_work(request), data or SubscriptionFilter())

    @post("/lineitems/search", operation_id="querySubscriptionLineItems", guards=MAY_READ, status_code=200)
    async def search_items(
        self, session: AsyncSession, clock: Clock, data: SubscriptionLineItemFilter | None = None
    ) -> ListSubscriptionLineItemsResponse:
        """Search line items."""
        query = data or SubscriptionLineItemFilter()
        wanted = expansions(query.expand, ITEMS_EXPANDABLE)
        rows, total = await lookup.search_items(session, query, clock.now())
        names = set(wanted) | {nested for each in wanted.values() for nested in each}
        answer: ListSubscriptionLineItemsResponse = page(
            await item_answers(session, rows, names), total, query, next_offset=True
        )
        return answer

    @get("/{id:str}", operation_id="getSubscription", guards=MAY_READ)
    async def read(self, id: str, session: AsyncSession, clock: Clock) -> SubscriptionResponse:
        """Get a subscription with all that belongs to it."""
        return await subscription_answer(session, await find(session, Subscription, id), clock.now())

    @get("/{id:str}/v2", operation_id="getSubscriptionV2", guards=MAY_READ)
    async def read_v2(
        self, id: str, session: AsyncSession, clock: Clock, expand: str | None = None
    ) -> SubscriptionResponseV2:
        """Get a subscription with what is asked for."""
        wanted = expansions(expand, EXPANDABLE)
        return await subscription_answer_v2(session, await find(session, Subscription, id), wanted, clock.now())

    @put("/{id:str}", operation_id="updateSubscription", guards=MAY_WRITE)
    async def update(
        self, id: str, data: UpdateSubscriptionRequest, session: AsyncSession, clock: Clock
    ) -> SubscriptionResponse:
        """Update a subscription."""
        now = clock.now()
        return await subscription_answer(session, await limited_update.update(session, id, data, now), now)

    @post("/{id:str}/uncancel", operation_id="uncancelSubscription", guards=MAY_WRITE, status_code=200)
    async def uncancel(self, id: str, session: AsyncSession, clock: Clock) -> SubscriptionResponse:
        """Take back a cancellation that is still to come."""
        now = clock.now()
        return await subscription_answer(session, await cancellation.uncancel(session, id, now), now)

    @get("/{id:str}/pauses", operation_id="listSubscriptionPauses", guards=MAY_READ)
    async def pauses(self, id: str, session: AsyncSession) -> SubscriptionPausesResponse:
        """List the pauses of a subscription."""
        await find(session, Subscription, id)
        return SubscriptionPausesResponse(items=(await pauses_of(session, [id])).get(id, []))

    @get("/{id:str}/entitlements", operation_id="getSubscriptionEntitlements", guards=MAY_READ)
    async def entitlements(
        self, id: str, session: AsyncSession, feature_ids: list[str] | None = None
    ) -> SubscriptionEntitlementsResponse:
        """Get what a subscription includes in its open period."""
        subscription = await find(session, Subscription, id)
        features = (await entitlements_of(session, [id], split(feature_ids))).get(id, [])
        return SubscriptionEntitlementsResponse(
            subscription_id=subscription.id, plan_id=subscription.plan_id, features=features
        )

    @get("/{id:str}/addons/associations", operation_id="getSubscriptionAddonAssociations", guards=MAY_READ)
    async def addon_associations(self, id: str, session: AsyncSession, clock: Clock) -> ListAddonAssociationsResponse:
        """List the active addons of a subscription."""
        found = await association_answers(session, await lifecycle.associations_of(session, id, clock.now()))
        every = ListQuery(limit=max(len(found), 1))
        answer: ListAddonAssociationsResponse = page(found, len(found), every, next_offset=False)
        return answer


class SubscriptionSchedules(Controller):
    """What shall happen to subscriptions."""

    path = "/subscriptions"
    tags = ("Subscriptions",)

    @get("/schedules", operation_id="listAllSubscriptionSchedules", guards=MAY_READ, opt={"query": ScheduleQuery})
    async def browse(
        self, request: Request[Any, Any, Any], session: AsyncSession, clock: Clock
    ) -> GetPendingSchedulesResponse:
        """List schedules."""
        return await _schedules(session, clock, read_schedules(request))

    @get("/schedules/{schedule_id:str}", operation_id="getSubscriptionSchedule", guards=MAY_READ)
    async def read(self, schedule_id: str, session: AsyncSession, clock: Clock) -> SubscriptionScheduleResponse:
        """Get a schedule."""
        return schedule_answer(await find(session, SubscriptionSchedule, schedule_id), clock.now())

    @post(
        "/schedules/{schedule_id:str}/cancel",
        operation_id="cancelSubscriptionSchedule",
        guards=MAY_WRITE,
        status_code=200,
    )
    async def cancel(
        self, schedule_id: str, session: AsyncSession, clock: Clock, data: CancelScheduleRequest | None = None
    ) -> CancelScheduleResponse:
        """Cancel a schedule before its time."""
        schedule = await find(session, SubscriptionSchedule, schedule_id)
        if data is not None and data.schedule_id and data.schedule_id != schedule.id:
            raise ValidationFailed.of("schedule_id", "is not the schedule that the path names")
        if data is not None and data.subscription_id and data.subscription_id != schedule.subscription_id:
            raise ValidationFailed.of("subscription_id", "is not the subscription of the schedule")
        return _cancelled(await schedules.cancel(session, schedule_id, clock.now()))

    @post("/schedules/cancel", operation_id="cancelSubscriptionScheduleBy", guards=MAY_WRITE, status_code=200)
    async def cancel_by(
        self, data: CancelScheduleRequest, session: AsyncSession, clock: Clock
    ) -> CancelScheduleResponse:
        """Cancel a schedule named by its id, or by subscription and kind."""
        return _cancelled(
            await schedules.cancel_by(session, data.schedule_id, data.subscription_id, data.schedule_type, clock.now())
        )

    @get("/{subscription_id:str}/schedules", operation_id="listSubscriptionSchedules", guards=MAY_READ)
    async def of_subscription(
        self, subscription_id: str, session: AsyncSession, clock: Clock
    ) -> GetPendingSchedulesResponse:
        """List the schedules of a subscription."""
        await find(session, Subscription, subscription_id)
        return await _schedules(session, clock, ScheduleQuery(subscription_id=subscription_id))


class ScheduleAliases(Controller):
    """Other spellings of the same endpoints, which generated clients use."""

    tags = ("Subscriptions",)

    @get(
        "/subscription-schedules",
        operation_id="listSubscriptionSchedulesAliased",
        guards=MAY_READ,
        opt={"query": ScheduleQuery},
    )
    async def browse(
        self, request: Request[Any, Any, Any], session: AsyncSession, clock: Clock
    ) -> GetPendingSchedulesResponse:
        """List schedules."""
        return await _schedules(session, clock, read_schedules(request))

    @get("/subscription-schedules/{id:str}", operation_id="getSubscriptionScheduleAliased", guards=MAY_READ)
    async def read(self, id: str, session: AsyncSession, clock: Clock) -> SubscriptionScheduleResponse:
        """Get a schedule."""
        return schedule_answer(await find(session, SubscriptionSchedule, id), clock.now())

    @get("/v1/subscription-schedules", guards=MAY_READ, include_in_schema=False)
    async def doubled_browse(
        self, request: Request[Any, Any, Any], session: AsyncSession, clock: Clock
    ) -> GetPendingSchedulesResponse:
        """List schedules."""
        return await _schedules(session, clock, read_schedules(request))

    @get("/v1/subscription-schedules/{id:str}", guards=MAY_READ, include_in_schema=False)
    async def doubled_read(self, id: str, session: AsyncSession, clock: Clock) -> SubscriptionScheduleResponse:
        """Get a schedule."""
        return schedule_answer(await find(session, SubscriptionSchedule, id), clock.now())

    @post("/v1/subscriptions/schedules/{id:str}/cancel", guards=MAY_WRITE, status_code=200, include_in_schema=False)
    async def doubled_cancel(
        self, id: str, session: AsyncSession, clock: Clock, data: CancelScheduleRequest | None = None
    ) -> CancelScheduleResponse:
        """Cancel a schedule before its time."""
        del data
        return _cancelled(await schedules.cancel(session, id, clock.now()))

    @get("/v1/subscriptions/{id:str}/schedules", guards=MAY_READ, include_in_schema=False)
    async def doubled_of_subscription(
        self, id: str, session: AsyncSession, clock: Clock
    ) -> GetPendingSchedulesResponse:
        """List the schedules of a subscription."""
        await find(session, Subscription, id)
        return await _schedules(session, clock, ScheduleQuery(subscription_id=id))


class CustomerSubscriptions(Controller):
    """The subscriptions of a customer, by the tenant's own id."""

    path = "/customers"
    tags = ("Customers",)

    @get(
        "/external/{external_id:str}/subscriptions",
        operation_id="getCustomerSubscriptionsByExternalId",
        guards=MAY_READ,
    )
    async def of_customer(
        self, external_id: str, request: Request[Any, Any, Any], session: AsyncSession, expand: str | None = None
    ) -> ListSubscriptionsResponse:
        """List the subscriptions of the published customer with this external id."""
        customer = await customers.by_external_id(session, external_id)
        query = SubscriptionFilter(customer_id=customer.id, expand=expand, limit=1000)
        return await _page(unit_of_work(request), query)

    @get("/{id:str}/entitlements", operation_id="getCustomerEntitlements", guards=MAY_READ)
    async def entitlements(
        self,
        id: str,
        session: AsyncSession,
        clock: Clock,
        feature_ids: list[str] | None = None,
        subscription_ids: list[str] | None = None,
    ) -> CustomerEntitlementsResponse:
        """Get what a customer may use."""
        customer = await find(session, Customer, id)
        return await _entitlements(session, customer.id, feature_ids, subscription_ids, clock)

    @get(
        "/external/{external_id:str}/entitlements",
        operation_id="getCustomerEntitlementsByExternalID",
        guards=MAY_READ,
    )
    async def entitlements_by_external_id(
        self,
        external_id: str,
        session: AsyncSession,
        clock: Clock,
        feature_ids: list[str] | None = None,
        subscription_ids: list[str] | None = None,
    ) -> CustomerEntitlementsResponse:
        """Get what the published customer with this external id may use."""
        customer = await customers.by_external_id(session, external_id)
        return await _entitlements(session, customer.id, feature_ids, subscription_ids, clock)


async def _entitlements(
    session: AsyncSession,
    customer_id: str,
    feature_ids: list[str] | None,
    subscription_ids: list[str] | None,
    clock: Clock,
) -> CustomerEntitlementsResponse:
    rows = await lookup.entitling(session, customer_id, split(subscription_ids))
    features = await entitlements_of_customer(session, [row.id for row in rows], split(feature_ids))
    answers = await subscription_answers(session, rows, {}, clock.now())
    return CustomerEntitlementsResponse(customer_id=customer_id, subscriptions=answers, features=features)


def split(given: list[str] | None) -> list[str]:
    """A list in a query string, whether its values are repeated or separated by commas."""
    return [value for text in given or () for value in text.split(",") if value]


async def _page(work: UnitOfWork, query: SubscriptionQuery) -> ListSubscriptionsResponse:
    wanted = expansions(query.expand, EXPANDABLE)
    wanted.setdefault("plan", set())
    if query.with_line_items:
        wanted.setdefault("subscription_line_items", set())
    if query.with_coupon_associations:
        wanted.setdefault("coupon_associations", set())
    statements = lookup.page_of_subscriptions(query)
    answers: Sequence[SubscriptionResponse]
    if wanted == {"plan": set()}:
        answers, total = await read_subscriptions(await reader(work, query), statements)
    else:
        session = await work.admitted_session()
        rows, total = await select_entities(session, Subscription, statements)
        answers = await subscription_answers(session, rows, wanted, work.clock.now())
    answer: ListSubscriptionsResponse = page(answers, total, query, next_offset=True)
    return answer


def read_schedules(request: Request[Any, Any, Any]) -> ScheduleQuery:
    """The query string of a list of schedules."""
    return read_query(request, ScheduleQuery)


async def _schedules(session: AsyncSession, clock: Clock, query: ScheduleQuery) -> GetPendingSchedulesResponse:
    status = query.schedule_status
    if query.pending_only:
        if status not in {None, ScheduleStatus.PENDING}:
            raise ValidationFailed.of("schedule_status", "contradicts pending_only")
        status = ScheduleStatus.PENDING
    ids = [*(query.subscription_ids or ()), *([query.subscription_id] if query.subscription_id else [])]
    rows, total = await schedules.search(
        session,
        query,
        subscription_ids=ids,
        type=query.schedule_type,
        status=status,
    )
    now = clock.now()
    return GetPendingSchedulesResponse(schedules=[schedule_answer(row, now) for row in rows], count=total)


def _cancelled(schedule: SubscriptionSchedule) -> CancelScheduleResponse:
    return CancelScheduleResponse(
        status=schedule.schedule_status, message=f"scheduled {schedule.schedule_type.value} cancelled successfully"
    )
