"""What a subscription includes, computed: entitlements of its plan, its addons and its own, overridden and merged.

Pure. Rule: catalogue, "effective entitlements of a subscription".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from farthing.calendar.period import Period
from farthing.calendar.recurring import UsageReset
from farthing.catalogue.entitlements.tables import AggregationMode, EntitlementOwner, GrantDurationUnit, GrantMeasure
from farthing.catalogue.entitlements.tables import GrantAllocation as Allocation
from farthing.catalogue.products.tables import FeatureType


@dataclass(frozen=True, slots=True)
class GrantTerms:
    """A time-boxed quota: `quota` units or money for each window of `value` `unit`s."""

    measure: GrantMeasure
    quota: Decimal
    unit: GrantDurationUnit
    value: int | None
    allocation: Allocation


@dataclass(frozen=True, slots=True)
class Entitled:
    """One entitlement as one subscription has it, in `[start, end)`; None is open.

    An addon attached twice gives each of its entitlements twice, with different `association_id`s. `overrides` is the
    id of the entitlement that this one, the subscription's own, stands in for. `limit` None is unlimited.
    """

    entitlement_id: str
    owner: EntitlementOwner
    owner_id: str
    feature_id: str
    feature_type: FeatureType
    meter_id: str | None
    enabled: bool
    limit: Decimal | None
    reset: UsageReset | None
    soft: bool
    static_value: str
    config_value: Mapping[str, Any] | None
    mode: AggregationMode
    grant: GrantTerms | None
    overrides: str | None = None
    association_id: str | None = None
    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True, slots=True)
class FeatureEntitlement:
    """What all entitlements to one feature come to; `sources` are those that count, plan first, then addons, then own.

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


_OWNERS = (EntitlementOwner.PLAN, EntitlementOwner.ADDON, EntitlementOwner.SUBSCRIPTION)
_TIES = (EntitlementOwner.SUBSCRIPTION, EntitlementOwner.PLAN, EntitlementOwner.ADDON)


def in_force(entitled: Iterable[Entitled], period: Period) -> list[Entitled]:
    """Those that overlap `period`, without those an overlapping one of the subscription stands in for, enabled."""
    overlapping = [
        one
        for one in entitled
        if (one.start is None or one.start < period.end) and (one.end is None or one.end > period.start)
    ]
    replaced = {one.overrides for one in overlapping if one.overrides is not None}
    kept = [one for one in overlapping if one.enabled and one.entitlement_id not in replaced]
    return sorted(kept, key=lambda one: (_OWNERS.index(one.owner), one.entitlement_id, one.association_id or ""))


def effective(entitled: Iterable[Entitled], period: Period) -> dict[str, FeatureEntitlement]:
    """What each feature comes to in `period`, by feature id."""
    by_feature: dict[str, list[Entitled]] = {}
    for one in in_force(entitled, period):
        by_feature.setdefault(one.feature_id, []).append(one)
    return {feature_id: merged(sources) for feature_id, sources in by_feature.items()}


def by_meter(entitled: Iterable[Entitled], period: Period) -> dict[str, FeatureEntitlement]:
    """What the metered features come to in `period`, by the id of the meter they count: what billing asks for."""
    return {found.meter_id: found for found in effective(entitled, period).values() if found.meter_id is not None}


def merged(sources: Sequence[Entitled]) -> FeatureEntitlement:
    """The one answer of several entitlements to one feature. At least one is needed."""
    first = sources[0]
    limits = [source.limit for source in sources]
    bounded = [limit for limit in limits if limit is not None]
    return FeatureEntitlement(
        feature_id=first.feature_id,
        feature_type=first.feature_type,
        meter_id=first.meter_id,
        limit=sum(bounded, Decimal(0)) if len(bounded) == len(limits) else None,
        reset=_most_frequent(sources),
        soft=any(source.soft for source in sources),
        static_values=tuple(dict.fromkeys(source.static_value for source in sources if source.static_value)),
        config_values=tuple(source.config_value for source in sources if source.config_value is not None),
        mode=first.mode,
        sources=tuple(sources),
    )


def _most_frequent(sources: Sequence[Entitled]) -> UsageReset | None:
    """The reset period most of them have; a tie goes to the subscription's, the plan's, an addon's, then lowest id."""
    counted = Counter(source.reset for source in sources)
    most = max(counted.values())
    ranked = sorted(sources, key=lambda one: (_TIES.index(one.owner), one.entitlement_id))
    return next(source.reset for source in ranked if counted[source.reset] == most)
