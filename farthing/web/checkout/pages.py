"""The page of a checkout, and the built-in provider's page as a payer sees it.

Rule: docs/rules/checkout.md#the-hosted-page
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from litestar import Controller, Response, get, post
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import AccessControl
from farthing.api.services import services_of
from farthing.api.work import unit_of_work
from farthing.checkout.conclusion import ending
from farthing.checkout.tables import OPEN, CheckoutSession
from farthing.core.caller import Caller
from farthing.core.checkout import CheckoutStatus
from farthing.core.clock import Clock
from farthing.core.composition import Composition
from farthing.core.enums import Status
from farthing.core.errors import FarthingError, NotFound, PermissionDenied
from farthing.core.origin import Actor, ActorType, ChangeSource
from farthing.core.standards.languages import LANGUAGES
from farthing.customers.tables import Customer
from farthing.identity.tables import Environment, InternalStatus, Tenant
from farthing.invoices.figures.computation import published_lines
from farthing.invoices.reads.reading_zones import reading_zone
from farthing.invoices.tables import Invoice
from farthing.notifications.email.content.wording import CurrencyAmount, written
from farthing.payments.shared_by_routes import provide_gateways
from farthing.payments.tables import Payment
from farthing.payments.testing_provider import pages as test_pages
from farthing.payments.testing_provider.pages import Delivery
from farthing.payments.testing_provider.tables import HostedPageState
from farthing.storage.midway import commit_midway
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM
from farthing.web.access.visitors import form_of
from farthing.web.portal.paying import WAY_BACK, is_simulated
from farthing.web.portal.visit.session import is_session_of
from farthing.web.rendering.answers import HttpRequest, go, private, refused, render
from farthing.web.rendering.languages import CHECKOUT, choose_language, moment_in, page_texts

Connection = ASGIConnection[Any, Any, Any, Any]
Guard = Callable[[Connection, BaseRouteHandler], Awaitable[None]]
_VISIT = "farthing.checkout"


@dataclass(frozen=True, slots=True)
class CheckoutVisit:
    """A payer on the page of a checkout."""

    checkout: CheckoutSession
    seller: str


def _visit(request: HttpRequest) -> CheckoutVisit:
    visit: CheckoutVisit = request.scope[_VISIT]  # type: ignore[literal-required]  # put there by the guard
    return visit


def by_key(*, read_only: bool = True) -> Guard:
    """Begin the request as the payer of the checkout whose key is in the address.

    Raises NotFound for any other; PermissionDenied for a change in a suspended tenant.
    """

    async def guard(connection: Connection, _: BaseRouteHandler) -> None:
        services = services_of(connection)
        environment_id, _dot, key = str(connection.path_params.get("token", "")).partition(".")
        async with services.part(Database).transaction(SYSTEM, read_only=True) as rows:
            environment = await rows.get(Environment, environment_id)
            tenant = None if environment is None else await rows.get(Tenant, environment.tenant_id)
        if environment is None or tenant is None or environment.status is not Status.PUBLISHED or not key:
            raise NotFound("No such checkout")
        is_suspended = tenant.internal_status is InternalStatus.SUSPENDED
        if is_suspended and not read_only:
            raise PermissionDenied("tenant account is suspended")
        payer = Actor(ActorType.PORTAL, "payer", "payer of a checkout")
        caller = Caller(
            tenant_id=tenant.id,
            environment_id=environment.id,
            user_id="",
            credential_id=key,
            actor=payer,
            tenant_suspended=is_suspended,
            frozen_time=environment.frozen_time,
        )
        services.part(AccessControl).limiter.take(f"{caller.tenant_id}/{key}")
        work = unit_of_work(connection)
        work.begin(caller, read_only=read_only, source=ChangeSource.PORTAL)
        await work.admit()
        checkout = await work.session.scalar(select(CheckoutSession).where(CheckoutSession.page_key == key))
        if checkout is None:
            raise NotFound("No such checkout")
        work.act_as(Actor(ActorType.PORTAL, checkout.customer_id, "payer of a checkout"), ChangeSource.PORTAL)
        connection.scope[_VISIT] = CheckoutVisit(checkout, tenant.name)  # type: ignore[literal-required]  # read by `_visit`

    guard.needs = None  # type: ignore[attr-defined]  # read by the tests that walk every page
    return guard


class CheckoutPages(Controller):
    """What the payer of a checkout sees; the address is the credential."""

    path = "/checkout"
    include_in_schema = False

    @get("/{token:str}", guards=[by_key()])
    async def show(self, token: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """What is paid for, and the way to pay it; or how it ended."""
        visit = _visit(request)
        checkout = visit.checkout
        payment = await session.get_one(Payment, checkout.payment_id)
        invoice = await session.get_one(Invoice, checkout.invoice_id)
        url = payment.payment_url or ""
        pay_url = f"/checkout/{token}/test-payment" if is_simulated(payment) else url
        done = checkout.checkout_status is CheckoutStatus.COMPLETED
        leads_to = checkout.success_url if done else checkout.failure_url or checkout.cancel_url
        return _page(
            request,
            "checkout/page.html",
            token=token,
            is_open=checkout.checkout_status in OPEN,
            pay_url=pay_url,
            invoice=invoice,
            lines=await published_lines(session, invoice.id),
            zone=await reading_zone(session, invoice),
            leads_to=leads_to,
            host=urlsplit(leads_to or "").hostname,
            portal=None if leads_to else await _portal_of(request, session),
        )

    @post("/{token:str}/cancel", guards=[by_key(read_only=False)])
    async def cancel(
        self, token: str, request: HttpRequest, session: AsyncSession, services: Composition, clock: Clock
    ) -> Response[str]:
        """End the checkout; the payer goes back to where it came from."""
        checkout = _visit(request).checkout
        try:
            await ending.cancel_and_close_page(session, provide_gateways(services), checkout.id, clock)
        except FarthingError as error:
            return private(await refused(request, f"/checkout/{token}", error))
        return private(go(f"/checkout/{token}{_query(request)}"))

    @get("/{token:str}/test-payment", guards=[by_key()])
    async def test_page(
        self, token: str, request: HttpRequest, session: AsyncSession, services: Composition
    ) -> Response[str]:
        """The built-in provider's page, as a person sees it."""
        page = (await test_pages.open_page(provide_gateways(services), await _page_id(session, request))).page
        if page.state is not HostedPageState.OPEN:
            return private(go(f"/checkout/{token}{_query(request)}"))
        return _page(request, "checkout/test_payment.html", token=token, page=page)

    @post("/{token:str}/test-payment", guards=[by_key(read_only=False)])
    async def act_on_test_page(
        self, token: str, request: HttpRequest, session: AsyncSession, services: Composition
    ) -> Response[str]:
        """Pay, be declined, or be asked for confirmation first."""
        page_id = await _page_id(session, request)
        await commit_midway(session)  # nothing was written; the provider's page has transactions of its own
        here, language = f"/checkout/{token}", choose_language(request.query_params.get("lang"), accepted="")
        asked = form_of(request).get("action")
        if asked == "challenge":
            return private(go(f"{here}/test-payment?lang={language}&confirm=yes"))
        action = "succeed" if asked == "pay" else "fail"
        gateways = provide_gateways(services)
        try:
            await test_pages.act(gateways, await test_pages.open_page(gateways, page_id), action, Delivery.NOW)
        except FarthingError as error:
            return private(await refused(request, here, error))
        if action == "fail":
            return private(go(f"{here}/test-payment?lang={language}&declined=yes"))
        return private(go(f"{here}?lang={language}"))


async def _portal_of(request: HttpRequest, session: AsyncSession) -> str | None:
    """Where the payer's portal shows the invoice, if the payer came from there."""
    checkout, token = _visit(request).checkout, request.cookies.get(WAY_BACK, "")
    customer = await session.get(Customer, checkout.customer_id)
    if customer is None or not is_session_of(request, token, customer):
        return None
    return f"/portal/{token}/invoices/{checkout.invoice_id}"


async def _page_id(session: AsyncSession, request: HttpRequest) -> str:
    """The id of the simulated page of a checkout. Raises NotFound for one at a real provider."""
    payment = await session.get_one(Payment, _visit(request).checkout.payment_id)
    if not is_simulated(payment):
        raise NotFound("No such payment page")
    return (payment.payment_url or "").rsplit("/", 1)[-1]


def _query(request: HttpRequest) -> str:
    language = request.query_params.get("lang", "")
    return f"?lang={language}" if language in LANGUAGES else ""


def _page(request: HttpRequest, template: str, **values: Any) -> Response[str]:
    visit = _visit(request)
    language = choose_language(request.query_params.get("lang"), accepted=request.headers.get("accept-language", ""))
    checkout = visit.checkout
    amount = written(CurrencyAmount(checkout.amount, checkout.currency), language)
    page = render(
        request,
        template,
        checkout=checkout,
        seller=visit.seller,
        text=page_texts(CHECKOUT, language),
        language=language,
        languages=LANGUAGES,
        amount=amount,
        written=lambda value: written(CurrencyAmount(value, checkout.currency), language),
        number=lambda value: written(value, language),
        until=lambda at, zone: moment_in(at, zone, language),
        **values,
    )
    return private(page)
