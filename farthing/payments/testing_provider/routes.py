"""The test provider's hosted pages: public, as any provider's are; the id is what nobody can guess."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from litestar import Controller, get, post

from farthing.core.encoding.wire import DecimalText, Request, Response, Timestamp
from farthing.core.errors import ValidationFailed
from farthing.payments.integrations.gateways import Gateways
from farthing.payments.shared_by_routes import GATEWAYS
from farthing.payments.testing_provider import pages
from farthing.payments.testing_provider.pages import Delivered, Delivery
from farthing.payments.testing_provider.provider import BEHAVIOURS, SUCCESS
from farthing.payments.testing_provider.tables import TestSession

PUBLIC = {"public": True}


class TestActionRequest(Request):
    """What to do exactly: an `amount` to refund, the `method` a setup page saves, how webhooks travel."""

    amount: Decimal | None = None
    method: str = SUCCESS
    delivery: Delivery = Delivery.NOW

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.method not in BEHAVIOURS:
            raise ValidationFailed.of("method", f"must be one of {', '.join(sorted(BEHAVIOURS))}")


class TestWebhookResult(Response):
    """A webhook that was sent, and how it was answered."""

    id: str
    type: str
    status_code: int


class TestSessionResponse(Response):
    """A simulated hosted page."""

    id: str
    kind: str
    state: str
    created_at: Timestamp
    expires_at: Timestamp
    payment_id: str | None = None
    amount: DecimalText | None = None
    currency: str | None = None
    success_url: str | None = None
    cancel_url: str | None = None
    webhooks: list[TestWebhookResult] | None = None


class TestGateway(Controller):
    """A payment provider's hosted pages, simulated."""

    path = "/test/gateway/sessions/{id:str}"
    tags = ("Test gateway",)
    dependencies = GATEWAYS

    @get("/", operation_id="getTestSession", opt=PUBLIC)
    async def read(self, id: str, gateways: Gateways) -> TestSessionResponse:
        """Open a simulated hosted page."""
        return _shown((await pages.open_page(gateways, id)).page)

    @post("/deliver", operation_id="deliverTestWebhooks", opt=PUBLIC, status_code=200)
    async def deliver(self, id: str, gateways: Gateways, data: TestActionRequest | None = None) -> TestSessionResponse:
        """Deliver the webhooks that were kept back."""
        visit = await pages.open_page(gateways, id)
        given = data or TestActionRequest()
        return _shown(visit.page, await pages.deliver(gateways, visit, given.delivery))

    @post("/{action:str}", operation_id="actOnTestSession", opt=PUBLIC, status_code=200)
    async def act(
        self,
        id: str,
        action: Literal["succeed", "fail", "expire", "refund"],
        gateways: Gateways,
        data: TestActionRequest | None = None,
    ) -> TestSessionResponse:
        """Do what a payer, or the provider's clerk, would: succeed, fail, expire, refund."""
        visit = await pages.open_page(gateways, id)
        given = data or TestActionRequest()
        page, sent = await pages.act(gateways, visit, action, given.delivery, amount=given.amount, method=given.method)
        return _shown(page, sent)


def _shown(page: TestSession, sent: list[Delivered] | None = None) -> TestSessionResponse:
    webhooks = [
        TestWebhookResult(id=event.event_id, type=event.type, status_code=event.status_code) for event in sent or ()
    ]
    return TestSessionResponse.of(page, webhooks=webhooks if sent is not None else None)
