"""Servers that are killed while they deliver: every event arrives, with the bytes it had."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import psycopg
import pytest
from aiohttp import web

from tests.conftest import free_port
from tests.jobs import quick_process
from tests.notifications.receiver import Received, Receiver
from tests.processes import ForkedProcess
from tests.waiting import until

KEY = "sk_killed_while_delivering_0123456789"
CUSTOMERS = 60
KILLS = 2


class Server:
    """`farthing serve` with a worker, in a process that can be killed and started again."""

    def __init__(self, url: str) -> None:
        self.port = free_port()
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("FARTHING_")} | {
            "FARTHING_DATABASE_URL": url,
            "FARTHING_PORT": str(self.port),
            "FARTHING_SECRET_KEY": "a master key for tests only",
            "FARTHING_BOOTSTRAP_API_KEY": KEY,
            "FARTHING_LOG_LEVEL": "error",
            "FARTHING_ACCESS_LOG": "false",
            "FARTHING_WEBHOOK_ALLOW_PRIVATE": "true",
        }
        self._process: ForkedProcess | None = None
        self.http = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}/v1", headers={"x-api-key": KEY}, timeout=60
        )

    async def start(self) -> None:
        self._process = ForkedProcess(quick_process.main, "serve", environment=self._environment)

        async def answers() -> bool:
            try:
                return (await self.http.get(f"http://127.0.0.1:{self.port}/health")).is_success
            except httpx.TransportError:
                return False

        await until(answers)

    async def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        await asyncio.to_thread(self._process.wait)

    async def create_customers(self, first: int, last: int) -> set[str]:
        """Ids of the customers whose creation was answered."""
        made: set[str] = set()
        for number in range(first, last):
            try:
                answer = await self.http.post("/customers", json={"external_id": f"customer-{number}", "name": "Acme"})
            except httpx.TransportError:
                return made
            assert answer.status_code == 201, answer.text
            made.add(answer.json()["id"])
        return made


@pytest.mark.slow
async def test_a_server_that_is_killed_at_any_moment_loses_no_delivery(
    new_database: Callable[..., str], receiver: Receiver
) -> None:
    url = new_database()
    server = Server(url)
    await server.start()
    try:
        endpoint = (await server.http.post("/webhooks/endpoints", json={"url": f"{receiver.url}/hook"})).json()
        chance = random.Random(7)

        async def unreliable(_: Received) -> web.StreamResponse:
            await asyncio.sleep(chance.random() / 20)
            return web.Response(status=200)

        receiver.answers["/hook"] = unreliable
        made: set[str] = set()
        for number in range(KILLS):
            share = CUSTOMERS // KILLS
            creating = asyncio.create_task(server.create_customers(number * share, (number + 1) * share))
            arrived = len(receiver.received)
            await until(partial(_more, receiver, creating, arrived + 5))
            await server.kill()
            made |= await creating
            _end_leases(url)
            await server.start()

        async def all_arrived() -> bool:
            return made <= {post.json["customer"]["id"] for post in receiver.at("/hook")}

        await until(all_arrived)
        bodies: dict[str, set[bytes]] = {}
        for post in receiver.at("/hook"):
            post.verify(endpoint["secret"])
            bodies.setdefault(post.id, set()).add(post.body)
        assert all(len(same) == 1 for same in bodies.values())
        with psycopg.connect(_as_superuser(url)) as connection:
            stored = {row[0] for row in connection.execute("SELECT id FROM customers")}
        assert {post.json["customer"]["id"] for post in receiver.at("/hook")} <= stored
        assert len(made) >= KILLS * 5
    finally:
        await server.kill()
        await server.http.aclose()


async def _more(receiver: Receiver, creating: asyncio.Task[set[str]], count: int) -> bool:
    if creating.done():
        creating.result()
    return len(receiver.received) >= count


def _as_superuser(url: str) -> str:
    return url.replace("postgresql://farthing@", "postgresql://postgres@")


def _end_leases(url: str) -> None:
    """Let half a minute pass for what the killed process had in hand."""
    with psycopg.connect(_as_superuser(url)) as connection:
        statement: Any = (
            "UPDATE webhook_deliveries SET next_attempt_at = now() WHERE state = 'pending' AND failures = 0"
        )
        connection.execute(statement)
