"""What a subscription's customer may use: entitlements of plan, addons and subscription, merged per feature. Pure.

Rule: docs/rules/entitlements.md#effective-entitlements
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from farthing.calendar.period import Period
from farthing.catalogue.entitlements.tables import AggregationMode, Entitlement, EntitlementOwner, UsageResetPeriod
from farthing.catalogue.products.tables import FeatureType
from farthing.core.enums import Status

_ORDER = {EntitlementOwner.SUBSCRIPTION: 0, EntitlementOwner.PLAN: 1, EntitlementOwner.ADDON: 2}


@dataclass(frozen=True, slots=True)
class EffectiveEntitlement:
    """What holds for one feature. `sources` are the entitlements it was made of, an addon's once per association.

    `usage_limit` None is unlimited, and means something for metered features alone, like the soft flag and the reset
    period. With mode parallel each source is a quota of its own.
    """

    feature_id: str
    feature_type: FeatureType
    sources: tuple[Entitlement, ...]
    usage_limit: int | None = None
    is_soft_limit: bool = False
    usage_reset_period: UsageResetPeriod = UsageResetPeriod.BILLING_PERIOD
    static_values: tuple[str, ...] = ()
    config_values: tuple[Mapping[str, Any], ...] = ()
    aggregation_mode: AggregationMode = AggregationMode.ADDITIVE


def effective_entitlements(
    plan: Sequence[Entitlement],
    addons: Sequence[Sequence[Entitlement]],
    subscription: Sequence[Entitlement],
    period: Period,
) -> list[EffectiveEntitlement]:
    """What holds for each feature during `period`, in the order in which features first appear.

    `addons` has one sequence per association that overlaps the period, so two instances of an addon count twice. A
    subscription's entitlement that names a parent stands in for it, everywhere it occurs. Archived and disabled
    entitlements do not count. `period` is the current one for views and the invoice's for billing.
    """
    own = [one for one in subscription if one.status is Status.PUBLISHED and _overlaps(one, period)]
    replaced = {one.parent_entitlement_id for one in own if one.parent_entitlement_id}
    inherited = [one for group in (plan, *addons) for one in group]
    standing = [one for one in inherited if one.status is Status.PUBLISHED and one.id not in replaced]
    by_feature: dict[str, list[Entitlement]] = {}
    for one in (*standing, *own):
        if one.is_enabled:
            by_feature.setdefault(one.feature_id, []).append(one)
    return [merged(sources) for sources in by_feature.values()]


def _overlaps(entitlement: Entitlement, period: Period) -> bool:
    start, end = entitlement.start_date, entitlement.end_date
    return (start is None or start < period.end) and (end is None or end > period.start)


def merged(sources: Sequence[Entitlement]) -> EffectiveEntitlement:
    """Enabled entitlements to one feature as one; there must be at least one."""
    first = sources[0]
    plain = EffectiveEntitlement(first.feature_id, first.feature_type, tuple(sources))
    match first.feature_type:
        case FeatureType.BOOLEAN:
            return plain
        case FeatureType.STATIC:
            return replace(plain, static_values=tuple(dict.fromkeys(one.static_value for one in sources)))
        case FeatureType.CONFIG:
            return replace(plain, config_values=tuple(one.config_value or {} for one in sources))
        case FeatureType.METERED:
            parallel = any(one.aggregation_mode is AggregationMode.PARALLEL for one in sources)
            return replace(
                plain,
                usage_limit=summed_limit([one.usage_limit for one in sources]),
                is_soft_limit=any(one.is_soft_limit for one in sources),
                usage_reset_period=_prevailing_reset(sources),
                aggregation_mode=AggregationMode.PARALLEL if parallel else AggregationMode.ADDITIVE,
            )


def summed_limit(limits: Sequence[int | None]) -> int | None:
    """The sum; None, unlimited, if any is."""
    known = [limit for limit in limits if limit is not None]
    return sum(known) if len(known) == len(limits) else None


def _prevailing_reset(sources: Sequence[Entitlement]) -> UsageResetPeriod:
    """The most frequent reset period; of several, the one that a subscription, else a plan, else an addon has first."""
    counts = Counter(one.usage_reset_period for one in sources)
    most = max(counts.values())
    ordered = sorted(sources, key=lambda one: (_ORDER[one.entity_type], one.id))
    return next(one.usage_reset_period for one in ordered if counts[one.usage_reset_period] == most)
