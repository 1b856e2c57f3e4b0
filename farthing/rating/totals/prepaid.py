"""Prepaid credits on an invoice: usage lines take them, in order, in whole minor units.

Whether credits apply at all (only at finalization) the caller decides.
Rule: docs/rules/discounts-and-taxes.md#prepaid-credits
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from farthing.core.enums import PriceType
from farthing.core.money import EXACT, ZERO, floor_to, round_to
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


@dataclass(frozen=True, slots=True)
class CreditSlice:
    """Credits of one lot that an invoice takes, unrounded; `taxed` if their purchase was taxed."""

    value: Fraction
    taxed: bool


def taxed_parts(taken: Sequence[Decimal], slices: Sequence[CreditSlice], digits: int) -> list[Decimal]:
    """What of the credits that lines have `taken` was taxed when it was bought; lines take slices in order.

    Rounded where one line ends and the next begins, so that the parts are whole minor units and come to their sum.
    Rule: docs/rules/credits.md#tax-on-credits
    """
    if not any(part.taxed for part in slices):
        return [ZERO for _ in taken]
    parts, line_end, counted = [], Fraction(0), ZERO
    for amount in taken:
        line_end += Fraction(amount)
        until = round_to(_taxed_before(slices, line_end), digits)
        parts.append(EXACT.subtract(until, counted))
        counted = until
    return parts


def _taxed_before(slices: Sequence[CreditSlice], end: Fraction) -> Fraction:
    """What was taxed of the first `end` of the slices' value."""
    left, taxed = end, Fraction(0)
    for part in slices:
        within = min(part.value, left)
        left -= within
        if part.taxed:
            taxed += within
    return taxed
