"""The application: every route, the conventions around them, and what must live as long as the process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec
import structlog
from litestar import Litestar, Request, Response, Router, get
from litestar.datastructures import State
from litestar.di import Provide
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.spec import Components
from litestar.types import ControllerRouterHandler
from procrastinate import App
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

import farthing
from farthing.api.body import JsonBody
from farthing.api.guards import AccessControl
from farthing.api.kept_document import kept_document
from farthing.api.openapi import ApiDocument, document
from farthing.api.services import give_services, services_in, services_of
from farthing.api.transport.bodies import BodyReader, ReadTimes
from farthing.api.transport.client_address import ClientAddresses
from farthing.api.transport.direct import handled_directly
from farthing.api.transport.edge import Edge
from farthing.api.transport.ratelimit import RateLimits
from farthing.api.transport.segments import slashes_kept, slashes_restored
from farthing.api.work import unit_of_work
from farthing.billing.clock.routes import Clocks
from farthing.billing.corrections.routes import InvoiceCorrections
from farthing.billing.dunning.routes import DunningOfCustomers, DunningQueue, InvoiceDunning
from farthing.billing.period_invoice_routes import PeriodInvoices
from farthing.billing.routes import SubscriptionLife, SubscriptionParts
from farthing.catalogue.costs.routes import CostSheets
from farthing.catalogue.discounts.routes import CouponAssociations, Coupons
from farthing.catalogue.fx.routes import FxRates
from farthing.catalogue.products.routes import Features, Groups, Meters
from farthing.catalogue.routes.entitlements import AddonEntitlements, Entitlements, PlanEntitlements
from farthing.catalogue.routes.plans import Addons, Plans
from farthing.catalogue.routes.prices import Prices, PriceUnits
from farthing.catalogue.taxes.routes import TaxAssociations, TaxRates
from farthing.checkout.routes import Checkouts
from farthing.core.caller import Caller
from farthing.core.clock import Clock
from farthing.core.composition import Composition
from farthing.core.encoding.times import MomentText, decode_special
from farthing.credits.grants.routes import (
    AddonCreditGrants,
    CreditGrants,
    CustomerGrants,
    PlanCreditGrants,
    SubscriptionGrants,
)
from farthing.credits.invoicing.routes import InvoiceCreditsPreview
from farthing.credits.notes.routes import CreditNotes
from farthing.credits.routes import CustomerWallets, Wallets
from farthing.customers.routes import Customers
from farthing.erasure.routes import CustomerErasure
from farthing.events.corrections.routes import EventCorrections
from farthing.events.ingest.group_commit import Ingest
from farthing.events.routes import EventIngestion, EventQueries
from farthing.events.usage.event_store import EventStore
from farthing.health import Health, health, metrics_page, posted_health, ready
from farthing.identity.authentication import HeaderAuthenticator
from farthing.identity.credentials.api_keys import record_rehashed, record_used
from farthing.identity.credentials.master_key import MasterKeys, confirm
from farthing.identity.credentials.sealing import SealedBox
from farthing.identity.routes import ApiKeys, Environments, Roles, SettingsByKey, SignIn, Tenants, Users
from farthing.identity.sign_in import second_factor
from farthing.identity.sign_in.sessions import record_seen
from farthing.invoices.annotations.routes import CustomerNotes, InvoiceNotes
from farthing.invoices.ports import InvoicePorts
from farthing.invoices.receivables.routes import CustomerInvoiceSummaries
from farthing.invoices.routes import Invoices, open_document
from farthing.jobs.duties.duty import KnownDuties
from farthing.jobs.duties.schedule import duties
from farthing.jobs.routes import EnvironmentCloning
from farthing.jobs.workers.pace import WorkerState
from farthing.jobs.workers.worker import queue_of
from farthing.jobs.workflows.routes import Workflows
from farthing.marketplaces.routes import MarketplaceAgreements, UsageRecords
from farthing.notifications.activity.routes import ActivityLog
from farthing.notifications.alerts.routes import Alerts, AlertSettingsByEntity
from farthing.notifications.email.routes import CustomerEmails
from farthing.notifications.webhooks.delivery.client import WebhookClient
from farthing.notifications.webhooks.delivery.post import AttemptSender
from farthing.notifications.webhooks.delivery.signing import SecretsBox
from farthing.notifications.webhooks.event_schemas import described_webhooks
from farthing.notifications.webhooks.routes import WebhookEndpoints, Webhooks
from farthing.own_billing.routes import SelfBilling, TenantBilling
from farthing.payments.integration_routes import Connections, Integrations, ProviderWebhooks
from farthing.payments.integrations.gateways import Gateways
from farthing.payments.refunds.routes import CustomerUnappliedRefunds, Refunds
from farthing.payments.routes import CustomerPaymentMethods, InvoiceCollection, Payments, SavedMethods
from farthing.payments.testing_provider.routes import TestGateway
from farthing.payments.unapplied.routes import CustomerUnappliedMoney, InvoiceOverpayments
from farthing.reporting.account_routes import CustomerStatements, InvoiceLineExplanations
from farthing.reporting.analytics.routes import Analytics, AnalyticsViews
from farthing.reporting.cost_routes import CostAnalytics
from farthing.reporting.revenue.routes import Revenue
from farthing.reporting.usage_routes import CustomerUsage
from farthing.settings import Settings
from farthing.storage.notices import Listener
from farthing.storage.postgres import Database
from farthing.subscriptions.routes.price_sync import AddonPriceSync, PlanPriceSync
from farthing.subscriptions.routes.subscriptions import (
    CustomerSubscriptions,
    ScheduleAliases,
    Subscriptions,
    SubscriptionSchedules,
)
from farthing.transfer.routes import BillingTriggers, ScheduledTasks, Tasks, open_exported_file
from farthing.web.access.sessions import Sessions
from farthing.web.api_reference.pages import ArrangedDocument
from farthing.web.portal.routes import PortalEndpoints
from farthing.web.rendering.answers import answer
from farthing.web.site import site

log = structlog.get_logger(__name__)

ROUTES: Sequence[ControllerRouterHandler] = (
    # one line per controller, in the order of the layers
    SignIn,
    Tenants,
    Environments,
    Users,
    ApiKeys,
    Roles,
    SettingsByKey,
    Customers,
    CustomerEmails,
    CustomerErasure,
    Entitlements,
    PlanEntitlements,
    AddonEntitlements,
    Coupons,
    CouponAssociations,
    TaxRates,
    TaxAssociations,
    FxRates,
    CostSheets,
    Groups,
    Meters,
    Features,
    PriceUnits,
    Prices,
    Plans,
    Addons,
    EventIngestion,
    EventQueries,
    EventCorrections,
    Subscriptions,
    SubscriptionSchedules,
    ScheduleAliases,
    CustomerSubscriptions,
    PlanPriceSync,
    AddonPriceSync,
    CustomerUsage,
    CostAnalytics,
    Analytics,
    AnalyticsViews,
    Revenue,
    CustomerStatements,
    InvoiceLineExplanations,
    CustomerInvoiceSummaries,
    CustomerNotes,
    InvoiceNotes,
    Invoices,
    open_document,
    SubscriptionLife,
    Clocks,
    SubscriptionParts,
    PeriodInvoices,
    InvoiceCorrections,
    MarketplaceAgreements,
    UsageRecords,
    DunningQueue,
    InvoiceDunning,
    DunningOfCustomers,
    Payments,
    SavedMethods,
    CustomerPaymentMethods,
    InvoiceCollection,
    Refunds,
    CustomerUnappliedMoney,
    CustomerUnappliedRefunds,
    InvoiceOverpayments,
    Connections,
    Integrations,
    ProviderWebhooks,
    TestGateway,
    Wallets,
    CustomerWallets,
    CreditNotes,
    InvoiceCreditsPreview,
    CreditGrants,
    PlanCreditGrants,
    AddonCreditGrants,
    SubscriptionGrants,
    CustomerGrants,
    Checkouts,
    PortalEndpoints,
    Webhooks,
    WebhookEndpoints,
    ActivityLog,
    Alerts,
    AlertSettingsByEntity,
    ScheduledTasks,
    BillingTriggers,
    Tasks,
    open_exported_file,
    EnvironmentCloning,
    Workflows,
    SelfBilling,
    TenantBilling,
)
"""Everything under /v1."""


@dataclass(frozen=True, kw_only=True)
class Services(Composition):
    """What lives as long as the process; routes find each by its type."""

    settings: Settings
    database: Database
    queue: App
    duties: KnownDuties
    health: Health
    notices: Listener
    gateways: Gateways
    sender: AttemptSender
    ingest: Ingest
    authenticator: HeaderAuthenticator
    access: AccessControl
    master_keys: MasterKeys
    second_factor_box: SealedBox
    client_addresses: ClientAddresses
    sessions: Sessions
    api_reference: ArrangedDocument


@get("/openapi.json", include_in_schema=False, sync_to_thread=True)
def openapi() -> Response[bytes]:
    """Our OpenAPI document."""
    return Response(encoded_document(), media_type="application/json")


@cache
def encoded_document() -> bytes:
    """Our OpenAPI document as JSON, as it is kept."""
    return kept_document(described)


def read_document() -> dict[str, Any]:
    """Our OpenAPI document as values."""
    document: dict[str, Any] = msgspec.json.decode(encoded_document())
    return document


def described() -> dict[str, Any]:
    """Our OpenAPI document."""
    return document(routes_only(), described_webhooks())


async def provide_session(request: Request[Any, Any, Any]) -> AsyncSession:
    return await unit_of_work(request).admitted_session()


def provide_clock(request: Request[Any, Any, Any]) -> Clock:
    return unit_of_work(request).clock


def provide_caller(request: Request[Any, Any, Any]) -> Caller:
    caller = unit_of_work(request).caller
    assert caller is not None, "the route has no guard"
    return caller


def provide_services(request: Request[Any, Any, Any]) -> Composition:
    return services_of(request)


PROVIDED: Mapping[str, Callable[[Request[Any, Any, Any]], Any]] = {
    "services": provide_services,
    "session": provide_session,
    "clock": provide_clock,
    "caller": provide_caller,
}
"""What every handler may take, by the name of its parameter."""


def routes_only() -> Litestar:
    """The routes without a database, for printing their OpenAPI document."""
    config = OpenAPIConfig(
        title="Farthing API",
        version=farthing.__version__,
        description="Usage-based billing, exact to the farthing.",
        components=Components(),
    )
    return _litestar(config)


def arranged() -> Litestar:
    """The routes of an application to be: `create_app` gives them what they work with.

    Arranging them takes seconds and tens of megabytes, so that processes that serve together have it done before they
    part. Each can be given to one application only.
    """
    return _litestar()


def _litestar(documented: OpenAPIConfig | None = None) -> Litestar:
    """`documented` is not for the application that is served: the framework would add pages of its own."""
    return Litestar(
        route_handlers=[
            Router("/v1", route_handlers=list(ROUTES)),
            health,
            posted_health,
            ready,
            openapi,
            metrics_page,
            site,
        ],
        middleware=[slashes_restored],
        dto=JsonBody,
        type_decoders=[(lambda kind: kind is MomentText, decode_special)],  # times that handlers take as parameters
        return_dto=None,
        dependencies={
            name: Provide(provide, sync_to_thread=None if provide is provide_session else False)
            for name, provide in PROVIDED.items()
        },
        exception_handlers={Exception: answer},
        lifespan=[] if documented else [_lifespan],
        state=State({}),
        logging_config=None,
        openapi_config=documented,
        request_max_body_size=None,  # bounded before it comes here: see `api.transport.bodies`
    )


async def _record_used_keys(services: Services) -> None:
    """Write down once a minute, off every request's path, which API keys were used and which sessions seen."""
    authenticator = services.authenticator
    while True:
        await asyncio.sleep(60)
        try:
            await record_used(services.database, authenticator.take_used())
            await record_rehashed(services.database, authenticator.take_rehashed())
            await record_seen(services.database, authenticator.seen_sessions.take())
        except (SQLAlchemyError, OSError) as error:
            log.warning("used_keys.not_recorded", error=str(error))


def create_app(
    settings: Settings,
    database: Database,
    listener: Listener | None = None,
    worker: WorkerState | None = None,
    limits: RateLimits | None = None,
    routes: Litestar | None = None,
) -> Edge:
    """The whole ASGI application on one database. It starts and stops `listener` with itself.

    `worker` is the one of this process, or of those it serves with, if there is one; `limits` is what they count
    together. `routes` are those that were `arranged` before, if they were.
    """
    notices = listener or Listener(database.url)
    limits = limits or RateLimits.of(settings.rate_limit_per_second, settings.rate_limit_burst)
    services = _services(settings, database, notices, worker, limits)
    app = routes or arranged()
    give_services(app.state, services)

    async def identify(headers: Mapping[bytes, bytes]) -> str:
        return (await services.authenticator.by_headers(headers, needs_environment=False)).tenant_id

    return Edge(
        slashes_kept(handled_directly(app, PROVIDED, "session", answer)),
        services.database,
        settings.origins,
        BodyReader(identify, ReadTimes(), services.database.activity),
        addresses=services.client_addresses,
        access_log=settings.access_log,
    )


def _services(
    settings: Settings, database: Database, notices: Listener, worker: WorkerState | None, limits: RateLimits
) -> Services:
    """What the handlers of this process work with. The queue and the look at health keep clear of requests' limits."""
    known = duties(database, settings)
    health_database = Database(database.url, database.ports, pool_size=1)
    jobs_queue = queue_of(database, known)
    database = database.for_requests(
        settings.request_timeouts, settings.tenant_connections, settings.connection_wait_seconds
    )
    authenticator = HeaderAuthenticator(database, settings, notices)
    return Services(
        settings=settings,
        database=database,
        queue=jobs_queue,
        duties=KnownDuties(known),
        health=Health(health_database, known, worker, started_at=database.clock.now()),
        notices=notices,
        gateways=Gateways(database, settings, database.ports.part(InvoicePorts).hooks),
        sender=AttemptSender(
            WebhookClient(allow_private=settings.webhook_allow_private),
            SecretsBox.under(settings.master_key()),
            database.clock,
        ),
        ingest=Ingest(database.url, database.ports.part(EventStore).append_measured),
        authenticator=authenticator,
        access=AccessControl(authenticator, limits.requests, limits.sign_in),
        master_keys=authenticator.keys,
        second_factor_box=SealedBox(authenticator.keys.current, second_factor.PURPOSE),
        client_addresses=ClientAddresses(settings.proxies(), settings.forwarded_header),
        sessions=Sessions(settings, authenticator.keys),
        api_reference=ArrangedDocument(ApiDocument(read_document)),
    )


@asynccontextmanager
async def _lifespan(app: Litestar) -> AsyncIterator[None]:
    """What starts with the application and is stopped with it."""
    services: Services = services_in(app.state)  # type: ignore[assignment]  # as `create_app` gave them
    await confirm(services.database, services.master_keys)
    await services.notices.start()
    await services.ingest.start()
    await services.health.look()  # takes its connection while there are some
    recording = asyncio.create_task(_record_used_keys(services), name="used keys")
    try:
        yield
    finally:
        recording.cancel()
        await services.ingest.stop()
        await services.sender.client.close()
        await services.notices.stop()
        await services.health.close()
