"""Entitlement allowances: how much of the usage is billed.

The free part does not consume tiers or packages: what is billable is priced from zero. Soft and hard limits bill
alike.
Rule: docs/rules/entitlements.md#allowance
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from farthing.core.money import EXACT, ZERO, exact_sum


@dataclass(frozen=True, slots=True)
class ResetWindow:
    """A meter's usage in one reset window of an allowance, as far as one charge covers it.

    `used` runs to the end of the charge (or of the window, if earlier), `used_before` to the charge's start; both
    from the window's own start for meters whose usage adds up (COUNT, SUM, SUM_WITH_MULTIPLIER, COUNT_UNIQUE), so
    that an allowance is used up once, in time order. A level (AVG, MAX, LATEST, WEIGHTED_SUM) has no stock: `used` is
    its value over the charge, `used_before` 0.
    """

    used: Decimal
    used_before: Decimal = ZERO

    def __post_init__(self) -> None:
        if not 0 <= self.used_before <= self.used:
            raise ValueError(f"usage cannot shrink within a window, from {self.used_before} to {self.used}")


def billable_quantity(windows: Iterable[ResetWindow], limit: Decimal | None) -> Decimal:
    """What is billed of the usage in these reset windows when each grants `limit`; None is unlimited, so 0."""
    if limit is None:
        return ZERO
    return exact_sum([EXACT.subtract(over(window.used, limit), over(window.used_before, limit)) for window in windows])


def billable_buckets(values: Sequence[Decimal], limit: Decimal | None, used_before: Decimal = ZERO) -> list[Decimal]:
    """What is billed of each bucket when one reset window's allowance is used up bucket by bucket, in time order.

    `values` are the buckets whose start lies in the window, earliest first, each then priced on its own;
    `used_before` is what the window had used before the first of them. None is unlimited: every bucket is free.
    Rule: docs/rules/pricing.md#buckets-and-groups
    """
    if limit is None:
        return [ZERO for _ in values]
    free = over(limit, used_before)
    billable = []
    for value in values:
        covered = min(value, free)
        billable.append(EXACT.subtract(value, covered))
        free = EXACT.subtract(free, covered)
    return billable


def grant_overage(windows: Iterable[tuple[Decimal, Decimal]]) -> Decimal:
    """Usage above quota over the (usage, quota) pairs of one grant's windows.

    Rule: docs/rules/entitlements.md#grants
    """
    return exact_sum([over(usage, quota) for usage, quota in windows])


def over(usage: Decimal, limit: Decimal) -> Decimal:
    """`usage` above `limit`, at least 0."""
    return max(EXACT.subtract(usage, limit), ZERO)


def covered_quantity(usage: Decimal, billable: Decimal) -> Decimal:
    """What the allowance covered of the raw usage; the invoice line's adjusted entitlement quantity."""
    return over(usage, billable)
