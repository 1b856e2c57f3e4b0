"""Whether hot reads keep a good plan: a customer with a few invoices beside one that has nearly all of them, unpaid.

Each statement is executed on a connection that PostgreSQL judges for itself, and on one as hot reads have it; what is
measured is the CPU of the connection's backend, which other work on the machine hardly touches.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psutil
import psycopg

from benchmarks.harness import Report, Service, service
from benchmarks.reads.summary import copy_invoice
from farthing.invoices.receivables import aging, summary
from farthing.storage.connections.hot_reads import SETTINGS, Prepared
from farthing.storage.scope import Scope

SECTION = "Plans of hot reads"
LARGE = 200_000
OTHERS = 13
EACH = 1_000
ROUNDS = 5
READS = 200
MODES = {
    "PostgreSQL's choice": "SET plan_cache_mode = auto",
    "as Farthing asks": SETTINGS,
}


@dataclass(frozen=True, slots=True)
class Books:
    """Customers of one tenant, beside one that has nearly all invoices."""

    scope: Scope
    others: list[str]


async def measure(report: Report) -> None:
    """Milliseconds of CPU in PostgreSQL for a read of an ordinary customer, by who chooses its plan."""
    with service() as running:
        books = await _keep_books(running)
        report.add(SECTION, "invoices; of one customer, and unpaid", f"{LARGE + OTHERS * EACH:,}; {LARGE:,}")
        for name, statement in _statements().items():
            for mode, milliseconds, plans in _measure(running, books, statement):
                report.add(SECTION, f"{name} of another, {mode}", f"{milliseconds:.2f} ms CPU, {plans}")


def _statements() -> dict[str, Prepared]:
    return {**{f"summary of {which}": made for which, made in summary.STATEMENTS.items()}, "ageing": aging.STATEMENT}


async def _keep_books(running: Service) -> Books:
    line = {"display_name": "Fee", "quantity": "1", "amount": "100"}
    body = {"currency": "usd", "amount_due": "100", "total": "100", "subtotal": "100", "line_items": [line]}
    ids = []
    async with running.client() as client:
        for number in range(1 + OTHERS):
            made = await client.post("/customers", json={"external_id": f"bench-{number}", "name": "Bench"})
            ids.append(made.raise_for_status().json()["id"])
            made = await client.post("/invoices", json={**body, "customer_id": ids[-1]})
            large = number == 0
            copy_invoice(running, made.raise_for_status().json()["id"], (LARGE if large else EACH) - 1, unpaid=large)
    with psycopg.connect(running.admin_url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
        found = connection.execute("SELECT tenant_id, environment_id FROM customers WHERE id = %s", [ids[0]]).fetchone()
    assert found is not None
    return Books(Scope(*found), ids[1:])


def _measure(running: Service, books: Books, statement: Prepared) -> Iterator[tuple[str, float, str]]:
    """By mode, the median CPU of a read, and of how many plans; in alternation, for the machine is shared."""
    given = (datetime.now(UTC), ["self", "payer", "owner"])[: len(statement.types) - 1]
    with _connections(running) as connections:
        taken: dict[str, list[float]] = {mode: [] for mode in connections}
        for connection in connections.values():
            connection.execute(statement.prepare)
        for turn in range(ROUNDS + 1):
            for mode, connection in connections.items():
                backend = psutil.Process(connection.info.backend_pid)
                before = backend.cpu_times()
                for number in range(READS):
                    customer_id = books.others[number % OTHERS]
                    values = (books.scope.tenant_id, books.scope.environment_id, customer_id, *given)
                    psycopg.ClientCursor(connection).execute(statement.execute, values)
                after = backend.cpu_times()
                if turn:  # the first makes the plans
                    used = after.user + after.system - before.user - before.system
                    taken[mode].append(used * 1000 / READS)
        for mode, connection in connections.items():
            row = connection.execute(
                "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE name = %s", [statement.name]
            ).fetchone()
            assert row is not None
            yield mode, statistics.median(taken[mode]), f"{row[1]:,} of {sum(row):,} planned anew"


@contextmanager
def _connections(running: Service) -> Iterator[dict[str, psycopg.Connection[Any]]]:
    connections = {mode: psycopg.connect(running.database_url, autocommit=True) for mode in MODES}
    try:
        for mode, connection in connections.items():
            connection.execute(MODES[mode])
        yield connections
    finally:
        for connection in connections.values():
            connection.close()
