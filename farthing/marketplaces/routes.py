"""Endpoints of marketplace agreements and usage records."""

from __future__ import annotations

from litestar import Controller, post
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.api.queries.expand import expansions
from farthing.api.queries.lists import page
from farthing.core.clock import Clock
from farthing.core.encoding.wire import json_number
from farthing.marketplaces import agreements
from farthing.marketplaces.reading import search_records
from farthing.marketplaces.schemas import (
    ListUsageRecordsResponse,
    RegisterMarketplaceAgreementRequest,
    RegisterMarketplaceAgreementResponse,
    UsageRecordFilter,
    UsageRecordResponse,
)
from farthing.marketplaces.tables import UsageRecord


class MarketplaceAgreements(Controller):
    """Agreements at cloud marketplaces."""

    path = "/marketplace/agreements"
    tags = ("Marketplace",)

    @post("/", operation_id="registerMarketplaceAgreement", guards=[needs("integration", "write")])
    async def register(
        self, data: RegisterMarketplaceAgreementRequest, session: AsyncSession, clock: Clock
    ) -> RegisterMarketplaceAgreementResponse:
        """Let a subscription stand for an agreement: the marketplace collects what its usage costs."""
        return await agreements.register(session, data, clock.now())


class UsageRecords(Controller):
    """What the usage of marketplaces' subscriptions came to, hour by hour."""

    path = "/usage-records"
    tags = ("Usage Records",)

    @post("/search", operation_id="searchUsageRecords", guards=[needs("subscription", "read")], status_code=200)
    async def search(self, session: AsyncSession, data: UsageRecordFilter | None = None) -> ListUsageRecordsResponse:
        """Search usage records."""
        query = data or UsageRecordFilter()
        expansions(query.expand, {})
        rows, total = await search_records(session, query)
        answer: ListUsageRecordsResponse = page([_answer(row) for row in rows], total, query, next_offset=True)
        return answer


def _answer(record: UsageRecord) -> UsageRecordResponse:
    return UsageRecordResponse.of(
        record, amount=json_number(record.amount), quantity=json_number(record.quantity), syncs=record.syncs
    )
