"""Ending tasks that go on for ever, also where a library loses the cancellation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

_ASK_AGAIN_SECONDS = 1.0


async def end_tasks(
    tasks: Iterable[asyncio.Task[Any]], seconds: float, ask_again: float = _ASK_AGAIN_SECONDS
) -> set[asyncio.Task[Any]]:
    """Cancel `tasks`, and once more after each `ask_again` seconds, until they end; those that had not by `seconds`.

    Until Python 3.12 `asyncio.wait_for` answers, and forgets that it was cancelled, where what it waits for comes at
    the same moment. A database that goes away is such a moment for many: connections end, and so do those who had them.
    """
    pending = {task for task in tasks if not task.done()}
    deadline = time.monotonic() + seconds
    while pending and (left := deadline - time.monotonic()) > 0:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=min(ask_again, left))
    return pending
