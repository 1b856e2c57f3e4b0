"""Files in and out: events imported from CSV and exported again, in seconds of CPU and peak memory.

`FARTHING_BENCH_ROWS` says how many, a million without it. Where the machine is shared, CPU says more than the clock.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg

from benchmarks.harness import Report, Service, cpu_of, growth, service

SECTION = "Files in and out"
ROWS = int(os.environ.get("FARTHING_BENCH_ROWS", "1000000"))
CUSTOMERS = 500
SECRET = "keeps nothing, for it is only measured"


@dataclass(frozen=True, slots=True)
class Cost:
    """What a command took: by the clock, of CPU in its process and in PostgreSQL, and its largest resident memory."""

    seconds: float
    cpu: float
    database_cpu: float
    peak_mb: float

    @property
    def worked(self) -> float:
        return self.cpu + self.database_cpu

    def __str__(self) -> str:
        return f"{self.seconds:.0f} s ({self.cpu:.0f} + {self.database_cpu:.0f} s CPU), {self.peak_mb:.0f} MB"


async def measure(report: Report) -> None:
    """Events in and out at three sizes, each in a deployment of its own, and invoices with lines out."""
    costs: dict[str, dict[int, float]] = {}
    for rows in (ROWS // 10, ROWS * 3 // 10, ROWS):
        with service(FARTHING_SECRET_KEY=SECRET) as running:
            async with running.client() as client:
                await _set_up(client)
            events = running.folder / "events.csv"
            _write(events, rows)
            budget = "< 120 s" if rows == 1_000_000 else ""
            taken = _run(running, "import", "events", events)
            report.add(SECTION, f"import of {rows:,} events from CSV", str(taken), budget)
            costs.setdefault("import of events", {})[rows] = taken.worked
            for ending, name in (("csv", "CSV"), ("parquet", "Parquet")):
                sent = _run(running, "export", "events", running.folder / f"out.{ending}")
                report.add(SECTION, f"export of {rows:,} events to {name}", str(sent), "memory flat")
                costs.setdefault(f"export of events to {name}", {})[rows] = sent.worked
            if rows == ROWS:
                await _measure_invoices(report, running)
    _say_growth(report, costs)


async def _measure_invoices(report: Report, running: Service) -> None:
    """A tenth as many invoices as events, in three steps of which the last is all."""
    async with running.client() as client:
        customer = await client.post("/customers", json={"external_id": "invoiced", "name": "Invoiced"})
        body = {"customer_id": customer.json()["id"], "currency": "usd", "amount_due": "100", "total": "100"}
        lines = [{"display_name": name, "quantity": "1", "amount": "50"} for name in ("Fee", "Support")]
        made = await client.post("/invoices", json={**body, "subtotal": "100", "line_items": lines})
        made.raise_for_status()
    before = 1
    costs: dict[str, dict[int, float]] = {}
    for invoices in (ROWS // 100, ROWS * 3 // 100, ROWS // 10):
        _copy_invoice(running, made.json()["id"], before, invoices)
        before = invoices
        for entity, name in (("invoice", ""), ("revenue_facts", "revenue of ")):
            for ending in ("csv", "parquet"):
                sent = _run(running, "export", entity, running.folder / f"{entity}.{ending}")
                what = f"export of {name}{invoices:,} invoices with two lines, {ending}"
                report.add(SECTION, what, str(sent), "memory flat")
                costs.setdefault(f"export of {name}invoices, {ending}", {})[invoices] = sent.worked
    _say_growth(report, costs)


def _say_growth(report: Report, costs: dict[str, dict[int, float]]) -> None:
    """How the CPU of each file grows with its rows; to start the command is part of it."""
    for what, by_rows in costs.items():
        report.add(SECTION, f"{what}: CPU grows with rows as", growth(by_rows), "at most n^1")


def _copy_invoice(running: Service, invoice_id: str, before: int, until: int) -> None:
    """Copies of an invoice and its lines, so that there are `until` where there were `before`, of many customers."""
    with psycopg.connect(running.admin_url, autocommit=True) as connection:
        customers = "(array(SELECT id FROM customers ORDER BY id))[1 + g %% (SELECT count(*) FROM customers)]"
        of_invoice = {"id": "x.id || '-' || g", "invoice_number": "x.invoice_number || '-' || g"}
        of_invoice |= {"created_at": "x.created_at - g * interval '1 minute'", "customer_id": customers}
        of_invoice |= {"owner_id": customers}
        of_line = {"id": "x.id || '-' || g", "invoice_id": "x.invoice_id || '-' || g"}
        for table, column, changes in (
            ("invoices", "id", of_invoice),
            ("invoice_line_items", "invoice_id", of_line),
        ):
            found = connection.execute(
                "SELECT column_name FROM information_schema.columns WHERE table_name = %s AND is_generated = 'NEVER'",
                (table,),
            )
            names = [name for (name,) in found]
            values = ", ".join(changes.get(name, f"x.{name}") for name in names)
            statement = (
                f"INSERT INTO {table} ({', '.join(names)}) SELECT {values} FROM {table} AS x, "
                f"generate_series({before}, {until - 1}) AS g WHERE x.{column} = %s"
            )
            connection.execute(statement, (invoice_id,))


async def _set_up(client: httpx.AsyncClient) -> None:
    """A meter with a price, and customers who pay it."""
    aggregation = {"type": "SUM", "field": "tokens"}
    meter = {"name": "Tokens", "event_name": "tokens", "aggregation": aggregation, "reset_usage": "BILLING_PERIOD"}
    feature = await _made(client, "/features", {"name": "Tokens", "type": "metered", "meter": meter})
    plan = await _made(client, "/plans", {"name": "Pro", "lookup_key": "pro"})
    terms = {"billing_period": "MONTHLY", "billing_model": "FLAT_FEE", "invoice_cadence": "ARREAR", "amount": "0.002"}
    of_plan = {"entity_type": "PLAN", "entity_id": plan["id"], "type": "USAGE", "currency": "usd"}
    start = "2026-01-01T00:00:00Z"
    await _made(client, "/prices", {**of_plan, **terms, "meter_id": feature["meter_id"], "start_date": start})
    for number in range(CUSTOMERS):
        customer = await _made(
            client, "/customers", {"external_id": f"customer-{number}", "name": f"Customer {number}"}
        )
        body = {"customer_id": customer["id"], "plan_id": plan["id"], "currency": "usd", "start_date": start}
        await _made(client, "/subscriptions", {**body, "billing_period": "MONTHLY", "billing_period_count": 1})


async def _made(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    response = await client.post(path, json=body)
    response.raise_for_status()
    made: dict[str, Any] = response.json()
    return made


def _write(path: Path, rows: int) -> None:
    """A file as an exporter of another system writes it: ids, customers, times over a month, properties as columns."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    step = timedelta(days=30) / rows
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["event_id", "event_name", "external_customer_id", "timestamp", "properties.tokens", "properties.model"]
        )
        for number in range(rows):
            customer = f"customer-{number % CUSTOMERS}"
            moment = (start + number * step).isoformat()
            writer.writerow([f"event-{number}", "tokens", customer, moment, number % 900, "model-large"])


def _run(running: Service, *arguments: object) -> Cost:
    """Run a command of farthing beside the server."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("FARTHING_")}
    # only one process may have the data folder, so that the command goes to the server's database
    database = f"postgresql://farthing@/farthing?host={running.folder / 'run'}"
    variables |= {
        "FARTHING_DATABASE_URL": database,
        "FARTHING_SECRET_KEY": SECRET,
        "FARTHING_LOG_LEVEL": "error",
    }
    (_, before), began = cpu_of(running), time.perf_counter()
    command = [sys.executable, "-m", "farthing", *map(str, arguments)]
    process = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    cpu = used.ru_utime + used.ru_stime
    return Cost(time.perf_counter() - began, cpu, cpu_of(running)[1] - before, used.ru_maxrss / 1024)
