"""The quantity a line item starts with."""

from __future__ import annotations

from decimal import Decimal

from farthing.core.enums import PriceType
from farthing.core.money import ZERO


def default_quantity(price_type: PriceType, given: Decimal | None = None, minimum: Decimal | None = None) -> Decimal:
    """Quantity of a new line item: 0 for usage; else what was given, else the price's minimum (even 0), else 1.

    A given 0 counts as not given. The minimum is a default here, not a floor; see `below_minimum`.
    Rule: docs/rules/pricing.md#default-quantity
    """
    if price_type is PriceType.USAGE:
        return ZERO
    if given:
        return given
    return Decimal(1) if minimum is None else minimum


def below_minimum(quantity: Decimal, minimum: Decimal | None) -> bool:
    """Whether a later change to `quantity` is to be refused, being under the price's minimum quantity."""
    return minimum is not None and quantity < minimum
