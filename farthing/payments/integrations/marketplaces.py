"""Subscriptions that a cloud marketplace collects for: nobody else charges, reminds or ends them.

Rule: docs/rules/marketplaces.md#who-collects
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from sqlalchemy import ColumnElement, column, exists, or_, select, table
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from farthing.core.enums import Status
from farthing.customers.tables import IntegrationEntityType, IntegrationMapping
from farthing.payments.tables import ProviderType

MARKETPLACE_NAMES: Mapping[ProviderType, str] = MappingProxyType(
    {
        ProviderType.AWS_MARKETPLACE: "AWS Marketplace",
        ProviderType.GCP_MARKETPLACE: "Google Cloud Marketplace",
        ProviderType.AZURE_MARKETPLACE: "Azure Marketplace",
    }
)
MARKETPLACES = tuple(provider.value for provider in MARKETPLACE_NAMES)


_AGREEMENTS = table("marketplace_agreements", column("subscription_id"), column("provider"), column("agreement_status"))
"""By name: it lives in a layer above."""
Id = InstrumentedAttribute[str] | InstrumentedAttribute[str | None] | str


def collected_by_marketplace(subscription_id: Id) -> ColumnElement[bool]:
    """Whether a subscription is mapped to an agreement at a marketplace, or was until it ended.

    The mapping is archived when the marketplace has taken everything; what it has to collect it collects still.
    """
    return or_(
        exists().where(*_mapped(subscription_id)),
        exists().where(_AGREEMENTS.c.subscription_id == subscription_id, _AGREEMENTS.c.agreement_status == "closed"),
    )


def _mapped(subscription_id: Id) -> tuple[ColumnElement[bool], ...]:
    return (
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


async def collecting_marketplace(session: AsyncSession, subscription_id: str | None) -> ProviderType | None:
    """The marketplace that collects for a subscription, if one does; the first by name where several do."""
    if subscription_id is None:
        return None
    mapped = select(IntegrationMapping.provider_type).where(*_mapped(subscription_id))
    ended = select(_AGREEMENTS.c.provider).where(
        _AGREEMENTS.c.subscription_id == subscription_id, _AGREEMENTS.c.agreement_status == "closed"
    )
    names = await session.scalars(mapped.union(ended))
    return min((ProviderType(name) for name in names), default=None)


async def collector_of(session: AsyncSession, subscription_id: str | None) -> str:
    """What the marketplace is called that collects for a subscription; empty where none does."""
    marketplace = await collecting_marketplace(session, subscription_id)
    return "" if marketplace is None else MARKETPLACE_NAMES[marketplace]
