"""What a subscription includes: the entitlements of its plan, its addons and its own, as values.

Pure. How they override one another and merge is the catalogue's one rule (`effective_entitlements`); here is which of
them a subscription has, and when.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from farthing.calendar.period import Period
from farthing.calendar.recurring import UsageReset
from farthing.catalogue.entitlements.effective import EffectiveEntitlement, effective_entitlements, merged
from farthing.catalogue.entitlements.enums import (
    AggregationMode,
    EntitlementOwner,
    GrantAllocation,
    GrantDurationUnit,
    GrantMeasure,
    UsageResetPeriod,
)
from farthing.catalogue.products.enums import FeatureType
from farthing.core.enums import Status


@dataclass(frozen=True, slots=True)
class GrantTerms:
    """A time-boxed quota: `quota` units or money for each window of `value` `unit`s."""

    measure: GrantMeasure
    quota: Decimal
    unit: GrantDurationUnit
    value: int | None
    allocation: GrantAllocation


@dataclass(frozen=True, slots=True)
class OpenedWindow:
    """A usage window that was opened: it keeps its bounds and its quota, whatever becomes of the entitlement.

    `crossed_at` is when its quota was found used up.
    """

    id: str
    entitlement_id: str
    feature_id: str
    measure: GrantMeasure
    unit: GrantDurationUnit
    quota: Decimal
    start: datetime
    end: datetime
    crossed_at: datetime | None = None
    computed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Entitled:
    """One entitlement as one subscription has it, in `[start_date, end_date)`; None is open.

    Named like the columns of `Entitlement`, frozen. An addon attached twice gives each of its entitlements twice, with
    different `association_id`s and the association's dates. `usage_limit` None is unlimited.
    """

    id: str
    entity_type: EntitlementOwner
    entity_id: str
    feature_id: str
    feature_type: FeatureType
    meter_id: str | None = None
    is_enabled: bool = True
    usage_limit: int | None = None
    usage_reset_period: UsageResetPeriod = UsageResetPeriod.BILLING_PERIOD
    is_soft_limit: bool = False
    static_value: str = ""
    config_value: Mapping[str, Any] | None = None
    aggregation_mode: AggregationMode = AggregationMode.ADDITIVE
    grant: GrantTerms | None = None
    parent_entitlement_id: str | None = None
    association_id: str | None = None
    start_date: datetime | None = None
    end_date: datetime | None = None
    status: Status = Status.PUBLISHED


@dataclass(frozen=True, slots=True)
class FeatureEntitlement:
    """What all entitlements to one feature come to; `sources` are those that count: plan, addons, own.

    `limit` None on a metered feature is unlimited. `reset` None is the billing period.
    """

    feature_id: str
    feature_type: FeatureType
    meter_id: str | None
    limit: Decimal | None
    reset: UsageReset | None
    soft: bool
    static_values: tuple[str, ...]
    config_values: tuple[Mapping[str, Any], ...]
    mode: AggregationMode
    sources: tuple[Entitled, ...]

    @property
    def grants(self) -> tuple[Entitled, ...]:
        """The sources with a time-boxed quota; where there are any, they replace the limit."""
        return tuple(source for source in self.sources if source.grant is not None)


def effective(entitled: Iterable[Entitled], period: Period) -> dict[str, FeatureEntitlement]:
    """What each feature comes to in `period`, by feature id.

    Rule: docs/rules/entitlements.md#effective-entitlements
    """
    owned: dict[EntitlementOwner, list[Entitled]] = {owner: [] for owner in EntitlementOwner}
    for entitlement in entitled:
        owned[entitlement.entity_type].append(entitlement)
    attached: dict[str, list[Entitled]] = {}
    for entitlement in owned[EntitlementOwner.ADDON]:
        if (entitlement.start_date is None or entitlement.start_date < period.end) and (
            entitlement.end_date is None or entitlement.end_date > period.start
        ):
            attached.setdefault(entitlement.association_id or entitlement.entity_id, []).append(entitlement)
    found = effective_entitlements(
        owned[EntitlementOwner.PLAN],
        list(attached.values()),
        owned[EntitlementOwner.SUBSCRIPTION],
        period,
    )
    return {feature.feature_id: _valued(feature) for feature in found}


def combined(found: Iterable[Mapping[str, FeatureEntitlement]]) -> dict[str, FeatureEntitlement]:
    """What several subscriptions include together, by feature id: all their sources as if they were one's."""
    sources: dict[str, list[Entitled]] = {}
    for each in found:
        for feature_id, entitlement in each.items():
            sources.setdefault(feature_id, []).extend(entitlement.sources)
    return {feature_id: _valued(merged(those)) for feature_id, those in sources.items()}


def _valued(feature: EffectiveEntitlement[Entitled]) -> FeatureEntitlement:
    metered = feature.feature_type is FeatureType.METERED
    return FeatureEntitlement(
        feature_id=feature.feature_id,
        feature_type=feature.feature_type,
        meter_id=feature.sources[0].meter_id,
        limit=Decimal(feature.usage_limit) if metered and feature.usage_limit is not None else None,
        reset=UsageReset(feature.usage_reset_period.value) if feature.usage_reset_period else None,
        soft=feature.is_soft_limit,
        static_values=feature.static_values,
        config_values=feature.config_values,
        mode=feature.aggregation_mode,
        sources=feature.sources,
    )


def go_together(entitlement: Entitled, other: Entitled) -> bool:
    """Whether the grants of two entitlements to a feature may stand in one subscription: all measure the same, in one
    mode, and those that add up are of one duration.

    Rule: docs/rules/entitlements.md#grants
    """
    terms, others = entitlement.grant, other.grant
    if terms is None or others is None:
        return True
    mode = entitlement.aggregation_mode
    if terms.measure is not others.measure or mode is not other.aggregation_mode:
        return False
    return mode is AggregationMode.PARALLEL or (terms.unit, terms.value) == (others.unit, others.value)


def by_meter(entitled: Iterable[Entitled], period: Period) -> dict[str, FeatureEntitlement]:
    """What the metered features come to in `period`, by the id of the meter they count: what billing asks for."""
    return {found.meter_id: found for found in effective(entitled, period).values() if found.meter_id is not None}
