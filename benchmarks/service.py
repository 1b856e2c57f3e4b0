"""Starting, resting and writing: cold start, memory, invoices and payments per second."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from benchmarks.harness import Report, service

SECTION = "Service"
INVOICES = 300
CLIENTS = 8


async def measure(report: Report) -> None:
    """Cold start on an empty folder and on a known one, resident memory, and the write path through HTTP."""
    with service() as running:
        report.add(SECTION, "cold start, empty data folder", f"{running.started_in_seconds:.2f} s", "< 4 s")
        report.add(SECTION, "resident memory of the API process, idle", f"{running.resident_mb:.0f} MB", "< 200 MB")
        async with running.client() as client:
            made = await client.post("/customers", json={"external_id": "bench", "name": "Bench"})
            customer_id: str = made.json()["id"]
            rate, invoices = await _rate(lambda: _invoice(client, customer_id))
            report.add(SECTION, f"invoices created and finalized per second, {CLIENTS} clients", f"{rate:.0f}")
            waiting = iter(invoices)
            rate, _ = await _rate(lambda: _payment(client, next(waiting)))
            report.add(SECTION, f"offline payments per second, {CLIENTS} clients", f"{rate:.0f}")
        report.add(SECTION, "resident memory of the API process, after", f"{running.resident_mb:.0f} MB", "< 200 MB")


async def _invoice(client: Any, customer_id: str) -> str:
    body = {"customer_id": customer_id, "currency": "usd", "amount_due": "100", "total": "100", "subtotal": "100"}
    lines = [
        {"display_name": "Requests", "price_type": "USAGE", "quantity": "1", "amount": "60"},
        {"display_name": "Fee", "quantity": "1", "amount": "40"},
    ]
    answer = await client.post("/invoices", json={**body, "line_items": lines})
    answer.raise_for_status()
    made: str = answer.json()["id"]
    return made


async def _payment(client: Any, invoice_id: str) -> str:
    body = {"destination_type": "INVOICE", "destination_id": invoice_id, "payment_method_type": "OFFLINE"}
    answer = await client.post("/payments", json={**body, "amount": "100", "currency": "usd", "process_payment": True})
    answer.raise_for_status()
    made: str = answer.json()["id"]
    return made


async def _rate(call: Any) -> tuple[float, list[str]]:
    """Calls per second with `CLIENTS` at a time, and what they returned."""
    results: list[str] = []

    async def client() -> None:
        for _ in range(INVOICES // CLIENTS):
            results.append(await call())  # noqa: PERF401 (one after another is the point)

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return len(results) / (time.perf_counter() - began), results
