"""Notices between processes: "this changed, forget what you remember of it", by LISTEN and NOTIFY.

A notice is sent at the commit of the transaction that calls `notify`. A listener that loses its connection tells
every subscriber to forget everything, for it cannot know what it missed.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable

import psycopg
import structlog
from psycopg import sql
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.event_loop.ending import end_tasks
from farthing.storage.connections.liveness import KEEPALIVES

_CHANNEL = "farthing"
_RECONNECT_SECONDS = 1.0
_END_SECONDS = 5.0

Forget = Callable[[str | None], None]
"""Called with the key that changed, or None to forget everything."""

log = structlog.get_logger(__name__)


async def notify(session: AsyncSession, topic: str, key: str) -> None:
    """Tell every process, when this transaction commits, that `key` of `topic` changed."""
    await session.execute(
        text("SELECT pg_notify(:channel, :payload)"), {"channel": _CHANNEL, "payload": f"{topic} {key}"}
    )


class Listener:
    """Hears notices for this process and passes them to whoever subscribed to their topic."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._subscribers: dict[str, list[Forget]] = defaultdict(list)
        self._task: asyncio.Task[None] | None = None
        self.connected = asyncio.Event()

    def subscribe(self, topic: str, forget: Forget) -> None:
        """Call `forget` for every notice of `topic`, and with None whenever notices may have been missed."""
        self._subscribers[topic].append(forget)

    async def start(self) -> None:
        self._task = asyncio.create_task(self._listen(), name="notices")

    async def stop(self) -> None:
        if self._task is not None:
            await end_tasks([self._task], _END_SECONDS)

    async def _listen(self) -> None:
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    self._url, autocommit=True, connect_timeout=10, application_name="farthing notices", **KEEPALIVES
                ) as connection:
                    await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(_CHANNEL)))
                    self._forget_everything()
                    self.connected.set()
                    async for notice in connection.notifies():
                        topic, _, key = notice.payload.partition(" ")
                        for forget in self._subscribers[topic]:
                            forget(key)
            except psycopg.Error as error:
                log.warning("notices.interrupted", error=str(error))
            except Exception:  # a subscriber's fault must not make this process deaf for ever
                log.exception("notices.failed")
            finally:
                self.connected.clear()
                self._forget_everything()
            await asyncio.sleep(_RECONNECT_SECONDS)

    def _forget_everything(self) -> None:
        for forgets in self._subscribers.values():
            for forget in forgets:
                forget(None)
