"""The load generator of the benchmarks: raw HTTP from processes of its own, open or closed.

Closed: as many clients as said, each asks again when it is answered, which measures what a service can do. Open:
requests arrive at a rate, whether earlier ones are answered or not, and wait from the moment they were due, which
measures what a client of a busy service sees. `python -m benchmarks.load` says what the generator itself can do against
a server that does nothing.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

CONNECTIONS = 64
"""Of each process; a request of the open model that finds none free waits for one, and its wait counts."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request to send: `name` is what its latency is counted under; `rate` (per second) is for the open model.

    `headers` are sent beside the key.
    """

    name: str
    method: str
    path: str
    body: bytes = b""
    rate: float = 0.0
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Answers:
    """What came of a load: latencies in seconds by name, answers that were no success, and how long it took."""

    seconds: float = 0.0
    latencies: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    failed: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    @property
    def count(self) -> int:
        return sum(map(len, self.latencies.values()))

    @property
    def per_second(self) -> float:
        return self.count / self.seconds

    def percentile(self, name: str, share: float) -> float:
        """Milliseconds within which `share` of the answers came."""
        ordered = sorted(self.latencies[name])
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1000

    def add(self, other: Answers) -> None:
        """Take in what another process saw at the same time."""
        self.seconds = max(self.seconds, other.seconds)
        for name, latencies in other.latencies.items():
            self.latencies[name] += latencies
        for name, count in other.failed.items():
            self.failed[name] += count


class Connection:
    """A kept-alive connection; one request at a time."""

    def __init__(self, port: int, key: str) -> None:
        self._port, self._key = port, key
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, call: Call) -> int:
        """The status of the answer, whose body is read and forgotten. Raises OSError, IncompleteReadError."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        head = f"{call.method} {call.path} HTTP/1.1\r\nHost: bench\r\nx-api-key: {self._key}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in call.headers)
        if call.body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(call.body)}\r\n"
        writer.write(head.encode() + b"\r\n" + call.body)
        answer = await reader.readuntil(b"\r\n\r\n")
        lowered = answer.lower()
        if b"content-length:" in lowered:
            await reader.readexactly(int(lowered.partition(b"content-length:")[2].partition(b"\r\n")[0]))
        elif b"transfer-encoding: chunked" in lowered:
            while (size := int(await reader.readline(), 16)) > 0:
                await reader.readexactly(size + 2)
            await reader.readline()
        return int(answer[9:12])

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def _timed(connection: Connection, call: Call, due: float, answers: Answers) -> None:
    try:
        succeeded = await connection.send(call) < 400
    except (OSError, asyncio.IncompleteReadError):
        connection.close()
        succeeded = False
    if succeeded:
        answers.latencies[call.name].append(time.perf_counter() - due)
    else:
        answers.failed[call.name] += 1


async def closed_in_process(port: int, key: str, calls: Sequence[Call], clients: int, seconds: float) -> Answers:
    """`clients` that send the calls in turn, each as soon as its last is answered."""
    answers, began = Answers(), time.perf_counter()

    async def client(number: int) -> None:
        connection, turn = Connection(port, key), number
        while time.perf_counter() - began < seconds:
            await _timed(connection, calls[turn % len(calls)], time.perf_counter(), answers)
            turn += 1
        connection.close()

    await asyncio.gather(*map(client, range(clients)))
    answers.seconds = time.perf_counter() - began
    return answers


async def open_in_process(
    port: int, key: str, calls: Sequence[Call], seconds: float, until: asyncio.Future[Any] | None = None
) -> Answers:
    """Each call at its own rate for so long, or `until` something is done, at random times (a Poisson process), as
    clients that do not know of one another send; its latency counts from when it was due.
    """
    chance = random.Random(len(calls))
    answers, began = Answers(), time.perf_counter()
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        free.put_nowait(Connection(port, key))
    sent: set[asyncio.Task[None]] = set()

    async def send(call: Call, due: float) -> None:
        connection = await free.get()
        await _timed(connection, call, due, answers)
        free.put_nowait(connection)

    async def arrive(call: Call) -> None:
        due = began + chance.expovariate(call.rate)
        while due < began + seconds:
            await asyncio.sleep(due - time.perf_counter())
            task = asyncio.create_task(send(call, due))
            sent.add(task)
            task.add_done_callback(sent.discard)
            due += chance.expovariate(call.rate)

    arriving = asyncio.gather(*map(arrive, calls))
    await asyncio.wait({arriving} if until is None else {arriving, until}, return_when=asyncio.FIRST_COMPLETED)
    arriving.cancel()  # nothing where all of them have arrived
    with suppress(asyncio.CancelledError):
        await arriving
    await asyncio.gather(*sent)
    answers.seconds = time.perf_counter() - began
    while not free.empty():
        free.get_nowait().close()
    return answers


def _run(port: int, key: str, calls: Sequence[Call], clients: int, seconds: float) -> Answers:
    """One process's part; no clients is the open model."""
    if clients:
        return asyncio.run(closed_in_process(port, key, calls, clients, seconds))
    return asyncio.run(open_in_process(port, key, calls, seconds))


async def closed(
    port: int, key: str, calls: Sequence[Call], clients: int, seconds: float, processes: int = 1
) -> Answers:
    """A closed load from `processes` processes, over which the clients are spread."""
    parts = [clients // processes + (number < clients % processes) for number in range(processes)]
    return await _together([(port, key, calls, part, seconds) for part in parts if part])


async def opened(port: int, key: str, calls: Sequence[Call], seconds: float, processes: int = 1) -> Answers:
    """An open load from `processes` processes, each of which sends its share of every rate."""
    shared = [replace(call, rate=call.rate / processes) for call in calls]
    return await _together([(port, key, shared, 0, seconds)] * processes)


async def _together(parts: list[tuple[int, str, Sequence[Call], int, float]]) -> Answers:
    whole = Answers()
    with multiprocessing.get_context("spawn").Pool(len(parts)) as pool:
        for answers in await asyncio.to_thread(pool.starmap, _run, parts):
            whole.add(answers)
    return whole


async def _answer_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if b"content-length:" in head:
                await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def measure_itself() -> dict[str, Answers]:
    """What the generator can do against a server in this process that does nothing."""
    server = await asyncio.start_server(_answer_nothing, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    get = Call("get", "GET", "/", rate=1_000)
    event = Call("event", "POST", "/", json.dumps({"event_name": "tokens", "properties": {"n": 1}}).encode(), 1_000)
    async with server:
        return {
            "closed, 16 clients": await closed(port, "key", [get, event], 16, 3),
            "open, 2,000 a second": await opened(port, "key", [get, event], 3),
        }


def main() -> None:
    for what, answers in asyncio.run(measure_itself()).items():
        latencies = ", ".join(f"{name} p99 {answers.percentile(name, 0.99):.2f} ms" for name in answers.latencies)
        print(f"{what}: {answers.per_second:,.0f} requests per second, {latencies}")


if __name__ == "__main__":
    main()
