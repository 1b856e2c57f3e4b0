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

import psutil

from benchmarks.harness import Report, Service, service

SECTION = "Files in and out"
ROWS = int(os.environ.get("FARTHING_BENCH_ROWS", "1000000"))
CUSTOMERS = 2_000
SECRET = "keeps nothing, for it is only measured"


@dataclass(frozen=True, slots=True)
class Cost:
    """What a command took: by the clock, of CPU in its process and in PostgreSQL, and its largest resident memory."""

    seconds: float
    cpu: float
    database_cpu: float
    peak_mb: float

    def __str__(self) -> str:
        return f"{self.seconds:.0f} s ({self.cpu:.0f} + {self.database_cpu:.0f} s CPU), {self.peak_mb:.0f} MB"


async def measure(report: Report) -> None:
    """One file of events, with a meter and a price for some of them, in and out again."""
    with service(FARTHING_SECRET_KEY=SECRET) as running:
        async with running.client() as client:
            meter = {"name": "Tokens", "event_name": "tokens", "aggregation": {"type": "SUM", "field": "tokens"}}
            made = await client.post("/meters", json={**meter, "reset_usage": "BILLING_PERIOD"})
            made.raise_for_status()
        events = running.folder / "events.csv"
        _write(events, ROWS)
        smaller = running.folder / "tenth.csv"
        _write(smaller, ROWS // 10, prefix="small")
        tenth = _run(running, "import", "events", smaller)
        taken = _run(running, "import", "events", events)
        report.add(SECTION, f"import of {ROWS:,} events from CSV", str(taken), "< 120 s for 1,000,000")
        report.add(SECTION, "peak memory of an import, against a tenth of it", _ratio(taken, tenth), "flat")
        few = _run(running, "export", "events", running.folder / "few.csv", "--until", "2026-01-02T00:00:00Z")
        sent = _run(running, "export", "events", running.folder / "out.csv")
        report.add(SECTION, f"export of {ROWS + ROWS // 10:,} events to CSV", str(sent))
        report.add(SECTION, "peak memory of an export, against a part of it", _ratio(sent, few), "flat")


def _ratio(one: Cost, other: Cost) -> str:
    return f"{one.peak_mb:.0f} MB against {other.peak_mb:.0f} MB"


def _write(path: Path, rows: int, prefix: str = "event") -> None:
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
            writer.writerow([f"{prefix}-{number}", "tokens", customer, moment, number % 900, "model-large"])


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
    before, began = _database_cpu(running), time.perf_counter()
    command = [sys.executable, "-m", "farthing", *map(str, arguments)]
    process = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    cpu = used.ru_utime + used.ru_stime
    return Cost(time.perf_counter() - began, cpu, _database_cpu(running) - before, used.ru_maxrss / 1024)


def _database_cpu(running: Service) -> float:
    """CPU that PostgreSQL has taken so far, in seconds; what backends took that have ended counts at their parent."""
    total = 0.0
    for process in psutil.Process(running.process.pid).children(recursive=True):
        if "postgres" in process.name():
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total
