"""How a cost came about, in parts a customer can check: quantity, unit amount, amount."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from farthing.core.money import EXACT, ZERO, exact_sum, round_to

RATIO_DIGITS = 16  # ratios that are shown as such; they never enter an amount


@dataclass(frozen=True, slots=True)
class CostPart:
    """One line of an explanation; `amount` = `quantity` x `unit_amount` + `flat_amount`, unrounded.

    `quantity` counts packages when `package_size` is set, units otherwise. `tier` is the 0-based index of the tier,
    which holds the units above `above` up to and including `up_to` (None: no end). `flat_amount` is the sum of the
    flat fees charged: as many as there were priced values that reached the tier.
    """

    quantity: Decimal
    unit_amount: Decimal
    flat_amount: Decimal = ZERO
    package_size: int | None = None
    tier: int | None = None
    above: Decimal = ZERO
    up_to: Decimal | None = None

    @property
    def amount(self) -> Decimal:
        return EXACT.fma(self.quantity, self.unit_amount, self.flat_amount)


@dataclass(frozen=True, slots=True)
class Breakdown:
    """The cost of a quantity, unrounded, and the parts that sum to it; no parts when nothing was charged for.

    `list_unit_amount` is what one more unit is priced at: the amount, the package's amount by its size (16 decimals),
    or the unit amount of the highest tier reached (0 when none was).
    """

    quantity: Decimal
    parts: tuple[CostPart, ...]
    list_unit_amount: Decimal

    @property
    def amount(self) -> Decimal:
        return exact_sum([part.amount for part in self.parts])

    @property
    def effective_unit_amount(self) -> Decimal:
        """Amount by quantity, to 16 decimals for display; 0 for a quantity of 0."""
        if self.quantity == 0:
            return ZERO
        return round_to(Fraction(self.amount) / Fraction(self.quantity), RATIO_DIGITS)

    @property
    def selected_tier(self) -> int:
        """0-based index of the highest tier reached; -1 without tiers or quantity."""
        return -1 if not self.parts or self.parts[-1].tier is None else self.parts[-1].tier
