"""A usage charge above the quotas of grants: what must be counted for it, and what it comes to. Pure.

Rule: docs/rules/entitlements.md#grants
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from itertools import takewhile
from typing import Any

from farthing.billing.calculation.quotas.usage import ChargedSpan, ChargedUsage, QuotaQuestion, QuotaUsage, QuotaWindow
from farthing.billing.calculation.quotas.windows import QuotaSlot, slots_of
from farthing.calendar.period import Period
from farthing.catalogue.entitlements.enums import GrantDurationUnit, GrantMeasure
from farthing.core.clock import instant
from farthing.core.money import EXACT, ZERO, exact_sum, plain, round_to
from farthing.events.usage.stretch import Stretch
from farthing.metering.meter import AggregationType, Meter
from farthing.metering.quantity import FRACTION_DIGITS
from farthing.rating.pricing.breakdown import Breakdown, CostPart
from farthing.rating.pricing.cost import explain
from farthing.rating.pricing.price import RatedPrice
from farthing.subscriptions.snapshot.entitlements import FeatureEntitlement
from farthing.subscriptions.snapshot.service_periods import service_periods
from farthing.subscriptions.snapshot.values import SubscriptionSnapshot

StretchesOf = Callable[[datetime, datetime], tuple[Stretch, ...]]
"""Whose usage counts between two instants, and when."""


@dataclass(frozen=True, slots=True)
class OverQuota:
    """What a charge has over its quotas: billable units, what they cost, unrounded, and the windows behind it.

    `quotas` is how many stand side by side.
    """

    billable: Decimal
    breakdown: Breakdown
    measure: GrantMeasure
    quotas: int
    windows: tuple[QuotaWindow, ...]

    def facts(self, item_id: str) -> dict[str, Any]:
        """What a line keeps of it: how many windows there were, and each that is over its quota."""
        return {
            "measure": self.measure.value,
            "quotas": self.quotas,
            "windows": len(self.windows),
            "over": [
                {
                    "entitlement_id": window.entitlement_id,
                    "valid_from": instant(window.start),
                    "valid_to": instant(window.end),
                    "quota": plain(window.quota),
                    "usage": plain(window.usage),
                    "over": plain(amount),
                }
                for window in self.windows
                for charged_id, amount in window.over
                if charged_id == item_id
            ],
        }


def cycles_of(snapshot: SubscriptionSnapshot, window: Period) -> Iterator[Period]:
    """The billing periods that overlap `window`, whether or not the subscription's end cuts them."""
    for period in takewhile(lambda period: period.start < window.end, service_periods(snapshot)):
        if period.end > window.start:
            yield period


def quota_questions(
    snapshot: SubscriptionSnapshot,
    meter: Meter,
    entitlement: FeatureEntitlement,
    period: Period,
    stretches_of: StretchesOf,
) -> Iterator[QuotaQuestion]:
    """What must be counted to know what is over the quotas in `period`, cycle by cycle."""
    slots = slots_of(entitlement, snapshot.opened)
    spans = tuple(
        ChargedSpan(item.id, item.start, item.end, item.price)
        for item in snapshot.items
        if item.is_usage and item.meter_id == meter.id
    )
    for cycle in cycles_of(snapshot, period):
        until = min(period.end, cycle.end)
        yield QuotaQuestion(
            meter.id,
            stretches_of(cycle.start, until),
            cycle,
            cycle.start,
            max(period.start, cycle.start),
            until,
            snapshot.recurrence.zone,
            tuple(_in_cycle(slot, cycle) for slot in slots),
            tuple(span for span in spans if span.start < until and (span.end is None or span.end > cycle.start)),
        )


def _in_cycle(slot: QuotaSlot, cycle: Period) -> QuotaSlot:
    ours = tuple(window for window in slot.opened if cycle.contains(window.start))
    return QuotaSlot(slot.entitlement_id, slot.measure, slot.quota, slot.terms, ours)


def is_counted(entitlement: FeatureEntitlement, meter: Meter) -> bool:
    """Whether quotas are counted event by event; the mean level of a whole period is not."""
    units = {source.grant.unit for source in entitlement.grants if source.grant is not None}
    whole = units == {GrantDurationUnit.SUBSCRIPTION_PERIOD}
    return not (whole and meter.aggregation.type is AggregationType.WEIGHTED_SUM)


def over_quota(item_id: str, price: RatedPrice, slots: Sequence[QuotaSlot], counted: Iterable[QuotaUsage]) -> OverQuota:
    """What a line item has over its quotas in all cycles that were counted.

    Units over a quota of units are priced from zero; over a quota of money is the charge itself.
    """
    found = list(counted)
    windows = tuple(window for usage in found for window in usage.windows)
    total = exact_sum([amount for window in windows for charged_id, amount in window.over if charged_id == item_id])
    measure = slots[0].measure
    if measure is GrantMeasure.QUANTITY:
        return OverQuota(total, explain(price, total), measure, len(slots), windows)
    charged = [usage for each in found for charged_id, usage in each.charged if charged_id == item_id]
    billable = _units_of(total, charged)
    parts = (CostPart(Decimal(1), total),) if total else ()
    list_unit_amount = explain(price, billable).list_unit_amount
    return OverQuota(billable, Breakdown(billable, parts, list_unit_amount), measure, len(slots), windows)


def _units_of(amount: Decimal, charged: Sequence[ChargedUsage]) -> Decimal:
    """The share of the usage that an amount of what it costs stands for."""
    quantity = exact_sum([usage.quantity for usage in charged])
    cost = exact_sum([usage.cost for usage in charged])
    if cost <= 0 or quantity <= 0:
        return ZERO
    return round_to(Fraction(EXACT.multiply(quantity, amount)) / Fraction(cost), FRACTION_DIGITS)
