"""A billing day: a company of thousands of customers with a month of events is invoiced while others read and write.

    make bench ARGS=story
    BENCH_STORY_EVENTS=50000000 make bench ARGS=story     50 million events: not run yet; hours on two cores

`BENCH_STORY_CUSTOMERS` (5,000), `BENCH_STORY_EVENTS` (2,000,000) and `BENCH_STORY_RATE` (1: requests per second in all
are 50 times that) set the size. The load is open: it does not wait for answers, before the billing and for as long as
that runs. The month's events are laid down as what they count, without the events themselves; those that the load sends
are stored whole.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import statistics
import time
import uuid
from dataclasses import dataclass
from datetime import datetime

import httpx
import psycopg
from sqlalchemy import select

from benchmarks.billing.run import BILLED, FINALIZED, company
from benchmarks.harness import Report, Service, memory_mb, service
from benchmarks.load import Answers, Call, open_in_process
from farthing.billing.run.passes import Run
from farthing.identity.credentials import keys
from farthing.identity.tables import User
from farthing.storage.postgres import Database
from farthing.storage.scope import Scope
from farthing.wiring import wire

SECTION = "A billing day"
CUSTOMERS = int(os.environ.get("BENCH_STORY_CUSTOMERS", "5000"))
EVENTS = int(os.environ.get("BENCH_STORY_EVENTS", "2000000"))
RATE = float(os.environ.get("BENCH_STORY_RATE", "1"))
METERS = 3
BULK = 100
SECRET = "only for a benchmark, and long enough"
QUIET_SECONDS = 10
MOST_SECONDS = 24 * 3600.0
LAG_PAUSE_SECONDS = 0.2
SOME = 50
"""How many customers are asked for; the load goes over them in turn."""


@dataclass(frozen=True, slots=True)
class Billed:
    """What one pass of the billing day took, in seconds, and how many invoices it made or finalized."""

    seconds: float
    cpu_seconds: float
    invoices: int


async def measure(report: Report) -> None:
    """Latencies before and during the billing, its run time, the lag of ingest, growth of the disk, and memory."""
    # the duties of a worker would bill the past month by themselves
    with service(FARTHING_WORKER="false", FARTHING_SECRET_KEY=SECRET) as running:
        scope, key = await _company(running)
        calls = await _calls(running, scope)
        before = await _disk_mb(running)
        size = f"{CUSTOMERS:,} customers, {EVENTS:,} measured events"
        report.add(SECTION, f"database of {size}", f"{before[0]:,} MB, log {before[1]:,} MB")
        quiet = await open_in_process(running.port, key, calls, QUIET_SECONDS)
        _latencies(report, quiet, "before")
        for what, moment in (("rolled, invoiced and computed", BILLED), ("computed again and finalized", FINALIZED)):
            billed, answers, lags = await _bill_under_load(running, scope, key, calls, moment)
            cost = f"{billed.seconds:.1f} s ({billed.cpu_seconds:.1f} s), {billed.invoices:,} invoices"
            report.add(SECTION, f"billing day: {what}", cost)
            _latencies(report, answers, "during")
            lag = f"median {statistics.median(lags) * 1000:.0f} ms, longest {max(lags) * 1000:.0f} ms of {len(lags)}"
            report.add(SECTION, "from sending an event until it is counted", lag)
        after = await _disk_mb(running)
        report.add(
            SECTION, "the database grew by", f"{after[0] - before[0]:,} MB, its log by {after[1] - before[1]:,} MB"
        )
        ours, database = memory_mb(running)
        report.add(SECTION, "memory of the server, and of PostgreSQL", f"{ours:.0f} MB, {database:.0f} MB")


async def _disk_mb(running: Service) -> tuple[int, int]:
    """What the database takes, and what its log (WAL), whose files PostgreSQL uses again."""
    async with await psycopg.AsyncConnection.connect(running.admin_url, autocommit=True) as connection:
        found = await connection.execute(
            "SELECT pg_database_size(current_database()), (SELECT sum(size)::bigint FROM pg_ls_waldir())"
        )
        database, log = await found.fetchone() or (0, 0)
    return database // 2**20, log // 2**20


async def _company(running: Service) -> tuple[Scope, str]:
    database = Database(running.database_url, wire())
    try:
        scope = await company(database, CUSTOMERS, max(EVENTS // CUSTOMERS // METERS, 1))
        async with database.transaction(scope) as session:
            owner = (await session.scalars(select(User).where(User.tenant_id == scope.tenant_id).limit(1))).one()
            hasher = keys.KeyHasher(SECRET)
            _, key = await keys.create(
                session, hasher, owner=owner, environment_id=scope.environment_id, name="benchmark"
            )
    finally:
        await database.close()
    return scope, key


async def _calls(running: Service, scope: Scope) -> list[Call]:
    """In a second: 20 summaries, 10 lists of invoices, 10 reads of a customer, 5 single events and 5 bulks of them."""
    async with await psycopg.AsyncConnection.connect(running.admin_url, autocommit=True) as connection:
        found = await connection.execute(
            "SELECT id, external_id FROM customers WHERE environment_id = %s ORDER BY id LIMIT %s",
            [scope.environment_id, SOME],
        )
        customers = await found.fetchall()
    calls = []
    for customer_id, external_id in customers:
        event = {"event_name": "e0", "external_customer_id": external_id, "properties": {"n": 1}}
        bulk = json.dumps({"events": [event] * BULK}).encode()
        share = RATE / len(customers)
        calls += [
            Call("summary", "GET", f"/v1/customers/{customer_id}/invoices/summary", rate=20 * share),
            Call("50 invoices", "GET", "/v1/invoices?limit=50", rate=10 * share),
            Call("customer", "GET", f"/v1/customers/{customer_id}", rate=10 * share),
            Call("single event", "POST", "/v1/events", json.dumps(event).encode(), 5 * share),
            Call(f"bulk of {BULK} events", "POST", "/v1/events/bulk", bulk, 5 * share),
        ]
    return calls


async def _bill_under_load(
    running: Service, scope: Scope, key: str, calls: list[Call], moment: datetime
) -> tuple[Billed, Answers, list[float]]:
    """Bill in a process of its own while the load goes on, which ends with it."""
    lags: list[float] = []

    async def measure_lags() -> None:
        while not billing.done():
            lags.append(await _lag(running, scope, key))
            await asyncio.sleep(LAG_PAUSE_SECONDS)

    with multiprocessing.get_context("spawn").Pool(1) as pool:
        billing = asyncio.create_task(
            asyncio.to_thread(pool.apply, _bill, (running.database_url, scope, moment)), name="billing"
        )
        answers, _ = await asyncio.gather(
            open_in_process(running.port, key, calls, MOST_SECONDS, billing), measure_lags()
        )
        return await billing, answers, lags


def _bill(url: str, scope: Scope, moment: datetime) -> Billed:
    return asyncio.run(_run(url, scope, moment))


async def _run(url: str, scope: Scope, moment: datetime) -> Billed:
    database = Database(url, wire())
    try:
        began, worked = time.perf_counter(), time.process_time()
        done = await Run(database, scope, moment).all()
        assert not done.failed, list(done.failed.items())[:3]
        return Billed(time.perf_counter() - began, time.process_time() - worked, done.finalized or done.computed)
    finally:
        await database.close()


async def _lag(running: Service, scope: Scope, key: str) -> float:
    """Seconds from sending an event until the usage of its customer has it."""
    customer = uuid.uuid4().hex
    event = {"event_name": "e0", "external_customer_id": customer, "properties": {"n": 1}}
    async with (
        httpx.AsyncClient(base_url=running.url, headers={"x-api-key": key}, timeout=120) as client,
        await psycopg.AsyncConnection.connect(running.admin_url, autocommit=True) as connection,
    ):
        began = time.perf_counter()
        (await client.post("/events", json=event)).raise_for_status()
        while True:
            found = await connection.execute(
                "SELECT 1 FROM meter_usage WHERE environment_id = %s AND external_customer_id = %s AND meter_id IN "
                "(SELECT id FROM meters WHERE environment_id = %s) LIMIT 1",
                [scope.environment_id, customer, scope.environment_id],
            )
            if await found.fetchone():
                return time.perf_counter() - began
            await asyncio.sleep(0.01)


def _latencies(report: Report, answers: Answers, when: str) -> None:
    for name in answers.latencies:
        p50, p95, p99 = (answers.percentile(name, share) for share in (0.5, 0.95, 0.99))
        failed = f", {answers.failed[name]} failed" if answers.failed.get(name) else ""
        report.add(SECTION, f"{name}, {when}: p50, p95, p99", f"{p50:.0f}, {p95:.0f}, {p99:.0f} ms{failed}")
    for name in answers.failed.keys() - answers.latencies.keys():
        report.add(SECTION, f"{name}, {when}", f"all {answers.failed[name]} failed")
