"""Running it: the engines a process needs, the HTTP server and the worker, and an orderly end."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from granian.constants import Interfaces
from granian.server.embed import Server

from farthing import secret_file
from farthing.app import create_app
from farthing.identity.bootstrap import FirstStart, first_start
from farthing.identity.master_key import settle
from farthing.jobs.schedule import queue, work
from farthing.settings import Settings
from farthing.storage.embedded import EmbeddedPostgres
from farthing.storage.migrations import upgrade
from farthing.storage.postgres import Database

log = structlog.get_logger(__name__)

WATCH_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Engine:
    """The PostgreSQL in use; `embedded` when it is ours to look after."""

    url: str
    embedded: EmbeddedPostgres | None = None


@contextmanager
def engine(settings: Settings) -> Iterator[Engine]:
    """The PostgreSQL to use: the configured one, or an embedded one that runs while this is open."""
    if settings.database_url is not None:
        yield Engine(settings.database_url)
        return
    if settings.secret_key is None:
        secret_file.ensure(Path(settings.data_dir))
    with EmbeddedPostgres(Path(settings.data_dir)) as server:
        yield Engine(server.url(), server)


@asynccontextmanager
async def opened(settings: Settings, engine: Engine) -> AsyncIterator[Database]:
    """The database, migrated, checked to be safe, and set up with the master key of these settings."""
    async with unlocked(settings, engine) as database:
        await settle(settings, database)
        yield database


@asynccontextmanager
async def unlocked(settings: Settings, engine: Engine) -> AsyncIterator[Database]:
    """The database, migrated and checked to be safe, whatever its master key: for commands that change that.

    An embedded engine that dies meanwhile is started again.
    """
    await asyncio.to_thread(upgrade, engine.url)
    database = Database(engine.url, settings.pool_size)
    watching = asyncio.create_task(_watch(engine.embedded), name="engine") if engine.embedded else None
    try:
        await database.check()
        yield database
    finally:
        await _end(watching)
        await database.close()


async def _watch(embedded: EmbeddedPostgres) -> None:
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        if embedded.revive():
            log.error("engine.died", folder=str(embedded.folder), action="started again")


async def serve(
    settings: Settings,
    database: Database,
    started: Callable[[Database, FirstStart | None], Coroutine[None, None, None]],
) -> None:
    """Serve until SIGINT or SIGTERM; requests in flight are answered first.

    `started` is called once the server accepts requests.
    """
    first = await first_start(database, settings)
    application = create_app(settings, database)
    server = Server(
        application,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGI,
        backlog=2048,
        log_enabled=False,
    )
    stop = _stop_on_signal()
    working = asyncio.create_task(work(queue(database, settings)), name="worker") if settings.worker else None
    serving = asyncio.create_task(server.serve(), name="http")
    ending = asyncio.create_task(stop.wait(), name="stop")

    async def when_listening() -> None:
        while not _answers(settings):  # noqa: ASYNC110 (the server has no event for it)
            await asyncio.sleep(0.01)
        await started(database, first)

    starting = asyncio.create_task(when_listening(), name="started")
    done, _ = await asyncio.wait({serving, ending}, return_when=asyncio.FIRST_COMPLETED)
    starting.cancel()
    if serving in done:
        serving.result()
        raise RuntimeError("the HTTP server ended by itself")
    log.info("stopping")
    await _end(working)
    server.stop()  # type: ignore[no-untyped-call]  # the server's
    await serving
    await asyncio.gather(starting, return_exceptions=True)


async def work_until_stopped(settings: Settings, database: Database) -> None:
    """Work on jobs until SIGINT or SIGTERM; a job in hand is finished first."""
    stop = _stop_on_signal()
    working = asyncio.create_task(work(queue(database, settings)), name="worker")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if working.done():
        working.result()
    await _end(working)


def _stop_on_signal() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    return stop


async def _end(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _answers(settings: Settings) -> bool:
    """Whether something accepts connections at our address."""
    host = "127.0.0.1" if settings.host in {"0.0.0.0", "::", ""} else settings.host  # noqa: S104 (compared, not bound)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.settimeout(0.2)
        return probe.connect_ex((host, settings.port)) == 0
