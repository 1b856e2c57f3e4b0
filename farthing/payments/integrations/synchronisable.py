"""What each provider could synchronise.

Rule: docs/rules/integrations.md#what-providers-can-synchronise
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.enums import Status
from farthing.payments.integration_schemas import IntegrationConfigEntry, SyncConfig
from farthing.payments.tables import Connection, ProviderType

_IN, _OUT, _BOTH = (True, False), (False, True), (True, True)

_POSSIBLE: Mapping[ProviderType, Mapping[str, tuple[bool, bool]]] = MappingProxyType(
    {
        ProviderType.STRIPE: {"customer": _BOTH, "invoice": _OUT, "payment": _IN},
        ProviderType.RAZORPAY: {"customer": _OUT, "invoice": _OUT, "payment": _IN},
        ProviderType.CHARGEBEE: {"customer": _OUT, "invoice": _OUT, "payment": _IN},
        ProviderType.NOMOD: {"customer": _OUT, "invoice": _OUT, "payment": _IN},
        ProviderType.WHOP: {"customer": _OUT, "invoice": _OUT, "payment": _IN},
        ProviderType.MOYASAR: {"invoice": _OUT, "payment": _IN},
        ProviderType.PADDLE: {"customer": _BOTH, "invoice": _OUT, "payment": _IN},
        ProviderType.QUICKBOOKS: {"customer": _OUT, "invoice": _OUT},
        ProviderType.ZOHO_BOOKS: {"invoice": _OUT},
        ProviderType.TABS: {"invoice": _OUT},
        ProviderType.HUBSPOT: {"customer": _IN, "invoice": _OUT},
    }
)
"""Per provider and entity, whether it can come in and go out. Bills never come in, whatever a provider offers."""


async def entries(session: AsyncSession) -> list[IntegrationConfigEntry]:
    """What each provider could synchronise, beside what its connection is set to."""
    current = {
        row.provider_type: row.sync_config
        for row in await session.scalars(select(Connection).where(Connection.status == Status.PUBLISHED))
    }
    return [
        IntegrationConfigEntry(
            provider=provider,
            base_config=_config({name: {"inbound": ways[0], "outbound": ways[1]} for name, ways in possible.items()}),
            current_config=_config(current[provider]) if provider in current else None,
        )
        for provider, possible in _POSSIBLE.items()
    ]


def _config(stored: object) -> SyncConfig:
    return msgspec.convert(stored or {}, SyncConfig)
