"""Credits and what they are worth: every stored figure has nine decimals, rounded half away from zero."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from farthing.core.money import round_to

SCALE = 9
"""Decimals of credits and of their value."""


def value_of(credits: Decimal, rate: Decimal) -> Decimal:
    """What `credits` come to at `rate` (currency per credit).

    Rule: docs/rules/credits.md#rates
    """
    return round_to(Fraction(credits) * Fraction(rate), SCALE)


def credits_for(amount: Decimal, rate: Decimal) -> Decimal:
    """How many credits `amount` of currency is at `rate` (currency per credit, above 0).

    Rule: docs/rules/credits.md#rates
    """
    return round_to(Fraction(amount) / Fraction(rate), SCALE)
