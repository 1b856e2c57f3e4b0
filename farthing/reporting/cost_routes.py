"""Endpoints of what usage earned and cost."""

from __future__ import annotations

from litestar import Controller, post
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.api.work import LONG_READ
from farthing.core.clock import Clock
from farthing.reporting.costing import GetCostAnalyticsRequest, GetDetailedCostAnalyticsResponse, cost_analytics


class CostAnalytics(Controller):
    """Cost, revenue and margin."""

    path = "/costs"
    tags = ("Costs",)

    @post(
        "/analytics",
        operation_id="getDetailedCostAnalytics",
        guards=[needs("costsheet", "read")],
        status_code=200,
        opt={LONG_READ: True},
    )
    async def analytics(
        self, session: AsyncSession, clock: Clock, data: GetCostAnalyticsRequest | None = None
    ) -> GetDetailedCostAnalyticsResponse:
        """What usage cost by meter, what it earned, and what is left."""
        return await cost_analytics(session, data or GetCostAnalyticsRequest(), clock.now())
