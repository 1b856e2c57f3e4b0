"""What invoice lines earn in the window, by day and by everything that it can be told by."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.period import Period
from farthing.core.clock import shifted
from farthing.core.encoding.parquet_table import ColumnKind
from farthing.core.errors import ValidationFailed
from farthing.reporting.revenue.breakdown import EVENT_SOURCE, GROUPS, MOST_DAYS, revenue
from farthing.reporting.revenue.schemas import RevenueAnalyticsRequest, RevenueGranularity
from farthing.reporting.revenue.tabulated import FIGURES
from farthing.transfer.exports.selections.customer_pages import customer_pages
from farthing.transfer.exports.selections.selection import Column, ExportRequest, ExportSelection, Rows, texts

_BY = [name for name in GROUPS if name != EVENT_SOURCE]
_COLUMNS = [
    Column("day"),
    *texts(*_BY, "status"),
    *(Column(name, ColumnKind.DECIMAL) for name in FIGURES),
]
CUSTOMERS_AT_ONCE = 200
_INSTANT = timedelta(microseconds=1)


def select_revenue(session: AsyncSession, request: ExportRequest) -> ExportSelection:
    """Rule: docs/rules/imports-and-exports.md#exported-revenue"""
    return ExportSelection(_COLUMNS, _portions(session, request))


async def _portions(session: AsyncSession, request: ExportRequest) -> AsyncIterator[Rows]:
    async for customers in customer_pages(session, CUSTOMERS_AT_ONCE):
        ids = [customer.id for customer in customers]
        for part in _parts(request.window):
            async for rows in _of_customers(session, part, request.now, ids):
                yield rows


def _parts(window: Period) -> Iterator[Period]:
    """The window in parts of whole days, each as long as a report may be at most: an export may be of all time."""
    start = window.start
    while start < window.end:
        midnight = start.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        end = min(midnight + timedelta(days=MOST_DAYS), window.end)
        yield Period(start, end)
        start = end


async def _of_customers(
    session: AsyncSession, window: Period, now: datetime, customer_ids: Sequence[str]
) -> AsyncIterator[Rows]:
    """The rows of some customers. Raises ValidationFailed where those of one are more than a report may have."""
    question = RevenueAnalyticsRequest(
        start_time=window.start,
        end_time=shifted(window.end, -_INSTANT),
        granularity=RevenueGranularity.DAY,
        group_by=_BY,
        customer_ids=list(customer_ids),
    )
    try:
        answer = await revenue(session, question, now)
    except ValidationFailed:
        if len(customer_ids) == 1:
            raise
        middle = len(customer_ids) // 2
        for half in (customer_ids[:middle], customer_ids[middle:]):
            async for rows in _of_customers(session, window, now, half):
                yield rows
        return
    yield [
        [
            row.day or "",
            *(row.group.get(name, "") for name in _BY),
            row.status.value,
            *(_number(getattr(row, name)) for name in FIGURES),
        ]
        for row in answer.rows
    ]


def _number(value: msgspec.Raw) -> Decimal:
    return Decimal(bytes(value).decode())
