"""One invoice run shared by two processes, beside one process: invoices per second, CPU, and how much waits for locks.

In alternation, each on a company of its own in one database, so that what else the machine does falls on both alike.
Two share the machine with the database, and on two cores are faster only by what one leaves idle, so CPU is shown, too.
`BENCH_SHARED=1000` asks for another number of subscriptions.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.billing.run import BILLED, FINALIZED, START, company
from benchmarks.billing.terms import database_seconds
from benchmarks.harness import Report
from farthing.billing.run.passes import Run
from farthing.storage.embedded import EmbeddedPostgres
from farthing.storage.migrations import upgrade
from farthing.storage.postgres import Database
from farthing.storage.scope import Scope
from farthing.wiring import wire

SECTION = "Billing run by several processes"
COUNT = int(os.environ.get("BENCH_SHARED", "4000"))
ROUNDS = 3
_WAITING = """
    SELECT count(*) FILTER (WHERE wait_event_type = 'Lock'), count(*) FROM pg_stat_activity
    WHERE xact_start IS NOT NULL AND datname = current_database() AND pid <> pg_backend_pid()
"""


@dataclass(frozen=True, slots=True)
class SharedRun:
    """What a month's run of some processes took. `waiting` is the share of transactions seen waiting for a lock."""

    seconds: float
    python: float
    database: float
    waiting: float


async def measure(report: Report) -> None:
    """Both runs of a month, by one process and by two, several times."""
    with (
        tempfile.TemporaryDirectory(prefix="farthing-bench-") as folder,
        EmbeddedPostgres(Path(folder) / "data") as server,
    ):
        await asyncio.to_thread(upgrade, server.url())
        taken: dict[int, list[SharedRun]] = {1: [], 2: []}
        for _ in range(ROUNDS):
            for processes, runs in taken.items():
                database = Database(server.url(), wire())
                scope = await company(database, COUNT)
                await database.close()
                runs.append(await asyncio.to_thread(_share, server, scope, processes))
    for processes, runs in taken.items():
        name = "one process" if processes == 1 else "two processes"
        seconds = statistics.median(run.seconds for run in runs)
        python, stored = (min(getattr(run, part) for run in runs) / COUNT * 1000 for part in ("python", "database"))
        report.add(SECTION, f"invoices per second, {name}", f"{COUNT / seconds:,.0f}")
        report.add(SECTION, f"CPU of an invoice, {name}", f"{python:.2f} + {stored:.2f} ms of the database")
        waiting = statistics.median(run.waiting for run in runs)
        report.add(SECTION, f"transactions that wait for a lock, {name}", f"{waiting:.1%}")
    ratio = statistics.median(one.seconds / two.seconds for one, two in zip(taken[1], taken[2], strict=True))
    report.add(SECTION, "two processes, times one", f"{ratio:.2f}", "> 1.6 on 2 cores")


def _share(server: EmbeddedPostgres, scope: Scope, processes: int) -> SharedRun:
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(processes)]
    workers = [context.Process(target=_work, args=(server.url(), scope, theirs)) for _, theirs in pipes]
    for worker in workers:
        worker.start()
    ours = [mine for mine, _ in pipes]
    for pipe in ours:
        pipe.send(START)  # nothing is due yet: all are up, and know their statements
    assert [pipe.recv()[0] for pipe in ours] == [0] * processes
    began, stored = time.perf_counter(), database_seconds(server.process_id)
    python, seen, waiting = 0.0, 0, 0
    with psycopg.connect(server.url(), autocommit=True) as watch:
        for moment in (BILLED, FINALIZED):
            for pipe in ours:
                pipe.send(moment)
            while not all(pipe.poll() for pipe in ours):
                waits, here = watch.execute(_WAITING).fetchone() or (0, 0)
                seen, waiting = seen + here, waiting + waits
                time.sleep(0.05)
            answers = [pipe.recv() for pipe in ours]
            assert sum(done for done, _ in answers) == COUNT, answers
            python += sum(cpu for _, cpu in answers)
    seconds, stored = time.perf_counter() - began, database_seconds(server.process_id) - stored
    for pipe, worker in zip(ours, workers, strict=True):
        pipe.send(None)
        worker.join()
    return SharedRun(seconds, python, stored, waiting / max(seen, 1))


def _work(url: str, scope: Scope, pipe: Connection[Any, Any]) -> None:
    """Bill what is due at the moments that come, and answer how many invoices that was and what CPU it took."""

    async def bill() -> None:
        database = Database(url, wire())
        try:
            while (moment := await asyncio.to_thread(pipe.recv)) is not None:
                assert isinstance(moment, datetime)
                worked = time.process_time()
                done = await Run(database, scope, moment).all()
                assert done.failed == {}, done.failed
                pipe.send((done.finalized or done.computed, time.process_time() - worked))
        finally:
            await database.close()

    asyncio.run(bill())
