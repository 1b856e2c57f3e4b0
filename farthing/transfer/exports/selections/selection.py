"""What an export asks and what it yields."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.period import Period
from farthing.core.encoding.parquet_table import ColumnKind

ROWS_AT_ONCE = 2000

Rows = Sequence[Sequence[Any]]


@dataclass(frozen=True, slots=True)
class MetadataColumn:
    """A key of metadata that becomes a column, and whose metadata it is."""

    owner: str
    key: str
    name: str


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """Which window is exported, with which metadata, and what time it is."""

    window: Period
    now: datetime
    metadata: Sequence[MetadataColumn] = ()


@dataclass(frozen=True, slots=True)
class Column:
    """A column of an export."""

    name: str
    kind: ColumnKind = ColumnKind.TEXT


@dataclass(frozen=True, slots=True)
class ExportSelection:
    """The columns of an export in their order, and its rows in portions."""

    columns: Sequence[Column]
    portions: AsyncIterator[Rows]


def texts(*names: str) -> list[Column]:
    """Columns of text."""
    return [Column(name) for name in names]


async def streamed(session: AsyncSession, query: Select[Any]) -> AsyncIterator[Rows]:
    """The rows of a query in portions, read from the database as they are taken."""
    result = await session.stream(query.execution_options(yield_per=ROWS_AT_ONCE))
    async for portion in result.partitions(ROWS_AT_ONCE):
        yield [tuple(row) for row in portion]
