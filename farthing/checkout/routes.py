"""Endpoints of checkouts."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Request, delete, get, post
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.api.queries.lists import page, read_query
from farthing.checkout.conclusion import ending
from farthing.checkout.flows import require_charge
from farthing.checkout.preparation.opening import PreparedCheckout, open_checkout
from farthing.checkout.preparation.preparing import for_checkout, prepare_invoice, prepare_subscription
from farthing.checkout.reading import answer_of, answers_of
from farthing.checkout.schemas import (
    CheckoutQuery,
    CreateCheckoutSessionRequest,
    ListCheckoutSessionsResponse,
)
from farthing.checkout.tables import CheckoutSession
from farthing.core.checkout import CheckoutAction, CheckoutSessionResponse
from farthing.core.clock import Clock
from farthing.core.composition import Composition
from farthing.core.enums import Status
from farthing.core.errors import NotFound, ValidationFailed
from farthing.customers import lookup
from farthing.customers.tables import Customer
from farthing.invoices.tables import Invoice
from farthing.payments.integrations.gateways import Gateways
from farthing.storage.queries.listing import select_page
from farthing.storage.queries.rows import find
from farthing.subscriptions.schemas.requests import CreateSubscriptionRequest

READ, WRITE = needs("checkoutsession", "read"), needs("checkoutsession", "write")
SEARCHABLE = ("id", "customer_id", "action", "checkout_status", "payment_provider", "expires_at", "created_at")
HttpRequest = Request[Any, Any, Any]


class Checkouts(Controller):
    """Checkouts."""

    path = "/checkout/sessions"
    tags = ("Checkout",)

    @post("/", operation_id="createCheckoutSession", guards=[WRITE])
    async def create(
        self, data: CreateCheckoutSessionRequest, session: AsyncSession, clock: Clock, services: Composition
    ) -> CheckoutSessionResponse:
        """Open a checkout for a new subscription or an issued invoice."""
        customer = await _published(session, data.customer_external_id)

        async def prepare(checkout_id: str) -> PreparedCheckout:
            if data.action is CheckoutAction.PAY_INVOICE:
                return await _invoice(session, checkout_id, data, customer)
            asked = for_checkout(_subscription(data, customer), data)
            _, prepared = await prepare_subscription(session, checkout_id, asked, clock.now())
            return require_charge(prepared)

        checkout = await open_checkout(session, services, data, clock, prepare)
        assert checkout is not None, "a checkout of nothing is refused"
        return await answer_of(session, services, checkout, clock.now())

    @get("/", operation_id="listCheckoutSessions", guards=[READ], opt={"query": CheckoutQuery})
    async def browse(
        self, request: HttpRequest, session: AsyncSession, clock: Clock, services: Composition
    ) -> ListCheckoutSessionsResponse:
        """List checkouts."""
        query = read_query(request, CheckoutQuery)
        statement = select(CheckoutSession)
        for name in ("customer_id", "action", "checkout_status"):
            wanted = getattr(query, name)
            if wanted is not None:
                statement = statement.where(getattr(CheckoutSession, name) == wanted)
        if query.checkout_invoice_id is not None:
            statement = statement.where(CheckoutSession.invoice_id == query.checkout_invoice_id)
        rows, total = await select_page(session, CheckoutSession, query, SEARCHABLE, statement)
        answers = await answers_of(session, services, rows, clock.now())
        answer: ListCheckoutSessionsResponse = page(answers, total, query, next_offset=True)
        return answer

    @get("/{id:str}", operation_id="getCheckoutSession", guards=[READ])
    async def read(
        self, id: str, session: AsyncSession, clock: Clock, services: Composition
    ) -> CheckoutSessionResponse:
        """Get a checkout as it is stored; nobody is asked."""
        return await answer_of(session, services, await find(session, CheckoutSession, id), clock.now(), is_read=True)

    @post("/{id:str}/cancel", operation_id="cancelCheckoutSession", guards=[WRITE], status_code=200)
    async def cancel(
        self, id: str, session: AsyncSession, clock: Clock, services: Composition
    ) -> CheckoutSessionResponse:
        """Cancel an open checkout: nothing of it stays, and its page is closed."""
        await ending.cancel_and_close_page(session, services.part(Gateways), id, clock)
        return await answer_of(session, services, await find(session, CheckoutSession, id), clock.now())

    @delete("/{id:str}", operation_id="deleteCheckoutSession", guards=[WRITE], status_code=204)
    async def remove(self, id: str, session: AsyncSession, clock: Clock, services: Composition) -> None:
        """Cancel an open checkout."""
        await ending.cancel_and_close_page(session, services.part(Gateways), id, clock)


async def _published(session: AsyncSession, external_id: str) -> Customer:
    """The customer with this external id. Raises NotFound, and ValidationFailed for one that was archived."""
    try:
        return await lookup.by_external_id(session, external_id)
    except NotFound:
        archived = select(Customer.id).where(Customer.external_id == external_id, Customer.status == Status.ARCHIVED)
        if await session.scalar(archived.limit(1)) is None:
            raise
    raise ValidationFailed.of("customer_external_id", "is of a customer that was deleted")


async def _invoice(
    session: AsyncSession, checkout_id: str, data: CreateCheckoutSessionRequest, customer: Customer
) -> PreparedCheckout:
    assert data.configuration is not None, "checked when the body was read"
    assert data.configuration.pay_invoice_params is not None, "checked when the body was read"
    invoice = await find(session, Invoice, data.configuration.pay_invoice_params.invoice_id)
    if invoice.customer_id != customer.id:
        raise ValidationFailed.of("configuration.pay_invoice_params.invoice_id", "must be an invoice of this customer")
    return await prepare_invoice(session, checkout_id, invoice.id)


def _subscription(data: CreateCheckoutSessionRequest, customer: Customer) -> CreateSubscriptionRequest:
    assert data.configuration is not None, "checked when the body was read"
    params = data.configuration.create_subscription_params
    assert params is not None, "checked when the body was read"
    return CreateSubscriptionRequest(
        customer_id=customer.id,
        plan_id=params.plan_id,
        currency=params.currency,
        billing_period=params.billing_period,
        start_date=params.start_date,
        end_date=params.end_date,
        lookup_key=params.lookup_key,
        metadata=params.metadata,
    )
