"""Taking events in: durable events per second, in batches and one by one. `wrk` makes the load, if it is installed."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.harness import Report, Service, service

SECTION = "Events in"
SECONDS = 8
BULK = 1_000
_RATE = re.compile(r"Requests/sec:\s+([0-9.]+)")
_LATENCY = re.compile(r"\s99%\s+([0-9.]+\w+)")
_FAILED = re.compile(r"Non-2xx or 3xx responses: (\d+)")


def event(number: int) -> dict[str, Any]:
    """An event as an AI company sends it; without an id or a time, the server gives each its own."""
    return {
        "event_name": "tokens",
        "external_customer_id": f"customer-{number % 200}",
        "source": "sdk",
        "properties": {"tokens": 100 + number % 900, "model": "model-large", "region": "eu-west-1"},
    }


async def measure(report: Report) -> None:
    """Bulk and single ingest with one matching meter, every answer after the commit."""
    with service() as running:
        async with running.client() as client:
            made = await client.post(
                "/meters",
                json={
                    "name": "Tokens",
                    "event_name": "tokens",
                    "aggregation": {"type": "SUM", "field": "tokens"},
                    "reset_usage": "BILLING_PERIOD",
                },
            )
            made.raise_for_status()
        bulk = json.dumps({"events": [event(number) for number in range(BULK)]})
        for clients in (1, 4):
            rate, slowest = await _load(running, "/events/bulk", bulk, clients)
            what = f"events per second, bulk of {BULK:,}, {clients} client{'s' * (clients > 1)}"
            report.add(SECTION, what, f"{rate * BULK:,.0f}{slowest}", "> 20,000")
        rate, slowest = await _load(running, "/events", json.dumps(event(7)), 64)
        report.add(SECTION, "events per second, one by one, 64 clients", f"{rate:,.0f}{slowest}", "> 3,000")
        rate, slowest = await _load(running, "/events", json.dumps(event(7)), 1)
        report.add(SECTION, "events per second, one by one, 1 client", f"{rate:,.0f}{slowest}")
        report.add(SECTION, "resident memory of the API process, after", f"{running.resident_mb:.0f} MB", "< 200 MB")


async def _load(running: Service, path: str, body: str, clients: int) -> tuple[float, str]:
    """Requests per second and the 99th percentile; every answer must be a success."""
    if shutil.which("wrk") is None:
        return await _load_from_python(running, path, body, clients)
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        headers = f'wrk.headers["x-api-key"] = "{running.key}"\nwrk.headers["content-type"] = "application/json"\n'
        script.write(f'wrk.method = "POST"\n{headers}wrk.body = [=[{body}]=]\n')
        script.flush()
        process = await asyncio.create_subprocess_exec(
            "wrk",
            f"-t{min(clients, 2)}",
            f"-c{clients}",
            f"-d{SECONDS}s",
            "--timeout=30s",
            "--latency",
            f"-s{Path(script.name)}",
            running.url + path,
            stdout=asyncio.subprocess.PIPE,
        )
        output = (await process.communicate())[0].decode()
    failed = _FAILED.search(output)
    if failed or not (found := _RATE.search(output)):
        raise RuntimeError(output)
    slowest = _LATENCY.search(output)
    return float(found[1]), f", p99 {slowest[1]}" if slowest else ""


async def _load_from_python(running: Service, path: str, body: str, clients: int) -> tuple[float, str]:
    done = 0
    async with running.client() as client:
        until = time.perf_counter() + SECONDS

        async def one() -> None:
            nonlocal done
            while time.perf_counter() < until:
                answer = await client.post(path, content=body, headers={"content-type": "application/json"})
                answer.raise_for_status()
                done += 1

        await asyncio.gather(*(one() for _ in range(clients)))
    return done / SECONDS, ""
