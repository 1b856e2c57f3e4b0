"""Endpoints of connections, mappings and what providers report."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Controller, Request, delete, get, post, put
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.guards import needs
from farthing.api.queries.lists import page, read_query
from farthing.api.work import unit_of_work
from farthing.core.clock import instant
from farthing.core.encoding.wire import Message
from farthing.core.encoding.wire import Response as Body
from farthing.core.errors import ValidationFailed
from farthing.customers.schemas import EntityIntegrationMappingResponse
from farthing.customers.tables import IntegrationMapping
from farthing.payments.integration_schemas import (
    ConnectionQuery,
    ConnectionResponse,
    CreateConnectionRequest,
    DelinkIntegrationMappingRequest,
    IntegrationConfigResponse,
    LinkIntegrationMappingRequest,
    LinkIntegrationMappingResponse,
    ListConnectionsResponse,
    ListEntityIntegrationMappingsResponse,
    MappingQuery,
    SyncConfig,
    SyncRequest,
    UpdateConnectionRequest,
)
from farthing.payments.integrations import connections, copying, mappings, synchronisable
from farthing.payments.integrations.gateways import Gateways
from farthing.payments.processing import inbound
from farthing.payments.shared_by_routes import GATEWAYS
from farthing.payments.tables import Connection, ProviderType
from farthing.storage.queries.listing import select_page
from farthing.storage.queries.rows import find
from farthing.storage.scope import Scope

HttpRequest = Request[Any, Any, Any]
CONNECTION_FIELDS = ("id", "name", "provider_type", "created_at", "updated_at")


class Connections(Controller):
    """Accounts with other systems."""

    path = "/connections"
    tags = ("Connections",)
    dependencies = GATEWAYS

    @post("/", operation_id="createConnection", guards=[needs("connection", "write")])
    async def create(
        self, data: CreateConnectionRequest, session: AsyncSession, gateways: Gateways
    ) -> ConnectionResponse:
        """Connect to another system."""
        return shown(await connections.create(session, gateways.safe, data))

    @get("/", operation_id="listConnections", guards=[needs("connection", "read")], opt={"query": ConnectionQuery})
    async def browse(self, request: HttpRequest, session: AsyncSession) -> ListConnectionsResponse:
        """List connections."""
        return await _page(session, read_query(request, ConnectionQuery))

    @post("/search", operation_id="searchConnections", guards=[needs("connection", "read")], status_code=200)
    async def search(self, session: AsyncSession, data: ConnectionQuery | None = None) -> ListConnectionsResponse:
        """Search connections."""
        return await _page(session, data or ConnectionQuery())

    @get("/{id:str}", operation_id="getConnection", guards=[needs("connection", "read")])
    async def read(self, id: str, session: AsyncSession) -> ConnectionResponse:
        """Get a connection, without its secrets."""
        return shown(await find(session, Connection, id))

    @put("/{id:str}", operation_id="updateConnection", guards=[needs("connection", "write")])
    async def update(
        self, id: str, data: UpdateConnectionRequest, session: AsyncSession, gateways: Gateways
    ) -> ConnectionResponse:
        """Change a connection."""
        return shown(await connections.update(session, gateways.safe, id, data))

    @delete("/{id:str}", operation_id="deleteConnection", guards=[needs("connection", "write")])
    async def remove(self, id: str, session: AsyncSession) -> None:
        """Delete a connection and its secrets."""
        await connections.remove(session, id)


def shown(connection: Connection) -> ConnectionResponse:
    """A connection as it travels."""
    config = connection.sync_config
    return ConnectionResponse.of(
        connection, sync_config=msgspec.convert(config, SyncConfig) if config is not None else None
    )


async def _page(session: AsyncSession, query: ConnectionQuery) -> ListConnectionsResponse:
    statement = select(Connection)
    if query.connection_ids is not None:
        statement = statement.where(Connection.id.in_(query.connection_ids))
    if query.provider_type is not None:
        statement = statement.where(Connection.provider_type == query.provider_type)
    rows, total = await select_page(session, Connection, query, CONNECTION_FIELDS, statement)
    return ListConnectionsResponse(
        connections=[shown(row) for row in rows], total=total, limit=query.page_size, offset=query.skip
    )


class Integrations(Controller):
    """Our entities and their images elsewhere."""

    path = "/integrations"
    tags = ("Integrations",)
    dependencies = GATEWAYS

    @get("/config", operation_id="getIntegrationConfig", guards=[needs("integration", "read")])
    async def config(self, session: AsyncSession) -> IntegrationConfigResponse:
        """What each provider could synchronise, and what it does."""
        return IntegrationConfigResponse(integrations=await synchronisable.entries(session))

    @post("/link", operation_id="linkIntegrationMapping", guards=[needs("integration", "write")], status_code=200)
    async def link(self, data: LinkIntegrationMappingRequest, session: AsyncSession) -> LinkIntegrationMappingResponse:
        """Map an entity to its image at a connected provider."""
        return LinkIntegrationMappingResponse(mapping=_mapping(await mappings.link(session, data)))

    @delete("/link", operation_id="delinkIntegrationMapping", guards=[needs("integration", "write")], status_code=200)
    async def delink(self, data: DelinkIntegrationMappingRequest, session: AsyncSession) -> Message:
        """End a mapping."""
        await mappings.delink(session, data)
        return Message(message="integration mapping removed successfully")

    @get(
        "/mappings",
        operation_id="getEntityIntegrationMappings",
        guards=[needs("integration", "read")],
        opt={"query": MappingQuery},
    )
    async def browse(self, request: HttpRequest, session: AsyncSession) -> ListEntityIntegrationMappingsResponse:
        """List the mappings of one entity."""
        query = read_query(request, MappingQuery)
        if query.entity_type is None or query.entity_id is None:
            missing = "entity_type" if query.entity_type is None else "entity_id"
            raise ValidationFailed.of(missing, "is required")
        statement = select(IntegrationMapping).where(
            IntegrationMapping.entity_type == query.entity_type, IntegrationMapping.entity_id == query.entity_id
        )
        rows, total = await select_page(session, IntegrationMapping, query, ("provider_type", "created_at"), statement)
        answer: ListEntityIntegrationMappingsResponse = page(
            [_mapping(row) for row in rows], total, query, next_offset=True
        )
        return answer

    @post("/sync", operation_id="syncIntegration", guards=[needs("integration", "write")], status_code=200)
    async def sync(self, data: SyncRequest, session: AsyncSession, gateways: Gateways) -> Message:
        """Copy an entity to the connected providers now."""
        await copying.sync(session, gateways, data)
        return Message(message=f"{data.entity_type} synced successfully")


def _mapping(mapping: IntegrationMapping) -> EntityIntegrationMappingResponse:
    """A mapping as it travels: its times have whole seconds."""
    return EntityIntegrationMappingResponse.of(
        mapping,
        created_at=instant(mapping.created_at.replace(microsecond=0)),
        updated_at=instant(mapping.updated_at.replace(microsecond=0)),
    )


class WebhookReceipt(Body):
    """Whether a webhook brought news."""

    received: bool
    duplicate: bool


class ProviderWebhooks(Controller):
    """Where providers report; public, for the signature is the credential."""

    path = "/webhooks"
    tags = ("Integrations",)
    dependencies = GATEWAYS

    @post(
        "/{provider:str}/{tenant_id:str}/{environment_id:str}",
        operation_id="receiveProviderWebhook",
        status_code=200,
        opt={"public": True},
    )
    async def receive(
        self, provider: str, tenant_id: str, environment_id: str, request: HttpRequest, gateways: Gateways
    ) -> WebhookReceipt:
        """Take a provider's webhook."""
        if provider not in set(ProviderType):
            raise ValidationFailed.of("provider", "is not a known provider")
        headers = {name.lower(): value for name, value in request.headers.items()}
        scope = Scope(tenant_id, environment_id)
        news = await inbound.receive(gateways, provider, scope, headers, unit_of_work(request).body)
        return WebhookReceipt(received=True, duplicate=not news)
