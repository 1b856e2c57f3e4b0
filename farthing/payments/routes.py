"""Endpoints of payments and saved methods."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Controller, Request, Response, delete, get, post, put
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.api.queries.expand import expansions
from farthing.api.queries.lists import page, read_query, reader
from farthing.api.work import unit_of_work
from farthing.core.clock import Clock
from farthing.core.encoding.decoding import UNREADABLE, unreadable
from farthing.core.encoding.wire import Message
from farthing.customers.tables import Customer
from farthing.payments.integrations import saved_methods
from farthing.payments.integrations.gateways import Gateways
from farthing.payments.processing import changes, collection, execution, reading
from farthing.payments.schemas import (
    CreatePaymentRequest,
    ListPaymentMethodsResponse,
    ListPaymentsResponse,
    PaymentQuery,
    PaymentResponse,
    SavedPaymentMethodsResponse,
    SetupIntentRequest,
    SetupIntentResponse,
    UpdatePaymentRequest,
)
from farthing.payments.shared_by_routes import GATEWAYS, READ, WRITE
from farthing.payments.tables import Payment
from farthing.storage.queries.rows import find

HttpRequest = Request[Any, Any, Any]


class Payments(Controller):
    """Payments."""

    path = "/payments"
    tags = ("Payments",)
    dependencies = GATEWAYS

    @post("/", operation_id="createPayment", guards=[WRITE])
    async def create(
        self, data: CreatePaymentRequest, session: AsyncSession, gateways: Gateways, clock: Clock
    ) -> Response[PaymentResponse]:
        """Create a payment, and carry it out at once if asked to."""
        created = await execution.record_payment(session, gateways, data, clock)
        headers = {} if created.is_new else {"Idempotent-Replayed": "true"}
        return Response(await reading.answer_of(session, created.payment, created.invoice), headers=headers)

    @get("/", operation_id="listPayments", guards=[READ], opt={"query": PaymentQuery})
    async def browse(self, request: HttpRequest) -> ListPaymentsResponse:
        """List payments."""
        query = read_query(request, PaymentQuery)
        expansions(query.expand, {})
        items, total = await reading.payments_page(await reader(unit_of_work(request), query), query)
        answer: ListPaymentsResponse = page(items, total, query, next_offset=True)
        return answer

    @get("/{id:str}", operation_id="getPayment", guards=[READ])
    async def read(self, id: str, session: AsyncSession) -> PaymentResponse:
        """Get a payment as it is stored; nobody is asked."""
        return await reading.answer_of(session, await find(session, Payment, id))

    @put("/{id:str}", operation_id="updatePayment", guards=[WRITE])
    async def update(
        self, id: str, data: UpdatePaymentRequest, session: AsyncSession, gateways: Gateways, clock: Clock
    ) -> PaymentResponse:
        """Change a payment; a status that counts as paid settles its invoice."""
        payment = await changes.update(session, gateways.effects, id, data, clock.now())
        return await reading.answer_of(session, payment)

    @delete("/{id:str}", operation_id="deletePayment", guards=[WRITE], status_code=200)
    async def remove(self, id: str, session: AsyncSession) -> Message:
        """Delete a payment that moved nothing."""
        await changes.remove(session, id)
        return Message(message="payment deleted successfully")

    @post("/{id:str}/process", operation_id="processPayment", guards=[WRITE], status_code=200)
    async def process(self, id: str, session: AsyncSession, gateways: Gateways, clock: Clock) -> PaymentResponse:
        """Carry a payment out."""
        payment = await execution.process(session, gateways, id, clock)
        return await reading.answer_of(session, payment)


class SavedMethods(Controller):
    """What customers have on file at a provider."""

    path = "/payments/customers/{id:str}"
    tags = ("Payments",)
    dependencies = GATEWAYS

    @post("/setup/intent", operation_id="createSetupIntent", guards=[WRITE])
    async def begin(
        self, id: str, data: SetupIntentRequest, session: AsyncSession, gateways: Gateways, clock: Clock
    ) -> SetupIntentResponse:
        """Begin to save a payment method: a page to send the customer to."""
        setup, customer_id = await saved_methods.begin_setup(session, gateways, id, data)
        return SetupIntentResponse(
            setup_intent_id=setup.setup_id,
            checkout_session_id=setup.session_id,
            checkout_url=setup.url,
            client_secret=setup.client_secret,
            status="requires_payment_method",
            usage=data.usage,
            customer_id=customer_id,
            created_at=saved_methods.unix(clock.now()),
            expires_at=saved_methods.unix(setup.expires_at),
        )

    @get("/methods", operation_id="listSavedPaymentMethods", guards=[READ])
    async def browse(
        self, id: str, request: HttpRequest, session: AsyncSession, gateways: Gateways, provider: str | None = None
    ) -> ListPaymentMethodsResponse:
        """List what a customer has on file at one provider, named in the query or, as older clients do, in a body."""
        customer = await find(session, Customer, id)
        gateway = saved_methods.gateway_named(provider or _provider_in(unit_of_work(request).body))
        found = await saved_methods.saved_at(session, gateways, customer.id, gateway)
        return ListPaymentMethodsResponse(data=found.items, has_more=False, total_count=len(found.items))


class _ProviderBody(msgspec.Struct):
    provider: str = ""


def _provider_in(body: bytes) -> str:
    if not body.strip():
        return ""
    try:
        return msgspec.json.decode(body, type=_ProviderBody).provider
    except UNREADABLE as error:
        raise unreadable(error, body, _ProviderBody) from error


class CustomerPaymentMethods(Controller):
    """What a customer has on file anywhere."""

    path = "/customers/{id:str}/payment-methods"
    tags = ("Customers",)
    dependencies = GATEWAYS

    @get("/", operation_id="listCustomerPaymentMethods", guards=[READ])
    async def browse(
        self, id: str, session: AsyncSession, gateways: Gateways, providers: str | None = None
    ) -> SavedPaymentMethodsResponse:
        """List saved payment methods, by provider; one that fails says so and hides nothing of the others."""
        customer = await find(session, Customer, id)
        named = [name for name in (providers or "").split(",") if name]
        wanted = [saved_methods.gateway_named(name, "providers") for name in dict.fromkeys(named)]
        if not wanted:
            wanted = list(await saved_methods.connected_gateways(session))
        return SavedPaymentMethodsResponse(
            providers=[await saved_methods.saved_at(session, gateways, customer.id, gateway) for gateway in wanted]
        )


class InvoiceCollection(Controller):
    """Collecting an invoice."""

    path = "/invoices/{id:str}/payment"
    tags = ("Invoices",)
    dependencies = GATEWAYS

    @post("/attempt", operation_id="attemptInvoicePayment", guards=[needs("invoice", "write")], status_code=200)
    async def attempt(self, id: str, session: AsyncSession, gateways: Gateways, clock: Clock) -> Message:
        """Try to collect what remains on an invoice; how it went shows on the invoice."""
        await collection.attempt(session, gateways, id, clock)
        return Message(message="payment processed successfully")
