"""Cents, shares and dates."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

NOTHING = Decimal(0)
NO_TIME = timedelta(0)
MOMENT = timedelta(microseconds=1)


def rounded(amount: Fraction, digits: int) -> Decimal:
    """Half a unit of the last digit and more is one; `amount` is at least 0."""
    return Decimal(int(amount * 10**digits + Fraction(1, 2))).scaleb(-digits)


def in_cents(amount: Fraction) -> Decimal:
    """Half a cent and more is a cent."""
    return rounded(amount, 2)


def split(amount: Decimal, weights: Sequence[Decimal]) -> list[Decimal]:
    """By largest remainder; of equal remainders the larger weight is first, then the earlier."""
    total = sum(weights)
    exact = [Fraction(amount) * 100 * Fraction(weight) / Fraction(total) for weight in weights]
    cents = [int(part) for part in exact]
    order = sorted(range(len(weights)), key=lambda index: (cents[index] - exact[index], -weights[index], index))
    for index in order[: int(amount * 100) - sum(cents)]:
        cents[index] += 1
    return [Decimal(part) / 100 for part in cents]


def part_of(service: timedelta, whole: timedelta) -> Fraction:
    return Fraction(service // MOMENT, whole // MOMENT) if whole else Fraction(0)


def months_after(anchor: datetime, months: int) -> datetime:
    """The anchor's day so many months later, or the last of a shorter month, at the anchor's clock."""
    month = anchor.year * 12 + anchor.month - 1 + months
    year, index = month // 12, month % 12 + 1
    return anchor.replace(year=year, month=index, day=min(anchor.day, monthrange(year, index)[1]))


def boundary_after(moment: datetime, anchor: datetime) -> datetime:
    """The next time that it is the anchor's day of a month, or the last of a shorter month, at the anchor's clock."""
    since = (moment.year - anchor.year) * 12 + moment.month - anchor.month
    return next(day for day in (months_after(anchor, since + ahead) for ahead in range(3)) if day > moment)


def time_after(moment: datetime, number: int, unit: str) -> datetime:
    """So many days or weeks of 24 hours, calendar months or years later."""
    if unit in {"DAY", "WEEK"}:
        return moment + timedelta(days=number * (7 if unit == "WEEK" else 1))
    return months_after(moment, number * (12 if unit == "YEAR" else 1))
