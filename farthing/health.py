"""Whether this process may be sent requests, and how the deployment's duties stand.

A process is ready if the database answers it and, where it has a worker, if that works and no duty is overdue. The
duties of a deployment are no reason to take a process without a worker out of service: it tells of them, and stays
ready.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog
from litestar import Response, get, post
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge
from sqlalchemy.exc import SQLAlchemyError

from farthing.api.transport import metrics
from farthing.core.composition import Composition
from farthing.jobs.duties.duty import Duty
from farthing.jobs.duties.standing import DutyStanding, overdue, read_standings
from farthing.jobs.workers.pace import WorkerState
from farthing.notifications.undelivered import Undelivered, read_undelivered
from farthing.notifications.webhooks.delivery.backlog import Backlog, read_backlog
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM

log = structlog.get_logger(__name__)

ANSWER_SECONDS = 5.0
"""How long the database may take to answer."""
FRESH_SECONDS = 1.0
"""Many probes at once are answered from one look."""
WORKER_PATIENCE_SECONDS = 30.0
"""A worker that starts, or starts again, is given this long."""

MEASURED = CollectorRegistry()
"""What is read when it is asked for, and the same whichever process is asked."""

_SUCCEEDED = Gauge(
    "farthing_duty_last_success_timestamp_seconds", "When the duty last succeeded", ["duty"], registry=MEASURED
)
_PERIOD = Gauge("farthing_duty_period_seconds", "How often the duty is to run", ["duty"], registry=MEASURED)
_LATE = Gauge(
    "farthing_duty_late_seconds", "For how long a success of the duty is missing", ["duty"], registry=MEASURED
)
_OVERDUE = Gauge(
    "farthing_duty_overdue",
    "1 if a success of the duty is missing for longer than it may be",
    ["duty"],
    registry=MEASURED,
)
_FAILURES = Gauge(
    "farthing_duty_failures", "Runs of the duty that failed since its last success", ["duty"], registry=MEASURED
)
_FX_WAITING = Gauge(
    "farthing_fx_waiting", "Drafts that the last billing run left for want of an exchange rate", registry=MEASURED
)
_WEBHOOKS = Gauge(
    "farthing_webhook_backlog", "Events and deliveries of webhooks that are on their way", registry=MEASURED
)
_OLDEST = Gauge(
    "farthing_webhook_oldest_seconds", "For how long the oldest of them has been on its way", registry=MEASURED
)
_GIVEN_UP = Gauge("farthing_webhook_given_up", "Messages to endpoints for which no attempt is left", registry=MEASURED)
_PARKED = Gauge(
    "farthing_email_parked", "Mails that the mail server refused, or for which no attempt is left", registry=MEASURED
)
_DATABASE = Gauge("farthing_database_up", "1 if the database answered the last time it was asked", registry=MEASURED)
_WORKER = Gauge(
    "farthing_worker_up",
    "1 if the worker beside this server works; absent meaning, and 0, without one",
    registry=MEASURED,
)
_RESTARTS = Gauge(
    "farthing_worker_restarts", "How often the worker beside this server had to be begun again", registry=MEASURED
)


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen at one moment. `standings` is None when the database did not answer."""

    at: datetime
    standings: list[DutyStanding] | None
    webhooks: Backlog | None
    undelivered: Undelivered | None


@dataclass(frozen=True, slots=True)
class DatabaseAnswer:
    """What the database said of duties, of webhooks, and of what was given up."""

    standings: list[DutyStanding]
    webhooks: Backlog
    undelivered: Undelivered


@dataclass(slots=True)
class Health:
    """The health of this process. `database` is for nothing else, so that busy requests do not hide an answer."""

    database: Database
    duties: Sequence[Duty]
    worker: WorkerState | None
    """The worker of this process, or of those it serves with; None without one."""
    started_at: datetime
    fresh_seconds: float = FRESH_SECONDS
    answer_seconds: float = ANSWER_SECONDS
    _reading: asyncio.Task[DatabaseAnswer] | None = None
    _look: Look | None = None
    _looked: float = 0.0
    """When the last look began."""
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def look(self) -> Look:
        """How it is now, or was a moment ago: what is answered was not seen long before it was asked for."""
        asked = time.monotonic()
        async with self._lock:
            if self._look is None or self._looked < asked - self.fresh_seconds:
                began = time.monotonic()
                answer = await self._read()
                now = self.database.clock.now()
                self._look = (
                    Look(now, None, None, None)
                    if answer is None
                    else Look(now, answer.standings, answer.webhooks, answer.undelivered)
                )
                self._looked = began  # the answer may have been long on its way, and is no newer for that
            return self._look

    async def _read(self) -> DatabaseAnswer | None:
        # a server that is frozen does not even let a query be cancelled: the answer comes without it, and until that
        # query has ended no other is asked
        if self._reading is not None and self._reading.done():
            self._reading.exception()
            self._reading = None  # what it saw may be of long ago
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_standings(), name="health")
        done, _ = await asyncio.wait({self._reading}, timeout=self.answer_seconds)
        if not done:
            log.warning("health.database_away", error="no answer")
            return None
        reading, self._reading = self._reading, None
        try:
            return reading.result()
        except (SQLAlchemyError, OSError) as error:
            log.warning("health.database_away", error=type(error).__name__)
            return None

    async def _read_standings(self) -> DatabaseAnswer:
        async with self.database.transaction(SYSTEM, read_only=True) as session:
            standings = await read_standings(session, self.duties, self.database.clock.now())
            return DatabaseAnswer(standings, await read_backlog(session), await read_undelivered(session))

    async def close(self) -> None:
        """Ask nothing more."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading}, timeout=1)
        await self.database.close()

    def worker_is_down(self) -> bool:
        """Whether the worker that this process should have does not work."""
        return self.worker is not None and self.worker.down_for() > WORKER_PATIENCE_SECONDS

    async def report(self) -> tuple[bool, dict[str, Any]]:
        """Whether this process is ready, and each part of why."""
        look = await self.look()
        body: dict[str, Any] = {"status": "ok", "database": "ok" if look.standings is not None else "unavailable"}
        if self.worker is None:
            body["worker"] = "none"
        else:
            body["worker"] = "down" if self.worker_is_down() else "ok" if self.worker.alive else "starting"
        # a process that has just begun is given the time to do what was missed before it
        late = overdue(look.standings or [], look.at, since=self.started_at)
        body["duties"] = "unknown" if look.standings is None else "overdue" if late else "ok"
        if late:
            body["overdue"] = [standing.name for standing in late]
        ready = look.standings is not None and not self.worker_is_down() and (self.worker is None or not late)
        body["status"] = "ok" if ready else "unavailable"
        return ready, body

    async def measure(self) -> None:
        """Bring the metrics to now."""
        look = await self.look()
        _DATABASE.set(look.standings is not None)
        if self.worker is not None:
            _WORKER.set(self.worker.alive)
            _RESTARTS.set(self.worker.restarts)
        if look.webhooks is not None:
            oldest_at = look.webhooks.oldest_at
            _WEBHOOKS.set(look.webhooks.count)
            _OLDEST.set(0 if oldest_at is None else max((look.at - oldest_at).total_seconds(), 0))
        if look.undelivered is not None:
            _GIVEN_UP.set(look.undelivered.messages)
            _PARKED.set(look.undelivered.emails)
        _FX_WAITING.set(sum(standing.without_rate for standing in look.standings or []))
        for standing in look.standings or []:
            _SUCCEEDED.labels(standing.name).set(standing.succeeded_at.timestamp() if standing.succeeded_at else 0)
            _PERIOD.labels(standing.name).set(standing.period.total_seconds())
            _LATE.labels(standing.name).set(standing.lateness(look.at).total_seconds())
            _OVERDUE.labels(standing.name).set(standing.is_overdue(look.at))
            _FAILURES.labels(standing.name).set(standing.failures)


@get("/health", include_in_schema=False, sync_to_thread=False)
def health() -> dict[str, str]:
    """Liveness: the process answers."""
    return {"status": "ok"}


@post("/health", include_in_schema=False, sync_to_thread=False, status_code=200)
def posted_health() -> dict[str, str]:
    """The same, for probes that post."""
    return {"status": "ok"}


@get("/health/ready", include_in_schema=False)
async def ready(services: Composition) -> Response[dict[str, Any]]:
    """Readiness: whether requests may be sent here, and which part is not well."""
    is_ready, body = await services.part(Health).report()
    return Response(body, status_code=200 if is_ready else 503)


@get("/metrics", include_in_schema=False, media_type=CONTENT_TYPE_LATEST)
async def metrics_page(services: Composition) -> Response[bytes]:
    """What is answered here, by all processes that serve together, and the deployment's duties, for Prometheus."""
    await services.part(Health).measure()
    return Response(metrics.page(MEASURED), media_type=CONTENT_TYPE_LATEST)
