"""Messages: what was sent to whom, with every attempt, and sending again.

Rule: docs/rules/webhooks.md#messages
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, exists, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.encoding.wire import as_wire
from farthing.core.errors import InvalidOperation, NotFound, ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.notifications.webhooks.delivery.post import AttemptSender
from farthing.notifications.webhooks.delivery.queue import (
    LEASE,
    DeliveryResult,
    TakenDelivery,
    record_results,
    taken_from,
)
from farthing.notifications.webhooks.delivery.worker import deliverable_endpoints
from farthing.notifications.webhooks.samples import sample_of
from farthing.notifications.webhooks.schemas import (
    WebhookAttemptResponse,
    WebhookDeliveryResponse,
    WebhookMessageQuery,
    WebhookMessageResponse,
)
from farthing.notifications.webhooks.tables import (
    AttemptTrigger,
    DeliveryState,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
    event_id_of,
    message_id,
)
from farthing.storage.midway import commit_midway
from farthing.storage.postgres import clock_of, real_clock_of, scope_of
from farthing.storage.queries.listing import ListQuery, select_page
from farthing.storage.queries.rows import find, in_array, not_found
from farthing.storage.record.outbox import POSITIONS, SystemEvent

MESSAGE_FIELDS = ("event_name", "entity_type", "entity_id", "created_at")
MOST_RECOVERED = 100_000
"""Messages that one call sends again."""
SAMPLE_ENTITY = "webhook_sample"
"""What the samples that tests send are about: nothing that happened."""


async def list_messages(session: AsyncSession, query: WebhookMessageQuery) -> tuple[list[WebhookMessageResponse], int]:
    """One page of messages, newest first, and how many match."""
    # said too where row-level security says it, so that an index that begins with it serves
    statement = select(SystemEvent).where(SystemEvent.environment_id == scope_of(session).environment_id)
    if query.event_types:
        statement = statement.where(SystemEvent.event_name.in_(query.event_types))
    if query.entity_id is not None:
        statement = statement.where(SystemEvent.entity_id == query.entity_id)
    statement = statement.where(_was_sent(query))
    rows, total = await select_page(session, SystemEvent, query, MESSAGE_FIELDS, statement)
    return await _shown(session, rows), total


def _was_sent(query: WebhookMessageQuery) -> ColumnElement[bool]:
    """Whether an event became a message to some endpoint, or to that which is asked for."""
    delivery = select(WebhookDelivery.id).where(WebhookDelivery.event_id == SystemEvent.id)
    if query.endpoint_id is not None:
        delivery = delivery.where(WebhookDelivery.endpoint_id == query.endpoint_id)
    if query.state is not None:
        delivery = delivery.where(WebhookDelivery.state == query.state)
    return exists(delivery)


async def read_message(session: AsyncSession, id: str) -> WebhookMessageResponse:
    """One message with its body. Raises NotFound."""
    event = await find_message(session, id)
    (message,) = await _shown(session, [event])
    message.payload = event.payload
    return message


async def find_message(session: AsyncSession, id: str) -> SystemEvent:
    """The event behind a message. Raises NotFound."""
    delivered = (SystemEvent.id == event_id_of(id), SystemEvent.payload.is_not(None))
    event = await session.scalar(select(SystemEvent).where(*delivered))
    if event is None or message_id(event.id) != id:
        raise NotFound(f"Webhook message with ID {id} was not found", {"webhook_message_id": id})
    return event


async def _shown(session: AsyncSession, events: Sequence[SystemEvent]) -> list[WebhookMessageResponse]:
    query = select(WebhookDelivery).where(in_array(WebhookDelivery.event_id, [event.id for event in events]))
    deliveries: dict[str, list[WebhookDeliveryResponse]] = defaultdict(list)
    for delivery in await session.scalars(query.order_by(WebhookDelivery.endpoint_id)):
        deliveries[delivery.event_id].append(shown_delivery(delivery))
    return [
        WebhookMessageResponse(
            id=message_id(event.id),
            system_event_id=event.id,
            event_type=event.event_name,
            entity_type=event.entity_type,
            entity_id=event.entity_id,
            created_at=as_wire(event.created_at),
            deliveries=deliveries[event.id],
        )
        for event in events
    ]


def shown_delivery(delivery: WebhookDelivery) -> WebhookDeliveryResponse:
    """A delivery as it travels: one that has ended has no next attempt."""
    pending = delivery.state is DeliveryState.PENDING
    due = as_wire(delivery.next_attempt_at) if pending else None
    return WebhookDeliveryResponse.of(delivery, next_attempt_at=due)


async def list_attempts(
    session: AsyncSession, message: str, query: ListQuery
) -> tuple[list[WebhookAttemptResponse], int]:
    """One page of the attempts to deliver a message, newest first, and how many there are. Raises NotFound."""
    event = await find_message(session, message)
    statement = select(WebhookAttempt).where(WebhookAttempt.event_id == event.id)
    total = (await session.execute(select(func.count()).select_from(statement.subquery()))).scalar_one()
    statement = statement.order_by(WebhookAttempt.attempted_at.desc(), WebhookAttempt.id.desc())
    rows = await session.scalars(statement.limit(query.page_size).offset(query.skip))
    return [WebhookAttemptResponse.of(row, success=row.error is None) for row in rows], total


# --- sending again ----------------------------------------------------------------------------------------------------

_BEGIN_AGAIN = """
    INSERT INTO webhook_deliveries (
        id, tenant_id, environment_id, endpoint_id, event_id, entity_id, position, state, failures,
        next_attempt_at, event_created_at, created_at
    )
    SELECT 'whdel_' || md5(event.id || endpoint.id), endpoint.tenant_id, endpoint.environment_id, endpoint.id,
        event.id, event.entity_id, coalesce(event.position, 0), 'pending', 0, :now, event.created_at, :now
    FROM system_events AS event, webhook_endpoints AS endpoint
    WHERE event.environment_id = :environment_id AND endpoint.environment_id = :environment_id
        AND endpoint.id = ANY(:endpoint_ids) AND {condition}
    ORDER BY event.position
    ON CONFLICT (environment_id, event_id, endpoint_id) DO UPDATE
        SET state = 'pending', failures = 0, next_attempt_at = :now, finished_at = NULL, reason = NULL
"""
_RESEND = text(_BEGIN_AGAIN.format(condition="event.id = :event_id"))
_RESEND_IF_NEW = text(
    _BEGIN_AGAIN.format(condition="event.id = :event_id").partition("ON CONFLICT")[0] + "ON CONFLICT DO NOTHING"
)
_RECOVER_ALL = text(
    _BEGIN_AGAIN.format(
        condition="""event.created_at >= :since AND event.created_at < :until AND event.entity_type <> :sample_entity
        AND event.payload IS NOT NULL
        AND (endpoint.filter_types = '[]' OR jsonb_exists(endpoint.filter_types, event.event_name))"""
    )
)
_RECOVER_FAILED = text(
    """
    UPDATE webhook_deliveries
    SET state = 'pending', failures = 0, next_attempt_at = :now, finished_at = NULL, reason = NULL
    WHERE environment_id = :environment_id AND endpoint_id = ANY(:endpoint_ids) AND state = 'failed'
        AND event_created_at >= :since AND event_created_at < :until
    """
)


async def resend_message(session: AsyncSession, id: str, endpoint_id: str | None) -> int:
    """Begin the delivery of a message again, to one endpoint or to all that are subscribed; how many deliveries.

    Raises NotFound, InvalidOperation for an endpoint that is disabled or when nobody is subscribed.
    """
    event = await find_message(session, id)
    if endpoint_id is not None:
        endpoints = [await _enabled(session, endpoint_id)]
    else:
        endpoints = await _subscribed(session, event)
    parameters = {**_parameters(session, endpoints), "event_id": event.id}
    await session.execute(_RESEND, parameters)
    return len(endpoints)


async def recover(
    session: AsyncSession, endpoint_id: str, since: datetime, until: datetime | None, *, everything: bool
) -> int:
    """Begin again what failed to be delivered to an endpoint of a span of time, or everything; how many deliveries.

    Times are those of events, by the environment's clock. Raises NotFound, InvalidOperation for a disabled endpoint,
    ValidationFailed for a span of too many messages or one that has not begun.
    """
    endpoint = await _enabled(session, endpoint_id)
    now = clock_of(session).now()
    if since > now:
        raise ValidationFailed.of("since", "must not be in the future")
    span = {"since": since, "until": until if until is not None else now.max.replace(tzinfo=now.tzinfo)}
    if not everything:
        result = await session.execute(_RECOVER_FAILED, {**_parameters(session, [endpoint]), **span})
        return int(result.rowcount)  # type: ignore[attr-defined]  # of a statement that writes
    within = select(SystemEvent.id).where(
        SystemEvent.environment_id == scope_of(session).environment_id,
        SystemEvent.created_at >= span["since"],
        SystemEvent.created_at < span["until"],
        SystemEvent.payload.is_not(None),
    )
    count = select(func.count()).select_from(within.limit(MOST_RECOVERED + 1).subquery())
    if (await session.scalar(count) or 0) > MOST_RECOVERED:
        raise ValidationFailed.of(
            "since", f"covers more than {MOST_RECOVERED:,} events up to until; recover shorter spans, one by one"
        )
    parameters = {**_parameters(session, [endpoint]), **span, "sample_entity": SAMPLE_ENTITY}
    result = await session.execute(_RECOVER_ALL, parameters)
    return int(result.rowcount)  # type: ignore[attr-defined]  # of a statement that writes


def _parameters(session: AsyncSession, endpoints: Sequence[WebhookEndpoint]) -> dict[str, Any]:
    return {
        "environment_id": scope_of(session).environment_id,
        "endpoint_ids": [endpoint.id for endpoint in endpoints],
        "now": real_clock_of(session).now(),
    }


async def _enabled(session: AsyncSession, endpoint_id: str) -> WebhookEndpoint:
    endpoint = await find(session, WebhookEndpoint, endpoint_id)
    if endpoint.disabled:
        raise InvalidOperation("The endpoint is disabled; enable it first", {"endpoint_id": endpoint_id})
    return endpoint


async def _subscribed(session: AsyncSession, event: SystemEvent) -> list[WebhookEndpoint]:
    """The enabled endpoints that want an event. Raises InvalidOperation when there is none."""
    wanting = [
        endpoint
        for endpoint in await deliverable_endpoints(session)
        if not endpoint.filter_types or event.event_name in endpoint.filter_types
    ]
    if not wanting:
        raise InvalidOperation(
            f"No enabled webhook endpoint is subscribed to {event.event_name}", {"event_type": event.event_name}
        )
    return wanting


_TAKE_BY_HAND = text(
    """
    UPDATE webhook_deliveries AS delivery SET next_attempt_at = :lease
    FROM system_events AS event
    WHERE delivery.environment_id = :environment_id AND event.environment_id = :environment_id
        AND event.id = :event_id AND delivery.event_id = event.id
        AND delivery.endpoint_id = ANY(:endpoint_ids) AND delivery.state <> 'delivered'
    RETURNING delivery.id, delivery.endpoint_id, delivery.event_id, delivery.failures, delivery.state,
        event.payload::text AS body
    """
)


async def attempt_now(session: AsyncSession, sender: AttemptSender, event_id: str) -> list[DeliveryResult]:
    """Post an event once, now, to every subscribed endpoint that has not taken it, and record what comes of it.

    Commits before anybody is asked. Raises NotFound, InvalidOperation when nobody is subscribed.
    """
    event = await find(session, SystemEvent, event_id)
    if event.payload is None:  # an activity that no webhook tells of
        raise not_found(SystemEvent, event_id)
    return await _attempt_to(session, sender, event, await _subscribed(session, event))


async def send_sample(
    session: AsyncSession, sender: AttemptSender, endpoint_id: str, event_name: str
) -> DeliveryResult:
    """Post a sample of an event to an endpoint, once, now. Raises NotFound."""
    endpoint = await find(session, WebhookEndpoint, endpoint_id)
    now = clock_of(session).now()
    event = SystemEvent(
        id=new_id(Kind.SYSTEM_EVENT),
        event_name=event_name,
        entity_type=SAMPLE_ENTITY,
        entity_id=endpoint.id,
        payload=msgspec.json.decode(sample_of(event_name)),
        created_at=now,
        dispatched_at=real_clock_of(session).now(),  # it is for nobody else
        is_echo=True,  # nothing happened
        position=int((await session.execute(select(POSITIONS.next_value()))).scalar_one()),
    )
    session.add(event)
    await session.flush()
    (result,) = await _attempt_to(session, sender, event, [endpoint], parked=True)
    return result


async def _attempt_to(
    session: AsyncSession,
    sender: AttemptSender,
    event: SystemEvent,
    endpoints: Sequence[WebhookEndpoint],
    *,
    parked: bool = False,
) -> list[DeliveryResult]:
    """Take deliveries by hand, post each once, record. `parked` deliveries are not tried again by themselves."""
    now = real_clock_of(session).now()
    parameters = {**_parameters(session, endpoints), "event_id": event.id}
    await session.execute(_RESEND_IF_NEW, parameters)
    rows = (await session.execute(_TAKE_BY_HAND, {**parameters, "lease": now + LEASE})).mappings().all()
    taken = [
        taken_from(
            row,
            row["body"],
            now + LEASE,
            is_parked=parked or row["state"] == "failed",
            trigger=AttemptTrigger.BY_HAND,
        )
        for row in rows
    ]
    by_id = {endpoint.id: endpoint for endpoint in endpoints}
    await commit_midway(session)
    results = await asyncio.gather(*(_post(sender, delivery, by_id, now) for delivery in taken))
    if results:
        await record_results(session, results, real_clock_of(session).now(), 0)
    return list(results)


async def _post(
    sender: AttemptSender, delivery: TakenDelivery, endpoints: dict[str, WebhookEndpoint], now: datetime
) -> DeliveryResult:
    return await sender.attempt(delivery, sender.open(endpoints[delivery.endpoint_id]), now)
