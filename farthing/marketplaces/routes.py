"""Endpoints of marketplace agreements and usage records."""

from __future__ import annotations

from litestar import Controller, post
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.api.queries.expand import expansions
from farthing.api.queries.lists import page
from farthing.core.clock import Clock
from farthing.core.encoding.wire import json_number
from farthing.marketplaces import agreements
from farthing.marketplaces.schemas import (
    ListUsageRecordsResponse,
    RegisterMarketplaceAgreementRequest,
    RegisterMarketplaceAgreementResponse,
    UsageRecordFilter,
    UsageRecordResponse,
)
from farthing.marketplaces.tables import UsageRecord
from farthing.storage.queries.listing import select_page

SEARCHABLE = (
    "id",
    "customer_id",
    "customer_external_id",
    "subscription_id",
    "plan_id",
    "currency",
    "period_start",
    "period_end",
    "amount",
    "quantity",
    "synced",
    "created_at",
    "updated_at",
)
_EXACT = (
    "subscription_id",
    "customer_id",
    "customer_external_id",
    "plan_id",
    "currency",
    "period_start",
    "period_end",
    "synced",
)


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
        statement = select(UsageRecord)
        for name in _EXACT:
            wanted = getattr(query, name)
            if wanted is not None:
                statement = statement.where(UsageRecord.__table__.columns[name] == wanted)
        rows, total = await select_page(session, UsageRecord, query, SEARCHABLE, statement)
        answer: ListUsageRecordsResponse = page([_answer(row) for row in rows], total, query, next_offset=True)
        return answer


def _answer(record: UsageRecord) -> UsageRecordResponse:
    return UsageRecordResponse.of(
        record, amount=json_number(record.amount), quantity=json_number(record.quantity), syncs=record.syncs
    )
