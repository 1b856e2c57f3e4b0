"""Webhooks out: deliveries per second from a running server to a local receiver, what each costs, and whether
endpoints that hang take anything from the others.

`BENCH_EVENTS=10000` in the environment records so many events in place of 2,000.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import psycopg
from aiohttp import web

from benchmarks.harness import Report, Service, cpu_of, service
from farthing.storage.postgres import Database
from farthing.storage.record.outbox import record_event
from farthing.storage.scope import Scope
from farthing.wiring import wire

SECTION = "Webhooks out"
EVENTS = int(os.environ.get("BENCH_EVENTS", "2000"))
WELL = 8
HANGING = 2
RECORDED_AT_ONCE = 500
LINES = [{"id": f"line_{number}", "amount": "12.50", "display_name": "Requests"} for number in range(20)]
"""Part of a message of about two kilobytes, as an invoice's is."""


@dataclass(frozen=True, slots=True)
class DeliveryRun:
    """How long deliveries took, what they cost the server and the database, and how it answered meanwhile."""

    seconds: float
    server_cpu_seconds: float
    database_cpu_seconds: float
    median_answer_ms: float


async def measure(report: Report) -> None:
    """Record events, let them go at once, and wait until every endpoint that answers has all of them."""
    received: Counter[str] = Counter()

    async def take(request: web.Request) -> web.Response:
        await request.read()
        if request.path.startswith("/hang"):
            await asyncio.sleep(3600)
        received[request.path] += 1
        return web.Response(status=204)

    application = web.Application()
    application.router.add_post("/{path:.*}", take)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        with service(FARTHING_WEBHOOK_ALLOW_PRIVATE="true") as running:
            alone = await _run(running, url, received, "alone", hanging=0)
            beside = await _run(running, url, received, "beside", hanging=HANGING)
    finally:
        await runner.cleanup()
    deliveries = EVENTS * WELL
    size = f"{EVENTS:,} events to {WELL} endpoints"
    report.add(SECTION, f"{size}, deliveries per second", f"{deliveries / alone.seconds:,.0f}", "> 500")
    report.add(SECTION, "CPU of the server per delivery", f"{alone.server_cpu_seconds / deliveries * 1e6:,.0f} µs")
    report.add(SECTION, "CPU of PostgreSQL per delivery", f"{alone.database_cpu_seconds / deliveries * 1e6:,.0f} µs")
    report.add(SECTION, "median answer of the API meanwhile", f"{alone.median_answer_ms:,.0f} ms")
    report.add(SECTION, "time until the eight have everything, alone", f"{alone.seconds:,.1f} s")
    report.add(SECTION, f"the same beside {HANGING} that hang", f"{beside.seconds:,.1f} s", "as alone")


async def _run(running: Service, url: str, received: Counter[str], name: str, *, hanging: int) -> DeliveryRun:
    paths = [f"/{name}/{number}" for number in range(WELL)]
    async with running.client() as client:
        endpoints = []
        for path in (*paths, *(f"/hang/{name}/{number}" for number in range(hanging))):
            made = await client.post("/webhooks/endpoints", json={"url": url + path, "rate_limit": 1})
            made.raise_for_status()
            endpoints.append(made.json()["id"])
        await _record(running)
        before = cpu_of(running)
        answers: list[float] = []
        began = time.perf_counter()
        for endpoint in endpoints:
            (await client.put(f"/webhooks/endpoints/{endpoint}", json={"rate_limit": None})).raise_for_status()
        while sum(received[path] for path in paths) < EVENTS * WELL:
            asked = time.perf_counter()
            (await client.get("/customers")).raise_for_status()
            answers.append(time.perf_counter() - asked)
            await asyncio.sleep(0.05)
        seconds = time.perf_counter() - began
        after = cpu_of(running)
        for endpoint in endpoints:
            (await client.delete(f"/webhooks/endpoints/{endpoint}")).raise_for_status()
    server, database = after[0] - before[0], after[1] - before[1]
    return DeliveryRun(seconds, server, database, sorted(answers)[len(answers) // 2] * 1000)


async def _record(running: Service) -> None:
    """Events of entities of their own, recorded as the server records its own."""
    with psycopg.connect(running.admin_url) as connection:
        row = connection.execute("SELECT tenant_id, id FROM environments ORDER BY created_at").fetchone()
    assert row is not None
    database = Database(running.admin_url.replace("postgres@", "farthing@"), wire())
    for begin in range(0, EVENTS, RECORDED_AT_ONCE):
        async with database.transaction(Scope(*row)) as session:
            for number in range(begin, min(begin + RECORDED_AT_ONCE, EVENTS)):
                payload: dict[str, Any] = {"event_type": "invoice.update", "invoice": {"id": number, "lines": LINES}}
                await record_event(session, "invoice.update", "invoice", f"inv_{number}", payload)
    await database.close()
