"""Credits and what they are worth: every stored figure has nine decimals, rounded half away from zero."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

from farthing.core.money import round_to

SCALE = 9
"""Decimals of credits and of their value."""
SMALLEST = Decimal(1).scaleb(-SCALE)
"""The smallest number of credits above 0."""


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


def usable_value(credits: Decimal, rate: Decimal, digits: int) -> Decimal:
    """What `credits`, at least 0, can pay in a currency of `digits` decimals: whole minor units only.

    What they are worth as it is shown, where they were made of that amount and rounded down.
    Rule: docs/rules/credits.md#what-a-wallet-pays
    """
    exact = Fraction(credits) * Fraction(rate)
    pays, shown = (
        Decimal(math.floor(value * 10**digits)).scaleb(-digits) for value in (exact, Fraction(value_of(credits, rate)))
    )
    return shown if shown > pays and credits_paying(shown, rate) <= credits else pays


def credits_paying(amount: Decimal, rate: Decimal) -> Decimal:
    """The credits that leave a wallet for an `amount`, above 0, that it pays: at least the smallest number there is.

    Rule: docs/rules/credits.md#what-a-wallet-pays
    """
    return max(credits_for(amount, rate), SMALLEST)
