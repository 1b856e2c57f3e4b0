"""Subscriptions that a cloud marketplace collects for: nobody else charges, reminds or ends them.

Rule: docs/rules/marketplaces.md#who-collects
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from farthing.core.enums import Status
from farthing.customers.tables import IntegrationEntityType, IntegrationMapping
from farthing.payments.tables import ProviderType

MARKETPLACES = (
    ProviderType.AWS_MARKETPLACE.value,
    ProviderType.GCP_MARKETPLACE.value,
    ProviderType.AZURE_MARKETPLACE.value,
)


def collected_by_marketplace(
    subscription_id: InstrumentedAttribute[str] | InstrumentedAttribute[str | None] | str,
) -> ColumnElement[bool]:
    """Whether a subscription is mapped to an agreement at a marketplace."""
    return exists().where(
        IntegrationMapping.entity_type == IntegrationEntityType.SUBSCRIPTION,
        IntegrationMapping.entity_id == subscription_id,
        IntegrationMapping.provider_type.in_(MARKETPLACES),
        IntegrationMapping.status == Status.PUBLISHED,
    )


async def is_collected_by_marketplace(session: AsyncSession, subscription_id: str | None) -> bool:
    """The same for one subscription; what belongs to none is collected by nobody else."""
    if subscription_id is None:
        return False
    return bool(await session.scalar(select(collected_by_marketplace(subscription_id))))
