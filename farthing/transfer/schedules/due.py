"""What begins by itself: the export of each window that has ended. Run twice, or by two workers, it begins once.

Rule: docs/rules/imports-and-exports.md#windows
"""

from __future__ import annotations

from datetime import datetime
from itertools import islice

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.enums import Status
from farthing.storage.queries.rows import insert_if_new
from farthing.transfer.schedules.lifecycle import new_export
from farthing.transfer.schedules.windows import due_windows
from farthing.transfer.tables import ScheduledTask

SCHEDULES_AT_ONCE = 50
WINDOWS_AT_ONCE = 100
"""Of one scheduled task: a clock that was advanced by a year leaves many behind."""


async def begin_due(session: AsyncSession, now: datetime) -> int:
    """Queue the exports that are due in an environment; how many. A batch.

    What decides is read under the row's lock, and another worker's rows are passed by.
    """
    rows = await session.scalars(
        select(ScheduledTask)
        .where(ScheduledTask.status == Status.PUBLISHED, ScheduledTask.enabled, ScheduledTask.exported_until < now)
        .order_by(ScheduledTask.exported_until, ScheduledTask.id)
        .limit(SCHEDULES_AT_ONCE)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    begun = 0
    for row in rows.all():
        windows = list(islice(due_windows(row.interval, row.exported_until, now), WINDOWS_AT_ONCE))
        for window in windows:
            begun += await insert_if_new(session, new_export(row, window, is_automatic=True))
        if windows:
            row.exported_until = windows[-1].end
    await session.flush()
    return begun
