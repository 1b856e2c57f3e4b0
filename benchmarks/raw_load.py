"""The load generator: prepared HTTP requests over many connections, from a process of its own.

It does as little as it can: one `epoll` loop, requests that are bytes already, answers of which only the status and
the length are read. `python -m benchmarks.raw_load` measures what it can do beyond any server: it runs against one that
answers the same bytes to everything, in a second process.
"""

from __future__ import annotations

import array
import multiprocessing
import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection


@dataclass(frozen=True, slots=True)
class Load:
    """What came of it; times in seconds."""

    answered: int
    seconds: float
    cpu_seconds: float
    """What the generator itself needed."""
    sorted_times: Sequence[float]

    @property
    def per_second(self) -> float:
        return self.answered / self.seconds

    def percentile_ms(self, share: float) -> float:
        """The time within which `share` of the requests were answered, in milliseconds."""
        return self.sorted_times[min(len(self.sorted_times) - 1, int(len(self.sorted_times) * share))] * 1000


def post(path: str, body: bytes, key: str) -> bytes:
    """A whole HTTP request."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: bench\r\nx-api-key: {key}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def drive(port: int, requests: Sequence[bytes], clients: int, seconds: float, most: int = 0) -> Load:
    """Send `requests` in turn over `clients` connections, each the next as soon as it is answered.

    It ends after `seconds`, or after `most` answers. Raises RuntimeError for an answer that is no success. It runs in a
    process of its own, so that it shares no interpreter with whoever measures.
    """
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_send_back, args=(theirs, port, requests, clients, seconds, most)
    )
    process.start()
    theirs.close()
    load: Load | None
    load, failure = ours.recv()
    process.join()
    if load is None:
        raise RuntimeError(failure)
    return load


def _send_back(to: Connection, port: int, requests: Sequence[bytes], clients: int, seconds: float, most: int) -> None:
    try:
        to.send((_drive(port, requests, clients, seconds, most), ""))
    except (RuntimeError, OSError) as error:
        to.send((None, f"{type(error).__name__}: {error}"))


def _drive(port: int, requests: Sequence[bytes], clients: int, seconds: float, most: int) -> Load:
    poll = select.epoll()
    sockets: dict[int, socket.socket] = {}
    sent_at: dict[int, float] = {}
    for _ in range(clients):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sockets[connection.fileno()] = connection
        poll.register(connection.fileno(), select.EPOLLIN)
    times = array.array("d")
    clock = time.perf_counter
    began, cpu = clock(), time.process_time()
    until = began + seconds
    number = 0
    open_requests = 0
    for place, connection in sockets.items():
        if most and number >= most:
            break
        sent_at[place] = clock()
        connection.sendall(requests[number % len(requests)])
        number += 1
        open_requests += 1
    while open_requests:
        for place, _ in poll.poll(30) or _nothing():
            connection = sockets[place]
            read_answer(connection)
            now = clock()
            times.append(now - sent_at[place])
            if now < until and not (most and number >= most):
                sent_at[place] = now
                connection.sendall(requests[number % len(requests)])
                number += 1
            else:
                open_requests -= 1
    ended = clock()
    return Load(len(times), ended - began, time.process_time() - cpu, sorted(times))


def _nothing() -> list[tuple[int, int]]:
    raise RuntimeError("no answer came for 30 seconds")


def read_answer(connection: socket.socket) -> None:
    """Read one whole answer. Raises RuntimeError for one that is no success."""
    answer = connection.recv(65_536)
    while (end := answer.find(b"\r\n\r\n")) < 0:
        more = connection.recv(65_536)
        if not more:
            raise RuntimeError("the server hung up")
        answer += more
    if not answer.startswith(b"HTTP/1.1 20"):
        raise RuntimeError(answer.decode("latin-1"))
    head = answer[:end].lower()
    at = head.index(b"content-length:") + 15
    line = head.find(b"\r\n", at)
    missing = int(head[at : line if line > 0 else None]) + end + 4 - len(answer)
    while missing > 0:
        missing -= len(connection.recv(missing))


_CANNED = b"HTTP/1.1 202 Accepted\r\ncontent-type: application/json\r\ncontent-length: 93\r\n\r\n" + b"x" * 93


def _answer_everything(to: Connection) -> None:
    """A server that answers the same to everything: what is measured against it is the generator."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    to.send(listening.getsockname()[1])
    poll = select.epoll()
    poll.register(listening.fileno(), select.EPOLLIN)
    clients: dict[int, socket.socket] = {}
    while True:
        for place, _ in poll.poll():
            if place == listening.fileno():
                client, _ = listening.accept()
                clients[client.fileno()] = client
                poll.register(client.fileno(), select.EPOLLIN)
            elif clients[place].recv(65_536):
                clients[place].sendall(_CANNED)
            else:
                poll.unregister(place)
                clients.pop(place).close()


def main() -> None:
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_answer_everything, args=(theirs,), daemon=True)
    server.start()
    port: int = ours.recv()
    for clients in (1, 64):
        load = drive(port, [post("/v1/events", b"x" * 200, "key")], clients, 3)
        cost = load.cpu_seconds / load.answered * 1e6
        print(f"{clients} clients: {load.per_second:,.0f} requests a second, {cost:.1f} us of CPU each")
    server.terminate()


if __name__ == "__main__":
    main()
