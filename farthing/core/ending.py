"""Ending tasks that go on for ever, also where a library loses the cancellation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

_ASK_AGAIN_SECONDS = 1.0


async def end_tasks(
    tasks: Iterable[asyncio.Task[Any]], seconds: float, patience: float = _ASK_AGAIN_SECONDS
) -> set[asyncio.Task[Any]]:
    """Cancel `tasks`, again each second after `patience`, until they end; those that have not after `seconds`.

    Until Python 3.12 `asyncio.wait_for` answers, and forgets that it was cancelled, where what it waits for comes at
    the same moment. A database that goes away is such a moment for many: connections end, and so do those who had them.
    """
    pending = {task for task in tasks if not task.done()}
    deadline = time.monotonic() + seconds
    wait = patience
    while pending and (left := deadline - time.monotonic()) > 0:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=min(wait, left))
        wait = _ASK_AGAIN_SECONDS
    return pending
