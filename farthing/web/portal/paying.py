"""How a customer in the portal pays: the connected provider is asked for a page, and the customer is sent there."""

from __future__ import annotations

from litestar import Response
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import Clock
from farthing.core.composition import Composition
from farthing.core.errors import InvalidOperation
from farthing.invoices.tables import Invoice
from farthing.payments import saved_methods
from farthing.payments.processing import execution
from farthing.payments.routes import provide_gateways
from farthing.payments.schemas import CreatePaymentRequest
from farthing.payments.tables import DestinationType, Gateway, Payment, PaymentMethodType
from farthing.web.rendering.answers import go

_TEST_PAGE = "/v1/test/gateway/sessions/"
"""Where the built-in provider answers; a person is sent to our page of the same session instead."""


def private(answer: Response[str]) -> Response[str]:
    """The address is a secret: no page it leads to is told of it."""
    answer.headers["referrer-policy"] = "no-referrer"
    return answer


async def can_be_paid(session: AsyncSession) -> bool:
    """Whether any provider is connected that could be asked for a page."""
    return bool(await saved_methods.connected_gateways(session))


async def lead_to_payment(
    session: AsyncSession, services: Composition, token: str, invoice: Invoice, clock: Clock
) -> Response[str]:
    """Ask the connected provider for a page on which what remains of an invoice is paid, and go there.

    The session is committed before the provider is asked. Raises InvalidOperation where none is connected.
    """
    here = f"/portal/{token}/invoices/{invoice.id}"
    connected = await saved_methods.connected_gateways(session)
    if not connected:
        raise InvalidOperation("Nobody can be paid through here at the moment")
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


def payment_page(payment: Payment, token: str) -> str:
    """Where the customer pays: the built-in provider's pages are shown by us."""
    url = payment.payment_url or ""
    if is_simulated(payment):
        return f"/portal/{token}/test-payment/{url.rsplit('/', 1)[-1]}"
    return url if url.startswith("https://") else ""


def is_simulated(payment: Payment) -> bool:
    """Whether a payment is made on a page of the built-in provider, which we show."""
    return _TEST_PAGE in (payment.payment_url or "")
