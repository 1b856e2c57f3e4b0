"""What goes on delivering for as long as its process lives: looks, takes what is due, posts, records.

No endpoint waits for another. Each has a bound of its own on what is under way, and a low one as soon as it fails, is
slow or hangs; those that do share what is left for such endpoints, and take nothing from the others.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import psycopg
import structlog
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import Clock
from farthing.core.enums import Status
from farthing.identity.tables import Environment, Tenant
from farthing.notifications.webhooks.delivery.backlog import measure_backlog
from farthing.notifications.webhooks.delivery.client import WebhookClient
from farthing.notifications.webhooks.delivery.fan_out import fan_out, has_work
from farthing.notifications.webhooks.delivery.pacing import allowed_now, next_free
from farthing.notifications.webhooks.delivery.post import AttemptSender, OpenedEndpoint
from farthing.notifications.webhooks.delivery.queue import (
    DeliveryResult,
    Room,
    TakenDelivery,
    give_back,
    record_results,
    take_due,
)
from farthing.notifications.webhooks.delivery.signing import SecretsBox
from farthing.notifications.webhooks.tables import WebhookEndpoint, WebhookEnvironment
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM, Scope

log = structlog.get_logger(__name__)

LOOK_SECONDS = 0.25
"""How long after a look that found nothing comes the next; longer where there are many environments."""
LOOK_SECONDS_EACH = 0.005
ENVIRONMENTS_SECONDS = 1.0
"""How often the list of environments with endpoints is read again."""
MEASURE_SECONDS = 10.0
PAUSE_SECONDS = 1.0
"""How long it waits after the database was away."""
AT_ONCE = 20
"""Attempts under way to one endpoint that answers."""
AT_ONCE_FAILING = 2
TAKEN_AHEAD = 100
"""Deliveries of an endpoint that answers that are taken, those under way included."""
MOST_TAKEN = 2000
"""The same for all endpoints that answer together."""
MOST_TAKEN_FAILING = 200
SLOW_SECONDS = 2.0
"""An endpoint that takes longer than this for an attempt counts as one that fails."""
LATEST_START = timedelta(seconds=10)
"""A delivery whose turn has not come so long after it was taken is left to the end of its lease."""
END_SECONDS = 3.0
"""How long attempts under way may go on when the process is asked to end."""
RECORDED_AT_ONCE = 500

_FAILURES = (SQLAlchemyError, psycopg.Error, OSError)


@dataclass(slots=True)
class EndpointLoad:
    """What is under way to one endpoint from this process."""

    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    taken: int = 0
    is_failing: bool = False
    """Whether its last attempt failed or was slow."""
    started: dict[str, float] = field(default_factory=dict)
    """When each attempt under way was begun, by delivery."""

    def hangs(self, now: float) -> bool:
        """Whether an attempt under way is slow already."""
        return any(now - began > SLOW_SECONDS for began in self.started.values())


class DeliveryWorker:
    """Delivers what is due in every environment that has endpoints."""

    def __init__(self, database: Database, client: WebhookClient, box: SecretsBox, clock: Clock | None = None) -> None:
        self._database = database
        self._clock = clock or database.clock
        self._sender = AttemptSender(client, box, database.clock)
        self._client = client
        self._loads: dict[str, EndpointLoad] = defaultdict(EndpointLoad)
        self._attempts: set[asyncio.Task[None]] = set()
        self._results: dict[Scope, list[DeliveryResult]] = defaultdict(list)
        self._in_hand: dict[str, tuple[Scope, TakenDelivery]] = {}
        """What was taken and has no result yet, by delivery."""
        self._changed = asyncio.Event()
        """Set when there may be something to record or to take."""
        self._random = random.SystemRandom()
        self._environments: list[Scope] = []
        self._environments_read = float("-inf")
        self._measured: dict[Scope, float] = {}

    async def run(self) -> None:
        """Deliver until cancelled, whatever happens to the database."""
        try:
            while True:
                try:
                    found = await self._round()
                except _FAILURES as error:
                    log.warning("webhooks.database_away", error=type(error).__name__)
                    await asyncio.sleep(PAUSE_SECONDS)
                    continue
                except Exception:  # whatever it was, the next round may be better, and nobody else delivers here
                    log.exception("webhooks.round_failed")
                    await asyncio.sleep(PAUSE_SECONDS)
                    continue
                if not found:
                    await self._rest()
        finally:
            await self._end()

    async def run_once(self, seconds: float) -> int:
        """Deliver what is due at the clock's time, for about so many seconds at most; how many attempts were made."""
        until = time.monotonic() + seconds
        attempts = 0
        try:
            while True:
                found = await self._round(take=time.monotonic() < until)
                attempts += found
                if not found and not self._attempts and not any(self._results.values()):
                    await self._measure_all()
                    return attempts
                if not found:
                    await self._rest()
        finally:
            await self._end()

    async def _rest(self) -> None:
        self._changed.clear()
        if any(self._results.values()):
            return
        seconds = max(LOOK_SECONDS, LOOK_SECONDS_EACH * len(self._environments))
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass

    async def _round(self, *, take: bool = True) -> int:
        """Record what has ended, then take and begin what is due; how many deliveries were begun or events fanned out.

        One environment's trouble does not stop the others.
        """
        found = 0
        await self._record()
        if not take:
            return 0
        for scope in await self._active():
            try:
                found += await self._look(scope)
            except _FAILURES as error:
                log.warning("webhooks.failed", environment_id=scope.environment_id, error=type(error).__name__)
        return found

    async def _active(self) -> Sequence[Scope]:
        """The live environments that have endpoints."""
        now = time.monotonic()
        if now - self._environments_read >= ENVIRONMENTS_SECONDS:
            self._environments = await environments_with_endpoints(self._database)
            self._environments_read = now
        return self._environments

    async def _look(self, scope: Scope) -> int:
        now = self._clock.now()
        async with self._database.transaction(scope, clock=self._clock) as session:
            waiting, due = await has_work(session, now)
            if not waiting and not due:
                await self._measure(session, scope, now)
                return 0
            events = await fan_out(session, now) if waiting else 0
            await self._measure(session, scope, now)
        return events + await self._take(scope, now)

    async def _measure(self, session: AsyncSession, scope: Scope, now: datetime) -> None:
        if time.monotonic() - self._measured.get(scope, float("-inf")) >= MEASURE_SECONDS:
            await measure_backlog(session, now)
            self._measured[scope] = time.monotonic()

    async def _measure_all(self) -> None:
        now = self._clock.now()
        for scope in self._environments:
            async with self._database.transaction(scope, clock=self._clock) as session:
                await measure_backlog(session, now)

    async def _take(self, scope: Scope, now: datetime) -> int:
        async with self._database.transaction(scope, clock=self._clock) as session:
            endpoints = await deliverable_endpoints(session)
            rooms = await self._rooms(session, endpoints, now)
            deliveries = await take_due(session, rooms, now) if rooms else []
            counts: dict[str, int] = defaultdict(int)
            for delivery in deliveries:
                counts[delivery.endpoint_id] += 1
            for endpoint in endpoints:
                if endpoint.rate_limit is not None and counts[endpoint.id]:
                    endpoint.next_free_at = next_free(
                        endpoint.next_free_at, endpoint.rate_limit, counts[endpoint.id], now
                    )
        opened = {endpoint.id: self._sender.open(endpoint) for endpoint in endpoints if counts[endpoint.id]}
        for delivery in deliveries:
            self._begin(scope, delivery, opened[delivery.endpoint_id])
        return len(deliveries)

    async def _rooms(self, session: AsyncSession, endpoints: Iterable[WebhookEndpoint], now: datetime) -> list[Room]:
        """How many deliveries of each endpoint may be taken now."""
        monotonic = time.monotonic()
        well = [load for load in self._loads.values() if not (load.is_failing or load.hangs(monotonic))]
        taken_well = sum(load.taken for load in well)
        taken_failing = sum(load.taken for load in self._loads.values()) - taken_well
        rooms = []
        for endpoint in endpoints:
            load = self._loads[endpoint.id]
            fails = load.is_failing or load.hangs(monotonic) or endpoint.failing_since is not None
            if fails:
                free = min(AT_ONCE_FAILING - load.taken, MOST_TAKEN_FAILING - taken_failing)
            else:
                free = min(TAKEN_AHEAD - load.taken, MOST_TAKEN - taken_well)
            if free > 0 and endpoint.rate_limit is not None:
                free = min(free, await self._allowed(session, endpoint, now))
            if free > 0:
                rooms.append(Room(endpoint.id, endpoint.ordered, free))
        return rooms

    async def _allowed(self, session: AsyncSession, endpoint: WebhookEndpoint, now: datetime) -> int:
        """What the rate limit of an endpoint allows; other processes wait until what is taken is counted."""
        locked = select(WebhookEndpoint).where(WebhookEndpoint.id == endpoint.id).with_for_update(skip_locked=True)
        row = await session.scalar(locked.execution_options(populate_existing=True))
        if row is None or row.rate_limit is None or row.disabled:
            return 0
        return allowed_now(row.next_free_at, row.rate_limit, now)

    def _begin(self, scope: Scope, delivery: TakenDelivery, endpoint: OpenedEndpoint) -> None:
        self._loads[delivery.endpoint_id].taken += 1
        self._in_hand[delivery.id] = scope, delivery
        attempt = asyncio.create_task(self._attempt(scope, delivery, endpoint), name="webhook")
        self._attempts.add(attempt)
        attempt.add_done_callback(self._attempts.discard)

    async def _attempt(self, scope: Scope, delivery: TakenDelivery, endpoint: OpenedEndpoint) -> None:
        load = self._loads[delivery.endpoint_id]
        taken_at = time.monotonic()
        try:
            async with load.turns:
                began = time.monotonic()
                if began - taken_at > LATEST_START.total_seconds():
                    self._in_hand.pop(delivery.id, None)
                    return
                load.started[delivery.id] = began
                result = await self._sender.attempt(delivery, endpoint, self._clock.now())
                slow = time.monotonic() - began > SLOW_SECONDS
                load.is_failing = slow or not result.outcome.is_delivered
                self._results[scope].append(result)
                self._in_hand.pop(delivery.id, None)
        finally:
            load.started.pop(delivery.id, None)
            load.taken -= 1
            self._changed.set()

    async def _record(self) -> None:
        for scope in list(self._results):
            results = self._results.pop(scope)
            for begin in range(0, len(results), RECORDED_AT_ONCE):
                batch = results[begin : begin + RECORDED_AT_ONCE]
                try:
                    async with self._database.transaction(scope, clock=self._clock) as session:
                        await record_results(session, batch, self._clock.now(), self._random.random())
                except _FAILURES as error:
                    # their leases end, and they are sent again
                    log.warning("webhooks.not_recorded", attempts=len(batch), error=type(error).__name__)

    async def _end(self) -> None:
        """Let attempts under way end, for a moment, and give back what is cut off."""
        if self._attempts:
            await asyncio.wait(self._attempts, timeout=END_SECONDS)
        for attempt in list(self._attempts):
            attempt.cancel()
        if self._attempts:
            await asyncio.wait(self._attempts)
        await self._record()
        await self._give_back()
        await self._client.close()

    async def _give_back(self) -> None:
        """End the leases of what was taken and not attempted to the end, so that others need not wait for it."""
        left: dict[Scope, list[TakenDelivery]] = defaultdict(list)
        for scope, delivery in self._in_hand.values():
            left[scope].append(delivery)
        for scope, deliveries in left.items():
            try:
                async with self._database.transaction(scope, clock=self._clock) as session:
                    await give_back(session, deliveries, self._clock.now())
            except _FAILURES as error:
                log.warning("webhooks.not_given_back", error=type(error).__name__)


async def environments_with_endpoints(database: Database) -> list[Scope]:
    """The live environments that have, or had, endpoints."""
    async with database.transaction(SYSTEM) as session:
        rows = await session.execute(
            select(WebhookEnvironment.tenant_id, WebhookEnvironment.id)
            .join(Environment, Environment.id == WebhookEnvironment.id)
            .join(Tenant, Tenant.id == WebhookEnvironment.tenant_id)
            .where(Environment.status == Status.PUBLISHED, Tenant.status == Status.PUBLISHED)
            .order_by(WebhookEnvironment.id)
        )
        return [Scope(tenant_id, environment_id) for tenant_id, environment_id in rows]


async def deliverable_endpoints(session: AsyncSession) -> list[WebhookEndpoint]:
    """The endpoints of the session's environment that are sent to."""
    query = select(WebhookEndpoint).where(
        WebhookEndpoint.status == Status.PUBLISHED, WebhookEndpoint.disabled.is_(False)
    )
    return list(await session.scalars(query.order_by(WebhookEndpoint.id)))
