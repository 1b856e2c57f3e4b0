"""HTTP endpoints of webhook endpoints, messages and the catalogue of events."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Controller, Request, delete, get, post, put
from litestar.di import Provide
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.api.queries.lists import page, read_query
from farthing.core.composition import Composition
from farthing.core.encoding.wire import as_wire
from farthing.identity.routes import never_kept
from farthing.notifications.webhooks import endpoints, messages
from farthing.notifications.webhooks.catalogue import EVENTS
from farthing.notifications.webhooks.delivery.post import AttemptSender
from farthing.notifications.webhooks.delivery.signing import SecretsBox
from farthing.notifications.webhooks.samples import sample_of
from farthing.notifications.webhooks.schemas import (
    CreatedWebhookEndpointResponse,
    CreateWebhookEndpointRequest,
    ListWebhookAttemptsResponse,
    ListWebhookEndpointsResponse,
    ListWebhookMessagesResponse,
    RecoverWebhooksRequest,
    ResendWebhookRequest,
    RetryWebhookRequest,
    RetryWebhookResponse,
    TestWebhookEndpointRequest,
    UpdateWebhookEndpointRequest,
    WebhookDashboardResponse,
    WebhookEndpointResponse,
    WebhookEventType,
    WebhookEventTypesResponse,
    WebhookMessageQuery,
    WebhookMessageResponse,
    WebhookSecretResponse,
    WebhooksQueuedResponse,
    WebhookTestResponse,
)
from farthing.notifications.webhooks.tables import WebhookEndpoint, message_id
from farthing.settings import Settings
from farthing.storage.queries.listing import ListQuery, select_page
from farthing.storage.queries.rows import find

HttpRequest = Request[Any, Any, Any]
READ, WRITE = needs("webhook", "read"), needs("webhook", "write")
ENDPOINT_FIELDS = ("url", "description", "disabled", "created_at", "updated_at")


def provide_sender(services: Composition) -> AttemptSender:
    """What posts messages."""
    return services.part(AttemptSender)


SENDER = {"sender": Provide(provide_sender, sync_to_thread=False)}


class Webhooks(Controller):
    """Events, messages, and the way to the page that shows them."""

    path = "/webhooks"
    tags = ("Webhooks",)
    dependencies = SENDER

    @get("/dashboard", operation_id="getWebhookDashboard", guards=[READ])
    async def dashboard(self, services: Composition) -> WebhookDashboardResponse:
        """Where endpoints are looked after."""
        return WebhookDashboardResponse(url=f"{services.part(Settings).base_url}/webhooks", svix_enabled=False)

    @get("/events", operation_id="listWebhookEvents", guards=[READ], sync_to_thread=False)
    def events(self) -> WebhookEventTypesResponse:
        """Every event that an endpoint can want, with a sample and the schema of its body."""
        return WebhookEventTypesResponse(
            events=[
                WebhookEventType(
                    name=event.name,
                    description=event.description,
                    sample=msgspec.json.decode(sample_of(event.name)),
                    schema=msgspec.json.schema(event.payload),
                )
                for event in EVENTS.values()
            ]
        )

    @post("/retry", operation_id="retryWebhook", guards=[WRITE], status_code=202)
    async def retry(
        self, data: RetryWebhookRequest, session: AsyncSession, sender: AttemptSender
    ) -> RetryWebhookResponse:
        """Post an event once more, now, to every endpoint that has not taken it."""
        results = await messages.attempt_now(session, sender, data.system_event_id)
        failed = [result for result in results if not result.outcome.is_delivered]
        if not results:
            message = "every endpoint has taken it already"
        elif failed:
            message = f"{len(failed)} of {len(results)} endpoints did not take it: {failed[0].outcome.error}"
        else:
            message = f"delivered to {len(results)} endpoint{'s' if len(results) > 1 else ''}"
        return RetryWebhookResponse(success=not failed, message=message, system_event_id=data.system_event_id)

    @get("/messages", operation_id="listWebhookMessages", guards=[READ], opt={"query": WebhookMessageQuery})
    async def browse(self, request: HttpRequest, session: AsyncSession) -> ListWebhookMessagesResponse:
        """List messages and how far each is on its way."""
        query = read_query(request, WebhookMessageQuery)
        items, total = await messages.list_messages(session, query)
        answer: ListWebhookMessagesResponse = page(items, total, query, next_offset=False)
        return answer

    @get("/messages/{id:str}", operation_id="getWebhookMessage", guards=[READ])
    async def read(self, id: str, session: AsyncSession) -> WebhookMessageResponse:
        """Get a message with its body."""
        return await messages.read_message(session, id)

    @get("/messages/{id:str}/attempts", operation_id="listWebhookAttempts", guards=[READ], opt={"query": ListQuery})
    async def attempts(self, id: str, request: HttpRequest, session: AsyncSession) -> ListWebhookAttemptsResponse:
        """List the attempts to deliver a message, newest first."""
        query = read_query(request, ListQuery)
        items, total = await messages.list_attempts(session, id, query)
        answer: ListWebhookAttemptsResponse = page(items, total, query, next_offset=False)
        return answer

    @post("/messages/{id:str}/resend", operation_id="resendWebhookMessage", guards=[WRITE], status_code=202)
    async def resend(
        self, id: str, session: AsyncSession, data: ResendWebhookRequest | None = None
    ) -> WebhooksQueuedResponse:
        """Deliver a message again, to one endpoint or to every subscribed one."""
        endpoint_id = data.endpoint_id if data is not None else None
        return WebhooksQueuedResponse(queued=await messages.resend_message(session, id, endpoint_id))


class WebhookEndpoints(Controller):
    """URLs that get events."""

    path = "/webhooks/endpoints"
    tags = ("Webhooks",)
    dependencies = SENDER

    @post("/", operation_id="createWebhookEndpoint", guards=[WRITE])
    async def create(
        self, request: HttpRequest, data: CreateWebhookEndpointRequest, session: AsyncSession, sender: AttemptSender
    ) -> CreatedWebhookEndpointResponse:
        """Register an endpoint. It gets the events recorded from now on, signed with the secret answered here."""
        never_kept(request)
        allow_private = sender.client.allow_private
        endpoint, secret = await endpoints.create_endpoint(session, sender.box, data, allow_private=allow_private)
        headers = endpoints.hidden_headers(sender.box, endpoint)
        return CreatedWebhookEndpointResponse.of(endpoint, headers=headers, secret=secret)

    @get("/", operation_id="listWebhookEndpoints", guards=[READ], opt={"query": ListQuery})
    async def browse(
        self, request: HttpRequest, session: AsyncSession, sender: AttemptSender
    ) -> ListWebhookEndpointsResponse:
        """List endpoints."""
        query = read_query(request, ListQuery)
        rows, total = await select_page(session, WebhookEndpoint, query, ENDPOINT_FIELDS, select(WebhookEndpoint))
        items = [shown(sender.box, row) for row in rows]
        answer: ListWebhookEndpointsResponse = page(items, total, query, next_offset=False)
        return answer

    @get("/{id:str}", operation_id="getWebhookEndpoint", guards=[READ])
    async def read(self, id: str, session: AsyncSession, sender: AttemptSender) -> WebhookEndpointResponse:
        """Get an endpoint, without its secret."""
        return shown(sender.box, await find(session, WebhookEndpoint, id))

    @put("/{id:str}", operation_id="updateWebhookEndpoint", guards=[WRITE])
    async def update(
        self, id: str, data: UpdateWebhookEndpointRequest, session: AsyncSession, sender: AttemptSender
    ) -> WebhookEndpointResponse:
        """Change an endpoint. One that is enabled again gets the events recorded from then on."""
        allow_private = sender.client.allow_private
        endpoint = await endpoints.update_endpoint(session, sender.box, id, data, allow_private=allow_private)
        return shown(sender.box, endpoint)

    @delete("/{id:str}", operation_id="deleteWebhookEndpoint", guards=[WRITE])
    async def remove(self, id: str, session: AsyncSession) -> None:
        """Delete an endpoint, its secrets and what is on its way to it."""
        await endpoints.delete_endpoint(session, id)

    @get("/{id:str}/secret", operation_id="getWebhookEndpointSecret", guards=[WRITE])
    async def secret(self, id: str, session: AsyncSession, sender: AttemptSender) -> WebhookSecretResponse:
        """Show the secret that messages are signed with, to whoever may change the endpoint."""
        endpoint = await find(session, WebhookEndpoint, id)
        opened = sender.box.open(endpoint.sealed, endpoint.key_id, endpoint.id)
        return _secret(endpoint, opened.secret)

    @post("/{id:str}/secret/rotate", operation_id="rotateWebhookEndpointSecret", guards=[WRITE], status_code=200)
    async def rotate(
        self, id: str, request: HttpRequest, session: AsyncSession, sender: AttemptSender
    ) -> WebhookSecretResponse:
        """Give an endpoint a new secret. For 24 hours messages are signed with the old one too."""
        never_kept(request)
        endpoint, secret = await endpoints.rotate_secret(session, sender.box, id)
        return _secret(endpoint, secret)

    @post("/{id:str}/test", operation_id="testWebhookEndpoint", guards=[WRITE], status_code=200)
    async def test(
        self, id: str, session: AsyncSession, sender: AttemptSender, data: TestWebhookEndpointRequest | None = None
    ) -> WebhookTestResponse:
        """Post a sample of an event to an endpoint, once, and answer what it made of it."""
        event_type = (data or TestWebhookEndpointRequest()).event_type
        result = await messages.send_sample(session, sender, id, event_type)
        outcome = result.outcome
        return WebhookTestResponse(
            message_id=message_id(result.delivery.event_id),
            success=outcome.is_delivered,
            duration_ms=outcome.duration_ms,
            status_code=outcome.status_code,
            error=outcome.error,
            response_body=outcome.response_body,
        )

    @post("/{id:str}/recover", operation_id="recoverWebhookEndpoint", guards=[WRITE], status_code=202)
    async def recover(self, id: str, data: RecoverWebhooksRequest, session: AsyncSession) -> WebhooksQueuedResponse:
        """Deliver again what failed in a span of time, or with `all` everything that happened in it."""
        queued = await messages.recover(session, id, data.since, data.until, everything=data.all)
        return WebhooksQueuedResponse(queued=queued)


def shown(box: SecretsBox, endpoint: WebhookEndpoint) -> WebhookEndpointResponse:
    """An endpoint as it travels."""
    return WebhookEndpointResponse.of(endpoint, headers=endpoints.hidden_headers(box, endpoint))


def _secret(endpoint: WebhookEndpoint, secret: str) -> WebhookSecretResponse:
    return WebhookSecretResponse(secret=secret, previous_secret_until=as_wire(endpoint.previous_secret_until))
