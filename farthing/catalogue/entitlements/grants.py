"""Grants: time-boxed quotas that an entitlement hands out. Here is how one is configured, not how its windows open.

Rule: docs/rules/entitlements.md#grants
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any

from sqlalchemy import exists, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.entitlements.enums import AggregationMode, GrantAllocation, GrantDurationUnit, GrantMeasure
from farthing.catalogue.entitlements.tables import Entitlement
from farthing.catalogue.enums import PriceEntityType
from farthing.catalogue.prices.tables import Price
from farthing.catalogue.products.tables import Feature, MeterRow
from farthing.core.enums import Status
from farthing.core.errors import ValidationFailed
from farthing.metering.meter import AggregationType
from farthing.rating.pricing.price import BillingModel
from farthing.storage.postgres import clock_of


@dataclass(frozen=True, slots=True)
class QuotaGrant:
    """How quotas are handed out: `quota` per window of `duration_value` units, or per subscription period.

    Fields are named as on the wire, without `grant_`.
    """

    measure: GrantMeasure
    quota: Decimal
    duration_unit: GrantDurationUnit
    duration_value: int | None = None
    allocation_behavior: GrantAllocation = GrantAllocation.FIRST_USAGE


NAMES = tuple(field.name for field in fields(QuotaGrant))


def grant_of(entitlement: Entitlement) -> QuotaGrant | None:
    """The grant an entitlement is configured with, if any."""
    if entitlement.grant_measure is None:
        return None
    return QuotaGrant(**{name: getattr(entitlement, f"grant_{name}") for name in NAMES})


def effective_configuration(given: object, standing: QuotaGrant | None = None) -> QuotaGrant | None:
    """The grant that a request's `grant_` fields describe, on top of one that stands; None if there is neither.

    Raises ValidationFailed unless it is whole.
    """
    said: dict[str, Any] = {
        name: value for name in NAMES if (value := getattr(given, f"grant_{name}", None)) is not None
    }
    if not said:
        return standing
    if standing is not None:
        kept = {name: getattr(standing, name) for name in NAMES if getattr(standing, name) is not None}
        per_period = said.get("duration_unit") is GrantDurationUnit.SUBSCRIPTION_PERIOD
        if per_period and "duration_value" not in said:
            kept.pop("duration_value", None)
        if per_period and "allocation_behavior" not in said:
            kept.pop("allocation_behavior", None)
        said = kept | said
    for name in ("measure", "quota", "duration_unit"):
        if name not in said:
            raise ValidationFailed.of(f"grant_{name}", "is required when any grant field is given")
    grant = QuotaGrant(**said)
    if grant.duration_unit is GrantDurationUnit.SUBSCRIPTION_PERIOD:
        if grant.duration_value is not None:
            raise ValidationFailed.of("grant_duration_value", "must not be given with the unit subscription_period")
        if grant.allocation_behavior is GrantAllocation.UNIT_START:
            raise ValidationFailed.of(
                "grant_allocation_behavior", "unit_start must not be given with the unit subscription_period"
            )
    elif grant.duration_value is None:
        raise ValidationFailed.of("grant_duration_value", "is required, 1 or more")
    return grant


def configure(entitlement: Entitlement, grant: QuotaGrant | None, mode: AggregationMode) -> None:
    """Write a grant, or its absence, into an entitlement. Raises ValidationFailed for a parallel mode without grant."""
    if grant is None and mode is AggregationMode.PARALLEL:
        raise ValidationFailed.of("aggregation_mode", "parallel needs a grant")
    for name in NAMES:
        setattr(entitlement, f"grant_{name}", getattr(grant, name, None))
    entitlement.aggregation_mode = mode


def require_compatible(entitlements: Iterable[Entitlement]) -> None:
    """Refuse entitlements to one feature whose grants cannot stand side by side. Raises ValidationFailed.

    All have the same mode and measure (or none has a grant); additive ones also have the same duration, because their
    quotas become one window.
    """
    every = list(entitlements)
    grants = [grant_of(entitlement) for entitlement in every]
    if len({entitlement.aggregation_mode for entitlement in every}) > 1:
        raise ValidationFailed.of("aggregation_mode", "must be that of the feature's other entitlements")
    if len({grant.measure if grant else None for grant in grants}) > 1:
        raise ValidationFailed.of("grant_measure", "must be that of the feature's other grants")
    if not every or every[0].aggregation_mode is AggregationMode.PARALLEL:
        return
    for name in ("duration_unit", "duration_value"):
        if len({getattr(grant, name) for grant in grants if grant is not None}) > 1:
            raise ValidationFailed.of(f"grant_{name}", "must be that of the feature's other additive grants")


async def require_measurable(session: AsyncSession, grant: QuotaGrant, meter: MeterRow) -> None:
    """Refuse a grant on a meter whose usage cannot be cut into windows. Raises ValidationFailed."""
    if meter.aggregation_type == AggregationType.MAX:
        raise ValidationFailed.of("grant_measure", "a grant cannot be given on a MAX meter")
    if meter.bucket_size is not None:
        raise ValidationFailed.of("grant_measure", "a grant cannot be given on a bucketed meter")
    if meter.aggregation_type == AggregationType.WEIGHTED_SUM:
        if grant.measure is GrantMeasure.AMOUNT:
            raise ValidationFailed.of("grant_measure", "must be quantity on a WEIGHTED_SUM meter")
        if grant.duration_unit is not GrantDurationUnit.SUBSCRIPTION_PERIOD:
            raise ValidationFailed.of("grant_duration_unit", "must be subscription_period on a WEIGHTED_SUM meter")
    if grant.measure is GrantMeasure.AMOUNT and await _priced_in_tiers(session, meter.id):
        raise ValidationFailed.of("grant_measure", "amount cannot be granted on a meter that has a TIERED price")


async def _priced_in_tiers(session: AsyncSession, meter_id: str) -> bool:
    now = clock_of(session).now()
    tiered = select(Price.id).where(
        Price.meter_id == meter_id,
        Price.billing_model == BillingModel.TIERED,
        Price.entity_type != PriceEntityType.COSTSHEET,
        Price.status == Status.PUBLISHED,
        or_(Price.end_date.is_(None), Price.end_date > now),
    )
    return bool(await session.scalar(select(exists(tiered))))


async def grants_money(session: AsyncSession, meter_ids: Sequence[str]) -> bool:
    """Whether an entitlement grants money for usage of one of these meters."""
    granting = (
        select(Entitlement.id)
        .join(Feature, Feature.id == Entitlement.feature_id)
        .where(
            Feature.meter_id.in_(meter_ids),
            Entitlement.grant_measure == GrantMeasure.AMOUNT,
            Entitlement.status == Status.PUBLISHED,
        )
    )
    return bool(await session.scalar(select(exists(granting))))
