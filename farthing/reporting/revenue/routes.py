"""Endpoints of revenue."""

from __future__ import annotations

from litestar import Controller, Response, post
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.api.work import LONG_READ
from farthing.core.clock import Clock
from farthing.core.encoding.csv_table import CSV_MEDIA_TYPE
from farthing.reporting.files import OR_PARQUET, TableFormat, table_file
from farthing.reporting.revenue.breakdown import revenue
from farthing.reporting.revenue.schemas import RevenueAnalyticsRequest, RevenueAnalyticsResponse
from farthing.reporting.revenue.tabulated import table_of

READ = needs("invoice", "read")


class Revenue(Controller):
    """What invoice lines earn."""

    path = "/analytics"
    tags = ("Analytics",)
    opt = {LONG_READ: True}

    @post("/revenue", operation_id="getRevenueAnalytics", guards=[READ], status_code=200)
    async def revenue(
        self, data: RevenueAnalyticsRequest, session: AsyncSession, clock: Clock
    ) -> RevenueAnalyticsResponse:
        """Break revenue down by day, period or in all, with what lies between list price and net."""
        return await revenue(session, data, clock.now())

    @post(
        "/revenue/csv",
        operation_id="getRevenueAnalyticsCsv",
        guards=[READ],
        status_code=200,
        media_type=CSV_MEDIA_TYPE,
        opt=OR_PARQUET,
    )
    async def revenue_csv(
        self, data: RevenueAnalyticsRequest, session: AsyncSession, clock: Clock, format: TableFormat = TableFormat.CSV
    ) -> Response[bytes]:
        """The same as a table for spreadsheets."""
        head, rows = table_of(await revenue(session, data, clock.now()))
        return await table_file(session, head, rows, "revenue", format)
