"""How each fault is brought about. Every function returns when the fault is over and what was killed runs again."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg

from benchmarks.chaos.findings import Defect
from benchmarks.chaos.judging.recovery import ask_for_duties
from benchmarks.chaos.schedule import Fault, Mode
from benchmarks.chaos.service.deployment import STOP_SECONDS, Deployment, FarthingProcess
from benchmarks.chaos.shared_runs import Company, wait_until_shared
from benchmarks.chaos.traffic.load import Load
from benchmarks.chaos.waiting import wait_until

MOST_CONNECTIONS = 500
DUTY_SECONDS = 10
REPLACE_SECONDS = 60
LOCK_SECONDS = 5
LONG_MOVE = timedelta(days=40)
SUBSCRIPTIONS = 4
"""How many are made while answers cannot be stored."""
_WAITING_FOR_ANSWERS = "SELECT FROM pg_locks WHERE NOT granted AND relation = 'idempotent_responses'::regclass"
_JOBS_IN_HAND = "SELECT FROM procrastinate_jobs WHERE status = 'doing'"
_BACKENDS = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND usename = 'farthing'"


@dataclass(slots=True)
class Outage:
    """When PostgreSQL was away (monotonic seconds), as far as the harness knows."""

    began: float | None = None
    ended: float | None = None


@dataclass(frozen=True, slots=True)
class Break:
    """What a fault is brought about with."""

    deployment: Deployment
    load: Load
    chance: random.Random
    hold_seconds: float
    outage: Outage
    company: Company


async def bring_about(fault: Fault, given: Break) -> None:
    """Break what `fault` names, hold it, and start again what was killed."""
    await _FAULTS[fault](given)


async def _kill_and_start(given: Break, processes: list[FarthingProcess]) -> None:
    for process in processes:
        process.send(signal.SIGKILL)
    for process in processes:
        await process.wait_for_end()
    for process in processes:
        process.start()


async def _kill_server(given: Break) -> None:
    await _kill_and_start(given, [given.deployment.server])


async def _kill_worker(given: Break) -> None:
    if given.deployment.mode is Mode.SEVERAL_PROCESSES:
        await _kill_below(given, [given.chance.choice((await given.deployment.wait_for_several()).workers)])
    else:
        await _kill_and_start(given, [given.chance.choice(given.deployment.workers)])


async def _kill_workers(given: Break) -> None:
    if given.deployment.mode is Mode.SEVERAL_PROCESSES:
        await _kill_below(given, (await given.deployment.wait_for_several()).workers)
    else:
        await _kill_and_start(given, given.deployment.workers)


async def _kill_one_server(given: Break) -> None:
    await _kill_below(given, [given.chance.choice((await given.deployment.wait_for_several()).servers)])


async def _kill_below(given: Break, processes: list[psutil.Process]) -> None:
    """Kill what a supervisor looks after, and wait until it has started others."""
    for process in processes:
        process.kill()
    await wait_until(lambda: all(_is_gone(process) for process in processes), STOP_SECONDS, 0.02)
    await given.deployment.wait_for_several()


async def _kill_leader(given: Break) -> None:
    await _kill_in_shared_run(given, is_leader=True)


async def _kill_helper(given: Break) -> None:
    await _kill_in_shared_run(given, is_leader=False)


async def _kill_in_shared_run(given: Break, *, is_leader: bool) -> None:
    """A month of a company becomes due; when two workers are at its billing, one of them is killed."""
    await given.company.found()
    await given.deployment.wait_for_several()
    with given.deployment.admin() as admin:
        given.company.make_a_month_due(admin, given.load.ledger)
        ask_for_duties(admin, ["subscription_billing"])
        sharers = await wait_until_shared(admin)
    await _kill_below(given, [psutil.Process(sharers.leader if is_leader else given.chance.choice(sharers.helpers))])


async def _replace(given: Break) -> None:
    """All are replaced one by one; meanwhile whoever connects anew is answered."""
    before = (await given.deployment.wait_for_several()).pids
    given.deployment.server.send(signal.SIGHUP)
    asking = asyncio.create_task(_ask_until_cancelled(given))
    try:
        await wait_until(lambda: _are_replaced(given.deployment, before), REPLACE_SECONDS, 0.1)
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    if not _are_replaced(given.deployment, before):
        raise TimeoutError(f"not all were replaced: {before}, {given.deployment.below_supervisor()}")


def _are_replaced(deployment: Deployment, before: set[int]) -> bool:
    below = deployment.below_supervisor()
    return below.is_whole and not below.pids & before


async def _ask_until_cancelled(given: Break) -> None:
    """Ask on a fresh connection again and again; that one is turned away is a defect."""
    while True:
        async with httpx.AsyncClient(base_url=given.deployment.url, timeout=5, trust_env=False) as http:
            try:
                status = (await http.get("/health")).status_code
            except httpx.HTTPError as error:
                given.load.findings.add(Defect.REFUSED, f"GET /health while processes are replaced: {error!r}")
            else:
                if status != 200:
                    given.load.findings.add(Defect.REFUSED, f"GET /health while processes are replaced: {status}")
        await asyncio.sleep(0.02)


async def _stop_in_order(given: Break) -> None:
    server = given.deployment.server
    server.send(signal.SIGTERM)
    await server.wait_for_end()
    if server.exit_status != 0:
        given.load.findings.add(Defect.EXITED, f"{server.name} was asked to end: status {server.exit_status}")
        await server.kill()
    server.start()


async def _kill_postgres(given: Break) -> None:
    await _end_postgres(given, signal.SIGKILL)


async def _restart_postgres(given: Break) -> None:
    await _end_postgres(given, signal.SIGINT)


async def _end_postgres(given: Break, how: signal.Signals) -> None:
    postmaster = given.deployment.postmaster()
    if postmaster is None:
        return
    postmaster.send_signal(how)
    if given.deployment.workers:
        await wait_until(lambda: _is_gone(postmaster), STOP_SECONDS, 0.02)
        given.outage.began = time.monotonic()
        await asyncio.sleep(given.hold_seconds)
        given.outage.ended = time.monotonic()
    await given.deployment.start_postgres_again()


def _is_gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def _kill_backend(given: Break) -> None:
    with given.deployment.admin() as admin:
        numbers = [row[0] for row in admin.execute(_BACKENDS)]
    if numbers:
        with suppress(psutil.NoSuchProcess):
            psutil.Process(given.chance.choice(numbers)).kill()


async def _drop_connections(given: Break) -> None:
    with given.deployment.admin() as admin:
        admin.execute(f"SELECT pg_terminate_backend(pid) FROM ({_BACKENDS}) AS backend")


async def _kill_everything(given: Break) -> None:
    postmaster = given.deployment.postmaster()
    for process in given.deployment.processes:
        process.send(signal.SIGKILL)
    if postmaster is not None:
        with suppress(psutil.NoSuchProcess):
            postmaster.kill()
    for process in given.deployment.processes:
        await process.wait_for_end()
    await given.deployment.start_postgres_again()
    for process in given.deployment.processes:
        process.start()


async def _pause(given: Break, process: FarthingProcess) -> None:
    process.send(signal.SIGSTOP)
    await asyncio.sleep(given.hold_seconds)
    process.send(signal.SIGCONT)


async def _pause_server(given: Break) -> None:
    await _pause(given, given.deployment.server)


async def _pause_one_server(given: Break) -> None:
    chosen = given.chance.choice((await given.deployment.wait_for_several()).servers)
    chosen.suspend()
    try:
        await asyncio.sleep(given.hold_seconds)
    finally:
        chosen.resume()


async def _pause_worker(given: Break) -> None:
    await _pause(given, given.chance.choice(given.deployment.workers))


async def _exhaust_connections(given: Break) -> None:
    """Take every connection that a role without special rights can get, and hold them."""
    url = given.deployment.postgres.url()
    async with AsyncExitStack() as held:
        for _ in range(MOST_CONNECTIONS):
            try:
                connection = await psycopg.AsyncConnection.connect(url, connect_timeout=5)
            except psycopg.OperationalError:
                break
            held.push_async_callback(connection.close)
        await asyncio.sleep(given.hold_seconds)


@asynccontextmanager
async def _table_locked(deployment: Deployment, table: str) -> AsyncIterator[None]:
    """Nobody can write to `table` meanwhile."""
    async with await psycopg.AsyncConnection.connect(deployment.postgres.url(role="postgres")) as connection:
        await connection.execute(f"SET lock_timeout = '{LOCK_SECONDS}s'")
        try:
            await connection.execute(f"LOCK TABLE {table} IN SHARE MODE")
        except psycopg.errors.LockNotAvailable:
            await connection.rollback()
        try:
            yield
        finally:
            with suppress(psycopg.OperationalError):
                await connection.rollback()


async def _kill_before_answers(given: Break) -> None:
    """Requests with a key do their work and cannot store their answers; then the server is killed."""
    async with _table_locked(given.deployment, "idempotent_responses"):
        given.load.begin_subscriptions(SUBSCRIPTIONS)
        with given.deployment.admin() as admin:
            await wait_until(lambda: _count(admin, _WAITING_FOR_ANSWERS) >= SUBSCRIPTIONS, LOCK_SECONDS)
        await given.deployment.server.kill()
    given.deployment.server.start()


async def _kill_during_duty(given: Break) -> None:
    """A duty cannot write its journal and so is in hand for certain; then who works on jobs is killed."""
    deployment = given.deployment
    async with _table_locked(deployment, "job_runs"):
        with deployment.admin() as admin:
            ask_for_duties(admin)
            await wait_until(lambda: _count(admin, _JOBS_IN_HAND) > 0, DUTY_SECONDS)
        for process in deployment.duty_processes:
            await process.kill()
    for process in deployment.duty_processes:
        process.start()


def _count(admin: psycopg.Connection[Any], query: str) -> int:
    return len(admin.execute(query).fetchall())


async def _kill_during_clock_move(given: Break) -> None:
    """A long move of the test clock is under way when the server is killed; its client makes it again."""
    given.load.begin_clock_move(LONG_MOVE)
    await asyncio.sleep(given.chance.uniform(0.1, 0.8))
    await _kill_server(given)


async def _fill_disk(given: Break) -> None:
    """Write a file until nothing more fits, hold it, and remove it."""
    filler = given.deployment.data.parent / "filler"
    await asyncio.to_thread(_fill, filler)
    try:
        deadline = time.monotonic() + given.hold_seconds
        while time.monotonic() < deadline:
            await asyncio.sleep(0.2)
            await asyncio.to_thread(_fill, filler)  # what PostgreSQL gave back meanwhile
    finally:
        filler.unlink()


def _fill(path: Path) -> None:
    with path.open("ab", buffering=0) as file:
        for size in (2**20, 2**12, 1):
            with suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass


_FAULTS: Mapping[Fault, Callable[[Break], Awaitable[None]]] = {
    Fault.KILL_SERVER: _kill_server,
    Fault.KILL_WORKER: _kill_worker,
    Fault.KILL_WORKERS: _kill_workers,
    Fault.KILL_POSTGRES: _kill_postgres,
    Fault.KILL_BACKEND: _kill_backend,
    Fault.KILL_EVERYTHING: _kill_everything,
    Fault.RESTART_POSTGRES: _restart_postgres,
    Fault.DROP_CONNECTIONS: _drop_connections,
    Fault.PAUSE_SERVER: _pause_server,
    Fault.PAUSE_WORKER: _pause_worker,
    Fault.EXHAUST_CONNECTIONS: _exhaust_connections,
    Fault.KILL_BEFORE_ANSWERS: _kill_before_answers,
    Fault.KILL_DURING_DUTY: _kill_during_duty,
    Fault.KILL_DURING_CLOCK_MOVE: _kill_during_clock_move,
    Fault.FILL_DISK: _fill_disk,
    Fault.KILL_SUPERVISOR: _kill_server,
    Fault.KILL_ONE_SERVER: _kill_one_server,
    Fault.PAUSE_ONE_SERVER: _pause_one_server,
    Fault.KILL_LEADER: _kill_leader,
    Fault.KILL_HELPER: _kill_helper,
    Fault.REPLACE: _replace,
    Fault.STOP_IN_ORDER: _stop_in_order,
}
