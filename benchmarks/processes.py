"""Several processes: how many summaries two answer beside one, what that costs in CPU, and what memory they take."""

from __future__ import annotations

import statistics

import httpx

from benchmarks.harness import KEY, Report, Service, cpu_of, memory_mb, service
from benchmarks.load import Call, closed_in_process

SECTION = "Several processes"
CLIENTS = 16
SECONDS = 3
ROUNDS = 5


async def measure(report: Report) -> None:
    """Reads per second in alternation, so that what else the machine does falls on both alike."""
    with service(FARTHING_PROCESSES="1") as one, service(FARTHING_PROCESSES="2") as two:
        paths = {running.port: _summary(running) for running in (one, two)}
        rates: dict[int, list[float]] = {one.port: [], two.port: []}
        costs: dict[int, list[float]] = {one.port: [], two.port: []}
        for _ in range(ROUNDS):
            for running in (one, two):
                before = sum(cpu_of(running))
                answered = await _answered(running, paths[running.port])
                rates[running.port].append(answered / SECONDS)
                costs[running.port].append((sum(cpu_of(running)) - before) * 1000 / answered)
        single, double = (statistics.median(rates[running.port]) for running in (one, two))
        report.add(SECTION, f"summaries per second, one process, {CLIENTS} clients", f"{single:,.0f}")
        report.add(SECTION, "the same, two processes", f"{double:,.0f}, {double / single:.2f}x", "1.6x on 2 cores")
        for what, running in (("one process", one), ("two processes", two)):
            report.add(SECTION, f"CPU of an answer, database included, {what}", f"{_median(costs[running.port])} ms")
        whose = ((one, "one process that does everything"), (two, "supervisor, worker and two servers"))
        for running, what in whose:
            ours, database = memory_mb(running)
            report.add(SECTION, f"memory of {what}", f"{ours:.0f} MB")
            report.add(SECTION, "of the processes of its PostgreSQL", f"{database:.0f} MB")


def _median(values: list[float]) -> str:
    return f"{statistics.median(values):.2f}"


def _summary(running: Service) -> str:
    """The path of the summary of a customer with a few invoices."""
    with httpx.Client(base_url=running.url, headers={"x-api-key": KEY}, timeout=60) as client:
        customer_id = client.post("/customers", json={"external_id": "bench", "name": "Bench"}).json()["id"]
        line = {"display_name": "Fee", "quantity": "1", "amount": "100"}
        body = {"customer_id": customer_id, "currency": "usd", "amount_due": "100", "total": "100", "subtotal": "100"}
        for _ in range(5):
            client.post("/invoices", json={**body, "line_items": [line]}).raise_for_status()
    return f"/customers/{customer_id}/invoices/summary"


async def _answered(running: Service, path: str) -> int:
    answers = await closed_in_process(
        running.port, running.key, [Call("summary", "GET", f"/v1{path}")], CLIENTS, SECONDS
    )
    assert not answers.failed, answers.failed
    return answers.count
