"""Webhooks: the endpoints of an environment, their messages with every attempt, and sending again."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Controller, Response, get, post
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.errors import as_domain_error
from farthing.core.composition import Composition
from farthing.core.encoding.decoding import convert
from farthing.core.enums import Status
from farthing.core.errors import FarthingError
from farthing.notifications.webhooks import endpoints, messages
from farthing.notifications.webhooks.catalogue import EVENTS
from farthing.notifications.webhooks.delivery.post import AttemptSender
from farthing.notifications.webhooks.schemas import (
    CreateWebhookEndpointRequest,
    UpdateWebhookEndpointRequest,
    WebhookMessageQuery,
)
from farthing.notifications.webhooks.tables import DeliveryState, WebhookEndpoint
from farthing.storage.queries.listing import ListQuery
from farthing.web.access.visitors import changes, form_of, shows
from farthing.web.dashboard.choosing import entity_id_of
from farthing.web.rendering.answers import HttpRequest, done, refused, render
from farthing.web.rendering.listing import listing
from farthing.web.rendering.words.wording import readable, reason

PAGE = "/webhooks"
ATTEMPTS_SHOWN = 100
SAMPLE = "customer.created"


class WebhookPages(Controller):
    """Endpoints and messages."""

    path = PAGE
    include_in_schema = False

    @get("/", guards=[shows("webhook")])
    async def all(self, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """The endpoints, and the newest messages."""
        return await _page(request, session)

    @post("/", guards=[changes("webhook")], status_code=200)
    async def create(self, request: HttpRequest, session: AsyncSession, services: Composition) -> Response[str]:
        """Register an endpoint and show its secret."""
        given = form_of(request)
        sender = services.part(AttemptSender)
        try:
            asked = convert(_body(given), CreateWebhookEndpointRequest)
            endpoint, secret = await endpoints.create_endpoint(
                session, sender.box, asked, allow_private=sender.client.allow_private
            )
        except (FarthingError, msgspec.ValidationError) as error:
            return await refused(request, PAGE, as_domain_error(error))
        return await _page(request, session, made=endpoint, secret=secret)

    @post("/endpoints/{endpoint_id:str}", guards=[changes("webhook")], status_code=200)
    async def change(
        self, endpoint_id: str, request: HttpRequest, session: AsyncSession, services: Composition
    ) -> Response[str]:
        """Enable or disable an endpoint, send it a sample, give it a new secret, or delete it."""
        sender, action = services.part(AttemptSender), form_of(request).get("action", "")
        try:
            if action == "rotate":
                endpoint, secret = await endpoints.rotate_secret(session, sender.box, endpoint_id)
                return await _page(request, session, made=endpoint, secret=secret)
            return done(request, PAGE, await _changed(session, sender, endpoint_id, action))
        except FarthingError as error:
            return await refused(request, PAGE, error)

    @get("/messages/{message_id:str}", guards=[shows("webhook")])
    async def message(self, message_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """One message: its body, how far it is on its way, and every attempt."""
        message = await messages.read_message(session, message_id)
        attempts, _ = await messages.list_attempts(session, message_id, ListQuery(limit=ATTEMPTS_SHOWN))
        return render(
            request,
            "webhook_message.html",
            message=message,
            body=readable(message.payload),
            attempts=attempts,
            urls=await _urls(session),
        )

    @post("/messages/{message_id:str}", guards=[changes("webhook")])
    async def resend(self, message_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Send a message again, to one endpoint or to every subscribed one."""
        here = f"{PAGE}/messages/{message_id}"
        try:
            await messages.resend_message(session, message_id, form_of(request).get("endpoint") or None)
        except FarthingError as error:
            return await refused(request, here, error)
        return done(request, here, "It is sent again; the attempt appears here in a moment.")


async def _changed(session: AsyncSession, sender: AttemptSender, endpoint_id: str, action: str) -> str:
    """Do what a button of an endpoint says; what to tell the visitor."""
    if action == "delete":
        await endpoints.delete_endpoint(session, endpoint_id)
        return "The endpoint is deleted."
    if action == "test":
        outcome = (await messages.send_sample(session, sender, endpoint_id, SAMPLE)).outcome
        return "The endpoint took a sample." if outcome.is_delivered else f"No success: {outcome.error}."
    asked = UpdateWebhookEndpointRequest(disabled=action == "disable")
    await endpoints.update_endpoint(session, sender.box, endpoint_id, asked, allow_private=sender.client.allow_private)
    return "The endpoint gets nothing any more." if asked.disabled else "The endpoint gets what happens from now on."


async def _page(
    request: HttpRequest, session: AsyncSession, made: WebhookEndpoint | None = None, secret: str = ""
) -> Response[str]:
    shown = listing(request, (), "")
    state = request.query_params.get("state", "")
    query = WebhookMessageQuery(
        limit=shown.per_page,
        offset=shown.offset,
        state=DeliveryState(state) if state in set(DeliveryState) else None,
    )
    typed, problem = request.query_params.get("entity", "").strip()[:255], ""
    try:
        query.entity_id = await entity_id_of(session, typed, "entity") or None
    except FarthingError as error:
        problem = reason(error)
    found, shown.total = ([], 0) if problem else await messages.list_messages(session, query)
    statement = select(WebhookEndpoint).where(WebhookEndpoint.status == Status.PUBLISHED)
    rows = await session.scalars(statement.order_by(WebhookEndpoint.created_at).limit(endpoints.MOST_ENDPOINTS))
    return render(
        request,
        "webhooks.html",
        endpoints=rows.all(),
        messages=found,
        listing=shown,
        state=state,
        entity=typed,
        problem=problem,
        states=[(each.value, each.value.capitalize()) for each in DeliveryState],
        events=list(EVENTS),
        made=made,
        secret=secret,
    )


async def _urls(session: AsyncSession) -> dict[str, str]:
    """The URL of each endpoint, deleted ones included: messages went to them."""
    rows = await session.execute(select(WebhookEndpoint.id, WebhookEndpoint.url))
    return {row.id: row.url for row in rows}


def _body(given: dict[str, str]) -> dict[str, Any]:
    """The form as the body of a request; event names are separated by blanks or commas."""
    body: dict[str, Any] = {"url": given.get("url", ""), "description": given.get("description", "")}
    body["filter_types"] = given.get("events", "").replace(",", " ").split()
    body["ordered"] = given.get("ordered") == "yes"
    return body
