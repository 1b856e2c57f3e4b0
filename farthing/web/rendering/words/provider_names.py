"""How systems that can be connected on a page are called; others are connected over the API, and only simulated."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from farthing.payments.integrations.marketplaces import MARKETPLACE_NAMES
from farthing.payments.tables import ProviderType

PROVIDER_NAMES: Mapping[ProviderType, str] = MappingProxyType(
    {
        ProviderType.STRIPE: "Stripe",
        ProviderType.S3: "S3 storage",
        ProviderType.LOCAL: "Folder of this deployment",
        **MARKETPLACE_NAMES,
    }
)
