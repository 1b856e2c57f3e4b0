"""Prepaid credits on an invoice: usage lines take them, in order, in whole minor units.

Whether credits apply at all (only at finalization) the caller decides.
Rule: docs/rules/discounts-and-taxes.md#prepaid-credits
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from farthing.core.enums import PriceType
from farthing.core.money import EXACT, ZERO, floor_to
from farthing.rating.totals.lines import LineTotals


def applied_credits(lines: Sequence[LineTotals], value: Decimal, digits: int) -> list[Decimal]:
    """What each line takes of a wallet's usable `value`, at most its net; lines in stable order (creation, id).

    Dust below a minor unit stays in the wallet. Raises ValueError if `value` is negative.
    """
    if value < 0:
        raise ValueError("a wallet's usable value must not be negative")
    left = floor_to(value, digits)
    taken = []
    for line in lines:
        credit = min(left, line.net) if line.price_type is PriceType.USAGE else ZERO
        left = EXACT.subtract(left, credit)
        taken.append(credit)
    return taken
