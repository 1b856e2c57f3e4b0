"""Endpoints: registered, changed, disabled, their secrets rotated.

Rule: docs/rules/webhooks.md#endpoints
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from msgspec import UNSET
from sqlalchemy import func, select
from sqlalchemy import update as change
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.enums import Status
from farthing.core.errors import InvalidOperation, ServiceUnavailable, ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.notifications.webhooks.delivery.addresses import url_problem
from farthing.notifications.webhooks.delivery.queue import give_up
from farthing.notifications.webhooks.delivery.signing import OVERLAP, EndpointSecrets, SecretsBox, new_secret
from farthing.notifications.webhooks.schemas import (
    HIDDEN,
    CreateWebhookEndpointRequest,
    UpdateWebhookEndpointRequest,
)
from farthing.notifications.webhooks.tables import DisabledReason, WebhookEndpoint, WebhookEnvironment
from farthing.storage.postgres import real_clock_of, scope_of
from farthing.storage.queries.rows import insert_if_new, lock_row
from farthing.storage.record.outbox import POSITIONS

MOST_ENDPOINTS = 50
"""In one environment."""


async def create_endpoint(
    session: AsyncSession, box: SecretsBox, given: CreateWebhookEndpointRequest, *, allow_private: bool
) -> tuple[WebhookEndpoint, str]:
    """Register an endpoint for the events recorded from now on; it and its secret.

    Raises ValidationFailed for a URL that is refused, InvalidOperation when there are as many as there may be.
    """
    _check_url(given.url, allow_private=allow_private)
    await _make_room(session)
    secret = new_secret()
    endpoint = WebhookEndpoint(
        id=new_id(Kind.WEBHOOK_ENDPOINT),
        url=given.url,
        description=given.description,
        filter_types=sorted(set(given.filter_types or ())),
        ordered=given.ordered,
        rate_limit=given.rate_limit,
        meta=dict(given.metadata or {}),
        key_id=box.key_id,
        first_position=await _position(session),
    )
    headers = _merged(given.headers or {}, {})
    endpoint.sealed = box.seal(EndpointSecrets(secret=secret, headers=headers), endpoint.id)
    _set_disabled(session, endpoint, disabled=given.disabled)
    session.add(endpoint)
    await session.flush()
    return endpoint, secret


async def update_endpoint(
    session: AsyncSession, box: SecretsBox, id: str, given: UpdateWebhookEndpointRequest, *, allow_private: bool
) -> WebhookEndpoint:
    """Change what is given. An endpoint that is enabled again gets the events recorded from then on.

    Raises NotFound, ValidationFailed.
    """
    endpoint = await lock_row(session, WebhookEndpoint, id)
    if given.url is not None and given.url != endpoint.url:
        _check_url(given.url, allow_private=allow_private)
        endpoint.url = given.url
        endpoint.failing_since = None
    if given.description is not None:
        endpoint.description = given.description
    if given.filter_types is not None:
        endpoint.filter_types = sorted(set(given.filter_types))
    if given.ordered is not None:
        endpoint.ordered = given.ordered
    if given.rate_limit is not UNSET:
        endpoint.rate_limit = given.rate_limit
        endpoint.next_free_at = None
    if given.metadata is not None:
        endpoint.meta = dict(given.metadata)
    if given.headers is not None:
        opened = box.open(endpoint.sealed, endpoint.key_id, endpoint.id)
        headers = _merged(given.headers, opened.headers)
        endpoint.sealed = box.seal(EndpointSecrets(opened.secret, opened.previous_secret, headers), endpoint.id)
    if given.disabled is not None and given.disabled != endpoint.disabled:
        _set_disabled(session, endpoint, disabled=given.disabled)
        if given.disabled:
            await give_up(session, endpoint.id, "the endpoint was disabled", real_clock_of(session).now())
        else:
            endpoint.first_position = await _position(session)
    await session.flush()
    return endpoint


async def delete_endpoint(session: AsyncSession, id: str) -> None:
    """Delete an endpoint, its secrets and what is on its way to it. Raises NotFound."""
    endpoint = await lock_row(session, WebhookEndpoint, id)
    endpoint.status = Status.DELETED
    endpoint.sealed, endpoint.key_id = b"", ""
    await give_up(session, endpoint.id, "the endpoint was deleted", real_clock_of(session).now())
    await session.flush()


async def rotate_secret(session: AsyncSession, box: SecretsBox, id: str) -> tuple[WebhookEndpoint, str]:
    """Give an endpoint a new secret; for a day messages are signed with both. The endpoint and its new secret.

    The way out, too, when the master key that sealed the old one is lost: then the headers are lost with it.
    """
    endpoint = await lock_row(session, WebhookEndpoint, id)
    try:
        opened = box.open(endpoint.sealed, endpoint.key_id, endpoint.id)
    except ServiceUnavailable:
        opened = None
    secret = new_secret()
    previous = None if opened is None else opened.secret
    endpoint.sealed = box.seal(EndpointSecrets(secret, previous, opened.headers if opened else {}), endpoint.id)
    endpoint.key_id = box.key_id
    endpoint.previous_secret_until = None if previous is None else real_clock_of(session).now() + OVERLAP
    await session.flush()
    return endpoint, secret


def hidden_headers(box: SecretsBox, endpoint: WebhookEndpoint) -> dict[str, str]:
    """The names of an endpoint's headers, their values hidden; none when the master key that sealed them is gone."""
    try:
        opened = box.open(endpoint.sealed, endpoint.key_id, endpoint.id)
    except ServiceUnavailable:
        return {}
    return dict.fromkeys(sorted(opened.headers), HIDDEN)


async def reseal_endpoints(session: AsyncSession, old: SecretsBox, new: SecretsBox) -> int:
    """Seal under `new` what `old` sealed in the session's environment, with the rows locked; how many there were."""
    query = select(WebhookEndpoint.id, WebhookEndpoint.sealed).where(WebhookEndpoint.key_id == old.key_id)
    rows = (await session.execute(query.order_by(WebhookEndpoint.id).with_for_update())).all()
    for endpoint_id, sealed in rows:
        again = new.seal(old.open(sealed, old.key_id, endpoint_id), endpoint_id)
        # nobody changed the endpoints, so that their times stay
        values = {"sealed": again, "key_id": new.key_id}
        await session.execute(change(WebhookEndpoint).where(WebhookEndpoint.id == endpoint_id).values(**values))
    return len(rows)


async def forget_endpoint_secrets(session: AsyncSession) -> None:
    """Forget the secrets of the environment's endpoints, when the master key that sealed them is lost.

    Attempts fail until each has a new one; what failed meanwhile can be recovered.
    """
    await session.execute(change(WebhookEndpoint).values(sealed=b"", key_id=""))


def _check_url(url: str, *, allow_private: bool) -> None:
    problem = url_problem(url, allow_private=allow_private)
    if problem is not None:
        raise ValidationFailed.of("url", problem)


async def _make_room(session: AsyncSession) -> None:
    """Note that the environment has endpoints, and lock that note while they are counted."""
    environment_id = scope_of(session).environment_id
    await insert_if_new(session, WebhookEnvironment(id=environment_id))
    await lock_row(session, WebhookEnvironment, environment_id)
    count = select(func.count()).select_from(WebhookEndpoint).where(WebhookEndpoint.status == Status.PUBLISHED)
    if (await session.scalar(count) or 0) >= MOST_ENDPOINTS:
        raise InvalidOperation(f"An environment has at most {MOST_ENDPOINTS} webhook endpoints")


async def _position(session: AsyncSession) -> int:
    """A position after that of every event recorded so far."""
    return int((await session.execute(select(POSITIONS.next_value()))).scalar_one())


def _set_disabled(session: AsyncSession, endpoint: WebhookEndpoint, *, disabled: bool) -> None:
    at: datetime | None = real_clock_of(session).now() if disabled else None
    endpoint.disabled = disabled
    endpoint.disabled_reason, endpoint.disabled_at = (DisabledReason.BY_HAND if disabled else None), at
    endpoint.failing_since = None


def _merged(given: Mapping[str, str], known: Mapping[str, str]) -> dict[str, str]:
    """The headers given, where a hidden value stands for the known one. Raises ValidationFailed without one."""
    by_name = {name.lower(): value for name, value in known.items()}
    merged = {}
    for name, value in given.items():
        if value == HIDDEN and name.lower() not in by_name:
            raise ValidationFailed.of(f"headers.{name}", "must be a value")
        merged[name] = by_name[name.lower()] if value == HIDDEN else value
    return merged
