"""A commitment on one usage line item: a floor or a threshold on what it costs.

Works on the unrounded cost, before the line is rounded.
Rule: docs/rules/commitments.md#line-item-level
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Self

from farthing.core.money import EXACT, ZERO, allocate, exact_sum, round_to
from farthing.rating.pricing.cost import price_quantity
from farthing.rating.pricing.price import RatedPrice


@dataclass(frozen=True, slots=True)
class LineCommitment:
    """`amount` of cost committed to; what exceeds it is charged `overage_factor` times (at least 1).

    With `true_up` the unused rest is charged as well.
    """

    amount: Decimal
    overage_factor: Decimal = Decimal(1)
    true_up: bool = False

    def __post_init__(self) -> None:
        if self.amount < 0:
            raise ValueError("a commitment must not be negative")
        if self.overage_factor < 1:
            raise ValueError(f"an overage factor must be at least 1, not {self.overage_factor}")

    @classmethod
    def of_quantity(
        cls, price: RatedPrice, quantity: Decimal, overage_factor: Decimal = Decimal(1), *, true_up: bool = False
    ) -> Self:
        """A commitment to a quantity: its amount is what the price charges for that quantity."""
        return cls(price_quantity(price, quantity), overage_factor, true_up)


@dataclass(frozen=True, slots=True)
class CommitmentCharge:
    """What is charged under a commitment, by reason; the charge is the sum.

    `uncommitted` is cost that no commitment governs, such as windows outside every time-of-day bucket.
    """

    utilized: Decimal = ZERO
    overage: Decimal = ZERO
    true_up: Decimal = ZERO
    uncommitted: Decimal = ZERO

    @property
    def amount(self) -> Decimal:
        return exact_sum([self.utilized, self.overage, self.true_up, self.uncommitted])

    def rounded(self, digits: int) -> CommitmentCharge:
        """The charge rounded once, and its parts by largest remainder, so that they still sum to it."""
        parts = [self.utilized, self.overage, self.true_up, self.uncommitted]
        return CommitmentCharge(*allocate(round_to(self.amount, digits), parts, digits))


def item_commitment(usage_cost: Decimal, commitment: LineCommitment | None) -> CommitmentCharge:
    """What a usage cost is charged as under a commitment (None: as it is). Unrounded."""
    if commitment is None:
        return CommitmentCharge(uncommitted=usage_cost)
    missing = EXACT.subtract(commitment.amount, usage_cost)
    if missing <= 0:
        overage = EXACT.multiply(missing.copy_negate(), commitment.overage_factor)
        return CommitmentCharge(utilized=commitment.amount, overage=overage)
    return CommitmentCharge(utilized=usage_cost, true_up=missing if commitment.true_up else ZERO)


def total_charge(charges: Iterable[CommitmentCharge]) -> CommitmentCharge:
    """The charges of several windows in one, still unrounded."""
    listed = list(charges)
    return CommitmentCharge(
        utilized=exact_sum([charge.utilized for charge in listed]),
        overage=exact_sum([charge.overage for charge in listed]),
        true_up=exact_sum([charge.true_up for charge in listed]),
        uncommitted=exact_sum([charge.uncommitted for charge in listed]),
    )
