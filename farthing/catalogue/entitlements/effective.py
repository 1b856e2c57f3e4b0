"""What a subscription's customer may use: entitlements of plan, addons and subscription, merged per feature. Pure.

Rule: docs/rules/entitlements.md#effective-entitlements
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from farthing.calendar.period import Period
from farthing.catalogue.entitlements.enums import AggregationMode, EntitlementOwner, UsageResetPeriod
from farthing.catalogue.products.enums import FeatureType
from farthing.core.enums import Status

_ORDER = {EntitlementOwner.SUBSCRIPTION: 0, EntitlementOwner.PLAN: 1, EntitlementOwner.ADDON: 2}


class EntitlementTerms(Protocol):
    """What the rule reads of an entitlement, whether it is a row or a value."""

    @property
    def id(self) -> str: ...
    @property
    def entity_type(self) -> EntitlementOwner: ...
    @property
    def feature_id(self) -> str: ...
    @property
    def feature_type(self) -> FeatureType: ...
    @property
    def is_enabled(self) -> bool: ...
    @property
    def usage_limit(self) -> int | None: ...
    @property
    def usage_reset_period(self) -> UsageResetPeriod: ...
    @property
    def is_soft_limit(self) -> bool: ...
    @property
    def static_value(self) -> str: ...
    @property
    def config_value(self) -> Mapping[str, Any] | None: ...
    @property
    def aggregation_mode(self) -> AggregationMode: ...
    @property
    def parent_entitlement_id(self) -> str | None: ...
    @property
    def start_date(self) -> datetime | None: ...
    @property
    def end_date(self) -> datetime | None: ...
    @property
    def status(self) -> Status: ...


Source = TypeVar("Source", bound=EntitlementTerms)


@dataclass(frozen=True, slots=True)
class EffectiveEntitlement(Generic[Source]):
    """What holds for one feature. `sources` are the entitlements it was made of, an addon's once per association.

    `usage_limit` None is unlimited, and means something for metered features alone, like the soft flag and the reset
    period. With mode parallel each source is a quota of its own.
    """

    feature_id: str
    feature_type: FeatureType
    sources: tuple[Source, ...]
    usage_limit: int | None = None
    is_soft_limit: bool = False
    usage_reset_period: UsageResetPeriod = UsageResetPeriod.BILLING_PERIOD
    static_values: tuple[str, ...] = ()
    config_values: tuple[Mapping[str, Any], ...] = ()
    aggregation_mode: AggregationMode = AggregationMode.ADDITIVE


def effective_entitlements(
    plan: Sequence[Source],
    addons: Sequence[Sequence[Source]],
    subscription: Sequence[Source],
    period: Period,
) -> list[EffectiveEntitlement[Source]]:
    """What holds for each feature during `period`, in the order in which features first appear.

    `addons` has one sequence per association that overlaps the period, so two instances of an addon count twice. A
    subscription's entitlement that names a parent stands in for it, everywhere it occurs. Archived and disabled
    entitlements do not count. `period` is the current one for views and the invoice's for billing.
    """
    own = [
        entitlement
        for entitlement in subscription
        if entitlement.status is Status.PUBLISHED and _overlaps(entitlement, period)
    ]
    replaced = {entitlement.parent_entitlement_id for entitlement in own if entitlement.parent_entitlement_id}
    inherited = [entitlement for group in (plan, *addons) for entitlement in group]
    standing = [
        entitlement
        for entitlement in inherited
        if entitlement.status is Status.PUBLISHED and entitlement.id not in replaced
    ]
    by_feature: dict[str, list[Source]] = {}
    for entitlement in (*standing, *own):
        if entitlement.is_enabled:
            by_feature.setdefault(entitlement.feature_id, []).append(entitlement)
    return [merged(sources) for sources in by_feature.values()]


def _overlaps(entitlement: EntitlementTerms, period: Period) -> bool:
    start, end = entitlement.start_date, entitlement.end_date
    return (start is None or start < period.end) and (end is None or end > period.start)


def merged(sources: Sequence[Source]) -> EffectiveEntitlement[Source]:
    """Enabled entitlements to one feature as one; there must be at least one."""
    first = sources[0]
    plain = EffectiveEntitlement(first.feature_id, first.feature_type, tuple(sources))
    match first.feature_type:
        case FeatureType.BOOLEAN:
            return plain
        case FeatureType.STATIC:
            return replace(
                plain, static_values=tuple(dict.fromkeys(entitlement.static_value for entitlement in sources))
            )
        case FeatureType.CONFIG:
            return replace(plain, config_values=tuple(entitlement.config_value or {} for entitlement in sources))
        case FeatureType.METERED:
            parallel = any(entitlement.aggregation_mode is AggregationMode.PARALLEL for entitlement in sources)
            return replace(
                plain,
                usage_limit=summed_limit([entitlement.usage_limit for entitlement in sources]),
                is_soft_limit=any(entitlement.is_soft_limit for entitlement in sources),
                usage_reset_period=_prevailing_reset(sources),
                aggregation_mode=AggregationMode.PARALLEL if parallel else AggregationMode.ADDITIVE,
            )


def summed_limit(limits: Sequence[int | None]) -> int | None:
    """The sum; None, unlimited, if any is."""
    known = [limit for limit in limits if limit is not None]
    return sum(known) if len(known) == len(limits) else None


def _prevailing_reset(sources: Sequence[EntitlementTerms]) -> UsageResetPeriod:
    """The most frequent reset period; of several, the one that a subscription, else a plan, else an addon has first."""
    counts = Counter(entitlement.usage_reset_period for entitlement in sources)
    most = max(counts.values())
    ordered = sorted(sources, key=lambda entitlement: (_ORDER[entitlement.entity_type], entitlement.id))
    return next(
        entitlement.usage_reset_period for entitlement in ordered if counts[entitlement.usage_reset_period] == most
    )
