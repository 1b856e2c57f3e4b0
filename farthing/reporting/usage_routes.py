"""Endpoints of what customers have used of what they may use."""

from __future__ import annotations

from litestar import Controller, get
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import Clock
from farthing.reporting.feature_usage import CustomerUsageSummaryResponse, customer_asked, features_asked, usage_summary
from farthing.subscriptions.routes.subscriptions import MAY_READ, split


class CustomerUsage(Controller):
    """The usage summary of a customer."""

    path = "/customers"
    tags = ("Customers",)

    @get("/usage", operation_id="getCustomerUsageSummary", guards=MAY_READ)
    async def read(
        self,
        session: AsyncSession,
        clock: Clock,
        customer_id: str | None = None,
        customer_lookup_key: str | None = None,
        feature_ids: list[str] | None = None,
        feature_lookup_keys: list[str] | None = None,
        subscription_ids: list[str] | None = None,
    ) -> CustomerUsageSummaryResponse:
        """Get what a customer has used of each feature, in the feature's own period."""
        customer = await customer_asked(session, customer_id, customer_lookup_key)
        wanted = await features_asked(session, split(feature_ids), split(feature_lookup_keys))
        return await usage_summary(session, customer, wanted, split(subscription_ids), clock.now())

    @get("/{id:str}/usage", operation_id="getCustomerUsageSummaryById", guards=MAY_READ, deprecated=True)
    async def read_by_id(
        self,
        id: str,
        session: AsyncSession,
        clock: Clock,
        feature_ids: list[str] | None = None,
        feature_lookup_keys: list[str] | None = None,
        subscription_ids: list[str] | None = None,
    ) -> CustomerUsageSummaryResponse:
        """The same, by path."""
        customer = await customer_asked(session, id, None)
        wanted = await features_asked(session, split(feature_ids), split(feature_lookup_keys))
        return await usage_summary(session, customer, wanted, split(subscription_ids), clock.now())
