"""How entitlements come to be, change and end. Each change tells what happened.

A feature's row is locked while an entitlement to it is made or changed: that orders those who would add siblings, and
keeps the feature from being archived meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.entitlements import grants
from farthing.catalogue.entitlements.enums import AggregationMode, EntitlementOwner, UsageResetPeriod
from farthing.catalogue.entitlements.schemas import CreateEntitlementRequest, EntitlementQuery, UpdateEntitlementRequest
from farthing.catalogue.entitlements.tables import Entitlement
from farthing.catalogue.enums import PriceEntityType
from farthing.catalogue.fields import require_published
from farthing.catalogue.owners import lock_for_use
from farthing.catalogue.ports import CataloguePorts
from farthing.catalogue.prices.references import owner_table
from farthing.catalogue.products.enums import FeatureType
from farthing.catalogue.products.tables import Feature, MeterRow
from farthing.core.enums import Status
from farthing.core.errors import AlreadyExists, NotFound, ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.metering.meter import AggregationType
from farthing.storage.postgres import ports_of
from farthing.storage.queries.listing import PageStatements, one_of, page_statements
from farthing.storage.queries.rows import find, lock_row, unique
from farthing.storage.record.outbox import record_event

SEARCHABLE = (
    "id",
    "entity_type",
    "entity_id",
    "feature_id",
    "feature_type",
    "is_enabled",
    "usage_limit",
    "usage_reset_period",
    "is_soft_limit",
    "static_value",
    "parent_entitlement_id",
    "aggregation_mode",
    "display_order",
    "start_date",
    "end_date",
    "status",
    "created_at",
    "updated_at",
    "created_by",
    "updated_by",
)


async def create(session: AsyncSession, requests: Sequence[CreateEntitlementRequest]) -> list[Entitlement]:
    """Insert entitlements, all or none, in the order asked for.

    Raises NotFound for an unknown feature or owner; InvalidOperation for an archived one; ValidationFailed for what
    the feature's type or its other entitlements forbid; AlreadyExists for an owner's second entitlement to a feature.
    """
    # always in this order, so that two bulks never wait for each other
    features = {key: await _feature(session, key) for key in sorted({request.feature_id for request in requests})}
    for owner in sorted({request.owner for request in requests}):
        await _demand_owner(session, *owner)
    return [await _insert(session, request, features[request.feature_id]) for request in requests]


async def _feature(session: AsyncSession, feature_id: str) -> Feature:
    feature = await lock_row(session, Feature, feature_id)
    require_published(feature)
    return feature


async def _demand_owner(session: AsyncSession, entity_type: EntitlementOwner, entity_id: str) -> None:
    table = owner_table(session, PriceEntityType(entity_type.value))
    if table is None:
        word = entity_type.value.lower()
        raise NotFound(f"{word.capitalize()} with ID {entity_id} was not found", {f"{word}_id": entity_id})
    await lock_for_use(session, table, entity_id)


async def _insert(session: AsyncSession, request: CreateEntitlementRequest, feature: Feature) -> Entitlement:
    if request.feature_type is not feature.type:
        raise ValidationFailed.of("feature_type", f"must be {feature.type.value}, the type of the feature")
    entity_type, entity_id = request.owner
    entitlement = Entitlement(
        id=new_id(Kind.ENTITLEMENT),
        entity_type=entity_type,
        entity_id=entity_id,
        feature_id=feature.id,
        feature_type=feature.type,
        is_enabled=bool(request.is_enabled) or feature.type is not FeatureType.BOOLEAN,
        usage_reset_period=UsageResetPeriod.BILLING_PERIOD,
        is_soft_limit=False,
        static_value=request.static_value or "" if feature.type is FeatureType.STATIC else "",
        config_value=(request.config_value or {}) if feature.type is FeatureType.CONFIG else None,
        parent_entitlement_id=await _parent(session, request),
        start_date=request.start_date,
        end_date=request.end_date,
        display_order=0,
    )
    if feature.type is FeatureType.METERED:
        # for the other types clients send these too, and they mean nothing
        entitlement.usage_limit = request.usage_limit
        entitlement.usage_reset_period = request.usage_reset_period or UsageResetPeriod.BILLING_PERIOD
        entitlement.is_soft_limit = bool(request.is_soft_limit)
    grants.configure(
        entitlement, grants.effective_configuration(request), request.aggregation_mode or AggregationMode.ADDITIVE
    )
    await _demand_fitting(session, entitlement, feature)
    async with _refusing_duplicates(session, entitlement):
        session.add(entitlement)
    await _tell(session, "entitlement.created", entitlement)
    return entitlement


async def _parent(session: AsyncSession, request: CreateEntitlementRequest) -> str | None:
    """The plan's or addon's entitlement that a subscription's one is to stand in for."""
    if not request.parent_entitlement_id:
        return None
    parent = await find(session, Entitlement, request.parent_entitlement_id)
    require_published(parent)
    if parent.feature_id != request.feature_id or parent.entity_type is EntitlementOwner.SUBSCRIPTION:
        raise ValidationFailed.of(
            "parent_entitlement_id", "must be an entitlement of a plan or an addon to the same feature"
        )
    return parent.id


async def _demand_fitting(session: AsyncSession, entitlement: Entitlement, feature: Feature) -> None:
    """Refuse what the meter, or the owner's other entitlements to the feature, cannot go with."""
    grant = grants.grant_of(entitlement)
    if feature.meter_id is None:
        if grant is not None:
            raise ValidationFailed.of("grant_measure", "a grant is only for metered features")
        return
    meter = await find(session, MeterRow, feature.meter_id)
    if meter.aggregation_type == AggregationType.MAX and meter.bucket_size is not None:
        raise ValidationFailed.of("feature_id", "has a bucketed MAX meter, which cannot be entitled")
    if grant is not None:
        await grants.require_measurable(session, grant, meter)
    with session.no_autoflush:
        siblings = await _siblings(session, entitlement)
    if any(sibling.aggregation_mode is AggregationMode.PARALLEL for sibling in (entitlement, *siblings)):
        # of additive ones an owner has one; the database sees to that
        grants.require_compatible([entitlement, *siblings])
    if grant is not None:
        with session.no_autoflush:
            grants.require_compatible([entitlement, *await _granted_beside(session, entitlement)])


async def _granted_beside(session: AsyncSession, entitlement: Entitlement) -> list[Entitlement]:
    """What other owners grant of the feature to subscriptions that have this entitlement too."""
    others = await session.scalars(
        select(Entitlement).where(
            Entitlement.feature_id == entitlement.feature_id,
            Entitlement.entity_id != entitlement.entity_id,
            Entitlement.grant_measure.is_not(None),
            Entitlement.status == Status.PUBLISHED,
        )
    )
    by_owner: dict[str, list[Entitlement]] = {}
    for other in others:
        if other.id != entitlement.parent_entitlement_id and other.parent_entitlement_id != entitlement.id:
            by_owner.setdefault(other.entity_id, []).append(other)
    if not by_owner:
        return []
    beside = await ports_of(session, CataloguePorts).find_companions(session, entitlement.entity_id, list(by_owner))
    return [other for owner_id in beside for other in by_owner[owner_id]]


async def _siblings(session: AsyncSession, entitlement: Entitlement) -> list[Entitlement]:
    found = await session.scalars(
        select(Entitlement).where(
            Entitlement.entity_id == entitlement.entity_id,
            Entitlement.entity_type == entitlement.entity_type,
            Entitlement.feature_id == entitlement.feature_id,
            Entitlement.status == Status.PUBLISHED,
            Entitlement.id != entitlement.id,
        )
    )
    return list(found)


async def update(session: AsyncSession, entitlement_id: str, request: UpdateEntitlementRequest) -> Entitlement:
    """Change an entitlement; the next invoice computed follows it.

    Raises NotFound, InvalidOperation for an archived one, ValidationFailed for what does not fit, AlreadyExists if it
    would stop being parallel beside another.
    """
    feature_id = (await find(session, Entitlement, entitlement_id)).feature_id
    feature = await lock_row(session, Feature, feature_id)
    entitlement = await lock_row(session, Entitlement, entitlement_id)
    require_published(entitlement)
    async with _refusing_duplicates(session, entitlement):
        if request.is_enabled is not None:
            entitlement.is_enabled = request.is_enabled
        if request.static_value and feature.type is FeatureType.STATIC:
            entitlement.static_value = request.static_value
        if request.config_value is not None:
            if feature.type is not FeatureType.CONFIG:
                raise ValidationFailed.of("config_value", "is only for config features")
            entitlement.config_value = request.config_value
        if feature.type is FeatureType.METERED:
            _limit(entitlement, request)
        _grant(entitlement, request)
        await _demand_fitting(session, entitlement, feature)
    await _tell(session, "entitlement.updated", entitlement)
    return entitlement


def _limit(entitlement: Entitlement, request: UpdateEntitlementRequest) -> None:
    if request.usage_limit is not None:
        # a quirk that clients rely on: an update says unlimited by 0
        entitlement.usage_limit = request.usage_limit or None
    if request.usage_reset_period:
        entitlement.usage_reset_period = request.usage_reset_period
    if request.is_soft_limit is not None:
        entitlement.is_soft_limit = request.is_soft_limit


def _grant(entitlement: Entitlement, request: UpdateEntitlementRequest) -> None:
    standing = None if request.clear_grant_config else grants.grant_of(entitlement)
    grant = grants.effective_configuration(request, standing)
    mode = request.aggregation_mode
    if mode is None:
        mode = AggregationMode.ADDITIVE if standing is None else entitlement.aggregation_mode
    grants.configure(entitlement, grant, mode)


async def archive(session: AsyncSession, entitlement_id: str) -> None:
    """End an entitlement, whoever relies on it. Raises NotFound, and InvalidOperation for an archived one."""
    entitlement = await lock_row(session, Entitlement, entitlement_id)
    require_published(entitlement)
    entitlement.status = Status.ARCHIVED
    await session.flush()
    await _tell(session, "entitlement.deleted", entitlement)


def page_of_entitlements(query: EntitlementQuery) -> PageStatements:
    """One page of the entitlements that meet all of `query`, and how many there are."""
    statement = select(Entitlement)
    if query.entity_type is not None:
        statement = statement.where(Entitlement.entity_type == query.entity_type)
    if query.entity_ids:
        statement = statement.where(one_of(Entitlement.entity_id, query.entity_ids))
    if query.plan_ids:
        of_plan = Entitlement.entity_type == EntitlementOwner.PLAN
        statement = statement.where(of_plan, one_of(Entitlement.entity_id, query.plan_ids))
    if query.feature_ids:
        statement = statement.where(one_of(Entitlement.feature_id, query.feature_ids))
    if query.feature_type is not None:
        statement = statement.where(Entitlement.feature_type == query.feature_type)
    if query.is_enabled is not None:
        statement = statement.where(Entitlement.is_enabled == query.is_enabled)
    if query.has_grant_config is not None:
        none = Entitlement.grant_measure.is_(None)
        statement = statement.where(none if not query.has_grant_config else ~none)
    return page_statements(Entitlement, query, SEARCHABLE, statement)


async def entitlements_of(
    session: AsyncSession, entity_type: EntitlementOwner, entity_ids: Sequence[str]
) -> dict[str, list[Entitlement]]:
    """The published entitlements of each owner, oldest first, in one query."""
    found = await session.scalars(
        select(Entitlement)
        .where(
            Entitlement.entity_id.in_(set(entity_ids)),
            Entitlement.entity_type == entity_type,
            Entitlement.status == Status.PUBLISHED,
        )
        .order_by(Entitlement.created_at, Entitlement.id)
    )
    owned: dict[str, list[Entitlement]] = {entity_id: [] for entity_id in entity_ids}
    for entitlement in found:
        owned[entitlement.entity_id].append(entitlement)
    return owned


def _refusing_duplicates(session: AsyncSession, entitlement: Entitlement) -> AbstractAsyncContextManager[None]:
    """Write what the block changed; an owner's second entitlement to a feature becomes AlreadyExists."""
    details = {"entity_id": entitlement.entity_id, "feature_id": entitlement.feature_id}
    return unique(
        session, uq_entitlements_feature=AlreadyExists("The entity already has an entitlement to this feature", details)
    )


async def _tell(session: AsyncSession, event: str, entitlement: Entitlement) -> None:
    about: dict[str, Any] = {
        "id": entitlement.id,
        "entity_type": entitlement.entity_type.value,
        "entity_id": entitlement.entity_id,
        "feature_id": entitlement.feature_id,
        "feature_type": entitlement.feature_type.value,
        "is_enabled": entitlement.is_enabled,
        "is_soft_limit": entitlement.is_soft_limit,
    }
    if entitlement.usage_limit is not None:
        about["usage_limit"] = entitlement.usage_limit
    if entitlement.usage_reset_period:
        about["usage_reset_period"] = entitlement.usage_reset_period.value
    if entitlement.static_value:
        about["static_value"] = entitlement.static_value
    await record_event(session, event, "entitlement", entitlement.id, {"entitlement": about})


async def count_entitlements_of_feature(session: AsyncSession, feature_id: str) -> dict[str, int]:
    """Published entitlements to a feature."""
    of_feature = (Entitlement.feature_id == feature_id, Entitlement.status == Status.PUBLISHED)
    count = select(func.count()).select_from(Entitlement).where(*of_feature)
    return {"entitlements": (await session.execute(count)).scalar_one()}
