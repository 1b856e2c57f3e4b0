"""Server processes that die at the n-th commit of a request: a relay between server and PostgreSQL counts, and kills.

The relay lets everything through; armed, it kills the server with SIGKILL right after PostgreSQL has confirmed the n-th
commit of a transaction that wrote something, before the server hears of it, or right before it is sent.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy.engine import make_url

from tests.conftest import free_port
from tests.waiting import PATIENCE_SECONDS

KEY = "sk_killed_at_a_commit_0123456789"
_SOCKET = ".s.PGSQL.5432"
_READING = (b"SELECT", b"SET ", b"BEGIN", b"SHOW", b"DEALLOCATE", b"ROLLBACK")

# one process has everything imported, and an application made for each way to PostgreSQL; each server is a fork of it
# that opens its own connections, so that a restart takes a moment
_STARTED = re.compile(rb"started (\d+)\n")
_SERVE = """
import asyncio, ctypes, json, os, sys
import farthing.billing.clock.routes
import farthing.serving.server
from farthing.settings import load
from farthing.storage.postgres import Database
from farthing.wiring import wire

farthing.billing.clock.routes.PATIENCE_SECONDS = 100  # a move that is answered before its end is no answer to compare
made = {}
create_app = farthing.serving.server.create_app

def prepare(given):
    settings = load({**os.environ, **given})
    database = Database(settings.database_url, wire(), 3)
    return settings, database, create_app(settings, database)

async def run(settings, database):
    async def started(database, first):
        print("started", os.getpid(), flush=True)
    await farthing.serving.server.serve(settings, database, started)

for line in sys.stdin:
    if line not in made:
        made[line] = prepare(json.loads(line))
    if os.fork() == 0:
        ctypes.CDLL(None).prctl(1, 9)  # a server ends with the process it was forked from, and that with the tests
        settings, database, application = made[line]
        farthing.serving.server.create_app = lambda *given, **more: application
        asyncio.run(run(settings, database))
        os._exit(0)
"""


@dataclass
class Relay:
    """Passes on what server and PostgreSQL say, and counts the commits of transactions that wrote."""

    folder: Path
    upstream: str
    commits: int = 0
    kill_at: int = 0
    """At which commit to kill; 0 is never."""
    before: bool = False
    """Whether to kill before the commit is sent rather than after it is confirmed."""
    victim: int = 0
    killed: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Relay]:
        server = await asyncio.start_unix_server(self._connect, self.folder / _SOCKET)
        try:
            yield self
        finally:
            server.close()

    def arm(self, victim: int, kill_at: int, *, before: bool = False) -> None:
        self.commits, self.kill_at, self.before, self.victim = 0, kill_at, before, victim
        self.killed = asyncio.Event()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        database_reader, database_writer = await asyncio.open_unix_connection(f"{self.upstream}/{_SOCKET}")
        confirmed = asyncio.Event()
        """Set while the answer to the commit at which to kill is awaited."""
        answering = asyncio.create_task(self._answers(database_reader, writer, confirmed))
        try:
            await self._requests(reader, database_writer, confirmed)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            database_writer.close()
            writer.close()
            answering.cancel()

    async def _requests(
        self, reader: asyncio.StreamReader, database: asyncio.StreamWriter, confirmed: asyncio.Event
    ) -> None:
        size = await reader.readexactly(4)
        database.write(size + await reader.readexactly(int.from_bytes(size) - 4))
        wrote = False
        while True:
            head = await reader.readexactly(5)
            body = await reader.readexactly(int.from_bytes(head[1:]) - 4)
            kind, text = head[:1], body.lstrip(b"\0")
            if kind == b"Q" and text.startswith(b"COMMIT"):
                if wrote and self._reached():
                    if self.before:
                        self._kill()
                        return
                    confirmed.set()
                wrote = False
            elif kind == b"Q" or (kind == b"P" and not body.startswith(b"_pg3_")):
                wrote = wrote or not text.lstrip().upper().startswith(_READING)
            elif kind in {b"B", b"P"}:  # a statement that was prepared before, or is prepared now
                wrote = wrote or body.lstrip(b"\0").startswith(b"_pg3_")
            database.write(head + body)
            await database.drain()

    def _reached(self) -> bool:
        self.commits += 1
        return self.commits == self.kill_at

    def _kill(self) -> None:
        os.kill(self.victim, signal.SIGKILL)
        self.killed.set()

    async def _answers(
        self, database: asyncio.StreamReader, writer: asyncio.StreamWriter, confirmed: asyncio.Event
    ) -> None:
        while chunk := await database.read(65536):
            if confirmed.is_set():
                self._kill()
                return
            writer.write(chunk)


class Servers:
    """Starts servers on one database, each in a process of its own."""

    def __init__(self, url: str, forks: asyncio.subprocess.Process) -> None:
        self.url, self._forks = url, forks
        self._ports: dict[str, int] = {}
        """One for each way to PostgreSQL: whoever is started there takes the place of the one before."""
        self._running: dict[str, int] = {}

    async def start(self, sockets: str) -> tuple[int, int]:
        """The only server that reaches PostgreSQL through the socket in `sockets`: its process and its port."""
        if sockets in self._running:
            with suppress(ProcessLookupError):  # most have been killed, some by a test that failed have not
                os.kill(self._running[sockets], signal.SIGKILL)
        assert self._forks.stdin is not None
        assert self._forks.stdout is not None
        port = self._ports.setdefault(sockets, free_port())
        given = {
            "FARTHING_DATABASE_URL": f"postgresql://farthing@/{make_url(self.url).database}?host={sockets}",
            "FARTHING_PORT": str(port),
        }
        self._forks.stdin.write(json.dumps(given).encode() + b"\n")
        async with asyncio.timeout(3 * PATIENCE_SECONDS):
            # what else a server prints, such as one that is killed meanwhile, is nothing to read
            while (started := _STARTED.fullmatch(line := await self._forks.stdout.readline())) is None:
                assert line, "what starts servers has ended"
        process = int(started[1])
        self._running[sockets] = process
        return process, port


@asynccontextmanager
async def servers(url: str) -> AsyncIterator[Servers]:
    """Servers on a database; all of them are killed at the end."""
    environment: dict[str, Any] = {n: v for n, v in os.environ.items() if not n.startswith("FARTHING_")}
    environment |= {
        "FARTHING_SECRET_KEY": "a master key for tests only",
        "FARTHING_BOOTSTRAP_API_KEY": KEY,
        "FARTHING_LOG_LEVEL": "error",
        "FARTHING_ACCESS_LOG": "false",
        "FARTHING_WORKER": "false",
    }
    forks = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _SERVE,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    group = Servers(url, forks)
    try:
        yield group
    finally:
        os.killpg(forks.pid, signal.SIGKILL)
        await forks.wait()


def relay_folder() -> Path:
    """A new folder with a path short enough for a socket."""
    return Path(tempfile.mkdtemp(prefix="relay-", dir="/tmp"))
