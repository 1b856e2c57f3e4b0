"""A time limit that holds: what reaches it is cancelled, and what does not even end then is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, TypeVar

import structlog

from farthing.jobs.execution.failures import TookTooLong

log = structlog.get_logger(__name__)

Result = TypeVar("Result")

GRACE_SECONDS = 5.0
"""How long something cancelled may take to end."""


async def within(limit: timedelta, work: Coroutine[Any, Any, Result], name: str) -> Result:
    """The result of `work`. Raises TookTooLong once `limit` is over.

    Work that ignores being cancelled goes on without anybody waiting for it. It keeps whatever it holds: its lock above
    all, so that nobody runs the same beside it.
    """
    task = asyncio.create_task(work, name=name)
    try:
        await asyncio.wait({task}, timeout=limit.total_seconds())
    except asyncio.CancelledError:
        await _cancel(task)
        raise
    if task.done():
        return task.result()
    await _cancel(task)
    raise TookTooLong(limit)


async def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    task.add_done_callback(_look_at_the_end_of)
    await asyncio.wait({task}, timeout=GRACE_SECONDS)
    if not task.done():
        log.critical("job.does_not_stop", name=task.get_name())


def _look_at_the_end_of(task: asyncio.Task[Any]) -> None:
    # nobody awaits it any more
    if not task.cancelled() and (error := task.exception()) is not None:
        log.warning("job.ended_after_its_limit", name=task.get_name(), exc_info=error)
