"""Features: made with their meters, relabelled, copied, archived. Each change tells what happened."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue import in_use
from farthing.catalogue.fields import require_published
from farthing.catalogue.ports import CataloguePorts
from farthing.catalogue.products import alerts, groups, meters
from farthing.catalogue.products.enums import FeatureType, GroupEntityType
from farthing.catalogue.products.schemas import (
    CloneFeatureRequest,
    CreateFeatureRequest,
    FeatureQuery,
    ReportingUnitRequest,
    UpdateFeatureRequest,
)
from farthing.catalogue.products.tables import Feature, MeterRow
from farthing.core.encoding.wire import checked_metadata
from farthing.core.enums import Status
from farthing.core.errors import AlreadyExists, ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.core.money import plain
from farthing.storage.postgres import ports_of
from farthing.storage.queries.listing import PageStatements, one_of, page_statements
from farthing.storage.queries.rows import find, lock_row, violated
from farthing.storage.record.outbox import record_event

SOURCE_KEY = "source_feature_id"
"""The metadata key of a copy that names what it was copied from."""

SEARCHABLE = (
    "id",
    "name",
    "lookup_key",
    "description",
    "type",
    "meter_id",
    "group_id",
    "unit_singular",
    "unit_plural",
    "status",
    "created_at",
    "updated_at",
)
_OTHER_THAN_WORDS = re.compile(r"[^a-z0-9]+")


def default_key(name: str) -> str:
    """A lookup key made of a name: `"API Calls (v2)!"` is `api_calls_v2`; "" when nothing is left."""
    return _OTHER_THAN_WORDS.sub("_", name.lower()).strip("_")


async def create(session: AsyncSession, request: CreateFeatureRequest) -> Feature:
    """Insert a feature, and its meter if it brings one.

    Raises ValidationFailed, AlreadyExists for a taken key, NotFound for an unknown meter.
    """
    lookup_key = request.lookup_key or default_key(request.name)
    if not lookup_key:
        raise ValidationFailed.of("lookup_key", "is required, since the name has no letter or digit to make one of")
    feature = Feature(
        id=new_id(Kind.FEATURE),
        name=request.name,
        lookup_key=lookup_key,
        type=request.type,
        description=request.description or "",
        unit_singular=request.unit_singular or "",
        unit_plural=request.unit_plural or "",
        reporting_unit=_reporting_unit(request.reporting_unit),
        alert_settings=alerts.settled(None, request.alert_settings) if request.alert_settings else None,
        group_id=await groups.lock_group_for_member(session, request.group_id, GroupEntityType.FEATURE),
        meta=request.metadata or {},
    )
    _check_units(feature)
    if feature.type is FeatureType.METERED:
        feature.meter_id = await _meter(session, request)
    elif request.meter_id:
        await find(session, MeterRow, request.meter_id)  # it is not used, but what a request names has to exist
    async with _refusing_duplicates(session, feature):
        session.add(feature)
    await announce(session, "feature.created", feature)
    return feature


async def _meter(session: AsyncSession, request: CreateFeatureRequest) -> str:
    if request.meter_id:
        meter = await lock_row(session, MeterRow, request.meter_id)
        require_published(meter)
        return meter.id
    assert request.meter is not None, "the request was checked"
    return (await meters.create(session, request.meter)).id


async def update(session: AsyncSession, feature_id: str, request: UpdateFeatureRequest) -> Feature:
    """Change what `request` names; filters widen the feature's meter.

    Raises NotFound, ValidationFailed, InvalidOperation on an archived feature.
    """
    # before the feature, as the deletion of a group locks the group before its members
    group_id = await groups.lock_group_for_member(session, request.group_id, GroupEntityType.FEATURE)
    feature = await lock_row(session, Feature, feature_id)
    require_published(feature)
    for name in ("name", "description", "unit_singular", "unit_plural"):
        value = getattr(request, name)
        if value is not None:
            setattr(feature, name, value)
    _check_units(feature)
    if request.metadata is not None:
        feature.meta = request.metadata
    if request.reporting_unit is not None:
        feature.reporting_unit = _reporting_unit(request.reporting_unit)
    if request.alert_settings is not None:
        feature.alert_settings = alerts.settled(feature.alert_settings, request.alert_settings)
    if request.group_id is not None:
        feature.group_id = group_id
    if request.filters:
        if feature.meter_id is None:
            raise ValidationFailed.of("filters", f"a {feature.type.value} feature has no meter")
        await meters.widen(session, feature.meter_id, request.filters)
    await session.flush()
    await announce(session, "feature.updated", feature)
    return feature


async def archive(session: AsyncSession, feature_id: str) -> Feature:
    """Archive a feature and disable its meter.

    Raises InvalidOperation while a plan includes it or a price charges by it.
    Rule: docs/rules/catalogue.md#what-may-change-once-used
    """
    feature = await lock_row(session, Feature, feature_id)
    require_published(feature)
    counts = (ports_of(session, CataloguePorts).count_entitlements_of_feature,)
    await in_use.refuse_if_used(session, counts, Feature.label, feature.id)
    if feature.meter_id is not None:
        meter = await find(session, MeterRow, feature.meter_id)
        if meter.status is Status.PUBLISHED:
            await meters.disable(session, meter.id)
    feature.status = Status.ARCHIVED
    await session.flush()
    await announce(session, "feature.deleted", feature)
    return feature


async def clone(session: AsyncSession, feature_id: str, request: CloneFeatureRequest) -> Feature:
    """A copy with a meter of its own. Raises NotFound, AlreadyExists for a taken key."""
    source = await find(session, Feature, feature_id)
    feature = Feature(
        id=new_id(Kind.FEATURE),
        name=request.name,
        lookup_key=request.lookup_key,
        description=source.description if request.description is None else request.description,
        type=source.type,
        unit_singular=source.unit_singular,
        unit_plural=source.unit_plural,
        reporting_unit=source.reporting_unit,
        alert_settings=source.alert_settings,
        group_id=source.group_id,
        meta=checked_metadata({**source.meta, **(request.metadata or {}), SOURCE_KEY: source.id}),
    )
    if source.meter_id is not None:
        feature.meter_id = (await meters.copy(session, await find(session, MeterRow, source.meter_id))).id
    async with _refusing_duplicates(session, feature):
        session.add(feature)
    await announce(session, "feature.created", feature)
    return feature


def page_of_features(query: FeatureQuery) -> PageStatements:
    """One page of features and the count of all that match; archived ones too unless a status is asked for."""
    statement = select(Feature)
    if query.feature_ids:
        statement = statement.where(one_of(Feature.id, query.feature_ids))
    if query.meter_ids:
        statement = statement.where(one_of(Feature.meter_id, query.meter_ids))
    if query.lookup_key:
        statement = statement.where(Feature.lookup_key == query.lookup_key)
    if query.lookup_keys:
        statement = statement.where(one_of(Feature.lookup_key, query.lookup_keys))
    if query.name_contains:
        statement = statement.where(Feature.name.icontains(query.name_contains, autoescape=True))
    both = (Status.PUBLISHED, Status.ARCHIVED)
    return page_statements(Feature, query, SEARCHABLE, statement, statuses=both)


def _reporting_unit(request: ReportingUnitRequest | None) -> dict[str, Any] | None:
    if request is None:
        return None
    return {
        "unit_singular": request.unit_singular,
        "unit_plural": request.unit_plural,
        "conversion_rate": plain(request.conversion_rate),
    }


def _check_units(feature: Feature) -> None:
    if bool(feature.unit_singular) != bool(feature.unit_plural):
        missing = "unit_plural" if feature.unit_singular else "unit_singular"
        raise ValidationFailed.of(missing, "unit_singular and unit_plural must be given together")


@asynccontextmanager
async def _refusing_duplicates(session: AsyncSession, feature: Feature) -> AsyncIterator[None]:
    try:
        async with session.begin_nested():
            yield
    except IntegrityError as error:
        match violated(error):
            case "uq_features_lookup_key":
                raise AlreadyExists(
                    f"A feature with the lookup key '{feature.lookup_key}' exists", {"lookup_key": feature.lookup_key}
                ) from error
            case "uq_features_meter":
                raise ValidationFailed.of("meter_id", "already has a feature; a meter has at most one") from error
            case _:
                raise


async def announce(session: AsyncSession, event: str, feature: Feature) -> None:
    """Tell what happened to a feature."""
    optional = {
        "description": feature.description,
        "unit_singular": feature.unit_singular,
        "unit_plural": feature.unit_plural,
        "meter_id": feature.meter_id,
        "group_id": feature.group_id,
        "metadata": feature.meta,
    }
    about = {
        "id": feature.id,
        "name": feature.name,
        "lookup_key": feature.lookup_key,
        "type": feature.type.value,
        **{name: value for name, value in optional.items() if value},
    }
    await record_event(session, event, "feature", feature.id, {"feature": about})
