"""Where the slowest of single events spend their time: computing, waiting for a core, or waiting for something else.

For each event the scheduler's own counts (`/proc/PID/task/*/schedstat`) are read before and after, of the server, of
the backends of PostgreSQL that store events, and of the client. A pause of ours, such as garbage collection or a
periodic duty, shows as CPU of the server; a machine that has other work as waiting for a core; a disk as neither.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg

from benchmarks.events.ingest import event
from benchmarks.harness import KEY, Report, Service, service
from benchmarks.raw_load import post, read_answer

SECTION = "The slowest of single events"
EVENTS = int(os.environ.get("BENCH_CALLS", "3000"))
WARM = 200


@dataclass(frozen=True, slots=True)
class Took:
    """What one event took, in milliseconds: on the wall, and of the processes together."""

    wall: float
    server_cpu: float
    database_cpu: float
    queued: float
    """Waiting for a core, of all threads that were runnable; several may wait at once."""

    @property
    def else_(self) -> float:
        """What is neither: the disk, and the steps between the processes."""
        return max(0.0, self.wall - self.server_cpu - self.database_cpu - self.queued)


class Scheduled:
    """The scheduler's counts of processes' threads, read again and again."""

    def __init__(self, pids: Sequence[int]) -> None:
        paths = (path for pid in pids for path in Path(f"/proc/{pid}/task").glob("*/schedstat"))
        self._files = [os.open(path, os.O_RDONLY) for path in paths]

    def read(self) -> tuple[int, int]:
        """Nanoseconds on a core, and waiting for one."""
        counts = [os.pread(file, 64, 0).split() for file in self._files]
        return sum(int(count[0]) for count in counts), sum(int(count[1]) for count in counts)


async def measure(report: Report) -> None:
    """One client, one event after the other, on a server with its worker as it is deployed."""
    with service() as running:
        took = _events(running)
    took.sort(key=lambda event: event.wall)
    slowest = took[len(took) * 99 // 100 :]
    middle = took[len(took) * 45 // 100 : len(took) * 55 // 100]
    report.add(
        SECTION, f"{EVENTS:,} events: median, and 99th percentile", f"{_wall(middle):.2f}, {slowest[0].wall:.2f} ms"
    )
    for what, events in (("the median", middle), ("the slowest 1 %", slowest)):
        parts = (
            f"server {_mean(events, 'server_cpu'):.2f}, database {_mean(events, 'database_cpu'):.2f}, "
            f"queued {_mean(events, 'queued'):.2f}, else {_mean(events, 'else_'):.2f} ms"
        )
        report.add(SECTION, f"{what}: CPU, waiting for a core, and else", parts)


def _wall(events: Sequence[Took]) -> float:
    return statistics.median(event.wall for event in events)


def _mean(events: Sequence[Took], part: str) -> float:
    return statistics.fmean(getattr(event, part) for event in events)


def _events(running: Service) -> list[Took]:
    connection = socket.create_connection(("127.0.0.1", running.port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    requests = [post("/v1/events", json.dumps(event(number)).encode(), KEY) for number in range(200)]
    for number in range(WARM):
        connection.sendall(requests[number % len(requests)])
        read_answer(connection)
    server, database, client = Scheduled([running.process.pid]), Scheduled(_writers(running)), Scheduled([os.getpid()])
    took = []
    for number in range(EVENTS):
        before = server.read(), database.read(), client.read()
        began = time.perf_counter()
        connection.sendall(requests[number % len(requests)])
        read_answer(connection)
        wall = time.perf_counter() - began
        after = server.read(), database.read(), client.read()
        (own, own_queued), (theirs, their_queued), (_, my_queued) = (
            tuple((now - then) / 1e6 for now, then in zip(new, old, strict=True))
            for new, old in zip(after, before, strict=True)
        )
        took.append(Took(wall * 1000, own, theirs, own_queued + their_queued + my_queued))
    return took


def _writers(running: Service) -> list[int]:
    """The backends that store events."""
    with psycopg.connect(running.admin_url) as connection:
        rows = connection.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'farthing ingest'")
        return [pid for (pid,) in rows]
