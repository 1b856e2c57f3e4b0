"""`farthing serve` and `farthing worker` as processes to be killed, at a pace that a test can wait for.

The commands of `main` are serve, worker and stuck; settings come from the environment, as ever. The loop of `stuck`
does nothing any more.
"""

from __future__ import annotations

import asyncio
import os
import time

from farthing import logs
from farthing.identity.bootstrap import FirstStart
from farthing.jobs.workers.pace import Pace
from farthing.serving import server
from farthing.serving.engine import Engine, engine
from farthing.settings import Settings, load
from farthing.storage.postgres import Database

PACE = Pace(
    heartbeat_seconds=0.5,
    look_seconds=0.5,
    stale_seconds=5,
    orderly_end_seconds=1,
    end_seconds=4,
    first_pause=0.2,
    longest_pause=1,
    stop_seconds=10,
)
STUCK_PACE = Pace(stop_seconds=1)


async def nothing_more(_database: Database, _first: FirstStart | None) -> None:
    """What is done once the server listens."""


async def run(settings: Settings, used: Engine, command: str) -> None:
    async with server.opened(settings, used) as database:
        if command == "serve":
            from tests.forked import inherited_routes

            await server.serve(settings, database, nothing_more, PACE, inherited_routes)
        elif command == "worker":
            await server.work_until_stopped(settings, database, PACE)
        else:
            asyncio.get_running_loop().call_later(0.5, print_and_sleep)
            await server.work_until_stopped(settings, database, STUCK_PACE)


def print_and_sleep() -> None:
    print("stuck", flush=True)
    time.sleep(600)


def main(command: str) -> None:
    settings = load(os.environ)
    logs.configure(settings)
    with engine(settings) as used:
        asyncio.run(run(settings, used, command))
