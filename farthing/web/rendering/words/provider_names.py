"""How systems that can be connected on a page are called; others are connected over the API, and only simulated."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.payments.integrations.marketplaces import collecting_marketplace
from farthing.payments.tables import ProviderType

PROVIDER_NAMES: Mapping[ProviderType, str] = MappingProxyType(
    {
        ProviderType.STRIPE: "Stripe",
        ProviderType.S3: "S3 storage",
        ProviderType.LOCAL: "Folder of this deployment",
        ProviderType.AWS_MARKETPLACE: "AWS Marketplace",
        ProviderType.GCP_MARKETPLACE: "Google Cloud Marketplace",
        ProviderType.AZURE_MARKETPLACE: "Azure Marketplace",
    }
)


async def collector_of(session: AsyncSession, subscription_id: str | None) -> str:
    """What the marketplace is called that collects for a subscription; empty where none does."""
    marketplace = await collecting_marketplace(session, subscription_id)
    return "" if marketplace is None else PROVIDER_NAMES[marketplace]
