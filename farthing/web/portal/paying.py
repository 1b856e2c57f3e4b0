"""How a customer in the portal pays: by a checkout, or on a page of a connected provider that has none."""

from __future__ import annotations

from litestar import Response
from litestar.datastructures import Cookie
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.checkout.preparation.opening import lead_to_page, open_checkout, page_url
from farthing.checkout.preparation.preparing import prepare_invoice
from farthing.checkout.tables import IS_OPEN, CheckoutSession
from farthing.core.checkout import CheckoutParams, CheckoutPaymentProvider, CheckoutStatus
from farthing.core.clock import Clock
from farthing.core.composition import Composition
from farthing.core.errors import InvalidOperation
from farthing.invoices.tables import Invoice
from farthing.payments.integrations import saved_methods
from farthing.payments.integrations.gateways import Gateways
from farthing.payments.integrations.marketplaces import is_collected_by_marketplace
from farthing.payments.processing import execution
from farthing.payments.schemas import CreatePaymentRequest
from farthing.payments.shared_by_routes import provide_gateways
from farthing.payments.tables import DestinationType, Gateway, Payment, PaymentMethodType
from farthing.web.access.sessions import Sessions
from farthing.web.rendering.answers import go, private

TEST_PAGE = "/v1/test/gateway/sessions/"
"""Where the built-in provider answers; a person is sent to our page of the same session instead."""


WAY_BACK = "farthing_portal"
"""The cookie by which a checkout, and who comes back from a provider, finds the portal. No provider is told of it."""
FROM_CHECKOUT, FROM_PROVIDER = "/checkout/", "/portal"
"""Where that cookie is sent to."""


def way_back(services: Composition, token: str, path: str = FROM_CHECKOUT) -> Cookie:
    """What lets the page at `path` lead back to this portal, until the browser is closed."""
    return services.part(Sessions).plain_cookie(WAY_BACK, token, path=path)


async def can_be_paid(session: AsyncSession) -> bool:
    """Whether any provider is connected that could be asked for a page."""
    return bool(await saved_methods.connected_gateways(session))


async def lead_to_payment(
    session: AsyncSession, services: Composition, token: str, invoice: Invoice, clock: Clock
) -> Response[str]:
    """Ask the connected provider for a page on which what remains of an invoice is paid, and go there.

    The session is committed before the provider is asked. Raises InvalidOperation where none is connected, or a
    marketplace collects.
    """
    here = f"/portal/{token}/invoices/{invoice.id}"
    if await is_collected_by_marketplace(session, invoice.subscription_id):
        raise InvalidOperation("The marketplace that it was bought at collects this invoice")
    connected = await saved_methods.connected_gateways(session)
    if not connected:
        raise InvalidOperation("Nobody can be paid through here at the moment")
    capable = [name for name in connected if name in set(CheckoutPaymentProvider)]
    if capable:
        page = await _checkout_page(session, services, capable[0], invoice, clock)
        return private(go(page, way_back(services, token)))
    request = CreatePaymentRequest(
        destination_type=DestinationType.INVOICE,
        destination_id=invoice.id,
        payment_method_type=PaymentMethodType.PAYMENT_LINK,
        payment_gateway=Gateway(connected[0]),
        amount=invoice.amount_remaining,
        currency=invoice.currency,
        metadata={"payment_source": "portal"},
        process_payment=True,
    )
    payment = (await execution.record_payment(session, provide_gateways(services), request, clock)).payment
    return private(go(payment_page(payment, token) if is_simulated(payment) else here))


async def _checkout_page(
    session: AsyncSession, services: Composition, provider: str, invoice: Invoice, clock: Clock
) -> str:
    """The page of the checkout in which an invoice is paid: the one that is open, or a new one."""
    waiting = await open_checkout_of(session, invoice.id)
    if waiting is None:
        invoice_id = invoice.id
        waiting = await open_checkout(
            session,
            services,
            CheckoutParams(payment_provider=CheckoutPaymentProvider(provider)),
            clock,
            lambda checkout_id: prepare_invoice(session, checkout_id, invoice_id),
        )
    elif waiting.checkout_status is CheckoutStatus.INITIATED:
        waiting = await lead_to_page(session, services.part(Gateways), waiting, clock)  # whoever opened it was cut off
    assert waiting is not None, "what asks for nothing is refused"
    return checkout_path(waiting)


async def open_checkout_of(session: AsyncSession, invoice_id: str) -> CheckoutSession | None:
    """The checkout in which an invoice can be paid now."""
    query = select(CheckoutSession).where(CheckoutSession.subject_id == invoice_id, text(IS_OPEN))
    return (await session.scalars(query)).one_or_none()


def checkout_path(checkout: CheckoutSession) -> str:
    """The path of a checkout's page."""
    return page_url("", checkout.environment_id, checkout.page_key)


def payment_page(payment: Payment, token: str) -> str:
    """Where the customer pays: the built-in provider's pages are shown by us."""
    url = payment.payment_url or ""
    if is_simulated(payment):
        return f"/portal/{token}/test-payment/{url.rsplit('/', 1)[-1]}"
    return url if url.startswith("https://") else ""


def is_simulated(payment: Payment) -> bool:
    """Whether a payment is made on a page of the built-in provider, which we show."""
    return TEST_PAGE in (payment.payment_url or "")
