"""What invoice lines earn in the window, by day and by everything that it can be told by."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.calendar.period import Period
from farthing.core.clock import shifted
from farthing.core.encoding.parquet_table import ColumnKind
from farthing.core.errors import ValidationFailed
from farthing.reporting.revenue.breakdown import (
    EVENT_SOURCE,
    GROUPS,
    MOST_DAYS,
    lines_by_customer,
    revenue,
    revenue_since,
)
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
LINES_AT_ONCE = 2_000
"""Lines of invoices that are held at once, with what they earn on each day; those of one day are not parted."""
_DAY = timedelta(days=1)
_INSTANT = timedelta(microseconds=1)


def select_revenue(session: AsyncSession, request: ExportRequest) -> ExportSelection:
    """Rule: docs/rules/imports-and-exports.md#exported-revenue"""
    return ExportSelection(_COLUMNS, _portions(session, request))


async def _portions(session: AsyncSession, request: ExportRequest) -> AsyncIterator[Rows]:
    async for customers in customer_pages(session, CUSTOMERS_AT_ONCE):
        ids = [customer.id for customer in customers]
        since = await revenue_since(session, ids, request.now)
        if since is None or since >= request.window.end:
            continue
        # an export may be of all time, and begins where there is something
        window = Period(max(since, request.window.start), request.window.end)
        for part in _parts(window, timedelta(days=MOST_DAYS)):
            async for rows in _of_customers(session, part, request.now, ids):
                yield rows


def _parts(window: Period, most: timedelta) -> Iterator[Period]:
    """The window in parts of whole days, each at most so long."""
    start = window.start
    while start < window.end:
        midnight = start.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        end = min(midnight + most, window.end)
        yield Period(start, end)
        start = end


async def _of_customers(
    session: AsyncSession, window: Period, now: datetime, customer_ids: Sequence[str]
) -> AsyncIterator[Rows]:
    """The rows of some customers: of as many at once as have few lines, of one that has many, some days at a time.

    Raises ValidationFailed where one has more on a day than a report may have.
    """
    lines = await lines_by_customer(session, _question(window, customer_ids), now)
    for some in _with_few_lines(customer_ids, lines):
        smaller = list(_smaller(window, some))
        if not smaller or sum(lines.get(customer_id, 0) for customer_id in some) <= LINES_AT_ONCE:
            try:
                yield await _rows(session, window, now, some)
                continue
            except ValidationFailed:  # lines may be of many days
                if not smaller:
                    raise
        for part, fewer in smaller:
            async for rows in _of_customers(session, part, now, fewer):
                yield rows


def _smaller(window: Period, customer_ids: Sequence[str]) -> Iterator[tuple[Period, Sequence[str]]]:
    """Halves of a question: of its customers, or of the time where there is but one; none of one on one day."""
    if len(customer_ids) > 1:
        middle = len(customer_ids) // 2
        yield window, customer_ids[:middle]
        yield window, customer_ids[middle:]
    elif window.duration > _DAY:
        for part in _parts(window, max(window.duration / 2 // _DAY * _DAY, _DAY)):
            yield part, customer_ids


def _with_few_lines(customer_ids: Sequence[str], lines: Mapping[str, int]) -> Iterator[Sequence[str]]:
    """The customers in their order, together as long as their lines are few."""
    some: list[str] = []
    held = 0
    for customer_id in customer_ids:
        count = lines.get(customer_id, 0)
        if some and held + count > LINES_AT_ONCE:
            yield some
            some, held = [], 0
        some.append(customer_id)
        held += count
    if some:
        yield some


def _question(window: Period, customer_ids: Sequence[str]) -> RevenueAnalyticsRequest:
    return RevenueAnalyticsRequest(
        start_time=window.start,
        end_time=shifted(window.end, -_INSTANT),
        granularity=RevenueGranularity.DAY,
        group_by=_BY,
        customer_ids=list(customer_ids),
    )


async def _rows(session: AsyncSession, window: Period, now: datetime, customer_ids: Sequence[str]) -> Rows:
    answer = await revenue(session, _question(window, customer_ids), now)
    return [
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
