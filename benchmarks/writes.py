"""What a write costs: CPU of the server and of its PostgreSQL, and statements, for each of the usual ones.

`BENCH_BESIDE=folder` names a checkout of another version: both then run at once and are asked in turn, so that what
else the machine does falls on both alike. CPU is that of the processes (`/proc`), not the time on the wall.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg

from benchmarks.events.ingest import event
from benchmarks.harness import KEY, Report, Service, cpu_of, growth, service
from benchmarks.raw_load import drive, post

SECTION = "Writes"
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
CALLS = int(os.environ.get("BENCH_CALLS", "200"))
SETTLED_SECONDS = 0.5
"""The writers of PostgreSQL are given this long to do what a round has left them."""


@dataclass(frozen=True, slots=True)
class Call:
    """A write; `bodies` makes as many as are asked for on a running service.

    `cpu_ms` is what it may cost; 0 for no budget.
    """

    what: str
    path: str
    bodies: Callable[[Service, int], list[bytes]]
    cpu_ms: float
    headers: str = ""


@dataclass(slots=True)
class Costs:
    """Milliseconds a call, one of each for every round."""

    server: list[float] = field(default_factory=list)
    database: list[float] = field(default_factory=list)
    statements: float = 0

    @property
    def whole(self) -> float:
        return statistics.median(map(sum, zip(self.server, self.database, strict=True)))

    def __str__(self) -> str:
        server, database = statistics.median(self.server), statistics.median(self.database)
        return f"{self.whole:.2f} ms ({server:.2f} + {database:.2f}), {self.statements:.3g} statements"


_numbers = iter(range(1, 10**9))


def _customers(_: Service, count: int) -> list[bytes]:
    return [
        json.dumps({"external_id": f"bench-{number}", "name": "Bench", "email": f"bench-{number}@example.com"}).encode()
        for number in (next(_numbers) for _ in range(count))
    ]


def _invoices(running: Service, count: int) -> list[bytes]:
    lines = [
        {"display_name": "Requests", "price_type": "USAGE", "quantity": "1", "amount": "60"},
        {"display_name": "Fee", "quantity": "1", "amount": "40"},
    ]
    body = {
        "customer_id": _customer(running),
        "currency": "usd",
        "amount_due": "100",
        "total": "100",
        "subtotal": "100",
        "line_items": lines,
    }
    return [json.dumps(body).encode()] * count


def _payments(running: Service, count: int) -> list[bytes]:
    with _client(running) as client:
        made = [_made(client, "/invoices", body) for body in _invoices(running, count)]
    body = {"destination_type": "INVOICE", "payment_method_type": "OFFLINE", "amount": "100", "currency": "usd"}
    return [json.dumps({**body, "destination_id": invoice_id, "process_payment": True}).encode() for invoice_id in made]


def _events(_: Service, count: int) -> list[bytes]:
    return [json.dumps(event(number)).encode() for number in range(count)]


def _invoices_of(lines: int) -> Callable[[Service, int], list[bytes]]:
    def made(running: Service, count: int) -> list[bytes]:
        line = {"display_name": "Fee", "quantity": "1", "amount": "1"}
        amount = str(lines)
        body = {"customer_id": _customer(running), "currency": "usd", "line_items": [line] * lines}
        return [json.dumps({**body, "amount_due": amount, "total": amount, "subtotal": amount}).encode()] * count

    return made


LINES = (10, 30, 100)
CALLS_OF_LINES = {
    lines: Call(f"one-off invoice of {lines} lines", "/invoices", _invoices_of(lines), 0) for lines in LINES
}
CALLS_MEASURED = (
    Call("customer created", "/customers", _customers, 1.2),
    Call("one-off invoice created and finalized", "/invoices", _invoices, 5),
    Call("offline payment recorded", "/payments", _payments, 4),
    Call("event, one client", "/events", _events, 0.4),
)


async def measure(report: Report) -> None:
    """CPU and statements of each write."""
    with ExitStack() as stack:
        versions = {"": stack.enter_context(service(FARTHING_WORKER="false"))}
        beside = os.environ.get("BENCH_BESIDE")
        if beside:
            versions["before: "] = stack.enter_context(service(checkout=Path(beside), FARTHING_WORKER="false"))
        for running in versions.values():
            _meter(running)
        wanted = os.environ.get("BENCH_ONLY", "")
        grown: dict[str, dict[int, float]] = {name: {} for name in versions}
        for call in (*CALLS_MEASURED, *CALLS_OF_LINES.values()):
            if wanted not in call.what:
                continue
            costs = {name: Costs() for name in versions}
            for number in range(ROUNDS + 1):
                for name, running in versions.items():
                    server, database = _round(running, call)
                    if number:  # the first warms up
                        costs[name].server.append(server)
                        costs[name].database.append(database)
            for name, running in versions.items():
                costs[name].statements = _statements(running, call)
                budget = f"< {call.cpu_ms} ms" if call.cpu_ms and not name else ""
                report.add(SECTION, f"{name}{call.what}", str(costs[name]), budget)
                for lines, of_lines in CALLS_OF_LINES.items():
                    if call is of_lines:
                        grown[name][lines] = costs[name].whole
        for name, by_lines in grown.items():
            if by_lines:
                what = f"{name}a one-off invoice's cost grows with its lines as"
                report.add(SECTION, what, growth(by_lines), "at most n^1")


def _round(running: Service, call: Call) -> tuple[float, float]:
    """CPU of a call, in milliseconds: of the server, and of PostgreSQL."""
    requests = _requests(running, call, CALLS)
    time.sleep(SETTLED_SECONDS)
    before = cpu_of(running)
    drive(running.port, requests, 1, 600, CALLS)
    time.sleep(SETTLED_SECONDS)
    server, database = (now - then for now, then in zip(cpu_of(running), before, strict=True))
    return server * 1000 / CALLS, database * 1000 / CALLS


def _requests(running: Service, call: Call, count: int) -> list[bytes]:
    return [post(f"/v1{call.path}", body, KEY) for body in call.bodies(running, count)]


def _statements(running: Service, call: Call) -> float:
    """Statements that one call sends, BEGIN and COMMIT among them, from the log of PostgreSQL."""
    log, count = running.folder / "postgres.log", 20
    requests = _requests(running, call, count)
    with psycopg.connect(running.admin_url, autocommit=True) as connection:
        for value in ("all", "none"):
            connection.execute(f"ALTER SYSTEM SET log_statement = '{value}'")
            connection.execute("SELECT pg_reload_conf()")
            time.sleep(SETTLED_SECONDS)
            if value == "all":
                from_here = log.stat().st_size
                drive(running.port, requests, 1, 60, count)
    logged = log.read_bytes()[from_here:].decode(errors="replace").splitlines()
    if os.environ.get("BENCH_SHOW"):
        print("\n".join(line[:250] for line in logged))
    return sum(_is_of_call(line) for line in logged) / count


def _is_of_call(line: str) -> bool:
    """Whether a line of the log is a statement of a request, and not of the worker beside it or of ourselves."""
    return (" statement: " in line or " execute " in line) and not any(
        name in line for name in ("procrastinate", "pg_reload_conf", "ALTER SYSTEM")
    )


def _meter(running: Service) -> None:
    body = {
        "name": "Tokens",
        "event_name": "tokens",
        "aggregation": {"type": "SUM", "field": "tokens"},
        "reset_usage": "BILLING_PERIOD",
    }
    with _client(running) as client:
        _made(client, "/meters", json.dumps(body).encode())


def _customer(running: Service) -> str:
    with _client(running) as client:
        return _made(client, "/customers", _customers(running, 1)[0])


def _client(running: Service) -> httpx.Client:
    headers = {"x-api-key": KEY, "content-type": "application/json"}
    return httpx.Client(base_url=running.url, headers=headers, timeout=60)


def _made(client: httpx.Client, path: str, body: bytes) -> str:
    answer: Any = client.post(path, content=body)
    answer.raise_for_status()
    made: str = answer.json()["id"]
    return made
