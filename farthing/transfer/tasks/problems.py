"""What is wrong with the rows of an import, as a page and as a file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.encoding.csv_table import csv_bytes
from farthing.storage.postgres import Database
from farthing.storage.scope import Scope
from farthing.transfer.tables import TaskProblem

ROWS_AT_ONCE = 5000
HEAD = ("row", "line", "column", "reason")


@dataclass(frozen=True, slots=True)
class RowProblem:
    """Why a row is not imported. `column` is "" where no single one is to blame."""

    row: int
    line: int
    column: str
    reason: str


async def list_problems(
    session: AsyncSession, task_id: str, limit: int, offset: int = 0
) -> tuple[Sequence[TaskProblem], int]:
    """A page of what is wrong, in the order of the file, and how much there is."""
    mine = TaskProblem.task_id == task_id
    total = await session.scalar(select(func.count()).select_from(TaskProblem).where(mine))
    query = select(TaskProblem).where(mine).order_by(TaskProblem.row_number, TaskProblem.place)
    return (await session.scalars(query.limit(limit).offset(offset))).all(), total or 0


async def problems_as_csv(database: Database, scope: Scope, task_id: str) -> AsyncIterator[bytes]:
    """All that is wrong as a table for spreadsheets, in portions."""
    yield csv_bytes(HEAD, [])
    head_size = len(csv_bytes(HEAD, []))
    row_number, place = 0, -1
    while True:
        async with database.transaction(scope, read_only=True) as session:
            query = (
                select(TaskProblem)
                .where(
                    TaskProblem.task_id == task_id,
                    tuple_(TaskProblem.row_number, TaskProblem.place) > (row_number, place),
                )
                .order_by(TaskProblem.row_number, TaskProblem.place)
                .limit(ROWS_AT_ONCE)
            )
            rows = (await session.scalars(query)).all()
        if not rows:
            return
        row_number, place = rows[-1].row_number, rows[-1].place
        cells = ([str(row.row_number), str(row.line_number), row.column_name, row.reason] for row in rows)
        yield csv_bytes(HEAD, cells)[head_size:]
