"""Mappings of our entities to their mirror images at providers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.enums import Status
from farthing.core.errors import AlreadyExists, ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.customers.schemas import CreateEntityIntegrationMappingRequest
from farthing.customers.tables import Customer, IntegrationEntityType, IntegrationMapping
from farthing.storage.postgres import clock_of, scope_of
from farthing.storage.queries.changes import note_stored
from farthing.storage.queries.rows import unique


async def of_entities(
    session: AsyncSession, entity_type: IntegrationEntityType, entity_ids: Iterable[str]
) -> Mapping[str, Sequence[IntegrationMapping]]:
    """The published mappings of each entity, by entity id and oldest first, in one statement."""
    found: dict[str, list[IntegrationMapping]] = defaultdict(list)
    query = select(IntegrationMapping).where(
        IntegrationMapping.entity_type == entity_type,
        IntegrationMapping.entity_id.in_(list(entity_ids)),
        IntegrationMapping.status == Status.PUBLISHED,
    )
    for mapping in await session.scalars(query.order_by(IntegrationMapping.created_at, IntegrationMapping.id)):
        found[mapping.entity_id].append(mapping)
    return found


async def map_customer(
    session: AsyncSession, customer: Customer, given: Iterable[CreateEntityIntegrationMappingRequest]
) -> None:
    """Store each mapping given; one that the customer already has for that provider is replaced, others stay.

    `entity_id` is what the tenant's side knew the customer by, its id or external id or nothing; another customer's
    id is refused.
    """
    for mapping in given:
        if mapping.entity_id and mapping.entity_id not in {customer.id, customer.external_id}:
            raise ValidationFailed.of("integration_entity_mapping.entity_id", "must be this customer's, or left out")
        await remember(
            session,
            IntegrationEntityType.CUSTOMER,
            customer.id,
            mapping.provider_name,
            mapping.image,
            mapping.metadata or {},
        )


async def remember(
    session: AsyncSession,
    entity_type: IntegrationEntityType,
    entity_id: str,
    provider_type: str,
    provider_entity_id: str,
    metadata: Mapping[str, Any],
) -> IntegrationMapping:
    """Store a mapping, or overwrite the live one of the same entity and provider.

    Raises AlreadyExists when the provider's id stands for another entity of the same type.
    """
    now, scope = clock_of(session).now(), scope_of(session)
    live = select(IntegrationMapping).where(
        IntegrationMapping.entity_type == entity_type,
        IntegrationMapping.entity_id == entity_id,
        IntegrationMapping.provider_type == provider_type,
        IntegrationMapping.status == Status.PUBLISHED,
    )
    earlier = (await session.scalars(live.with_for_update().execution_options(populate_existing=True))).one_or_none()
    before = None if earlier is None else {"provider_entity_id": earlier.provider_entity_id, "meta": earlier.meta}
    row = insert(IntegrationMapping).values(
        id=new_id(Kind.INTEGRATION_MAPPING),
        tenant_id=scope.tenant_id,
        environment_id=scope.environment_id,
        entity_type=entity_type,
        entity_id=entity_id,
        provider_type=provider_type,
        provider_entity_id=provider_entity_id,
        meta=dict(metadata),
        status=Status.PUBLISHED,
        created_at=now,
        updated_at=now,
        created_by=scope.user_id,
        updated_by=scope.user_id,
    )
    upsert = row.on_conflict_do_update(
        index_elements=["environment_id", "entity_type", "entity_id", "provider_type"],
        index_where=text("status = 'published'"),  # word for word, so that PostgreSQL recognises the index
        set_={
            "provider_entity_id": row.excluded.provider_entity_id,
            "metadata": row.excluded.metadata,
            "updated_at": now,
            "updated_by": scope.user_id,
        },
    ).returning(IntegrationMapping)
    async with unique(
        session,
        uq_integration_mappings_image=AlreadyExists(
            f"'{provider_entity_id}' at {provider_type} is mapped to another {entity_type}",
            {"provider_entity_id": provider_entity_id, "provider_type": provider_type},
        ),
    ):
        stored = await session.scalars(upsert, execution_options={"populate_existing": True})
        mapping = stored.one()
    note_stored(session.sync_session, mapping, before)
    return mapping
