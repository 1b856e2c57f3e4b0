"""Our entities and their mirror images at providers.

Rule: docs/rules/integrations.md#mappings
"""

from __future__ import annotations

from types import MappingProxyType

from sqlalchemy import column, select, table, update
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.clock import instant
from farthing.core.enums import Status
from farthing.core.errors import NotFound, ValidationFailed
from farthing.customers.mappings import remember
from farthing.customers.tables import IntegrationEntityType, IntegrationMapping
from farthing.payments.integration_schemas import DelinkIntegrationMappingRequest, LinkIntegrationMappingRequest
from farthing.payments.tables import Connection
from farthing.storage.postgres import clock_of, scope_of
from farthing.storage.tables import Base

_TABLES = MappingProxyType(
    {
        IntegrationEntityType.CUSTOMER: "customers",
        IntegrationEntityType.PLAN: "plans",
        IntegrationEntityType.INVOICE: "invoices",
        IntegrationEntityType.SUBSCRIPTION: "subscriptions",
        IntegrationEntityType.PAYMENT: "payments",
        IntegrationEntityType.CREDIT_NOTE: "credit_notes",
        IntegrationEntityType.ADDON: "addons",
        IntegrationEntityType.PRICE: "prices",
        IntegrationEntityType.INVOICE_LINE_ITEM: "invoice_line_items",
        IntegrationEntityType.SUBSCRIPTION_LINE_ITEM: "subscription_line_items",
    }
)
"""Where each kind of entity lives, by name: some live in layers above. An item and its price are a provider's own
notions of what we call a feature and a price, and live in no table of ours."""


async def image_of(
    session: AsyncSession, entity_type: IntegrationEntityType, entity_id: str, provider_type: str
) -> IntegrationMapping | None:
    """The live mapping of an entity at a provider."""
    return (
        await session.scalars(
            select(IntegrationMapping).where(
                IntegrationMapping.entity_type == entity_type,
                IntegrationMapping.entity_id == entity_id,
                IntegrationMapping.provider_type == provider_type,
                IntegrationMapping.status == Status.PUBLISHED,
            )
        )
    ).one_or_none()


async def link(session: AsyncSession, given: LinkIntegrationMappingRequest) -> IntegrationMapping:
    """Map an entity to its image, replacing the image it had.

    Raises ValidationFailed without a connection to the provider, NotFound for an entity that is not there, and
    AlreadyExists when the image belongs to another entity.
    """
    connected = await session.scalar(
        select(Connection.id).where(
            Connection.provider_type == given.provider_type, Connection.status == Status.PUBLISHED
        )
    )
    if connected is None:
        raise ValidationFailed.of("provider_type", f"'{given.provider_type}' is not connected")
    await _demand_entity(session, given.entity_type, given.entity_id)
    now = clock_of(session).now()
    metadata = {**(given.metadata or {}), "linked_via": "api", "linked_at": instant(now)}
    return await remember(
        session, given.entity_type, given.entity_id, given.provider_type, given.provider_entity_id, metadata
    )


async def delink(session: AsyncSession, given: DelinkIntegrationMappingRequest) -> None:
    """Archive the live mapping of an entity at a provider. Raises NotFound when there is none."""
    now, scope = clock_of(session).now(), scope_of(session)
    archived = await session.scalar(
        update(IntegrationMapping)
        .where(
            IntegrationMapping.entity_type == given.entity_type,
            IntegrationMapping.entity_id == given.entity_id,
            IntegrationMapping.provider_type == given.provider_type,
            IntegrationMapping.status == Status.PUBLISHED,
        )
        .values(status=Status.ARCHIVED, updated_at=now, updated_by=scope.user_id)
        .returning(IntegrationMapping.id)
    )
    if archived is None:
        raise NotFound(
            "No such mapping",
            {
                "entity_type": given.entity_type.value,
                "entity_id": given.entity_id,
                "provider_type": given.provider_type,
            },
        )


async def _demand_entity(session: AsyncSession, entity_type: IntegrationEntityType, entity_id: str) -> None:
    name = _TABLES.get(entity_type)
    if name is None:
        return
    found = None
    if name in Base.metadata.tables:
        source = table(name, column("id"))
        found = await session.scalar(select(source.c.id).where(source.c.id == entity_id))
    if found is None:
        raise NotFound(f"{entity_type} with ID {entity_id} was not found", {f"{entity_type}_id": entity_id})
