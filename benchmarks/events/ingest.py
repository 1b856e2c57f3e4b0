"""Taking events in: durable events per second, in batches and one by one. `benchmarks.raw_load` makes the load."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.harness import Report, Service, service
from benchmarks.raw_load import drive, post

SECTION = "Events in"
SECONDS = 8
BULK = 1_000


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
            rate, slowest = _load(running, "/events/bulk", bulk, clients)
            what = f"events per second, bulk of {BULK:,}, {clients} client{'s' * (clients > 1)}"
            report.add(SECTION, what, f"{rate * BULK:,.0f}{slowest}", "> 20,000")
        rate, slowest = _load(running, "/events", json.dumps(event(7)), 64)
        report.add(SECTION, "events per second, one by one, 64 clients", f"{rate:,.0f}{slowest}", "> 3,000")
        rate, slowest = _load(running, "/events", json.dumps(event(7)), 1)
        report.add(SECTION, "events per second, one by one, 1 client", f"{rate:,.0f}{slowest}")
        report.add(SECTION, "resident memory of the API process, after", f"{running.resident_mb:.0f} MB", "< 200 MB")


def _load(running: Service, path: str, body: str, clients: int) -> tuple[float, str]:
    """Requests per second and the 99th percentile; every answer is a success."""
    load = drive(running.port, [post(f"/v1{path}", body.encode(), running.key)], clients, SECONDS)
    return load.per_second, f", p99 {load.percentile_ms(0.99):.2f}ms"
