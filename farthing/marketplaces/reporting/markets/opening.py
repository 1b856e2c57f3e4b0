"""From a connection to the account at its marketplace."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import MappingProxyType
from typing import Any

import msgspec

from farthing.marketplaces.ports import MarketplacePorts
from farthing.marketplaces.reporting.markets import aws, azure, gcp
from farthing.marketplaces.reporting.markets.interface import Reporter
from farthing.payments.integration_schemas import SyncConfig
from farthing.payments.integrations.credentials import Safe
from farthing.payments.integrations.gateways import sealed_for
from farthing.payments.providers.registry import ConnectionDraft
from farthing.payments.tables import Connection, ProviderType
from farthing.settings import Settings
from farthing.storage.postgres import Database

Open = Callable[
    [Mapping[str, Any], SyncConfig | None, str | None, MarketplacePorts], AbstractAsyncContextManager[Reporter]
]
_OPEN: Mapping[ProviderType, Open] = MappingProxyType(
    {
        ProviderType.AWS_MARKETPLACE: aws.opened_aws,
        ProviderType.AZURE_MARKETPLACE: azure.opened_azure,
        ProviderType.GCP_MARKETPLACE: gcp.opened_gcp,
    }
)
CONNECTION_CHECKS: Mapping[str, Callable[[ConnectionDraft], None]] = MappingProxyType(
    {
        ProviderType.AWS_MARKETPLACE.value: aws.check_connection,
        ProviderType.AZURE_MARKETPLACE.value: azure.check_connection,
        ProviderType.GCP_MARKETPLACE.value: gcp.check_connection,
    }
)
"""What a connection must have to be stored."""


class Marketplaces:
    """Opens connections to marketplaces; holds no state but the key of the safe."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._ports = database.ports.part(MarketplacePorts)
        self._safe = Safe(settings.master_key())
        self._api_urls = settings.provider_api_urls()

    @asynccontextmanager
    async def behind(self, connection: Connection) -> AsyncIterator[Reporter]:
        """The account of a connection.

        Raises ServiceUnavailable for secrets that cannot be opened, ValidationFailed for those that are not there,
        NotImplementedHere where a client library is not installed.
        """
        owner = sealed_for(connection.environment_id, connection.id)
        secrets = self._safe.open(connection.credentials, connection.credentials_key_id, owner)
        config = None if connection.sync_config is None else msgspec.convert(connection.sync_config, SyncConfig)
        api_url = self._api_urls.get(connection.provider_type.value)
        async with _OPEN[connection.provider_type](secrets, config, api_url, self._ports) as reporter:
            yield reporter
