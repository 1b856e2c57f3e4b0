"""Webhooks out: deliveries per second from a running server to a local receiver, also beside endpoints that hang."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

from aiohttp import web

from benchmarks.harness import Report, Service, service

SECTION = "Webhooks out"
EVENTS = 2_000
ENDPOINTS = 5


async def measure(report: Report) -> None:
    """Record events by creating customers, then time how long their deliveries take."""
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
            rate = await _rate(running, url, received, "alone", hanging=0)
            report.add(SECTION, f"deliveries per second, {ENDPOINTS} endpoints", f"{rate:,.0f}", "> 500")
            rate = await _rate(running, url, received, "beside", hanging=2)
            report.add(SECTION, "the same beside two that hang", f"{rate:,.0f}", "> 500")
    finally:
        await runner.cleanup()


async def _rate(running: Service, url: str, received: Counter[str], name: str, *, hanging: int) -> float:
    """Deliveries per second, from when the endpoints are enabled to when the last has everything."""
    paths = [f"/{name}/{number}" for number in range(ENDPOINTS)]
    async with running.client() as client:
        endpoints = []
        for path in (*paths, *(f"/hang/{name}/{number}" for number in range(hanging))):
            made = await client.post("/webhooks/endpoints", json={"url": url + path, "rate_limit": 1})
            made.raise_for_status()
            endpoints.append(made.json()["id"])
        turns = asyncio.Semaphore(32)

        async def create(number: int) -> None:
            async with turns:
                (
                    await client.post("/customers", json={"external_id": f"{name}-{number}", "name": "Acme"})
                ).raise_for_status()

        await asyncio.gather(*(create(number) for number in range(EVENTS)))
        already = sum(received[path] for path in paths)
        began = time.perf_counter()
        for endpoint in endpoints:
            (await client.put(f"/webhooks/endpoints/{endpoint}", json={"rate_limit": None})).raise_for_status()
        while (count := sum(received[path] for path in paths)) < EVENTS * ENDPOINTS:  # noqa: ASYNC110 (it waits for several counts)
            await asyncio.sleep(0.05)
        seconds = time.perf_counter() - began
        for endpoint in endpoints:
            (await client.delete(f"/webhooks/endpoints/{endpoint}")).raise_for_status()
    return (count - already) / seconds
