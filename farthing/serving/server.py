"""Running it: the engines a process needs, the HTTP server and the worker, and an orderly end."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import FrameType

import structlog
from granian.constants import Interfaces
from granian.http import HTTP1Settings
from litestar import Litestar
from sqlalchemy.exc import ArgumentError, DBAPIError

from farthing.api.transport.edge import Edge, Json, Receive, Send
from farthing.api.transport.ratelimit import RateLimits
from farthing.app import arranged, create_app
from farthing.events.stores.place import clickhouse_at, confirm_place, store_at
from farthing.identity.bootstrap import FirstStart, first_start
from farthing.identity.credentials.master_key import settle
from farthing.jobs.duties.schedule import duties
from farthing.jobs.workers.pace import Pace, WorkerState, pace_for, shared_worker_state
from farthing.jobs.workers.worker import keep_working
from farthing.notifications.webhooks.delivery.running import delivery_worker
from farthing.serving.engine import Engine
from farthing.serving.listener import BACKLOG, ListeningServer, listen
from farthing.settings import Settings
from farthing.storage.capacity import Demand, fitted, granted, shortage
from farthing.storage.connections.unusable import MigrationRefused, UnusableDatabase
from farthing.storage.embedded import EmbeddedFailed, EmbeddedPostgres
from farthing.storage.migrations import upgrade
from farthing.storage.postgres import Database
from farthing.wiring import Wiring, wire

log = structlog.get_logger(__name__)

WATCH_SECONDS = 0.5
HEADER_READ_MILLISECONDS = 10_000
"""A connection whose headers have not come by then is closed."""
GIVE_UP_SEAT = signal.SIGUSR1
"""Asks a process to end whose successor accepts requests already."""
THREAD_SECONDS = 0.0005
"""How long a thread that computes keeps Python once the loop wants it, each time that something wakes the loop."""
SECONDS_TO_ASK = 2.0
"""How long one that gives up its seat waits for the requests of those who have connected."""


@asynccontextmanager
async def opened(settings: Settings, engine: Engine, demand: Demand | None = None) -> AsyncIterator[Database]:
    """The database, migrated, checked to be safe, and set up with the master key of these settings.

    `demand` is what a process that stays wants; its pools are made to fit. A command opens what it needs as it goes.
    """
    async with unlocked(settings, engine, demand) as database:
        await settle(settings, database)
        await confirm_place(database, clickhouse_at(settings.events_url, settings.events_cluster))
        yield database


@asynccontextmanager
async def unlocked(settings: Settings, engine: Engine, demand: Demand | None = None) -> AsyncIterator[Database]:
    """The database, migrated and checked to be safe, whatever its master key: for commands that change that.

    An embedded engine that dies meanwhile is started again.
    """
    await asyncio.to_thread(bring_up_to_date, engine.url)
    database = await asyncio.to_thread(_sized, settings, engine, demand)
    watching = asyncio.create_task(_watch(engine.embedded), name="engine") if engine.embedded else None
    try:
        await database.check()
        yield database
    finally:
        await _end(watching)
        await database.close()


def bring_up_to_date(url: str) -> None:
    """Migrate the database at `url`. Raises UnusableDatabase where that cannot be done, with the reason."""
    try:
        upgrade(url)
    except (ArgumentError, DBAPIError, MigrationRefused) as error:
        raise UnusableDatabase.because(error) from error


def _sized(settings: Settings, engine: Engine, demand: Demand | None) -> Database:
    """The database with pools that the server grants. Raises TooFewConnections."""
    if demand is None:
        return Database(engine.url, wired(settings), settings.pool_size, timeouts=settings.worker_timeouts)
    grant = granted(engine.url)
    sizes = fitted(demand, grant)
    if sizes != demand:
        log.warning("connections.fewer", action=shortage(demand, grant), pool=sizes.pool, hot_reads=sizes.hot_reads)
    return database_of(settings, engine, sizes)


def wired(settings: Settings) -> Wiring:
    """The wiring of a process with the store of events that its settings name."""
    return wire(store_at(settings.events_url, settings.events_cluster))


def database_of(settings: Settings, engine: Engine, sizes: Demand) -> Database:
    """The database with pools of these sizes, of which no connection is open yet."""
    return Database(
        engine.url,
        wired(settings),
        sizes.pool,
        overflow=sizes.overflow,
        hot_reads=sizes.hot_reads,
        timeouts=settings.worker_timeouts,
    )


async def _watch(embedded: EmbeddedPostgres) -> None:
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        try:
            revived = embedded.revive()
        except (EmbeddedFailed, OSError):  # no memory or no file handles left, say: it is tried again
            log.exception("engine.not_started", folder=str(embedded.folder))
            continue
        if revived:
            log.error("engine.died", folder=str(embedded.folder), action="started again")


@dataclass(frozen=True, slots=True)
class Shared:
    """What processes that serve together have in common: made before they part, and the same for one alone."""

    limits: RateLimits
    worker: WorkerState | None
    """How their worker fares, whichever process it is in; None without one."""

    @classmethod
    def of(cls, settings: Settings) -> Shared:
        """As it is at the beginning."""
        return cls(
            RateLimits.of(settings.rate_limit_per_second, settings.rate_limit_burst),
            shared_worker_state() if settings.worker else None,
        )


async def serve(
    settings: Settings,
    database: Database,
    started: Callable[[Database, FirstStart | None], Coroutine[None, None, None]],
    pace: Pace | None = None,
    arrange: Callable[[], Litestar] = arranged,
) -> None:
    """Serve until SIGINT or SIGTERM, and work on jobs if the settings say so; requests in flight are answered first.

    `started` is called once the server accepts requests; `pace` is that of the settings unless given; `arrange` gives
    the routes. Raises CannotListen.
    """
    pace = pace or pace_for(settings.stalled_job_seconds)
    first = await first_start(database, settings)
    shared, listening = Shared.of(settings), listen(settings)
    working = _start_worker(settings, database, shared.worker, pace) if shared.worker is not None else None
    routes = await asyncio.to_thread(arrange)
    await serve_shared(settings, database, listening, shared, lambda: started(database, first), pace, working, routes)


async def serve_shared(
    settings: Settings,
    database: Database,
    listening: socket.socket,
    shared: Shared,
    started: Callable[[], Coroutine[None, None, None]],
    pace: Pace,
    working: asyncio.Task[None] | None = None,
    routes: Litestar | None = None,
) -> None:
    """Answer requests at `listening` until SIGINT or SIGTERM; then `working` is ended too.

    `routes` are those that were `arranged` before, if they were.
    """
    accepting = asyncio.Event()
    same = listening.dup()

    def accept() -> None:
        with same:
            same.listen(BACKLOG)  # one that serves with others is sent nothing before it is ready
        accepting.set()

    app = create_app(settings, database, worker=shared.worker, limits=shared.limits, routes=routes)
    sys.setswitchinterval(THREAD_SECONDS)  # a request wakes the loop ten times beside a document or an import
    gc.freeze()  # what is there now stays: to walk it would keep requests waiting for a quarter of a second
    server = ListeningServer(
        _telling_when_started(app, accept),
        listening,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGI,
        backlog=BACKLOG,
        http1_settings=HTTP1Settings(header_read_timeout=HEADER_READ_MILLISECONDS),
        log_enabled=False,
    )
    stop = _stop_on_signal(pace)
    serving = asyncio.create_task(server.serve(), name="http")
    ending = asyncio.create_task(stop.wait(), name="stop")

    async def tell() -> None:
        await accepting.wait()
        await started()

    starting = asyncio.create_task(tell(), name="started")
    done, _ = await asyncio.wait({serving, ending}, return_when=asyncio.FIRST_COMPLETED)
    starting.cancel()
    if serving in done:
        serving.result()
        raise RuntimeError("the HTTP server ended by itself")
    log.info("stopping")
    if stop.is_for_successor:
        server.step_aside()
        await asyncio.sleep(SECONDS_TO_ASK)
    server.stop()  # type: ignore[no-untyped-call]  # the server's
    await asyncio.gather(_end(working), asyncio.wait({serving}, timeout=pace.end_seconds))
    if not serving.done():
        log.warning("http.does_not_end", reason="a request is still being answered")
    await asyncio.gather(starting, return_exceptions=True)


def _telling_when_started(app: Edge, started: Callable[[], None]) -> Callable[[Json, Receive, Send], Awaitable[None]]:
    """`app`, which calls `started` when its lifespan has begun: the next thing the server does is to accept."""

    async def lifespan(scope: Json, receive: Receive, send: Send) -> None:
        async def watched(message: Json) -> None:
            await send(message)
            if message["type"] == "lifespan.startup.complete":
                started()

        await app(scope, receive, watched)

    def choose(scope: Json, receive: Receive, send: Send) -> Awaitable[None]:
        return lifespan(scope, receive, send) if scope["type"] == "lifespan" else app(scope, receive, send)

    return choose


async def work_until_stopped(
    settings: Settings, database: Database, pace: Pace | None = None, state: WorkerState | None = None
) -> None:
    """Work on jobs until SIGINT or SIGTERM, at the pace of the settings unless given; jobs in hand may end in order.

    `state` is where servers beside it look how it fares.
    """
    pace = pace or pace_for(settings.stalled_job_seconds)
    stop = _stop_on_signal(pace)
    working = _start_worker(settings, database, state or WorkerState(), pace)
    await stop.wait()
    log.info("stopping")
    await _end(working)


def _start_worker(settings: Settings, database: Database, state: WorkerState, pace: Pace) -> asyncio.Task[None]:
    return asyncio.create_task(_work(settings, database, state, pace), name="worker")


async def _work(settings: Settings, database: Database, state: WorkerState, pace: Pace) -> None:
    """Perform jobs and deliver webhooks until cancelled."""
    delivering = asyncio.create_task(delivery_worker(database, settings).run(), name="webhooks")
    try:
        await keep_working(database, duties(database, settings), state, pace)
    finally:
        delivering.cancel()
        await asyncio.wait({delivering}, timeout=pace.end_seconds)


class Stop(asyncio.Event):
    """That a process has been asked to end."""

    is_for_successor = False
    """Whether another has its seat already."""


def _stop_on_signal(pace: Pace) -> Stop:
    """What SIGINT, SIGTERM and `GIVE_UP_SEAT` set. From then on the process has the time that its pace allows."""
    stop = Stop()
    loop = asyncio.get_running_loop()
    heard, hear = os.pipe()
    threading.Thread(target=_cut_off_after_signal, args=(heard, pace.stop_seconds), name="stop", daemon=True).start()

    def asked(number: int, _frame: FrameType | None) -> None:
        stop.is_for_successor = number == GIVE_UP_SEAT
        os.write(hear, b".")  # in the middle of anything: a pipe is safe where a lock is not
        if not loop.is_closed():
            loop.call_soon_threadsafe(stop.set)

    for name in (signal.SIGINT, signal.SIGTERM, GIVE_UP_SEAT):
        # not the loop's own way: a loop that is stuck would never learn of it
        signal.signal(name, asked)
    return stop


def _cut_off_after_signal(heard: int, seconds: float) -> None:
    """End the process when it has had its time; an embedded PostgreSQL ends with its parent."""
    os.read(heard, 1)
    time.sleep(seconds)
    log.critical("stop.cut_off", seconds=seconds)
    os._exit(1)


async def _end(task: asyncio.Task[None] | None) -> None:
    if task is not None and not task.done():
        task.cancel()
        await asyncio.wait({task})  # it takes no longer than its pace allows
