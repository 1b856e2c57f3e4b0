"""Several processes that serve as one: a supervisor makes what they share, forks them, and looks after them.

What they share is PostgreSQL, the listening socket, what limits rates, and the counts of `/metrics`. One process
more, or as many as are wanted, works on jobs, so that a billing run takes no time from answers. Everything is loaded
before the first fork, so that the memory of the code is there once. The supervisor itself answers nothing, has one
thread and no connection: what could make it fail is elsewhere.

- A process that ends by itself is started again, at once the first time and after growing pauses later on.
- SIGHUP replaces them one by one: each goes when its successor accepts requests, and answers whoever has connected to
  it by then.
- SIGINT and SIGTERM end all of them in order. When the supervisor is killed they are killed with it: what
  they have in hand is undone, as by a kill of one process that does everything, and nothing of theirs is in the way of
  its next start.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import structlog
from litestar import Litestar

from farthing.api.transport import metrics
from farthing.identity.bootstrap import FirstStart, first_start
from farthing.jobs.workers.pace import pace_for
from farthing.serving.engine import Engine
from farthing.serving.listener import SharedAddress
from farthing.serving.processes import demands_of, worker_count
from farthing.serving.server import (
    GIVE_UP_SEAT,
    Shared,
    database_of,
    opened,
    serve_shared,
    work_until_stopped,
)
from farthing.settings import Settings
from farthing.storage.capacity import Demand, fitted_together, granted
from farthing.storage.embedded import EmbeddedFailed
from farthing.storage.postgres import Database

log = structlog.get_logger(__name__)

WATCH_SECONDS = 0.5
STABLE_SECONDS = 60.0
"""A process that ends after this long is started again without a pause."""
LONGEST_PAUSE_SECONDS = 8.0
_PR_SET_PDEATHSIG = 1
_IS_READY, _HAS_BEGUN = b".", b"!"
"""What a process says to its supervisor: that it accepts requests, or works; and that `started` came to its end."""

Started = Callable[[Database, FirstStart | None], Coroutine[None, None, None]]


class ProcessRole(StrEnum):
    """What a process does."""

    SERVER = "server"
    WORKER = "worker"


@dataclass(slots=True)
class Child:
    """A process that was started, as its supervisor knows it."""

    role: ProcessRole
    pid: int
    seat: int
    """Which of those that are wanted of its role it is; its successor has the same, and for a while both are there."""
    place: int
    """Where it counts; no two that run at once have the same."""
    generation: int
    told_at: int
    """Where it says that it is ready."""
    began: float
    is_ready: bool = False
    asked_to_end: bool = False


def serve_together(
    settings: Settings, count: int, postgres: Engine, arrange: Callable[[], Litestar], started: Started
) -> int:
    """Serve with `count` processes, and those for jobs that the settings want, until SIGINT or SIGTERM.

    `arrange` gives the routes of all of them. `started` is called in the first server when it accepts requests; if that
    server ends meanwhile, its successor calls it again. The exit status is 0 after an orderly end. Raises what a single
    process raises that cannot start.
    """
    demands = demands_of(settings, count)
    with _folder_of_counts() as counts:
        first = asyncio.run(_prepare(settings, postgres))
        sizes = _sizes(demands, postgres)
        return Supervisor(
            settings,
            postgres,
            SharedAddress(settings),
            Shared.of(settings),
            counts,
            wanted={ProcessRole.SERVER: count, ProcessRole.WORKER: worker_count(settings)},
            sizes={ProcessRole.SERVER: sizes[0], ProcessRole.WORKER: sizes[-1]},
            routes=arrange(),
            started=lambda database: started(database, first),
        ).run()


async def _prepare(settings: Settings, postgres: Engine) -> FirstStart | None:
    """The database as every process needs it; what the first start made."""
    async with opened(settings, postgres) as database:
        return await first_start(database, settings)


def _sizes(demands: list[Demand], postgres: Engine) -> list[Demand]:
    sizes = fitted_together(demands, granted(postgres.url))
    if sizes != demands:
        log.warning(
            "connections.fewer",
            action="raise max_connections, or set a lower FARTHING_POOL_SIZE or FARTHING_PROCESSES",
            pool=[size.pool for size in sizes],
        )
    return sizes


@contextmanager
def _folder_of_counts() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="farthing-counts-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(slots=True)
class Supervisor:
    """Keeps as many processes of each role running as are wanted."""

    settings: Settings
    engine: Engine
    address: SharedAddress
    shared: Shared
    counts: Path
    """The folder in which the servers count."""
    wanted: dict[ProcessRole, int]
    sizes: dict[ProcessRole, Demand]
    routes: Litestar
    """What the servers answer with, arranged once for all of them."""
    started: Callable[[Database], Coroutine[None, None, None]]
    """Called in the first server when it accepts requests, and in its successor, unless it came to its end."""
    has_begun: bool = False
    """Whether `started` came to its end."""
    served: bool = False
    """Whether all have been ready once: before that one that ends stops the start."""
    _children: list[Child] = field(default_factory=list)
    _generation: int = 0
    """Raised by SIGHUP; those of a lower one are replaced."""
    _heard: list[int] = field(default_factory=list)
    """Signals that were not looked at yet."""
    _sockets: dict[int, socket.socket] = field(default_factory=dict)
    """Where the servers listen, by seat. A connection that waits there is taken by whoever has the seat next."""
    _pauses: dict[ProcessRole, float] = field(default_factory=dict)
    _not_before: dict[ProcessRole, float] = field(default_factory=dict)

    def run(self) -> int:
        """Look after the processes until the end is asked for. The exit status."""
        woken, wake = os.pipe()
        os.set_blocking(woken, False)
        os.set_blocking(wake, False)
        handled = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
        earlier = {number: signal.signal(number, lambda number, _: self._heard.append(number)) for number in handled}
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        gc.collect()
        gc.freeze()  # what is there now is shared by all as long as nobody walks it
        try:
            return self._look_after_them(woken)
        finally:
            self._end_all()
            signal.set_wakeup_fd(-1)
            for number, handler in earlier.items():
                signal.signal(number, handler)
            os.close(woken)
            os.close(wake)

    def _look_after_them(self, woken: int) -> int:
        while True:
            ended = self._reap()
            if ended is not None and not self.served:
                return ended or 1
            self._start_and_replace()
            asked = self._take_heard()
            if asked & {signal.SIGINT, signal.SIGTERM}:
                return 0
            if signal.SIGHUP in asked:
                self._generation += 1
                log.info("processes.replaced", generation=self._generation)
                continue
            self._wait(woken)
            self._revive_engine()

    def _wait(self, woken: int) -> None:
        """Until a signal comes, a process says that it is ready, or it is time to look."""
        waiting = {child.told_at: child for child in self._children if not child.is_ready or self._begins(child)}
        readable, _, _ = select.select([woken, *waiting], [], [], WATCH_SECONDS)
        for descriptor in readable:
            if descriptor == woken:
                os.read(woken, 1024)
            elif said := os.read(descriptor, 1):  # nothing at all is its end, which is noticed elsewhere
                waiting[descriptor].is_ready = True
                self.has_begun = self.has_begun or said == _HAS_BEGUN
        if all(len(self._running(role)) == count for role, count in self.wanted.items()) and all(
            child.is_ready for child in self._children
        ):
            self.served = True

    def _begins(self, child: Child) -> bool:
        """Whether it is still to say that `started` has come to its end."""
        return child.role is ProcessRole.SERVER and child.seat == 0 and not self.has_begun

    def _take_heard(self) -> set[int]:
        asked: set[int] = set()
        while self._heard:
            asked.add(self._heard.pop())
        return asked

    def _running(self, role: ProcessRole) -> list[Child]:
        return [child for child in self._children if child.role is role and not child.asked_to_end]

    def _start_and_replace(self) -> None:
        """Bring each role nearer to what is wanted: start one that is missing, or let one outdated go for another."""
        for role, count in self.wanted.items():
            running = self._running(role)
            outdated = [child for child in running if child.generation < self._generation]
            leaving = any(child.role is role and child.asked_to_end for child in self._children)
            free = set(range(count)) - {child.seat for child in running}
            if free:
                for seat in sorted(free):
                    self._start_if_it_is_time(role, seat)
            elif outdated and len(running) > count and all(child.is_ready for child in running):
                self._ask_to_end(outdated[0], GIVE_UP_SEAT)
            elif outdated and len(running) == count and not leaving:
                self._start_if_it_is_time(role, outdated[0].seat)

    def _start_if_it_is_time(self, role: ProcessRole, seat: int) -> None:
        if time.monotonic() < self._not_before.get(role, 0):
            return
        if role is ProcessRole.SERVER and seat not in self._sockets:
            self._sockets[seat] = self.address.socket()
        self._children.append(self._fork(role, seat))

    def _reap(self) -> int | None:
        """Forget those that have ended; the exit status of one that was not asked to, if any."""
        unasked = None
        for child in list(self._children):
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid == 0:
                continue
            self._children.remove(child)
            os.close(child.told_at)
            if child.asked_to_end:
                continue
            unasked = os.waitstatus_to_exitcode(status)
            if child.role is ProcessRole.SERVER and not any(
                c.seat == child.seat for c in self._running(ProcessRole.SERVER)
            ):
                self._sockets.pop(child.seat).close()  # others are sent what comes before it is there again
            if child.role is ProcessRole.WORKER and self.shared.worker is not None:
                self.shared.worker.is_down()
                self.shared.worker.restarts += 1
            self._pause_after(child)
            log.error(
                "process.ended", role=child.role, pid=child.pid, status=unasked, pause_seconds=self._pauses[child.role]
            )
        return unasked

    def _pause_after(self, child: Child) -> None:
        """The first time one is started again at once; one that ends again and again waits longer and longer."""
        now = time.monotonic()
        before = self._pauses.get(child.role)
        lived_long = now - child.began > STABLE_SECONDS
        pause = 0.0 if before is None or lived_long else min(max(before * 2, 0.5), LONGEST_PAUSE_SECONDS)
        self._pauses[child.role] = pause
        self._not_before[child.role] = now + pause

    def _revive_engine(self) -> None:
        embedded = self.engine.embedded
        if embedded is None:
            return
        try:
            revived = embedded.revive()
        except (EmbeddedFailed, OSError):  # no memory or no file handles left, say: it is tried again
            log.exception("engine.not_started", folder=str(embedded.folder))
            return
        if revived:
            log.error("engine.died", folder=str(embedded.folder), action="started again")

    def _ask_to_end(self, child: Child, by: signal.Signals = signal.SIGTERM) -> None:
        child.asked_to_end = True
        os.kill(child.pid, by)

    def _end_all(self) -> None:
        """Ask all to end and wait until they have; none outlives the time that a stop may take."""
        for child in self._children:
            self._ask_to_end(child)
        deadline = time.monotonic() + pace_for(self.settings.stalled_job_seconds).stop_seconds + 2
        while self._children and time.monotonic() < deadline:
            self._reap()
            time.sleep(0.02)
        for child in self._children:
            log.critical("process.cut_off", role=child.role, pid=child.pid)
            os.kill(child.pid, signal.SIGKILL)
            os.waitpid(child.pid, 0)

    def _fork(self, role: ProcessRole, seat: int) -> Child:
        taken = {child.place for child in self._children if child.role is role}
        place = next(number for number in range(len(taken) + 1) if number not in taken)
        told_at, say_at = os.pipe()
        supervisor = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            os.close(say_at)
            return Child(role, pid, seat, place, self._generation, told_at, time.monotonic())
        status = 1
        try:
            _become_a_process_of_its_own(supervisor)
            self._let_go_of_others(role, seat)
            asyncio.run(self._work(say_at) if role is ProcessRole.WORKER else self._serve(seat, place, say_at))
            status = 0
        except BaseException:
            log.exception("process.failed", role=role)
        finally:
            # not by returning: what the supervisor has open, the engine among it, is not this process's to close
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _let_go_of_others(self, role: ProcessRole, seat: int) -> None:
        """Close what belongs to others: where a killed one listened, nobody may go on being sent."""
        for number, listening in self._sockets.items():
            if role is ProcessRole.WORKER or number != seat:
                listening.close()
        for child in self._children:
            os.close(child.told_at)

    async def _serve(self, seat: int, place: int, say_at: int) -> None:
        metrics.add_up_counts(self.counts, place)
        async with self._database(ProcessRole.SERVER) as database:

            async def started() -> None:
                os.write(say_at, _IS_READY)
                if seat == 0 and not self.has_begun:
                    await self.started(database)
                    os.write(say_at, _HAS_BEGUN)

            pace = pace_for(self.settings.stalled_job_seconds)
            listening = self._sockets[seat]
            await serve_shared(self.settings, database, listening, self.shared, started, pace, routes=self.routes)

    async def _work(self, say_at: int) -> None:
        async with self._database(ProcessRole.WORKER) as database:
            os.write(say_at, _IS_READY)
            await work_until_stopped(self.settings, database, state=self.shared.worker)

    @asynccontextmanager
    async def _database(self, role: ProcessRole) -> AsyncIterator[Database]:
        database = database_of(self.settings, self.engine, self.sizes[role])
        try:
            yield database
        finally:
            await database.close()


def _become_a_process_of_its_own(supervisor: int) -> None:
    """Handle signals as a process does that has none above it, and be killed with the one above."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a terminal's is for the supervisor
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != supervisor:
            os._exit(1)
