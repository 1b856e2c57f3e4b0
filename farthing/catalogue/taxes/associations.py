"""Who is taxed at which rate: associations, made one by one, or copied when a customer or a subscription is made."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.fields import require_published
from farthing.catalogue.owners import lock_for_use
from farthing.catalogue.ports import CataloguePorts
from farthing.catalogue.taxes.choosing import live_associations, rates_by_code
from farthing.catalogue.taxes.enums import TaxEntityType
from farthing.catalogue.taxes.schemas import (
    CreateTaxAssociationRequest,
    TaxAssociationFilter,
    TaxAssociationUpdateRequest,
)
from farthing.catalogue.taxes.tables import TaxAssociation, TaxRateRow
from farthing.core.enums import Status
from farthing.core.errors import NotFound, ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.customers.lookup import by_external_id
from farthing.customers.schemas import CreateCustomerRequest, TaxRateOverride
from farthing.customers.tables import Customer
from farthing.storage.postgres import clock_of, ports_of, scope_of
from farthing.storage.queries.listing import select_page
from farthing.storage.queries.rows import lock_row
from farthing.storage.queries.writing import write_pending

SEARCHABLE = (
    "id",
    "tax_rate_id",
    "entity_type",
    "entity_id",
    "priority",
    "auto_apply",
    "currency",
    "start_date",
    "end_date",
    "status",
    "created_at",
    "updated_at",
    "created_by",
    "updated_by",
)


async def create(session: AsyncSession, request: CreateTaxAssociationRequest, now: datetime) -> TaxAssociation:
    """Associate a rate with an entity.

    Raises ValidationFailed for a contradiction, NotFound for an unknown rate or entity, InvalidOperation for a rate
    that is not ACTIVE or an archived customer.
    """
    entity_type, entity_id = await _entity(session, request)
    (rate,) = await rates_by_code(session, [request.tax_rate_code], lock=True)
    start = request.start_date or now
    if request.end_date is not None and request.end_date <= start:
        raise ValidationFailed.of("end_date", "must be after start_date, which is now when it is not given")
    association = TaxAssociation(
        id=new_id(Kind.TAX_ASSOCIATION),
        tax_rate_id=rate.id,
        entity_type=entity_type,
        entity_id=entity_id,
        priority=request.priority,
        auto_apply=request.auto_apply,
        currency=request.currency,
        start_date=start,
        end_date=request.end_date,
        meta=request.metadata or {},
    )
    session.add(association)
    await session.flush()
    return association


async def _entity(session: AsyncSession, request: CreateTaxAssociationRequest) -> tuple[TaxEntityType, str]:
    """The entity that a request names, one way or both."""
    entity_type, entity_id = request.entity_type, request.entity_id
    if request.external_customer_id:
        customer = await by_external_id(session, request.external_customer_id)
        if entity_id and entity_id != customer.id:
            raise ValidationFailed.of("entity_id", "is not the customer that external_customer_id names")
        entity_type, entity_id = TaxEntityType.CUSTOMER, customer.id
    assert entity_type is not None, "the request's own check demands it"
    assert entity_id, "the request's own check demands it"
    if entity_type is TaxEntityType.TENANT:
        if entity_id != scope_of(session).tenant_id:
            raise NotFound(f"Tenant with ID {entity_id} was not found", {"tenant_id": entity_id})
    elif entity_type is TaxEntityType.CUSTOMER:
        await lock_for_use(session, Customer, entity_id)
    elif entity_type is TaxEntityType.SUBSCRIPTION:
        await lock_for_use(session, ports_of(session, CataloguePorts).subscription_table, entity_id)
    else:
        word = entity_type.value
        raise NotFound(f"{word.capitalize()} with ID {entity_id} was not found", {f"{word}_id": entity_id})
    return entity_type, entity_id


async def update(session: AsyncSession, association_id: str, request: TaxAssociationUpdateRequest) -> TaxAssociation:
    """Change priority, auto-apply or metadata. Raises NotFound, and InvalidOperation for an archived association."""
    association = await lock_row(session, TaxAssociation, association_id)
    require_published(association)
    if request.priority is not None:
        association.priority = request.priority
    if request.auto_apply is not None:
        association.auto_apply = request.auto_apply
    if request.metadata is not None:
        association.meta = request.metadata
    await session.flush()
    return association


async def archive(session: AsyncSession, association_id: str) -> TaxAssociation:
    """End an association for good. Raises NotFound, and InvalidOperation for an archived one."""
    association = await lock_row(session, TaxAssociation, association_id)
    require_published(association)
    association.status = Status.ARCHIVED
    await session.flush()
    return association


async def search(session: AsyncSession, query: TaxAssociationFilter) -> tuple[Sequence[TaxAssociation], int]:
    """One page of the associations that meet all of `query`, and how many there are.

    Raises NotFound for an unknown external customer id.
    """
    table = TaxAssociation
    statement = select(table)
    if query.external_customer_id:
        customer = await by_external_id(session, query.external_customer_id)
        statement = statement.where(table.entity_type == TaxEntityType.CUSTOMER, table.entity_id == customer.id)
    if query.entity_type:
        statement = statement.where(table.entity_type == query.entity_type)
    if query.entity_id:
        statement = statement.where(table.entity_id == query.entity_id)
    if query.tax_rate_id:
        statement = statement.where(table.tax_rate_id == query.tax_rate_id)
    if query.auto_apply is not None:
        statement = statement.where(table.auto_apply == query.auto_apply)
    for column, wanted in (
        (table.id, query.tax_association_ids),
        (table.tax_rate_id, query.tax_rate_ids),
        (table.entity_id, query.entity_ids),
    ):
        if wanted:
            statement = statement.where(column.in_(wanted))
    return await select_page(session, table, query, SEARCHABLE, statement)


async def rates_of(session: AsyncSession, associations: Sequence[TaxAssociation]) -> dict[str, TaxRateRow]:
    """The rates of associations by id, in one query."""
    ids = {association.tax_rate_id for association in associations}
    return {rate.id: rate for rate in await session.scalars(select(TaxRateRow).where(TaxRateRow.id.in_(ids)))}


async def inherit(
    session: AsyncSession,
    source: tuple[TaxEntityType, str],
    target: tuple[TaxEntityType, str],
    overrides: Sequence[TaxRateOverride] | None,
    now: datetime,
) -> list[TaxAssociation]:
    """Give a new customer or subscription its taxes.

    `overrides` None copies what `source` applies automatically and has not ended; an empty list gives none; a list
    gives exactly those, from `now` on. Copies keep their dates. Raises NotFound for an unknown code and
    InvalidOperation for a rate that is not ACTIVE.
    Rule: docs/rules/discounts-and-taxes.md#which-taxes-apply
    """
    entity_type, entity_id = target
    if overrides is None:
        made = [
            TaxAssociation(
                id=new_id(Kind.TAX_ASSOCIATION),
                tax_rate_id=origin.tax_rate_id,
                entity_type=entity_type,
                entity_id=entity_id,
                priority=origin.priority,
                auto_apply=True,
                currency=origin.currency,
                start_date=origin.start_date,
                end_date=origin.end_date,
                meta=dict(origin.meta),
            )
            for origin in await live_associations(session, *source, now)
        ]
    else:
        rates = await rates_by_code(session, [override.tax_rate_code for override in overrides], lock=True)
        by_code = {rate.code: rate for rate in rates}
        made = [
            TaxAssociation(
                id=new_id(Kind.TAX_ASSOCIATION),
                tax_rate_id=by_code[override.tax_rate_code].id,
                entity_type=entity_type,
                entity_id=entity_id,
                priority=override.priority,
                auto_apply=override.auto_apply,
                currency=override.currency,
                start_date=now,
                meta=override.metadata or {},
            )
            for override in overrides
        ]
    session.add_all(made)
    await write_pending(session)
    return made


async def link_customer(session: AsyncSession, customer: Customer, request: CreateCustomerRequest) -> None:
    """Give a new customer the tenant's taxes, or those that its creation names."""
    tenant = (TaxEntityType.TENANT, scope_of(session).tenant_id)
    target = (TaxEntityType.CUSTOMER, customer.id)
    await inherit(session, tenant, target, request.tax_rate_overrides, clock_of(session).now())
