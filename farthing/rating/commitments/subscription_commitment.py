"""A commitment of a whole subscription, over its usage charges as rounded on the invoice.

Rule: docs/rules/commitments.md#subscription-level
Rule: docs/rules/commitments.md#cumulative
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import floor

from farthing.core.money import EXACT, ZERO, allocate, exact_sum, round_to

QUANTITY_DIGITS = 15  # as quantities are stored


@dataclass(frozen=True, slots=True)
class UsageCharge:
    """A usage charge before the commitment: billable quantity and rounded amount.

    `unit_amount` is a flat-fee price's amount; None lets the unit price be amount by quantity, which is right for any
    other model and for a line whose own commitment already changed its amount.
    """

    id: str
    quantity: Decimal
    amount: Decimal
    unit_amount: Decimal | None = None

    def __post_init__(self) -> None:
        if self.amount < 0 or self.quantity < 0:
            raise ValueError("a usage charge must not be negative")

    @property
    def unit_price(self) -> Fraction | None:
        """Exact price of one unit; None when the charge has no units to count."""
        if self.unit_amount:
            return Fraction(self.unit_amount)
        return Fraction(self.amount) / Fraction(self.quantity) if self.quantity else None


@dataclass(frozen=True, slots=True)
class CommittedLine:
    """An invoice line under a commitment; `base` is its cost before the overage factor."""

    charge_id: str
    quantity: Decimal
    amount: Decimal
    base: Decimal
    overage: bool = False


@dataclass(frozen=True, slots=True)
class CommitmentSplit:
    """The lines of one period, in charge order, a charge's normal part before its overage; and the true-up.

    `unused` is what is left of the commitment; a sub-unit remainder is neither charged nor used by later charges.
    """

    lines: tuple[CommittedLine, ...]
    unused: Decimal
    true_up: Decimal

    @property
    def amount(self) -> Decimal:
        return exact_sum([*(line.amount for line in self.lines), self.true_up])


@dataclass(frozen=True, slots=True)
class CumulativeCharge:
    """The lines of one period within the commitment, one overage line (0: none), and the true-up (0: none).

    `overage_base` is the overage's cost before the factor; the bases of the lines and it are the next period's prior.
    """

    lines: tuple[CommittedLine, ...]
    overage: Decimal
    overage_base: Decimal
    true_up: Decimal

    @property
    def amount(self) -> Decimal:
        return exact_sum([*(line.amount for line in self.lines), self.overage, self.true_up])


def split_commitment(
    charges: Sequence[UsageCharge], commitment: Decimal, overage_factor: Decimal, *, true_up: bool, digits: int
) -> CommitmentSplit:
    """Let charges use up the commitment in order; what exceeds it, in whole units, costs `overage_factor` times.

    The charge that crosses the commitment is cut after the last whole unit that fits; from there on everything is
    overage. True-up charges what is left when nothing was overage. Charges must come in line-item order (start, id).
    """
    _check_terms(commitment, overage_factor)
    lines: list[CommittedLine] = []
    remaining, spent = Fraction(commitment), False
    for charge in charges:
        if charge.amount == 0 or (not spent and _fits(charge, remaining)):
            lines.append(CommittedLine(charge.id, charge.quantity, charge.amount, charge.amount))
            remaining = max(remaining - Fraction(charge.amount), Fraction(0))
            continue
        normal_quantity, normal, over = ZERO, Fraction(0), Fraction(charge.amount)
        if not spent and remaining > 0:
            normal_quantity, normal, over = _cut(charge, remaining)
            remaining -= normal
        spent = True
        normal_amount = round_to(normal, digits)
        if normal_amount > 0:
            lines.append(CommittedLine(charge.id, normal_quantity, normal_amount, normal_amount))
        lines.append(
            CommittedLine(
                charge.id,
                EXACT.subtract(charge.quantity, normal_quantity),
                round_to(over * Fraction(overage_factor), digits),
                EXACT.subtract(charge.amount, normal_amount),
                overage=True,
            )
        )
    left = round_to(remaining, digits)
    return CommitmentSplit(tuple(lines), left, left if true_up and not spent else ZERO)


def _fits(charge: UsageCharge, remaining: Fraction) -> bool:
    if Fraction(charge.amount) <= remaining:
        return True
    # a charge rounded up by less than a minor unit still fits when all of its units do
    return charge.unit_price is not None and Fraction(charge.quantity) * charge.unit_price <= remaining


def _cut(charge: UsageCharge, remaining: Fraction) -> tuple[Decimal, Fraction, Fraction]:
    """Whole units within the commitment, their exact cost, and the exact cost of the rest before the factor."""
    if charge.unit_price is None:  # an amount without units, such as a grant's overage in money, is cut as money
        return ZERO, remaining, Fraction(charge.amount) - remaining
    units = floor(remaining / charge.unit_price)
    normal = units * charge.unit_price
    return Decimal(units), normal, Fraction(charge.quantity) * charge.unit_price - normal


def cumulative_commitment(
    charges: Sequence[UsageCharge],
    commitment: Decimal,
    overage_factor: Decimal,
    *,
    prior: Decimal,
    closes_window: bool,
    true_up: bool,
    digits: int,
) -> CumulativeCharge:
    """One billing period of a commitment that spans several, `prior` being the base cost of the earlier ones.

    Within the commitment each charge keeps its share of the cost, all shares summing to the rounded whole; the rest
    is one overage amount. Only the period that closes the commitment's window trues up.
    """
    _check_terms(commitment, overage_factor)
    usage = exact_sum([charge.amount for charge in charges])
    remaining = max(EXACT.subtract(commitment, prior), ZERO)
    within = min(usage, remaining)
    over = EXACT.subtract(usage, within)
    missing = EXACT.subtract(remaining, within)
    if over == 0:
        lines = [CommittedLine(charge.id, charge.quantity, charge.amount, charge.amount) for charge in charges]
    else:
        kept = Fraction(within) / Fraction(usage)
        amounts = allocate(round_to(within, digits), [charge.amount for charge in charges], digits)
        lines = [
            CommittedLine(charge.id, round_to(Fraction(charge.quantity) * kept, QUANTITY_DIGITS), amount, amount)
            for charge, amount in zip(charges, amounts, strict=True)
        ]
    return CumulativeCharge(
        lines=tuple(lines),
        overage=round_to(EXACT.multiply(over, overage_factor), digits),
        overage_base=over,
        true_up=round_to(missing, digits) if true_up and closes_window else ZERO,
    )


def _check_terms(commitment: Decimal, overage_factor: Decimal) -> None:
    if commitment < 0:
        raise ValueError("a commitment must not be negative")
    if overage_factor < 1:
        raise ValueError(f"an overage factor must be at least 1, not {overage_factor}")
