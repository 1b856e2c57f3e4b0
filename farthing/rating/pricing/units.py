"""Custom price units: prices quoted in credits, tokens or the like, at a frozen rate to a currency.

The rate is what one unit is worth in the base currency. Conversion to the currency happens once, when the price is
created, and is not rounded; all later calculation is in the currency.
Rule: docs/rules/pricing.md#custom-price-units
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from farthing.core.money import EXACT, round_to
from farthing.rating.pricing.price import Tier


def to_currency(unit_amount: Decimal, rate: Decimal) -> Decimal:
    """An amount of custom units in the base currency, unrounded."""
    return EXACT.multiply(unit_amount, _checked(rate))


def tiers_to_currency(tiers: Sequence[Tier], rate: Decimal) -> tuple[Tier, ...]:
    """Tiers quoted in custom units with unit and flat amounts in the base currency, unrounded; bounds stay."""
    return tuple(
        Tier(tier.up_to, to_currency(tier.unit_amount, rate), to_currency(tier.flat_amount, rate)) for tier in tiers
    )


def in_units(amount: Decimal, rate: Decimal, digits: int) -> Decimal:
    """A line's amount in custom units, for display: divided by the rate, rounded to the base currency's digits."""
    return round_to(Fraction(amount) / Fraction(_checked(rate)), digits)


def _checked(rate: Decimal) -> Decimal:
    if rate <= 0:
        raise ValueError(f"a conversion rate must be positive, not {rate}")
    return rate
