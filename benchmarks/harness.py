"""What every benchmark stands on: a real server process on an embedded PostgreSQL, a timer, and a table of results."""

from __future__ import annotations

import math
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

KEY = "sk_BENCHMARKBENCHMARKBENCHMARK"


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the report; `budget` is what we promise, in words."""

    what: str
    measured: str
    budget: str = ""


@dataclass(slots=True)
class Report:
    """Results by benchmark, printed as they come and kept for the document."""

    sections: dict[str, list[Result]] = field(default_factory=dict)

    def add(self, section: str, what: str, measured: str, budget: str = "") -> None:
        result = Result(what, measured, budget)
        self.sections.setdefault(section, []).append(result)
        print(f"  {what:62} {measured:28} {budget}", flush=True)

    def markdown(self) -> str:
        parts = []
        for section, results in self.sections.items():
            rows = "\n".join(f"| {r.what} | {r.measured} | {r.budget} |" for r in results)
            parts.append(f"### {section}\n\n| what | measured | budget |\n| --- | --- | --- |\n{rows}\n")
        return "\n".join(parts)


@dataclass(slots=True)
class Service:
    """A running `farthing serve` of its own."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]
    started_in_seconds: float

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def client(self) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=128, max_keepalive_connections=128)
        return httpx.AsyncClient(base_url=self.url, headers={"x-api-key": KEY}, timeout=120, limits=limits)

    @property
    def resident_mb(self) -> float:
        """Resident memory of the API process alone, without PostgreSQL."""
        return float(psutil.Process(self.process.pid).memory_info().rss / 2**20)

    @property
    def key(self) -> str:
        return KEY

    @property
    def database_url(self) -> str:
        """The database as the service itself has it."""
        return f"postgresql://farthing@/farthing?host={self.folder / 'run'}"

    @property
    def admin_url(self) -> str:
        """The database past row-level security, for filling it in bulk."""
        return f"postgresql://postgres@/farthing?host={self.folder / 'run'}"


@contextmanager
def service(folder: Path | None = None, checkout: Path | None = None, **environment: str) -> Iterator[Service]:
    """Start `farthing serve` on an embedded database in `folder` (a throw-away one by default) and stop it after.

    `checkout` is a folder with the sources of another version to run; this one by default.
    """
    kept = folder is not None
    folder = folder or Path(tempfile.mkdtemp(prefix="farthing-bench-"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith("FARTHING_")},
        "FARTHING_DATA_DIR": str(folder),
        "FARTHING_PORT": str(port),
        "FARTHING_BOOTSTRAP_API_KEY": KEY,
        "FARTHING_ACCESS_LOG": "false",
        "FARTHING_PROCESSES": "1",
        "FARTHING_LOG_LEVEL": "error",
        **environment,
    }
    began = time.perf_counter()
    command = [sys.executable, "-m", "farthing", "serve"]
    process = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, cwd=checkout)
    try:
        _wait(port, process)
        yield Service(folder, port, process, time.perf_counter() - began)
    finally:
        process.terminate()
        process.wait(60)
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)


def cpu_of(running: Service) -> tuple[float, float]:
    """CPU in seconds that our processes have used so far, and PostgreSQL's, where backends that ended count as well."""
    server = psutil.Process(running.process.pid)
    ours = database = 0.0
    for process in [server, *server.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):  # one that has just ended
            times = process.cpu_times()
            if process.name().startswith("postgres"):
                database += times.user + times.system + times.children_user + times.children_system
            else:
                ours += times.user + times.system
    return ours, database


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        try:
            httpx.get(f"http://127.0.0.1:{port}/health/ready", timeout=5).raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError("the server did not start")


async def median_ms(call: Callable[[], Awaitable[object]], times: int = 100, warm: int = 20) -> float:
    """The median duration of `call`, in milliseconds, after some calls that do not count."""
    for _ in range(warm):
        await call()
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        await call()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1000


def growth(costs: Mapping[int, float]) -> str:
    """How cost grows with size: the exponent of the power law that fits best, 1 being in proportion."""
    if len(costs) < 2:
        return "one size only"
    sizes, values = [math.log(size) for size in costs], [math.log(cost) for cost in costs.values()]
    return f"n^{statistics.linear_regression(sizes, values).slope:.2f}"


def memory_mb(running: Service) -> tuple[float, float]:
    """What our processes take, and those of PostgreSQL, shared memory counted once."""
    parent = psutil.Process(running.process.pid)
    ours = database = 0.0
    for process in [parent, *parent.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):  # one that has just ended
            taken = process.memory_full_info().pss / 2**20
            if process.name().startswith("postgres"):
                database += taken
            else:
                ours += taken
    return ours, database


def machine() -> str:
    """What this ran on, in one line."""
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except FileNotFoundError:
        pass
    memory_gb = psutil.virtual_memory().total / 2**30
    python = f"{platform.system()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} cores of {model}, {memory_gb:.0f} GB, {python}"
