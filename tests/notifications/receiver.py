"""A real HTTP server that records what it is sent and answers as it is told to, well or badly."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web
from standardwebhooks.webhooks import Webhook

from tests.waiting import until


@dataclass(frozen=True)
class Received:
    """One POST as it arrived."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    def verify(self, secret: str) -> Any:
        """The body, verified by both families of headers as receivers do it. Raises WebhookVerificationError."""
        svix = {f"webhook-{name}": self.headers[f"svix-{name}"] for name in ("id", "timestamp", "signature")}
        Webhook(secret).verify(self.body, svix)
        return Webhook(secret).verify(self.body, dict(self.headers))


Answer = Callable[[Received], Awaitable[web.StreamResponse]]


def answering(*statuses: int) -> Answer:
    """An answer of each status in turn, the last one for ever."""
    left = list(statuses)

    async def answer(_: Received) -> web.StreamResponse:
        return web.Response(status=left.pop(0) if len(left) > 1 else left[0], text="thanks")

    return answer


@dataclass
class Receiver:
    """Records every POST; `answers` holds who answers under a path, and is 200 where it says nothing."""

    url: str = ""
    received: list[Received] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)

    def at(self, path: str) -> list[Received]:
        return [received for received in self.received if received.path == path]

    async def wait_for(self, count: int, path: str = "/hook") -> list[Received]:
        """What arrived at a path, as soon as there are so many."""

        async def arrived() -> list[Received] | None:
            found = self.at(path)
            return found if len(found) >= count else None

        return await until(arrived) or []

    async def _take(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        received = Received(request.path, headers, await request.read(), time.time())
        self.received.append(received)
        return await self.answers.get(request.path, answering(200))(received)


@asynccontextmanager
async def receiving(host: str = "127.0.0.1") -> AsyncIterator[Receiver]:
    """A receiver on a port of its own."""
    receiver = Receiver()
    application = web.Application(client_max_size=2**24)
    application.router.add_post("/{path:.*}", receiver._take)
    runner = web.AppRunner(application, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, host, 0)
    await site.start()
    port = runner.addresses[0][1]
    receiver.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    try:
        yield receiver
    finally:
        await runner.cleanup()


async def hang(_: Received) -> web.StreamResponse:
    """No answer, for longer than anybody waits."""
    await asyncio.sleep(600)
    raise AssertionError
