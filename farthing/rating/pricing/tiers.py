"""Tiers: which of them price a quantity, and how much of it each."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from farthing.core.money import EXACT, ZERO
from farthing.rating.pricing.breakdown import CostPart
from farthing.rating.pricing.price import Tier


def volume_parts(quantity: Decimal, tiers: Sequence[Tier]) -> list[CostPart]:
    """Price the whole positive `quantity` at the first tier whose inclusive bound holds it, else at the last.

    `tiers` in ascending order. Unrounded.
    Rule: docs/rules/pricing.md#volume-tiers
    """
    above = ZERO
    for index, tier in enumerate(tiers):
        last = index == len(tiers) - 1
        if last or tier.up_to is None or quantity <= tier.up_to:
            up_to = None if last else tier.up_to
            return [CostPart(quantity, tier.unit_amount, tier.flat_amount, tier=index, above=above, up_to=up_to)]
        above = tier.up_to
    raise ValueError("a tiered price needs at least one tier")


def slab_parts(quantity: Decimal, tiers: Sequence[Tier]) -> list[CostPart]:
    """Price each slice of the positive `quantity` at the tier it falls into, plus the flat fee of each tier entered.

    `tiers` in ascending order; bounds are inclusive and the last tier counts as open. Unrounded.
    Rule: docs/rules/pricing.md#slab-tiers
    """
    parts: list[CostPart] = []
    above = ZERO
    for index, tier in enumerate(tiers):
        up_to = None if index == len(tiers) - 1 else tier.up_to
        reached = quantity if up_to is None else min(quantity, up_to)
        taken = EXACT.subtract(reached, above)
        parts.append(CostPart(taken, tier.unit_amount, tier.flat_amount, tier=index, above=above, up_to=up_to))
        if up_to is None or quantity <= up_to:
            break
        above = up_to
    return parts
