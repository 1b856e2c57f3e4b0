"""Features, meters and groups as they travel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.products.schemas import (
    AlertCondition,
    AlertThreshold,
    FeatureAlertSettings,
    FeatureResponse,
    GroupResponse,
    MeterAggregation,
    MeterFilterResponse,
    MeterResponse,
    ReportingUnit,
)
from farthing.catalogue.products.tables import Feature, GroupRow, MeterRow
from farthing.core.encoding.wire import json_number
from farthing.storage.queries.listing import by_id


def group_answer(group: GroupRow) -> GroupResponse:
    """A group."""
    return GroupResponse.of(group, entity_ids=[])


def meter_answer(meter: MeterRow) -> MeterResponse:
    """A meter."""
    return MeterResponse.of(
        meter,
        aggregation=MeterAggregation.of(meter, type=meter.aggregation_type),
        filters=[MeterFilterResponse(key=condition["key"], values=condition["values"]) for condition in meter.filters],
    )


def feature_answer(feature: Feature, meter: MeterRow | None = None, group: GroupRow | None = None) -> FeatureResponse:
    """A feature, with its meter and group if they are given."""
    return FeatureResponse.of(
        feature,
        meter_id=feature.meter_id or "",
        reporting_unit=_reporting_unit(feature),
        alert_settings=_alert_settings(feature),
        meter=meter_answer(meter) if meter else None,
        group=group_answer(group) if group else None,
    )


def _reporting_unit(feature: Feature) -> ReportingUnit | None:
    unit = feature.reporting_unit
    if unit is None:
        return None
    rate = json_number(Decimal(unit["conversion_rate"]))
    return ReportingUnit(unit_singular=unit["unit_singular"], unit_plural=unit["unit_plural"], conversion_rate=rate)


def _alert_settings(feature: Feature) -> FeatureAlertSettings | None:
    settings = feature.alert_settings
    if settings is None:
        return None

    def threshold(level: str) -> AlertThreshold | None:
        setting = settings.get(level)
        return setting and AlertThreshold(
            threshold=setting["threshold"], condition=AlertCondition(setting["condition"])
        )

    return FeatureAlertSettings(
        alert_enabled=settings["alert_enabled"],
        critical=threshold("critical"),
        warning=threshold("warning"),
        info=threshold("info"),
    )


async def meters_by_id(session: AsyncSession, ids: Iterable[str | None]) -> dict[str, MeterRow]:
    """The meters with these ids, in one query."""
    wanted = {meter_id for meter_id in ids if meter_id}
    return by_id((await session.scalars(select(MeterRow).where(MeterRow.id.in_(wanted)))).all()) if wanted else {}


async def groups_by_id(session: AsyncSession, ids: Iterable[str | None]) -> dict[str, GroupRow]:
    """The groups with these ids, in one query."""
    wanted = {group_id for group_id in ids if group_id}
    return by_id((await session.scalars(select(GroupRow).where(GroupRow.id.in_(wanted)))).all()) if wanted else {}


async def feature_answers(
    session: AsyncSession, features: Sequence[Feature], *, meters: bool = False, groups: bool = False
) -> list[FeatureResponse]:
    """Features with what is asked for, one query per kind."""
    found_meters = await meters_by_id(session, (feature.meter_id for feature in features)) if meters else {}
    found_groups = await groups_by_id(session, (feature.group_id for feature in features)) if groups else {}
    return [
        feature_answer(feature, found_meters.get(feature.meter_id or ""), found_groups.get(feature.group_id or ""))
        for feature in features
    ]
