"""What a quantity costs: the one place where a price meets a number.

Commitments, allowances, minimum quantities and proration act outside; the caller rounds once per invoice line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor

from farthing.core.money import EXACT, ZERO, exact_sum, round_to
from farthing.rating.pricing.breakdown import RATIO_DIGITS, Breakdown, CostPart
from farthing.rating.pricing.price import BillingModel, PackageRounding, RatedPrice, TierMode
from farthing.rating.pricing.tiers import slab_parts, volume_parts


def price_quantity(price: RatedPrice, quantity: Decimal) -> Decimal:
    """Cost of `quantity` in one piece, unrounded; 0 unless it is positive.

    Rule: docs/rules/pricing.md#flat-fee
    Rule: docs/rules/pricing.md#packages
    """
    return exact_sum([part.amount for part in _parts(price, quantity)])


def price_values(price: RatedPrice, values: Sequence[Decimal]) -> Decimal:
    """Cost of a bucketed meter's values, each priced on its own from zero; the sum is unrounded.

    A value belongs to one bucket, or to one (bucket, group). Tiers restart and packages round for each of them; an
    empty bucket costs nothing, not even a flat fee.
    Rule: docs/rules/pricing.md#buckets-and-groups
    """
    return exact_sum([part.amount for value in values for part in _parts(price, value)])


def explain(price: RatedPrice, quantity: Decimal) -> Breakdown:
    """The cost of `quantity` in one piece, part by part; its `amount` is `price_quantity`."""
    return explain_values(price, [quantity])


def explain_values(price: RatedPrice, values: Sequence[Decimal]) -> Breakdown:
    """The cost of a bucketed meter's values with one part per tier; its `amount` is `price_values`."""
    by_tier: dict[int | None, CostPart] = {}
    for value in values:
        for part in _parts(price, value):
            same = by_tier.get(part.tier)
            by_tier[part.tier] = part if same is None else _joined(same, part)
    parts = tuple(sorted(by_tier.values(), key=lambda part: part.tier or 0))
    if price.model is BillingModel.TIERED:
        list_unit_amount = parts[-1].unit_amount if parts else ZERO
    elif price.model is BillingModel.PACKAGE:
        list_unit_amount = round_to(Fraction(price.amount) / price.package_size, RATIO_DIGITS)
    else:
        list_unit_amount = price.amount
    return Breakdown(exact_sum(values), parts, list_unit_amount)


def packages(price: RatedPrice, quantity: Decimal) -> int:
    """How many packages a quantity fills or, rounding up, begins; computed exactly, so no crumb is lost."""
    count = Fraction(quantity) / price.package_size
    return ceil(count) if price.package_rounding is PackageRounding.UP else floor(count)


def _parts(price: RatedPrice, quantity: Decimal) -> list[CostPart]:
    if quantity <= 0:
        return []
    match price.model:
        case BillingModel.FLAT_FEE:
            return [CostPart(quantity, price.amount)]
        case BillingModel.PACKAGE:
            return [CostPart(Decimal(packages(price, quantity)), price.amount, package_size=price.package_size)]
        case BillingModel.TIERED:
            volume = price.tier_mode is TierMode.VOLUME
            return volume_parts(quantity, price.tiers) if volume else slab_parts(quantity, price.tiers)


def _joined(part: CostPart, other: CostPart) -> CostPart:
    return replace(
        part,
        quantity=EXACT.add(part.quantity, other.quantity),
        flat_amount=EXACT.add(part.flat_amount, other.flat_amount),
    )
