"""Endpoints of the customer portal: what one customer may see of itself, over JSON.

Rule: docs/rules/customers.md#portal
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from litestar import Controller, Request, Response, get, post, put
from msgspec import Meta
from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.work import LONG_READ, unit_of_work
from farthing.core.clock import Clock
from farthing.core.composition import Composition
from farthing.core.encoding import wire
from farthing.core.encoding.internals import without_internals
from farthing.core.enums import Status
from farthing.core.errors import PermissionDenied, ValidationFailed
from farthing.customers import lifecycle
from farthing.customers.schemas import (
    MOST_CONTACT_PERSONS,
    CustomerContactPerson,
    CustomerResponse,
    UpdateCustomerRequest,
)
from farthing.events.analytics.usage_cost import bounded_analytics
from farthing.events.requests import GetUsageAnalyticsRequest
from farthing.events.schemas import GetUsageAnalyticsResponse
from farthing.identity.settings import current
from farthing.identity.settings.catalogue import CustomerPortalConfig
from farthing.invoices.reads import documents
from farthing.invoices.reads.presentation import all_shown
from farthing.invoices.receivables.summary import CustomerMultiCurrencyInvoiceSummary, SummaryScope, summarise
from farthing.invoices.schemas import InvoiceResponse, PresignedUrlResponse
from farthing.invoices.tables import Invoice
from farthing.reporting.feature_usage import CustomerUsageSummaryResponse, features_asked, usage_summary
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.storage.queries.listing import Pagination
from farthing.storage.queries.rows import not_found
from farthing.subscriptions.reads.answers import subscription_answers
from farthing.subscriptions.routes.subscriptions import split
from farthing.subscriptions.schemas.responses import SubscriptionResponse
from farthing.subscriptions.tables import Subscription
from farthing.web.portal.visit.session import VISIBLE, PortalVisit, customer_of, in_header, payable_invoice, visit_of
from farthing.web.portal.visit.showing import require_offered

HttpRequest = Request[Any, Any, Any]
READS = in_header(None)
READS_INVOICES = in_header("invoices")
READS_USAGE = in_header("usage")
WRITES_DETAILS = in_header("edit_details", read_only=False)

LARGEST_LIMIT = 100
LAST_PAGE = 10**9


class PortalPage(wire.Request):
    """Which page; anything else a body holds, a customer's id above all, is ignored."""

    page: int = 1
    limit: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.page <= LAST_PAGE:
            raise ValidationFailed.of("page", f"must be between 1 and {LAST_PAGE}")
        if not 1 <= self.limit <= LARGEST_LIMIT:
            raise ValidationFailed.of("limit", f"must be between 1 and {LARGEST_LIMIT}")

    @property
    def offset(self) -> int:
        return (self.page - 1) * self.limit


class PortalInfoRequest(wire.Request):
    """What a customer may change of itself."""

    name: str | None = None
    email: str | None = None
    contact: str | None = None
    address_line1: str | None = None
    address_line2: str | None = None
    address_city: str | None = None
    address_state: str | None = None
    address_postal_code: str | None = None
    address_country: str | None = None
    contact_persons: Annotated[list[CustomerContactPerson], Meta(max_length=MOST_CONTACT_PERSONS)] | None = None
    timezone: str | None = None
    language: Literal["", "en", "de", "fr", "es", "hi", "ja"] | None = None
    tax_id: str | None = None
    """Where the merchant lets customers change it."""


class PortalSubscriptions(wire.Response):
    """A page of the customer's subscriptions."""

    items: list[SubscriptionResponse]
    pagination: Pagination


class PortalInvoices(wire.Response):
    """A page of the customer's invoices."""

    items: list[InvoiceResponse]
    pagination: Pagination


class PortalEndpoints(Controller):
    """What a customer may see of itself, and little it may change."""

    path = "/customer/portal"
    tags = ("Customer Portal",)

    @get("/info", operation_id="getPortalInfo", guards=[READS])
    async def info(self, request: HttpRequest, session: AsyncSession) -> CustomerResponse:
        """The customer."""
        return without_internals(CustomerResponse.of(await customer_of(session, visit_of(request))))

    @put("/info", operation_id="updatePortalInfo", guards=[WRITES_DETAILS])
    async def change_info(
        self, data: PortalInfoRequest, request: HttpRequest, session: AsyncSession, services: Composition
    ) -> CustomerResponse:
        """Change the customer's own name, addresses, persons or time zone, and nothing else."""
        if data.tax_id is not None:
            require_offered(visit_of(request), "edit_tax_id")
        said = {name: getattr(data, name) for name in data.__struct_fields__ if getattr(data, name) is not None}
        changed = await lifecycle.update(
            session,
            UpdateCustomerRequest(**said),
            customer_id=visit_of(request).customer_id,
            strict_ids=services.part(Settings).strict_external_ids,
        )
        return without_internals(CustomerResponse.of(changed))

    @post("/subscriptions", operation_id="listPortalSubscriptions", guards=[READS], status_code=200)
    async def subscriptions(
        self, request: HttpRequest, session: AsyncSession, clock: Clock, data: PortalPage | None = None
    ) -> PortalSubscriptions:
        """What the customer uses or pays for."""
        asked, mine = data or PortalPage(), _subscribed(visit_of(request))
        total = await session.scalar(select(func.count()).select_from(Subscription).where(*mine)) or 0
        order = (Subscription.created_at.desc(), Subscription.id.desc())
        rows = await session.scalars(
            select(Subscription).where(*mine).order_by(*order).limit(asked.limit).offset(asked.offset)
        )
        items = without_internals(await subscription_answers(session, rows.all(), {}, clock.now()))
        return PortalSubscriptions(
            items=items, pagination=Pagination(total=total, limit=asked.limit, offset=asked.offset)
        )

    @get("/subscriptions/{id:str}", operation_id="getPortalSubscription", guards=[READS])
    async def subscription(
        self, id: str, request: HttpRequest, session: AsyncSession, clock: Clock
    ) -> SubscriptionResponse:
        """One of them."""
        row = await session.scalar(select(Subscription).where(Subscription.id == id, *_subscribed(visit_of(request))))
        if row is None:
            raise not_found(Subscription, id)
        return without_internals((await subscription_answers(session, [row], {}, clock.now()))[0])

    @post("/invoices", operation_id="listPortalInvoices", guards=[READS_INVOICES], status_code=200)
    async def invoices(
        self, request: HttpRequest, session: AsyncSession, data: PortalPage | None = None
    ) -> PortalInvoices:
        """Invoices the customer pays, and those that others pay for what it uses, without who pays and how."""
        asked, visit = data or PortalPage(), visit_of(request)
        mine = (
            or_(Invoice.customer_id == visit.customer_id, Invoice.subscription_customer_id == visit.customer_id),
            Invoice.status == Status.PUBLISHED,
            Invoice.invoice_status.in_(VISIBLE),
        )
        total = await session.scalar(select(func.count()).select_from(Invoice).where(*mine)) or 0
        order = (Invoice.created_at.desc(), Invoice.id.desc())
        rows = await session.scalars(
            select(Invoice).where(*mine).order_by(*order).limit(asked.limit).offset(asked.offset)
        )
        items = without_internals(await all_shown(session, rows.all()))
        for item in items:
            if item.customer_id != visit.customer_id:
                item.customer = None
                item.paid_at = None
        return PortalInvoices(items=items, pagination=Pagination(total=total, limit=asked.limit, offset=asked.offset))

    @get("/invoices/summary", operation_id="getPortalInvoiceSummary", guards=[READS_INVOICES])
    async def summary(self, request: HttpRequest, clock: Clock) -> CustomerMultiCurrencyInvoiceSummary:
        """What the customer is asked to pay, per currency."""
        work = unit_of_work(request)
        return await summarise(
            work.database, work.scope, visit_of(request).customer_id, clock.now(), SummaryScope.BILLED
        )

    @get("/invoices/{id:str}", operation_id="getPortalInvoice", guards=[READS_INVOICES])
    async def invoice(self, id: str, request: HttpRequest, session: AsyncSession) -> InvoiceResponse:
        """An invoice the customer pays."""
        invoice = await payable_invoice(session, visit_of(request), id)
        return without_internals((await all_shown(session, [invoice]))[0])

    @get("/invoices/{id:str}/pdf", operation_id="getPortalInvoicePdf", guards=[READS_INVOICES])
    async def pdf(
        self, id: str, request: HttpRequest, session: AsyncSession, services: Composition
    ) -> Response[PresignedUrlResponse]:
        """An address where the invoice can be fetched for a while."""
        invoice = await payable_invoice(session, visit_of(request), id)
        now = services.part(Database).clock.now()
        url = documents.link(invoice, services.part(Settings).base_url, services.part(Settings).master_key(), now)
        answer = PresignedUrlResponse(presigned_url=url)
        return Response(answer, headers={"Cache-Control": "no-store"}, media_type="application/json")

    @get("/usage", operation_id="getPortalUsage", guards=[READS_USAGE])
    async def usage(
        self,
        request: HttpRequest,
        session: AsyncSession,
        clock: Clock,
        feature_ids: list[str] | None = None,
    ) -> CustomerUsageSummaryResponse:
        """What the customer has used of each feature, in the feature's own period."""
        customer = await customer_of(session, visit_of(request))
        wanted = await features_asked(session, split(feature_ids), [])
        return without_internals(await usage_summary(session, customer, wanted, [], clock.now()))

    @get("/config", operation_id="getPortalConfig", guards=[READS])
    async def config(self, session: AsyncSession) -> dict[str, Any]:
        """What the portal shows, and in which colours."""
        return (await current.effective(session, CustomerPortalConfig)).value

    @post(
        "/analytics/revenue",
        operation_id="getPortalUsageAnalytics",
        guards=[READS_USAGE],
        status_code=200,
        opt={LONG_READ: True},
    )
    async def usage_analytics(
        self,
        request: HttpRequest,
        session: AsyncSession,
        clock: Clock,
        data: GetUsageAnalyticsRequest | None = None,
    ) -> GetUsageAnalyticsResponse:
        """The customer's usage and what it comes to; a customer named in the body is replaced by the session's."""
        asked = data or GetUsageAnalyticsRequest()
        asked.external_customer_id = (await customer_of(session, visit_of(request))).external_id
        asked.include_children = False
        return without_internals(await bounded_analytics(session, asked, clock.now()))

    @post(
        "/analytics/cost", operation_id="getPortalCostAnalytics", guards=[READS], status_code=200, opt={LONG_READ: True}
    )
    async def cost_analytics(self, session: AsyncSession) -> dict[str, Any]:
        """The merchant's costs: never shown, unless the merchant says so, and then by the floor that knows them."""
        raise PermissionDenied("insufficient permissions")


def _subscribed(visit: PortalVisit) -> tuple[Any, ...]:
    return (
        or_(Subscription.customer_id == visit.customer_id, Subscription.payer_id == visit.customer_id),
        Subscription.status == Status.PUBLISHED,
    )
