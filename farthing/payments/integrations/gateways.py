"""From an environment's connections to the providers behind them."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.enums import Status
from farthing.invoices.hooks import InvoiceHooks
from farthing.payments.integrations.credentials import Safe
from farthing.payments.ports import PaymentPorts
from farthing.payments.providers.interface import Provider
from farthing.payments.providers.registry import ProviderSupport, provider_for
from farthing.payments.tables import Connection, Gateway
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.storage.scope import Scope

COLLECTORS = tuple(gateway.value for gateway in Gateway)


class Gateways:
    """Opens connections. One per process, or made when needed; it holds no state but the key of the safe.

    `effects` is what the layers above do in an invoice's transaction when money arrives.
    """

    def __init__(self, database: Database, settings: Settings, effects: InvoiceHooks) -> None:
        self.database = database
        self.effects = effects
        self.safe = Safe(settings.master_key())
        self._base_url = settings.base_url
        self._api_urls = settings.provider_api_urls()

    def behind(self, connection: Connection) -> Provider:
        """The provider a connection leads to. Raises NotImplementedHere without an adapter for it."""
        sealed, key_id = connection.credentials, connection.credentials_key_id
        return provider_for(
            ProviderSupport(
                provider_type=connection.provider_type.value,
                connection_id=connection.id,
                scope=Scope(connection.tenant_id, connection.environment_id),
                secrets=self.safe.open(sealed, key_id, sealed_for(connection.environment_id, connection.id)),
                metadata=connection.meta,
                database=self.database,
                base_url=self._base_url,
                api_url=self._api_urls.get(connection.provider_type.value),
            ),
            self.database.ports.part(PaymentPorts).adapters,
        )


def sealed_for(environment_id: str, connection_id: str) -> str:
    """Whose credentials a sealed text holds: it opens for no other connection."""
    return f"{environment_id}/{connection_id}"


async def connection_to(session: AsyncSession, gateway: str | None) -> Connection | None:
    """The published connection to `gateway`; without a name, the oldest one that collects money."""
    query = select(Connection).where(Connection.status == Status.PUBLISHED)
    if gateway is not None:
        query = query.where(Connection.provider_type == gateway)
    else:
        query = query.where(Connection.provider_type.in_(COLLECTORS))
    return (await session.scalars(query.order_by(Connection.created_at, Connection.id).limit(1))).one_or_none()
