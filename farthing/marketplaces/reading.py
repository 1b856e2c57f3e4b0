"""Usage records as they are searched, and whom they are for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.marketplaces.schemas import UsageRecordFilter
from farthing.marketplaces.tables import MarketplaceAgreement, UsageRecord
from farthing.storage.queries.listing import select_page
from farthing.storage.queries.rows import in_array

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


async def search_records(session: AsyncSession, query: UsageRecordFilter) -> tuple[Sequence[UsageRecord], int]:
    """One page of the records that are like a query, and how many there are."""
    statement = select(UsageRecord)
    for name in _EXACT:
        wanted = getattr(query, name)
        if wanted is not None:
            statement = statement.where(UsageRecord.__table__.columns[name] == wanted)
    return await select_page(session, UsageRecord, query, SEARCHABLE, statement)


async def agreements_of(
    session: AsyncSession, subscription_ids: Iterable[str]
) -> dict[str, list[MarketplaceAgreement]]:
    """The agreements that each subscription stands for or stood for, the newest first."""
    found: defaultdict[str, list[MarketplaceAgreement]] = defaultdict(list)
    query = select(MarketplaceAgreement).where(in_array(MarketplaceAgreement.subscription_id, set(subscription_ids)))
    newest = query.order_by(MarketplaceAgreement.created_at.desc(), MarketplaceAgreement.id.desc())
    for agreement in await session.scalars(newest):
        found[agreement.subscription_id].append(agreement)
    return found
