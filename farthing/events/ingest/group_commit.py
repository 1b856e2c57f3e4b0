"""Group commit: requests that arrive together are stored in one transaction, and answered when it is on disk.

A request is measured before it joins a queue, so that no writer waits for another environment's arithmetic.

Each environment has a queue of its own and they take turns, so that a busy one cannot starve the others. Queues are
bounded: beyond that a client is told to come back. While the database cannot be reached nothing is accepted.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict, deque
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import psycopg
import structlog
from prometheus_client import Counter
from psycopg.rows import TupleRow

from farthing.core.errors import (
    AlreadyExists,
    DatabaseFailed,
    FarthingError,
    ServiceUnavailable,
    TooManyRequests,
    ValidationFailed,
)
from farthing.events.ingest.arrivals import Appended, Arrival, EventsOfOthers, MetersChanged, VoidedEvents
from farthing.events.ingest.incoming import READ_AT_ONCE_BYTES
from farthing.events.ingest.measuring import UNMEASURED, Counted, Measurements
from farthing.events.ingest.meters import MeterMemory
from farthing.events.ingest.sequence import settle_in
from farthing.events.ingest.store import AppendMeasured, measure_arrivals, measure_arrivals_if_cheap
from farthing.storage.connections.failures import UNREACHABLE, failure_of, is_cut, what_to_do
from farthing.storage.connections.liveness import KEEPALIVES
from farthing.storage.scope import Scope

WRITERS = 3
WRITERS_PER_TENANT = 2
"""A tenant whose events wait for a lock holds no more than these; the last one stores the others' events."""
GATHER_SECONDS = 0.002
"""How long an idle writer waits for company when requests come in crowds."""
MOST_PER_TRANSACTION = 3_000
MOST_WAITING = 100_000
MOST_WAITING_PER_ENVIRONMENT = 50_000
RETRY_AFTER_SECONDS = 1
STATEMENT_TIMEOUT_SECONDS = 30
LOCK_TIMEOUT_SECONDS = 5
_CONNECTION: dict[str, Any] = {
    "autocommit": True,
    "connect_timeout": 5,
    "application_name": "farthing ingest",
    "options": f"-c statement_timeout={STATEMENT_TIMEOUT_SECONDS}s -c lock_timeout={LOCK_TIMEOUT_SECONDS}s",
    **KEEPALIVES,
}

log = structlog.get_logger(__name__)

_EVENTS = Counter("farthing_events_total", "Events stored, by what became of them", ["outcome"])
_REJECTED = Counter("events_rejected_total", "Events that no meter counts", ["reason"])


@cache
def _superseded() -> Counter:
    """Made at its first use: without labels it begins to count where it is made, which must be where it is used."""
    return Counter("events_superseded_total", "Events whose content was replaced by a later version")


class _Waiting:
    """A request whose events are not stored yet."""

    __slots__ = ("answer", "arrivals", "is_large", "measured", "scope")

    def __init__(
        self, scope: Scope, arrivals: Sequence[Arrival], answer: asyncio.Future[None], *, is_large: bool
    ) -> None:
        self.scope = scope
        self.arrivals = arrivals
        self.answer = answer
        self.is_large = is_large
        self.measured = UNMEASURED

    def resolve(self, error: Exception | None) -> None:
        if self.answer.done():
            return  # the client went away; its events were stored or not, as for any lost answer
        if error is None:
            self.answer.set_result(None)
        else:
            self.answer.set_exception(error)


class Ingest:
    """The way in for events of this process. `start` and `stop` with the application."""

    def __init__(self, url: str, append: AppendMeasured) -> None:
        self._url = url
        self.append = append
        self._queues: OrderedDict[str, deque[_Waiting]] = OrderedDict()
        self._waiting: dict[str, int] = {}
        self._total = 0
        self._writing: defaultdict[str, int] = defaultdict(int)
        """How many writers are storing events of a tenant."""
        self._idle: deque[asyncio.Future[None]] = deque()
        """Writers with nothing to do: each arrival wakes one of them, not all."""
        self._closing = False
        # whether requests come faster than one at a time, so that it pays to wait for more of them
        self._crowded = False
        self._tasks: list[asyncio.Task[None]] = []
        self._again: set[asyncio.Task[None]] = set()
        self._memory = MeterMemory()
        _superseded()  # shown from the beginning

    async def start(self) -> None:
        self._tasks = [asyncio.create_task(_Writer(self).run(), name=f"ingest {n}") for n in range(WRITERS)]

    async def stop(self) -> None:
        """Store what waits, then end."""
        self._closing = True
        self._wake_all()
        await asyncio.gather(*self._tasks)

    async def accept(self, scope: Scope, arrivals: Sequence[Arrival], body_bytes: int = 0) -> None:
        """Return when `arrivals` are durable: all of them, in one transaction. `body_bytes` is what they came in.

        Raises TooManyRequests when too many events wait, and ServiceUnavailable when the store does not take them.
        """
        if self._closing:
            raise ServiceUnavailable("The server is shutting down; nothing was accepted")
        environment = scope.environment_id
        here = self._waiting.get(environment, 0)
        if here + len(arrivals) > MOST_WAITING_PER_ENVIRONMENT or self._total + len(arrivals) > MOST_WAITING:
            raise TooManyRequests("Too many events are waiting to be stored", RETRY_AFTER_SECONDS)
        answer = asyncio.get_running_loop().create_future()
        # one of megabytes has a transaction of its own: the loop stands still while its message is sent
        waiting = _Waiting(scope, arrivals, answer, is_large=body_bytes > READ_AT_ONCE_BYTES)
        self._count(environment, len(arrivals))
        measured = measure_arrivals_if_cheap(environment, arrivals, self._memory)
        if measured is None:
            await self._measure(waiting)
        else:
            waiting.measured = measured
        self._enqueue(waiting)
        await waiting.answer

    async def _measure(self, waiting: _Waiting) -> None:
        """Measure a request that is counted already, in slices."""
        environment = waiting.scope.environment_id
        try:
            waiting.measured = await measure_arrivals(environment, waiting.arrivals, self._memory)
        except BaseException:  # the client hung up
            self._count(environment, -len(waiting.arrivals))
            raise
        if self._closing:  # while this was measured: the writers may have ended
            self._count(environment, -len(waiting.arrivals))
            raise ServiceUnavailable("The server is shutting down; nothing was accepted")

    def _enqueue(self, waiting: _Waiting) -> None:
        """Let a request that is counted and measured wait for a writer."""
        environment = waiting.scope.environment_id
        queue = self._queues.get(environment)
        if queue is None:
            queue = self._queues[environment] = deque()
        queue.append(waiting)
        self._wake_one()

    def measure_again(self, batch: Sequence[_Waiting]) -> None:
        """Let requests come back to their queue, measured by the meters that stand now."""
        for waiting in batch:
            self._count(waiting.scope.environment_id, len(waiting.arrivals))
            task = asyncio.create_task(self._come_back(waiting), name="measured again")
            self._again.add(task)
            task.add_done_callback(self._again.discard)

    async def _come_back(self, waiting: _Waiting) -> None:
        try:
            await self._measure(waiting)
        except ServiceUnavailable as error:
            waiting.resolve(error)
        else:
            self._enqueue(waiting)

    def _count(self, environment: str, events: int) -> None:
        """Add to what waits, or take away."""
        self._total += events
        self._waiting[environment] = self._waiting.get(environment, 0) + events
        if not self._waiting[environment]:
            del self._waiting[environment]

    async def next(self) -> list[_Waiting]:
        """Requests of the environment whose turn it is, up to a transaction's worth; empty when there is no more."""
        while (environment := self._next_environment()) is None:
            if self._closing and not self._queues:
                return []
            await self._until_woken()
            if self._crowded:
                await asyncio.sleep(GATHER_SECONDS)
        queue = self._queues.pop(environment)
        self._writing[queue[0].scope.tenant_id] += 1
        taken: list[_Waiting] = []
        size = 0
        version = queue[0].measured.version
        while queue and (not taken or size + len(queue[0].arrivals) <= MOST_PER_TRANSACTION):
            if queue[0].measured.version != version or (taken and (queue[0].is_large or taken[0].is_large)):
                break
            waiting = queue.popleft()
            taken.append(waiting)
            size += len(waiting.arrivals)
        self._crowded = len(taken) > 1
        self._count(environment, -size)
        if queue:
            self._queues[environment] = queue
        if self._queues:
            self._wake_one()
        return taken

    async def _until_woken(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle.append(waiter)
        await waiter

    def _wake_one(self) -> None:
        while self._idle:
            waiter = self._idle.popleft()
            if not waiter.done():  # else its writer was cancelled
                waiter.set_result(None)
                return

    def _wake_all(self) -> None:
        while self._idle:
            self._wake_one()

    def done(self, batch: Sequence[_Waiting]) -> None:
        """A writer is free again."""
        tenant_id = batch[0].scope.tenant_id
        self._writing[tenant_id] -= 1
        if not self._writing[tenant_id]:
            del self._writing[tenant_id]
        if self._closing:
            self._wake_all()
        elif self._queues:
            self._wake_one()

    def _next_environment(self) -> str | None:
        """Whose turn it is: the longest waiting environment of a tenant that does not hold its share of the writers."""
        for environment, queue in self._queues.items():
            if self._writing.get(queue[0].scope.tenant_id, 0) < WRITERS_PER_TENANT:
                return environment
        return None

    @property
    def url(self) -> str:
        return self._url

    @property
    def memory(self) -> MeterMemory:
        return self._memory


class _Writer:
    """One connection that stores one transaction after the other."""

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest
        self._connection: psycopg.AsyncConnection[TupleRow] | None = None

    async def run(self) -> None:
        try:
            while batch := await self._ingest.next():
                try:
                    await self._store(batch)
                finally:
                    self._ingest.done(batch)
        finally:
            await self._disconnect()

    async def _store(self, batch: Sequence[_Waiting]) -> None:
        try:
            error = await self._stored(batch)
        except MetersChanged:
            self._ingest.measure_again(batch)
            return
        if isinstance(error, (ValidationFailed, AlreadyExists)) and len(batch) > 1:
            # one request's content was refused: it must not take the others with it
            for waiting in batch:
                await self._store([waiting])
            return
        for waiting in batch:
            waiting.resolve(error)

    async def _stored(self, batch: Sequence[_Waiting]) -> FarthingError | None:
        """Store all of `batch`; why not, if not. Raises MetersChanged."""
        measured = _together(batch)
        arrivals = [arrival for waiting in batch for arrival in waiting.arrivals]
        for last_try in (False, True):
            try:
                connection = await self._connected()
                _observe(await self._ingest.append(connection, batch[0].scope, arrivals, measured, self._ingest.memory))
            except MetersChanged:
                raise
            except (EventsOfOthers, VoidedEvents) as error:
                return _refused(arrivals, error)
            except ServiceUnavailable as error:  # of a store elsewhere
                return error
            except psycopg.DataError as error:
                log.warning(
                    "ingest.refused", sqlstate=error.sqlstate, kind=type(error).__name__
                )  # its text has the value
                return ValidationFailed("A value is out of the range that can be stored")
            except psycopg.Error as error:
                lost = self._connection is not None and self._connection.broken
                await self._disconnect()
                # a connection that broke while it was idle is replaced; appending twice is harmless
                if last_try or not lost:
                    return _not_accepted(error)
            except Exception:
                log.exception("ingest.failed")
                await self._disconnect()
                return DatabaseFailed("The events could not be stored")
            else:
                return None
        raise AssertionError("unreachable")

    async def _connected(self) -> psycopg.AsyncConnection[TupleRow]:
        if self._connection is None:
            connection = await psycopg.AsyncConnection.connect(self._ingest.url, **_CONNECTION)
            try:
                await settle_in(connection)
            except psycopg.Error:
                await connection.close()
                raise
            self._connection = connection
        return self._connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                await connection.close()


def _not_accepted(error: psycopg.Error) -> FarthingError:
    """What a batch that was not stored is answered."""
    failure = failure_of(error)
    if failure is None or failure.retry_after_seconds is None:
        log.error("ingest.failed", exc_info=error)
        return DatabaseFailed("The events could not be stored")
    log.warning("ingest.unavailable", error=str(error), action=what_to_do(error))
    if is_cut(error) or failure.message == UNREACHABLE:
        return ServiceUnavailable("The event store cannot be reached; nothing was accepted")
    return ServiceUnavailable(
        f"No event was accepted: {failure.message[:1].lower()}{failure.message[1:]}",
        retry_after_seconds=failure.retry_after_seconds,
    )


def _together(batch: Sequence[_Waiting]) -> Measurements:
    """The measurements of all requests of a batch, which stand by one version, by the place among all arrivals."""
    if len(batch) == 1:
        return batch[0].measured
    counted: list[Counted] = []
    first = 0
    for waiting in batch:
        counted += [(first + place, meter_id, quantity) for place, meter_id, quantity in waiting.measured.counted]
        first += len(waiting.arrivals)
    return Measurements(batch[0].measured.version, counted, batch[0].measured.metered_names)


def _refused(arrivals: Sequence[Arrival], error: EventsOfOthers | VoidedEvents) -> AlreadyExists:
    is_void = isinstance(error, VoidedEvents)
    why = "was voided; amend it instead" if is_void else "was sent by another credential"
    errors = [
        {"index": index, "field": "event_id", "message": f"'{arrival.event.id}' {why}"}
        for index, arrival in enumerate(arrivals)
        if arrival.event.id in error.ids
    ]
    message = "Events of other credentials cannot be replaced by this one"
    return AlreadyExists("Voided events cannot be sent again" if is_void else message, {"errors": errors})


def _observe(done: Appended) -> None:
    for outcome in ("added", "replaced", "unchanged", "refused"):
        count: int = getattr(done, outcome)
        if count:
            _EVENTS.labels(outcome).inc(count)
    if done.replaced:
        _superseded().inc(done.replaced)
    for reason, count in done.unmetered.items():
        _REJECTED.labels(reason).inc(count)
