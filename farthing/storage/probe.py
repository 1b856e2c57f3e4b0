"""Whether the database answers, asked over a connection that no request can take away.

The answer is remembered for a second, so that many askers cost one question.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

import psycopg
import structlog

from farthing.storage.liveness import was_cut

REMEMBERED_SECONDS = 1.0
_CONNECTION: dict[str, Any] = {
    "autocommit": True,
    "connect_timeout": 5,
    "application_name": "farthing probe",
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
}

log = structlog.get_logger(__name__)


class Probe:
    """One connection of its own, kept open from the first question on, so that it is there when no other is."""

    def __init__(self, url: str, *, remembered_seconds: float = REMEMBERED_SECONDS) -> None:
        self._url = url
        self._remembered_seconds = remembered_seconds
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._asking = asyncio.Lock()
        self._answered = False
        self._asked_at = float("-inf")

    async def answers_within(self, seconds: float) -> bool:
        """Whether the database answered a question within that time, at most a second ago."""
        async with self._asking:
            if time.monotonic() - self._asked_at > self._remembered_seconds:
                self._answered = await self._ask(seconds)
                self._asked_at = time.monotonic()
            return self._answered

    async def _ask(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                if self._connection is None or was_cut(self._connection):
                    await self.close()
                    self._connection = await psycopg.AsyncConnection.connect(self._url, **_CONNECTION)
                await self._connection.execute("SELECT 1")
        except (psycopg.Error, OSError, TimeoutError) as error:
            log.warning("probe.no_answer", error=f"{type(error).__name__}: {error}".strip())
            await self.close()
            return False
        return True

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                await connection.close()
