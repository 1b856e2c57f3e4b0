"""Waiting for a state and never for a time, with patience enough for a machine that is busy with other work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import psycopg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

PATIENCE_SECONDS = 60
_IS_WAITED_FOR = (
    "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid)))"
)

State = TypeVar("State")


async def until(read: Callable[[], Awaitable[State]], seconds: float = PATIENCE_SECONDS) -> State:
    """What `read` answers, as soon as that is true; it is asked fifty times a second."""
    deadline = time.monotonic() + seconds
    while not (state := await read()):
        assert time.monotonic() < deadline, f"still {state!r} after {seconds} seconds"
        await asyncio.sleep(0.02)
    return state


async def until_waited_for(holder: AsyncSession | psycopg.Connection[Any]) -> None:
    """Until another connection waits for a lock that the transaction of `holder` has."""

    async def is_waited_for() -> bool:
        if isinstance(holder, AsyncSession):
            return bool(await holder.scalar(text(_IS_WAITED_FOR)))
        return holder.execute(_IS_WAITED_FOR).fetchone() == (True,)

    await until(is_waited_for)
