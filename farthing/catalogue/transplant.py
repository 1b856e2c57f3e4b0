"""The catalogue of one environment copied into another of the same tenant: features, then the plans that need them.

Every entity is a transaction of its own, so that one failure leaves the rest standing; what the target has already
is skipped, so that a second run changes nothing.
Rule: docs/rules/identity.md#copying-an-environment
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.entitlements.tables import Entitlement
from farthing.catalogue.enums import PriceEntityType
from farthing.catalogue.plans import cloning
from farthing.catalogue.plans.tables import Plan
from farthing.catalogue.ports import CataloguePorts
from farthing.catalogue.prices.tables import Price, PriceUnit
from farthing.catalogue.products import features, meters
from farthing.catalogue.products.tables import Feature, GroupRow, MeterRow
from farthing.catalogue.schemas import IncludedCreditGrant
from farthing.core.encoding.wire import checked_metadata
from farthing.core.enums import Status
from farthing.core.errors import FarthingError, ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.storage.postgres import Database, ports_of
from farthing.storage.queries.rows import violated
from farthing.storage.scope import Scope

ENVIRONMENT_KEY = "source_environment_id"
FEATURE_KEY = "source_environment_feature_id"
PLAN_KEY = "source_environment_plan_id"


@dataclass(frozen=True, slots=True)
class Failure:
    """One entity that was not copied, and why."""

    entity_type: str
    entity_id: str
    entity_name: str
    reason: str


@dataclass(slots=True)
class TransplantResult:
    """What a run did: ids of the source's entities that were copied and that the target had already."""

    features_cloned: list[str] = field(default_factory=list)
    features_skipped: list[str] = field(default_factory=list)
    plans_cloned: list[str] = field(default_factory=list)
    plans_skipped: list[str] = field(default_factory=list)
    errors: list[Failure] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Source:
    """Everything of the source, as one snapshot; meters, groups and units by id."""

    environment_id: str
    features: Sequence[Feature]
    plans: Sequence[Plan]
    prices: Mapping[str, Sequence[Price]]
    entitlements: Mapping[str, Sequence[Entitlement]]
    grants: Mapping[str, Sequence[IncludedCreditGrant]]
    meters: Mapping[str, MeterRow]
    groups: Mapping[str, GroupRow]
    units: Mapping[str, PriceUnit]

    def feature_of_meter(self, meter_id: str) -> Feature | None:
        return next((feature for feature in self.features if feature.meter_id == meter_id), None)


Row = TypeVar("Row", Feature, Plan)


async def transplant(database: Database, source: Scope, target: Scope) -> TransplantResult:
    """Copy the published features and plans of `source` into `target`, oldest first; safe to run again.

    Raises ValidationFailed when both are the same environment.
    """
    if source.environment_id == target.environment_id:
        raise ValidationFailed.of("target_environment_id", "must be another environment than the source")
    found = await _read(database, source)
    outcome = TransplantResult()
    for feature in found.features:
        try:
            async with database.transaction(target) as session:
                done = await _feature(session, found, feature)
            (outcome.features_cloned if done else outcome.features_skipped).append(feature.id)
        except (FarthingError, IntegrityError) as error:
            outcome.errors.append(Failure("feature", feature.id, feature.name, _reason(error)))
    for plan in found.plans:
        try:
            async with database.transaction(target) as session:
                done = await _plan(session, found, plan)
            (outcome.plans_cloned if done else outcome.plans_skipped).append(plan.id)
        except (FarthingError, IntegrityError) as error:
            outcome.errors.append(Failure("plan", plan.id, plan.name, _reason(error)))
    return outcome


def _reason(error: FarthingError | IntegrityError) -> str:
    if isinstance(error, IntegrityError):
        return f"it conflicts with what the target has ({violated(error)})"
    return "; ".join([error.message, *(f"{name}: {value}" for name, value in error.details.items())])


async def _read(database: Database, source: Scope) -> _Source:
    now = database.clock.now()
    async with database.transaction(source, read_only=True) as session:

        async def published(table: type[Row]) -> list[Row]:
            query = select(table).where(table.status == Status.PUBLISHED).order_by(table.created_at, table.id)
            return list(await session.scalars(query))

        plans = await published(Plan)
        return _Source(
            environment_id=source.environment_id,
            features=await published(Feature),
            plans=plans,
            prices={plan.id: await cloning.live_prices(session, plan.id, now) for plan in plans},
            entitlements={plan.id: await cloning.entitlements(session, plan.id) for plan in plans},
            grants=await ports_of(session, CataloguePorts).load_credit_grants(
                session, PriceEntityType.PLAN, [plan.id for plan in plans]
            ),
            meters={meter.id: meter for meter in await session.scalars(select(MeterRow))},
            groups={group.id: group for group in await session.scalars(select(GroupRow))},
            units={unit.id: unit for unit in await session.scalars(select(PriceUnit))},
        )


async def _twin(session: AsyncSession, table: type[Row], row: Row, mark: str) -> Row | None:
    """What the target has in place of a row of the source: its copy, or a published row with its key."""
    same = table.meta[mark].astext == row.id
    if row.lookup_key:
        same = or_(same, table.lookup_key == row.lookup_key)
    query = select(table).where(table.status == Status.PUBLISHED, same).order_by(table.created_at).limit(1)
    return (await session.execute(query)).scalar_one_or_none()


async def _feature(session: AsyncSession, source: _Source, feature: Feature) -> bool:
    """Copy a feature with its meter and group; False if the target has it."""
    if await _twin(session, Feature, feature, FEATURE_KEY) is not None:
        return False
    copy = Feature(
        id=new_id(Kind.FEATURE),
        name=feature.name,
        lookup_key=feature.lookup_key,
        description=feature.description,
        type=feature.type,
        unit_singular=feature.unit_singular,
        unit_plural=feature.unit_plural,
        reporting_unit=feature.reporting_unit,
        alert_settings=feature.alert_settings,
        group_id=await _group(session, source, feature.group_id),
        meta=checked_metadata(feature.meta | {FEATURE_KEY: feature.id, ENVIRONMENT_KEY: source.environment_id}),
    )
    if feature.meter_id is not None:
        copy.meter_id = (await meters.copy(session, source.meters[feature.meter_id])).id
    session.add(copy)
    await session.flush()
    await features.announce(session, "feature.created", copy)
    return True


async def _plan(session: AsyncSession, source: _Source, plan: Plan) -> bool:
    """Copy a plan with all that comes with it; False if the target has it. Raises ValidationFailed."""
    if await _twin(session, Plan, plan, PLAN_KEY) is not None:
        return False
    copy = Plan(
        id=new_id(Kind.PLAN),
        name=plan.name,
        lookup_key=plan.lookup_key,
        description=plan.description,
        display_order=plan.display_order,
        meta=checked_metadata(plan.meta | {PLAN_KEY: plan.id, ENVIRONMENT_KEY: source.environment_id}),
    )
    session.add(copy)
    await session.flush()
    for price in source.prices[plan.id]:
        different: dict[str, Any] = {
            "entity_id": copy.id,
            "lookup_key": price.lookup_key,
            "meter_id": await _meter(session, source, price.meter_id),
            "group_id": await _group(session, source, price.group_id),
            "price_unit_id": await _unit(session, source, price),
        }
        session.add(cloning.price_copy(price, **different))
    for entitlement in source.entitlements[plan.id]:
        feature = next((feature for feature in source.features if feature.id == entitlement.feature_id), None)
        twin = await _twin(session, Feature, feature, FEATURE_KEY) if feature is not None else None
        if twin is None:
            raise ValidationFailed.of("feature_id", f"the target has no feature in place of {entitlement.feature_id}")
        session.add(cloning.entitlement_copy(entitlement, entity_id=copy.id, feature_id=twin.id))
    await session.flush()
    await ports_of(session, CataloguePorts).copy_credit_grants(session, source.grants.get(plan.id, []), copy.id)
    return True


async def _meter(session: AsyncSession, source: _Source, meter_id: str | None) -> str | None:
    """The target's meter in place of one of the source: that of the feature which has its feature's key."""
    if meter_id is None:
        return None
    feature = source.feature_of_meter(meter_id)
    twin = await _twin(session, Feature, feature, FEATURE_KEY) if feature is not None else None
    if twin is None or twin.meter_id is None:
        raise ValidationFailed.of("meter_id", f"the target has no meter in place of {meter_id}")
    return twin.meter_id


async def _unit(session: AsyncSession, source: _Source, price: Price) -> str | None:
    """The target's unit with the code and worth that a price is quoted at."""
    if price.price_unit_id is None:
        return None
    unit = source.units[price.price_unit_id]
    query = select(PriceUnit.id).where(
        PriceUnit.code == unit.code,
        PriceUnit.status == Status.PUBLISHED,
        PriceUnit.base_currency == unit.base_currency,
        PriceUnit.conversion_rate == price.conversion_rate,
    )
    found = (await session.execute(query)).scalar_one_or_none()
    if found is None:
        raise ValidationFailed.of("price_unit", f"the target has no unit '{unit.code}' of the same worth")
    return found


async def _group(session: AsyncSession, source: _Source, group_id: str | None) -> str | None:
    """The target's group with the key of one of the source, made if need be. Raises ValidationFailed."""
    if group_id is None:
        return None
    group = source.groups[group_id]
    query = select(GroupRow).where(GroupRow.lookup_key == group.lookup_key, GroupRow.status == Status.PUBLISHED)
    twin = (await session.execute(query)).scalar_one_or_none()
    if twin is None:
        twin = GroupRow(
            id=new_id(Kind.GROUP),
            name=group.name,
            entity_type=group.entity_type,
            lookup_key=group.lookup_key,
            meta=group.meta,
        )
        session.add(twin)
        await session.flush()
    elif twin.entity_type is not group.entity_type:
        raise ValidationFailed.of("group_id", f"the target's group '{group.lookup_key}' is of another type")
    return twin.id
