"""Do tasks count what they know, and do schedules have a run for each window that they say was exported?

Reads only.
Rule: docs/rules/imports-and-exports.md#what-the-doctor-derives
"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.invoices.figures.derivation import Difference

# what is known of the rows of old imports is forgotten as a whole
_FAILED_ROWS = """
    SELECT task.id, 'rows that failed', task.failed_records::text, count(DISTINCT problem.row_number)::text
    FROM tasks AS task JOIN task_problems AS problem ON problem.task_id = task.id
    GROUP BY task.id, task.failed_records
    HAVING count(DISTINCT problem.row_number) <> task.failed_records
"""
_WINDOWS = """
    SELECT schedule.id, 'end of the last window', schedule.exported_until::text, max(task.window_end)::text
    FROM scheduled_tasks AS schedule JOIN tasks AS task ON task.scheduled_task_id = schedule.id AND task.is_automatic
    GROUP BY schedule.id, schedule.exported_until
    HAVING max(task.window_end) > schedule.exported_until
"""
_UNFINISHED = """
    SELECT id, 'whether a worker is to run it', 'yes', 'no: it is ' || task_status
    FROM tasks WHERE is_queued AND task_status IN ('COMPLETED', 'FAILED')
"""


async def task_differences(session: AsyncSession) -> list[Difference]:
    """Counts of tasks that differ from their rows, and tasks that have ended and wait for a worker."""
    return [
        Difference(where, figure, stored, derived)
        for statement in (_FAILED_ROWS, _WINDOWS, _UNFINISHED)
        for where, figure, stored, derived in await session.execute(text(statement))
    ]
