"""The processes under test: real `farthing serve` and `farthing worker`, and the PostgreSQL they use."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg

from benchmarks.chaos.schedule import Mode
from benchmarks.chaos.service.restarts import Fork, Running
from benchmarks.chaos.waiting import wait_until
from farthing.storage.embedded import EmbeddedPostgres

KEY = "sk_CHAOSCHAOSCHAOSCHAOSCHAOS"
MASTER_KEY = "a master key for breaking things only"
WORKERS = 2
SERVERS = 2
"""Of several processes."""
START_SECONDS = 180
"""For the first start; it is no part of any figure."""
STOP_SECONDS = 30
COPY_SECONDS = 60
ADMIN_LOCK_MILLISECONDS = 200
POSTGRES_SETTINGS = {"max_connections": "120", "shared_buffers": "128MB"}


_FIRST_PORT, _PORTS = 10_000, 10_000
"""Below the ports that the system gives to outgoing connections, which could take the port before it is bound."""


def _free_port() -> int:
    begin = secrets.randbelow(_PORTS)
    for number in range(_PORTS):
        port = _FIRST_PORT + (begin + number) % _PORTS
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no port is free")


@dataclass(slots=True)
class FarthingProcess:
    """One `farthing` command that can be started again and again."""

    name: str
    command: str
    environment: Mapping[str, str]
    log: Path
    process: Running | None = None

    def start(self) -> None:
        """Start it again, as a supervisor does."""
        self.process = Fork(self.command, self.environment, self.log)

    def start_by_command_line(self) -> None:
        """Start it as an operator does."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "farthing", self.command],
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C stops the harness, which stops everything in order
            )

    def send(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    async def kill(self) -> None:
        """End it without warning, and wait until it is gone."""
        self.send(signal.SIGKILL)
        await self.wait_for_end()

    async def wait_for_end(self) -> None:
        await wait_until(lambda: self.process is None or self.has_ended, STOP_SECONDS, 0.02)

    @property
    def has_ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    @property
    def exit_status(self) -> int | None:
        return None if self.process is None else self.process.poll()


@dataclass(frozen=True, slots=True)
class Below:
    """What a supervisor has forked; a server that does not listen yet counts among the workers."""

    servers: list[psutil.Process]
    workers: list[psutil.Process]

    @property
    def is_whole(self) -> bool:
        return len(self.servers) == SERVERS and len(self.workers) == WORKERS

    @property
    def pids(self) -> set[int]:
        return {process.pid for process in (*self.servers, *self.workers)}


def _listens(process: psutil.Process) -> bool:
    return any(each.status == psutil.CONN_LISTEN for each in process.net_connections("tcp4"))


@dataclass(slots=True)
class Deployment:
    """One deployment in a folder of its own; `data` may lie on another file system."""

    mode: Mode
    folder: Path
    data: Path
    stalled_seconds: float
    """After which a worker that gives no sign of life is taken for dead."""
    port: int = field(default_factory=_free_port)
    server: FarthingProcess = field(init=False)
    workers: list[FarthingProcess] = field(default_factory=list)
    postgres: EmbeddedPostgres = field(init=False)
    """Started by the harness in the external mode; else only asked where its socket is."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.postgres = EmbeddedPostgres(self.data, POSTGRES_SETTINGS)
        own = {"FARTHING_DATA_DIR": str(self.data)}
        if self.mode is Mode.EXTERNAL:
            own = {"FARTHING_DATABASE_URL": self.postgres.url(), "FARTHING_WORKER": "false", "FARTHING_POOL_SIZE": "10"}
            self.workers = [self._process(f"worker-{number + 1}", "worker", own) for number in range(WORKERS)]
        elif self.mode is Mode.SEVERAL_PROCESSES:
            own |= {"FARTHING_PROCESSES": str(SERVERS), "FARTHING_WORKER_PROCESSES": str(WORKERS)}
        self.server = self._process("server", "serve", own)

    def _process(self, name: str, command: str, own: Mapping[str, str]) -> FarthingProcess:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("FARTHING_")},
            "FARTHING_PORT": str(self.port),
            "FARTHING_BOOTSTRAP_API_KEY": KEY,
            "FARTHING_SECRET_KEY": MASTER_KEY,
            "FARTHING_ACCESS_LOG": "false",
            "FARTHING_PROCESSES": "1",
            "FARTHING_LOG_LEVEL": "info",
            "FARTHING_STALLED_JOB_SECONDS": f"{self.stalled_seconds:g}",
            **own,
        }
        return FarthingProcess(name, command, environment, self.folder / f"{name}.log")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def processes(self) -> list[FarthingProcess]:
        return [self.server, *self.workers]

    @property
    def duty_processes(self) -> list[FarthingProcess]:
        """Those that work on jobs."""
        return self.workers or [self.server]

    def below_supervisor(self) -> Below:
        """The processes that a supervisor has forked, as they are now."""
        servers: list[psutil.Process] = []
        workers: list[psutil.Process] = []
        if self.server.process is not None and self.server.process.pid is not None:
            with suppress(psutil.NoSuchProcess):
                for child in psutil.Process(self.server.process.pid).children():
                    with suppress(psutil.NoSuchProcess):
                        if child.name() != "postgres" and child.status() != psutil.STATUS_ZOMBIE:
                            (servers if _listens(child) else workers).append(child)
        return Below(servers, workers)

    async def wait_for_several(self) -> Below:
        """As many below the supervisor as there shall be, each at its work. Raises TimeoutError."""
        if not await wait_until(lambda: self.below_supervisor().is_whole, STOP_SECONDS, 0.1):
            raise TimeoutError(f"not {SERVERS} servers and {WORKERS} workers: {self.below_supervisor()}")
        return self.below_supervisor()

    async def start(self) -> None:
        """Start everything as an operator does; returns before it answers."""
        if self.mode is Mode.EXTERNAL:
            self.postgres.start()
        for process in self.processes:
            process.start_by_command_line()

    def take_over(self, template: Path) -> None:
        """Begin with a copy of an empty database that is migrated already."""
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        command = ["cp", "-a", str(template / "postgres"), str(self.data / "postgres")]
        subprocess.run(command, check=True, timeout=COPY_SECONDS)

    async def stop(self) -> None:
        """Stop everything in order; what does not stop is killed."""
        for process in self.processes:
            process.send(signal.SIGCONT)
            process.send(signal.SIGTERM)
        for process in self.processes:
            await process.wait_for_end()
            await process.kill()  # if it did not stop in time
        if self.mode is Mode.EXTERNAL:
            self.postgres.stop()
        else:
            await self.wait_until_postgres_is_gone()

    def admin(self, role: str = "postgres") -> psycopg.Connection[Any]:
        """A connection past row-level security, for looking and for breaking."""
        # what a stopped process has locked must not stop the harness, which alone lets it go on
        options = f"-c lock_timeout={ADMIN_LOCK_MILLISECONDS}"
        return psycopg.connect(self.postgres.url(role=role), autocommit=True, connect_timeout=5, options=options)

    def postmaster(self) -> psutil.Process | None:
        """The running PostgreSQL, if it runs."""
        try:
            number = int((self.data / "postgres" / "postmaster.pid").read_text().splitlines()[0])
            process = psutil.Process(number)
            return process if process.status() != psutil.STATUS_ZOMBIE else None
        except (FileNotFoundError, IndexError, ValueError, psutil.NoSuchProcess):
            return None

    async def wait_until_postgres_is_gone(self) -> None:
        await wait_until(lambda: self.postmaster() is None, STOP_SECONDS)

    async def start_postgres_again(self) -> None:
        """In the external mode, what a supervisor of PostgreSQL does; embedded, Farthing does it by itself."""
        if self.mode is not Mode.EXTERNAL:
            return
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            self.postgres.revive()
            try:
                self.admin().close()
            except psycopg.OperationalError:
                await asyncio.sleep(0.1)
            else:
                return
        raise RuntimeError("PostgreSQL did not start again")
