"""Deliveries that are due: taken on a lease, and recorded with what came of them.

A lease is nothing but the time at which the delivery is due again. Whoever took it and is killed leaves it to the next
after that; whoever records an outcome when its lease has ended changes nothing of the delivery any more.
Rule: docs/rules/webhooks.md#order
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.ids import Kind, new_id
from farthing.notifications.webhooks.delivery.client import AttemptOutcome
from farthing.notifications.webhooks.delivery.schedule import FAILING_LIMIT, next_attempt
from farthing.notifications.webhooks.tables import (
    AttemptTrigger,
    DeliveryState,
    DisabledReason,
    WebhookAttempt,
    WebhookEndpoint,
)
from farthing.storage.postgres import scope_of
from farthing.storage.queries.bulk import insert_records
from farthing.storage.queries.rows import lock_if_there
from farthing.storage.record.outbox import record_event

LEASE = timedelta(seconds=30)
"""More than an attempt takes, with what it may wait for its turn and the time to record it."""
ENDPOINT_DISABLED = "webhook_endpoint.disabled"
"""The operational event that says that an endpoint gets nothing any more."""


@dataclass(frozen=True, slots=True)
class Room:
    """How many more deliveries of an endpoint may be taken; `ordered` is whether it wants them strictly in order."""

    endpoint_id: str
    ordered: bool
    most: int


@dataclass(frozen=True, slots=True)
class TakenDelivery:
    """A delivery that is ours until `lease`, with the message as it is sent."""

    id: str
    endpoint_id: str
    event_id: str
    body: str
    failures: int
    lease: datetime
    is_parked: bool = False
    """Whether its schedule had ended, so that an attempt by hand that fails leaves it as it was."""
    trigger: AttemptTrigger = AttemptTrigger.SCHEDULE


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """What came of an attempt that began at `attempted_at`."""

    delivery: TakenDelivery
    outcome: AttemptOutcome
    attempted_at: datetime


# Deliveries come in bursts, of which the statistics know nothing yet. What is below leaves the planner no choice, or
# each row that is taken would be compared with all that wait: no join, no index that does not give rows in their order;
# and rows are locked, then found by their place.
_IN_ORDER_OF_AN_INDEX = text("SELECT set_config('enable_sort', 'off', true)")
_TAKE = text(
    """
    WITH due AS MATERIALIZED (
        SELECT picked.place
        FROM json_to_recordset(CAST(:rooms AS json)) AS room (endpoint_id text, ordered bool, most int)
        CROSS JOIN LATERAL (
            SELECT delivery.ctid AS place FROM webhook_deliveries AS delivery
            WHERE delivery.environment_id = :environment_id AND delivery.endpoint_id = room.endpoint_id
                AND delivery.state = 'pending' AND delivery.next_attempt_at <= :now
                AND (
                    SELECT earlier.position FROM webhook_deliveries AS earlier
                    WHERE earlier.environment_id = :environment_id AND earlier.endpoint_id = delivery.endpoint_id
                        AND earlier.entity_id = delivery.entity_id AND earlier.state = 'pending'
                        AND earlier.position < delivery.position AND (room.ordered OR earlier.failures = 0)
                    ORDER BY earlier.position LIMIT 1
                ) IS NULL
            ORDER BY delivery.next_attempt_at, delivery.position LIMIT room.most FOR UPDATE SKIP LOCKED
        ) AS picked
    )
    UPDATE webhook_deliveries AS delivery SET next_attempt_at = :lease
    WHERE delivery.ctid = ANY(ARRAY(SELECT place FROM due)) AND delivery.environment_id = :environment_id
    RETURNING delivery.id, delivery.endpoint_id, delivery.event_id, delivery.failures, delivery.position
    """
)
_BODIES = text(
    """
    SELECT wanted.id, event.body FROM unnest(CAST(:event_ids AS text[])) AS wanted (id)
    CROSS JOIN LATERAL (
        SELECT payload::text AS body FROM system_events WHERE id = wanted.id OFFSET 0
    ) AS event
    """
)
"""The body of each event once, to however many endpoints it goes. Row-level security confines it; a condition on the
environment would invite the planner to read all of its events for each."""


async def take_due(session: AsyncSession, rooms: Sequence[Room], now: datetime) -> list[TakenDelivery]:
    """Take deliveries that are due at `now`, in their order. They are ours once the transaction is committed.

    The first attempt of a message waits until that of every earlier message about the same entity has ended; where the
    endpoint is ordered, until the earlier ones are delivered or given up.
    """
    given = [{"endpoint_id": room.endpoint_id, "ordered": room.ordered, "most": room.most} for room in rooms]
    parameters = {
        "rooms": msgspec.json.encode(given).decode(),
        "environment_id": scope_of(session).environment_id,
        "now": now,
        "lease": now + LEASE,
    }
    await session.execute(_IN_ORDER_OF_AN_INDEX)
    rows = (await session.execute(_TAKE, parameters)).mappings().all()
    if not rows:
        return []
    event_ids = list({row["event_id"] for row in rows})
    found = await session.execute(_BODIES, {"event_ids": event_ids})
    bodies = {row.id: row.body for row in found}
    rows = sorted(rows, key=lambda row: row["position"])
    return [taken_from(row, bodies[row["event_id"]], now + LEASE) for row in rows if row["event_id"] in bodies]


def taken_from(row: RowMapping, body: str, lease: datetime, **given: Any) -> TakenDelivery:
    """A taken delivery of a row, with its message's body."""
    return TakenDelivery(row["id"], row["endpoint_id"], row["event_id"], body, row["failures"], lease, **given)


_GIVE_BACK = text(
    "UPDATE webhook_deliveries SET next_attempt_at = :now "
    "WHERE environment_id = :environment_id AND id = ANY(:ids) AND next_attempt_at = ANY(:leases) AND state = 'pending'"
)


async def give_back(session: AsyncSession, deliveries: Sequence[TakenDelivery], now: datetime) -> None:
    """End the leases of deliveries that will not be attempted by whoever took them."""
    parameters = {
        "environment_id": scope_of(session).environment_id,
        "ids": [delivery.id for delivery in deliveries],
        "leases": sorted({delivery.lease for delivery in deliveries}),
        "now": now,
    }
    await session.execute(_GIVE_BACK, parameters)


_RECORD = text(
    """
    UPDATE webhook_deliveries AS delivery
    SET state = result.state, failures = result.failures, reason = result.reason,
        next_attempt_at = result.next_attempt_at, finished_at = result.finished_at
    FROM json_to_recordset(CAST(:results AS json)) AS result (
        id text, lease timestamptz, state text, failures int, reason text, next_attempt_at timestamptz,
        finished_at timestamptz
    )
    WHERE delivery.environment_id = :environment_id AND delivery.id = result.id
        AND delivery.next_attempt_at = result.lease
        -- what was given up meanwhile is not tried again
        AND (delivery.state = 'pending' OR result.state <> 'pending')
    """
)


async def record_results(
    session: AsyncSession, results: Sequence[DeliveryResult], now: datetime, jitter: float
) -> None:
    """Record attempts that ended at `now`, and what follows for their deliveries and endpoints.

    `jitter` is a random number from 0 to 1.
    """
    scope = scope_of(session)
    follow_ups = [_follow_up(result, now, jitter) for result in results]
    await session.execute(
        _RECORD, {"results": msgspec.json.encode(follow_ups).decode(), "environment_id": scope.environment_id}
    )
    attempts = [
        {
            "id": new_id(Kind.WEBHOOK_ATTEMPT),
            "tenant_id": scope.tenant_id,
            "environment_id": scope.environment_id,
            "delivery_id": result.delivery.id,
            "endpoint_id": result.delivery.endpoint_id,
            "event_id": result.delivery.event_id,
            "trigger": result.delivery.trigger.value,
            "attempted_at": result.attempted_at,
            "duration_ms": result.outcome.duration_ms,
            "status_code": result.outcome.status_code,
            "error": result.outcome.error,
            "response_body": result.outcome.response_body,
        }
        for result in results
    ]
    await (await session.connection()).run_sync(insert_records, WebhookAttempt, attempts)
    await _judge_endpoints(session, results, now)


def _follow_up(result: DeliveryResult, now: datetime, jitter: float) -> Mapping[str, Any]:
    """What becomes of a delivery after an attempt."""
    delivery, outcome = result.delivery, result.outcome
    again = None
    failures = delivery.failures
    if not outcome.is_delivered:
        failures += 1
        again = None if delivery.is_parked or outcome.is_gone else next_attempt(failures, now, jitter)
    state = (
        DeliveryState.PENDING if again else DeliveryState.DELIVERED if outcome.is_delivered else DeliveryState.FAILED
    )
    return {
        "id": delivery.id,
        "lease": delivery.lease,
        "state": state.value,
        "failures": failures,
        "reason": None if outcome.is_delivered else outcome.error,
        "next_attempt_at": again or now,
        "finished_at": None if again else now,
    }


_WELL = text(
    "UPDATE webhook_endpoints SET failing_since = NULL "
    "WHERE environment_id = :environment_id AND id = ANY(:ids) AND failing_since IS NOT NULL"
)
_FAILING = text(
    "UPDATE webhook_endpoints SET failing_since = coalesce(failing_since, :now) "
    "WHERE environment_id = :environment_id AND id = ANY(:ids) AND (failing_since IS NULL OR failing_since <= :limit) "
    "RETURNING id, failing_since <= :limit"
)


async def _judge_endpoints(session: AsyncSession, results: Sequence[DeliveryResult], now: datetime) -> None:
    """Note which endpoints fail and since when; disable those that are gone, or have failed for too long."""
    delivered = {result.delivery.endpoint_id for result in results if result.outcome.is_delivered}
    failed = {result.delivery.endpoint_id for result in results} - delivered
    gone = {result.delivery.endpoint_id for result in results if result.outcome.is_gone}
    parameters: dict[str, Any] = {"environment_id": scope_of(session).environment_id, "now": now}
    if delivered:
        await session.execute(_WELL, {**parameters, "ids": sorted(delivered)})
    too_long: list[str] = []
    if failed:
        given = {**parameters, "ids": sorted(failed), "limit": now - FAILING_LIMIT}
        too_long = [row[0] for row in await session.execute(_FAILING, given) if row[1]]
    for endpoint_id in sorted(gone):
        await disable(session, endpoint_id, DisabledReason.GONE, now)
    for endpoint_id in sorted(set(too_long) - gone):
        await disable(session, endpoint_id, DisabledReason.FAILING, now)


async def disable(session: AsyncSession, endpoint_id: str, reason: DisabledReason, now: datetime) -> None:
    """Send nothing more to an endpoint that asked for it, or fails, and record that as an event."""
    endpoint = await lock_if_there(session, WebhookEndpoint, endpoint_id)
    if endpoint is None or endpoint.disabled:
        return
    endpoint.disabled, endpoint.disabled_reason, endpoint.disabled_at = True, reason, now
    await give_up(session, endpoint_id, "the endpoint was disabled", now)
    about = {"id": endpoint.id, "url": endpoint.url, "disabled_reason": reason.value}
    await record_event(session, ENDPOINT_DISABLED, "webhook_endpoint", endpoint.id, {"webhook_endpoint": about})
    await session.flush()


_GIVE_UP = text(
    "UPDATE webhook_deliveries SET state = 'failed', finished_at = :now, reason = :reason "
    "WHERE environment_id = :environment_id AND endpoint_id = :endpoint_id AND state = 'pending'"
)


async def give_up(session: AsyncSession, endpoint_id: str, reason: str, now: datetime) -> None:
    """End every delivery that is on its way to an endpoint; they can be recovered."""
    scope = scope_of(session)
    parameters = {"environment_id": scope.environment_id, "endpoint_id": endpoint_id, "reason": reason, "now": now}
    await session.execute(_GIVE_UP, parameters)
