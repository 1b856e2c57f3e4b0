"""The load generator: what it counts, against a server whose answers are known."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from benchmarks.harness import growth
from benchmarks.load import CONNECTIONS, Call, closed_in_process, open_in_process


@asynccontextmanager
async def answering(status: int, delay: float = 0.0, chunked: bool = False) -> AsyncIterator[int]:
    """The port of a server that answers every request so, after `delay` seconds."""
    body = b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n" if chunked else b"Content-Length: 2\r\n\r\n{}"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await asyncio.sleep(delay)
                writer.write(b"HTTP/1.1 %d Any\r\n" % status + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("chunked", [False, True])
async def test_answers_are_counted_by_name_whatever_their_framing(chunked: bool) -> None:
    async with answering(200, chunked=chunked) as port:
        answers = await closed_in_process(port, "key", [Call("a", "GET", "/"), Call("b", "GET", "/")], 2, 0.1)
    assert answers.latencies.keys() == {"a", "b"}
    assert not answers.failed


async def test_an_answer_that_is_no_success_is_no_latency() -> None:
    async with answering(503) as port:
        answers = await closed_in_process(port, "key", [Call("a", "GET", "/")], 1, 0.05)
    assert answers.count == 0
    assert answers.failed["a"] > 0


async def test_what_waits_for_a_slow_server_counts_from_when_it_was_due() -> None:
    delay = 0.2
    async with answering(200, delay) as port:
        answers = await open_in_process(port, "key", [Call("a", "GET", "/", rate=20 * CONNECTIONS)], 0.25)
    assert answers.count > CONNECTIONS, "arrivals did not wait for answers"
    assert answers.percentile("a", 0.99) > 2 * delay * 1000, "waiting for a connection is part of it"


async def test_an_open_load_ends_with_what_it_goes_beside() -> None:
    """Also where its next request is not due for long."""
    async with answering(200) as port:
        calls = [Call("often", "GET", "/", rate=200), Call("seldom", "GET", "/", rate=0.001)]
        answers = await open_in_process(port, "key", calls, 600, asyncio.create_task(asyncio.sleep(0.2)))
    assert answers.latencies.keys() == {"often"}
    assert answers.seconds < 60


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        pytest.param({10: 1.0, 100: 10.0, 1000: 100.0}, "n^1.00", id="in proportion"),
        pytest.param({10: 1.0, 100: 100.0, 1000: 10_000.0}, "n^2.00", id="with the square"),
        pytest.param({10: 2.0, 100: 2.0, 1000: 2.0}, "n^0.00", id="not at all"),
        pytest.param({10: 2.0}, "one size only", id="nothing to fit"),
    ],
)
def test_growth_is_the_exponent(costs: dict[int, float], expected: str) -> None:
    assert growth(costs) == expected
