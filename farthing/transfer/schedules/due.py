"""What begins by itself: the export of each window that has ended. Run twice, or by two workers, it begins once.

Rule: docs/rules/imports-and-exports.md#windows
"""

from __future__ import annotations

from datetime import datetime
from itertools import islice

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.enums import Status
from farthing.storage.queries.rows import insert_if_new
from farthing.transfer.schedules.lifecycle import new_export
from farthing.transfer.schedules.windows import REGULAR, due_from, due_windows
from farthing.transfer.tables import ScheduledTask

SCHEDULES_AT_ONCE = 50
WINDOWS_AT_ONCE = 100
"""Of one scheduled task: a clock that was advanced by a year leaves many behind."""


async def begin_due(session: AsyncSession, now: datetime) -> int:
    """Queue the exports that are due in an environment; how many. A batch.

    What decides is read under the row's lock, and another worker's rows are passed by.
    """
    # what is not due must not fill the batch: a daily export waits for a day, and those after it would with it
    is_due = or_(
        *(
            (ScheduledTask.interval == interval) & (ScheduledTask.exported_until <= due_from(interval, now))
            for interval in REGULAR
        )
    )
    rows = await session.scalars(
        select(ScheduledTask)
        .where(ScheduledTask.status == Status.PUBLISHED, ScheduledTask.enabled, is_due)
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
        row.exported_until = windows[-1].end
    await session.flush()
    return begun
