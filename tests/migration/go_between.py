"""A server between a migration and its source: it passes everything on, and may be busy or hold what is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from tests.ports import free_port

PASSED_ON = frozenset({"x-api-key", "content-type", "x-environment-id"})
Rewrite = Callable[[str, Any], Any]


@dataclass
class GoBetween:
    """`hold` says at which paths a request is never answered, `busy` how often one is turned away with 429."""

    source: str
    url: str = ""
    hold: Callable[[str], bool] = lambda path: False
    busy: dict[str, int] = field(default_factory=dict)
    rewrite: Rewrite = lambda path, answer: answer
    asked: list[str] = field(default_factory=list)
    held: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the test is over: nobody waits any more."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Pass a request on."""
        path = request.path.removeprefix("/v1")
        self.asked.append(path)
        if self.busy.get(path, 0) > 0:
            self.busy[path] -= 1
            return web.json_response({"code": "too_many_requests"}, status=429, headers={"Retry-After": "0"})
        if self.hold(path):
            self.held.set()
            await self.released.wait()
            return web.Response(status=503)
        headers = {name: value for name, value in request.headers.items() if name.lower() in PASSED_ON}
        async with (
            aiohttp.ClientSession() as client,
            client.request(
                request.method, self.source + request.path_qs, data=await request.read(), headers=headers
            ) as answer,
        ):
            content = await answer.read()
            if answer.status == 200:
                content = msgspec.json.encode(self.rewrite(path, msgspec.json.decode(content)))
            return web.Response(body=content, status=answer.status, content_type="application/json")


@asynccontextmanager
async def going_between(source: str, **given: Any) -> AsyncIterator[GoBetween]:
    """The server, listening."""
    between = GoBetween(source, **given)
    application = web.Application(client_max_size=10_000_000)
    application.router.add_route("*", "/{path:.*}", between.answer)
    runner = web.AppRunner(application, shutdown_timeout=0)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    between.url = f"http://127.0.0.1:{port}"
    try:
        yield between
    finally:
        between.released.set()
        await runner.cleanup()
