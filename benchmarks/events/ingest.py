"""Taking events in: durable events per second, in batches and one by one, and what an event costs as a batch grows.

`benchmarks.raw_load` makes the load.
"""

from __future__ import annotations

import json
from typing import Any

from benchmarks.harness import Report, Service, cpu_of, growth, service
from benchmarks.raw_load import drive, post

SECTION = "Events in"
SECONDS = 8
BULK = 1_000
BATCHES = (100, 300, BULK)
BATCHED = 30_000
"""How many events are sent in batches of each size."""


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
        bulk = _bulk(BULK).decode()
        for clients in (1, 4):
            rate, slowest = _load(running, "/events/bulk", bulk, clients)
            what = f"events per second, bulk of {BULK:,}, {clients} client{'s' * (clients > 1)}"
            report.add(SECTION, what, f"{rate * BULK:,.0f}{slowest}", "> 20,000")
        costs = {size: _cost(running, size) for size in BATCHES}
        for size, (server, database) in costs.items():
            what = f"CPU of an event in a bulk of {size:,}"
            cost = f"{(server + database) / size:.1f} µs ({server / size:.1f} + {database / size:.1f})"
            report.add(SECTION, what, cost)
        grown = growth({size: sum(cost) for size, cost in costs.items()})
        report.add(SECTION, "a bulk's cost grows with its events as", grown, "at most n^1")
        rate, slowest = _load(running, "/events", json.dumps(event(7)), 64)
        report.add(SECTION, "events per second, one by one, 64 clients", f"{rate:,.0f}{slowest}", "> 3,000")
        rate, slowest = _load(running, "/events", json.dumps(event(7)), 1)
        report.add(SECTION, "events per second, one by one, 1 client", f"{rate:,.0f}{slowest}")
        report.add(SECTION, "resident memory of the API process, after", f"{running.resident_mb:.0f} MB", "< 200 MB")


def _load(running: Service, path: str, body: str, clients: int) -> tuple[float, str]:
    """Requests per second and the 99th percentile; every answer is a success."""
    load = drive(running.port, [post(f"/v1{path}", body.encode(), running.key)], clients, SECONDS)
    return load.per_second, f", p99 {load.percentile_ms(0.99):.2f}ms"


def _cost(running: Service, size: int) -> tuple[float, float]:
    """CPU of a bulk of `size` events in microseconds: the server's, and PostgreSQL's."""
    request = post("/v1/events/bulk", _bulk(size), running.key)
    drive(running.port, [request], 1, 60, 3)
    before = cpu_of(running)
    load = drive(running.port, [request], 1, 600, BATCHED // size)
    server, database = (now - then for now, then in zip(cpu_of(running), before, strict=True))
    return server * 1e6 / load.answered, database * 1e6 / load.answered


def _bulk(size: int) -> bytes:
    return json.dumps({"events": [event(number) for number in range(size)]}).encode()
