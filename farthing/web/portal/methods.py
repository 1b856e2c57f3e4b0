"""The payment methods that a customer has on file, and adding one on its provider's page."""

from __future__ import annotations

from litestar import Controller, Response, get, post
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.composition import Composition
from farthing.core.errors import FarthingError, InvalidOperation, NotFound
from farthing.payments.integrations import saved_methods
from farthing.payments.schemas import SetupIntentRequest
from farthing.payments.shared_by_routes import provide_gateways
from farthing.payments.testing_provider import pages as test_pages
from farthing.payments.testing_provider.pages import Delivery, Visit
from farthing.payments.testing_provider.tables import HostedPageKind, HostedPageState
from farthing.settings import Settings
from farthing.storage.midway import commit_midway
from farthing.web.access.visitors import form_of
from farthing.web.portal.paying import FROM_PROVIDER, TEST_PAGE, way_back
from farthing.web.portal.visit.session import customer_of, in_path, visit_of
from farthing.web.portal.visit.showing import go_on, portal_page, refused_here
from farthing.web.rendering.answers import HttpRequest, go, private

_WITH_SETUP = ("stripe", "moyasar")
"""Providers that save a payment method on a page of theirs."""


class PortalMethods(Controller):
    """Payment methods of one customer; the address is the credential."""

    path = "/portal"
    include_in_schema = False

    @get("/{token:str}/methods", guards=[in_path("payment_methods")])
    async def all(
        self, token: str, request: HttpRequest, session: AsyncSession, services: Composition
    ) -> Response[str]:
        """What each connected provider keeps; one that cannot be asked says so."""
        customer = await customer_of(session, visit_of(request))
        connected = await saved_methods.connected_gateways(session)
        gateways = provide_gateways(services)
        kept = [await saved_methods.saved_at(session, gateways, customer.id, name) for name in connected]
        can_add = [name for name in connected if name in _WITH_SETUP]
        return portal_page(request, "portal/methods.html", customer=customer, kept=kept, can_add=can_add)

    @post("/{token:str}/methods", guards=[in_path("payment_methods", read_only=False)])
    async def add(
        self, token: str, request: HttpRequest, session: AsyncSession, services: Composition
    ) -> Response[str]:
        """Ask the provider for a page on which a method is saved, and go there."""
        try:
            provider = form_of(request).get("provider", "")
            connected = await saved_methods.connected_gateways(session)
            if provider not in connected or provider not in _WITH_SETUP:
                raise InvalidOperation("No payment method can be saved there")
            back = f"{services.part(Settings).base_url}/portal?to=methods"
            asked = SetupIntentRequest(provider=provider, set_default=True, success_url=back, cancel_url=back)  # type: ignore[arg-type]  # checked above
            customer_id = visit_of(request).customer_id
            setup, _ = await saved_methods.begin_setup(session, provide_gateways(services), customer_id, asked)
        except FarthingError as error:
            return await refused_here(request, "/methods", error)
        if TEST_PAGE in setup.url:
            path = f"/portal/{token}/test-method/{setup.session_id}"
            return private(go(path, way_back(services, token, FROM_PROVIDER)))
        # a form may only lead to us: the page of the provider is a link
        page = portal_page(request, "portal/new_method.html", url=setup.url)
        page.set_cookie(way_back(services, token, FROM_PROVIDER))
        return page

    @get("/{token:str}/test-method/{page_id:str}", guards=[in_path("payment_methods")])
    async def test_page(self, token: str, page_id: str, request: HttpRequest, services: Composition) -> Response[str]:
        """The built-in provider's page for saving a method, as a person sees it."""
        page = (await _own_setup(request, services, page_id)).page
        return portal_page(request, "portal/test_method.html", page=page, is_open=page.state is HostedPageState.OPEN)

    @post("/{token:str}/test-method/{page_id:str}", guards=[in_path("payment_methods", read_only=False)])
    async def act_on_test_page(
        self, token: str, page_id: str, request: HttpRequest, session: AsyncSession, services: Composition
    ) -> Response[str]:
        """Save a simulated card, or let that fail."""
        visit = await _own_setup(request, services, page_id)
        await commit_midway(session)  # nothing was written; the provider's page has transactions of its own
        action = "succeed" if form_of(request).get("action") == "save" else "fail"
        try:
            await test_pages.act(provide_gateways(services), visit, action, Delivery.NOW)
        except FarthingError as error:
            return await refused_here(request, "/methods", error)
        return go_on(f"/portal/{token}/methods")


async def _own_setup(request: HttpRequest, services: Composition, page_id: str) -> Visit:
    """A simulated page on which the customer itself saves a method. Raises NotFound for anybody else's."""
    visit, mine = await test_pages.open_page(provide_gateways(services), page_id), visit_of(request)
    page = visit.page
    whose = (page.kind, page.customer_id, page.environment_id)
    if whose != (HostedPageKind.SETUP, mine.customer_id, mine.environment_id):
        raise NotFound("No such payment page")
    return visit
