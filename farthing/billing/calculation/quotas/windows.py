"""Where the usage windows of an entitlement's grants begin and end. Pure.

A window is opened by usage that no window covers yet, or is the whole cycle. Which events were stored decides, never
when somebody looked: whoever asks later gets the same windows. One that was opened keeps its bounds and its quota.
Rule: docs/rules/entitlements.md#usage-windows
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from farthing.calendar.period import Period
from farthing.calendar.windows import WindowSize, window_start
from farthing.calendar.zones import first_instant_at, to_local, to_utc
from farthing.catalogue.entitlements.enums import AggregationMode, GrantAllocation, GrantDurationUnit, GrantMeasure
from farthing.core.clock import shifted
from farthing.core.money import exact_sum
from farthing.subscriptions.snapshot.entitlements import Entitled, FeatureEntitlement, GrantTerms, OpenedWindow

SHORTEST_REST = timedelta(hours=1)
"""What would be left of a cycle behind a window, if it is less, belongs to the window."""

_DAYS = {GrantDurationUnit.DAY: 1, GrantDurationUnit.WEEK: 7}
_SIZES = {
    GrantDurationUnit.HOUR: WindowSize.HOUR,
    GrantDurationUnit.DAY: WindowSize.DAY,
    GrantDurationUnit.WEEK: WindowSize.WEEK,
}


@dataclass(frozen=True, slots=True)
class QuotaSlot:
    """One sequence of windows with `quota` each, known by the entitlement with the lowest id that it was made of.

    `opened` are the windows that were opened before, in order.
    """

    entitlement_id: str
    measure: GrantMeasure
    quota: Decimal
    terms: GrantTerms
    opened: tuple[OpenedWindow, ...] = ()


def slots_of(entitlement: FeatureEntitlement, opened: Iterable[OpenedWindow] = ()) -> tuple[QuotaSlot, ...]:
    """The slots that an entitlement's grants make: one for all additive ones, whose quotas are added up, else one for
    each.

    The grant with the lowest id says what all measure, and how long the windows of additive ones are.
    """
    grants = sorted(entitlement.grants, key=lambda source: source.id)
    if not grants:
        return ()
    measure = _terms(grants[0]).measure
    counted = [source for source in grants if _terms(source).measure is measure]
    ours = [window for window in opened if window.feature_id == entitlement.feature_id and window.measure is measure]
    if entitlement.mode is AggregationMode.ADDITIVE:
        return (_slot(counted, ours),)
    by_id: dict[str, list[Entitled]] = {}
    for source in counted:
        by_id.setdefault(source.id, []).append(source)
    return tuple(
        _slot(sources, [window for window in ours if window.entitlement_id == entitlement_id])
        for entitlement_id, sources in by_id.items()
    )


def _slot(sources: Sequence[Entitled], opened: Sequence[OpenedWindow]) -> QuotaSlot:
    first = _terms(sources[0])
    quota = exact_sum([_terms(source).quota for source in sources])
    ordered = tuple(sorted(opened, key=lambda window: (window.start, window.id)))
    return QuotaSlot(sources[0].id, first.measure, quota, first, ordered)


def _terms(source: Entitled) -> GrantTerms:
    assert source.grant is not None, "only sources with a grant are asked"
    return source.grant


def window_opened_by(
    event: datetime,
    covered: datetime,
    cycle: Period,
    terms: GrantTerms,
    zone: ZoneInfo,
    following: datetime | None = None,
) -> Period | None:
    """The window that usage at `event` opens, when windows reach to `covered` so far; None when usage opens none.

    `covered` is at most `event`. `following` is where the next window begins that was opened before: usage that came
    late fills the time up to there.
    """
    if terms.unit is GrantDurationUnit.SUBSCRIPTION_PERIOD:
        return cycle
    if _end_of(cycle.start, terms, zone) >= cycle.end:
        return None
    start = event
    if terms.allocation is GrantAllocation.UNIT_START:
        start = max(covered, _stride_start(event, cycle.start, terms, zone))
    end = _end_of(start, terms, zone)
    if cycle.end - end < SHORTEST_REST:
        end = cycle.end
    return Period(start, end if following is None else min(end, following))


def _end_of(start: datetime, terms: GrantTerms, zone: ZoneInfo) -> datetime:
    """Hours are elapsed time; days and weeks end at the same time on the wall."""
    count = _count(terms)
    if terms.unit is GrantDurationUnit.HOUR:
        return shifted(start, timedelta(hours=count))
    return to_utc(shifted(to_local(start, zone), timedelta(days=count * _DAYS[terms.unit])), zone)


def _stride_start(event: datetime, cycle_start: datetime, terms: GrantTerms, zone: ZoneInfo) -> datetime:
    """Where the stride of units that holds `event` begins, counted from the unit that holds the cycle's start."""
    count = _count(terms)
    origin = window_start(cycle_start, _SIZES[terms.unit], zone)
    if terms.unit is GrantDurationUnit.HOUR:
        length = timedelta(hours=count)
        return origin + (event - origin) // length * length
    first = to_local(origin, zone).date()
    days = count * _DAYS[terms.unit]
    passed = (to_local(event, zone).date() - first).days // days * days
    return first_instant_at(datetime.combine(first + timedelta(days=passed), time.min), zone)


def _count(terms: GrantTerms) -> int:
    assert terms.value is not None, "the database promises a length for every unit but the period"
    return terms.value
