"""Letting a worker run a task at once: the duty that runs tasks is queued in the transaction that queued the task."""

from __future__ import annotations

from procrastinate import App
from procrastinate.exceptions import AlreadyEnqueued
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.storage.postgres import real_clock_of

DUTY = "task_runs"
_QUEUE = "default"


async def run_soon(session: AsyncSession, queue: App, duty: str = DUTY) -> None:
    """Queue a run of a duty, unless one waits already; the duty's own schedule is the safety net."""
    await session.flush()
    timestamp = int(real_clock_of(session).now().timestamp())
    try:
        async with session.begin_nested():
            connection = await (await session.connection()).get_raw_connection()
            job = queue.configure_task(
                duty, queue=_QUEUE, queueing_lock=duty, lock=duty, connection=connection.driver_connection
            )
            await job.defer_async(timestamp=timestamp)
    except AlreadyEnqueued:
        return
