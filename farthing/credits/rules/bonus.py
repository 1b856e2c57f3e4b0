"""Bonus credits: what comes on top of credits that are bought, by the size of the purchase."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from farthing.calendar.billing import add_months
from farthing.core.money import ZERO, round_to
from farthing.credits.rules.conversion import SCALE

_MONTHS_OF_A_YEAR = 12


class BonusKind(StrEnum):
    FLAT = "flat"
    PERCENTAGE = "percentage"


class BonusDurationUnit(StrEnum):
    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"
    YEAR = "YEAR"


@dataclass(frozen=True, slots=True)
class Slab:
    """Purchases of at least `threshold` credits bring `value` credits, or `value` percent of what is bought."""

    threshold: Decimal
    kind: BonusKind
    value: Decimal
    duration: int | None = None
    duration_unit: BonusDurationUnit | None = None


@dataclass(frozen=True, slots=True)
class BonusCredits:
    """Bonus `credits`, above 0, that are valid until `expiry`."""

    credits: Decimal
    expiry: datetime | None


def bonus_for(
    credits: Decimal, slabs: Sequence[Slab], now: datetime, pinned_expiry: datetime | None
) -> BonusCredits | None:
    """The bonus for buying `credits`: of the first slab that they reach; None where it comes to nothing.

    `slabs` descend by threshold. `pinned_expiry` is the caller's and wins.
    Rule: docs/rules/credits.md#bonus-credits
    """
    for slab in slabs:
        if credits >= slab.threshold:
            bonus = _size(slab, credits)
            return BonusCredits(bonus, pinned_expiry or _expiry(slab, now)) if bonus > 0 else None
    return None


def _size(slab: Slab, credits: Decimal) -> Decimal:
    if slab.kind is BonusKind.FLAT:
        return round_to(slab.value, SCALE)
    return round_to(Fraction(credits) * Fraction(slab.value) / 100, SCALE) if slab.value else ZERO


def _expiry(slab: Slab, now: datetime) -> datetime | None:
    """`now` plus the slab's duration; a time past the last year of the calendar is never."""
    if slab.duration is None or slab.duration_unit is None:
        return None
    try:
        if slab.duration_unit in {BonusDurationUnit.DAY, BonusDurationUnit.WEEK}:
            return now + timedelta(days=slab.duration * (7 if slab.duration_unit is BonusDurationUnit.WEEK else 1))
        months = slab.duration * (_MONTHS_OF_A_YEAR if slab.duration_unit is BonusDurationUnit.YEAR else 1)
        day = add_months(now.date(), months, now.day)
    except (OverflowError, ValueError):
        return None
    return now.replace(year=day.year, month=day.month, day=day.day)
