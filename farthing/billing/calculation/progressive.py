"""What the lines of a whole period still owe after the threshold invoices that have cut it. Pure.

Rule: docs/rules/billing.md#progressive-billing
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from farthing.billing.calculation.draft import DraftLine
from farthing.core.money import EXACT, ZERO


@dataclass(frozen=True, slots=True)
class Charged:
    """What the threshold invoices of the period have charged for one line already."""

    amount: Decimal
    quantity: Decimal
    raw_usage: Decimal

    def plus(self, other: Charged) -> Charged:
        """Both together."""
        return Charged(
            EXACT.add(self.amount, other.amount),
            EXACT.add(self.quantity, other.quantity),
            EXACT.add(self.raw_usage, other.raw_usage),
        )


def still_owed(
    lines: Sequence[DraftLine], charged: Mapping[tuple[str, str, str], Charged], *, pooled: bool
) -> list[DraftLine]:
    """The usage lines of the whole period, each less what was charged for it, at least 0.

    Under a commitment that lines share (`pooled`), what was within it for one line may turn out to belong to another:
    then what one was charged too much is taken off the others, so that the sum is that of the whole period. Without
    one nothing is given back, as where a volume tier made the whole cheaper.
    """
    if not charged:
        return list(lines)
    measured: dict[tuple[str, str], Decimal] = defaultdict(lambda: ZERO)
    for (subscription_id, item_id, _), before in charged.items():
        measured[subscription_id, item_id] = EXACT.add(measured[subscription_id, item_id], before.raw_usage)
    left = [_less(_unmeasured(line, measured[line.key[:2]]), charged.get(line.key)) for line in lines]
    return _without(left, _too_much(lines, charged)) if pooled else left


def _unmeasured(line: DraftLine, measured: Decimal) -> DraftLine:
    """Without the usage that was measured for its item before, whether within a commitment or over it."""
    return line if line.raw_usage is None else replace(line, raw_usage=_over(line.raw_usage, measured))


def _less(line: DraftLine, before: Charged | None) -> DraftLine:
    if before is None:
        return line
    return replace(
        line,
        amount=_over(line.amount, before.amount),
        quantity=_over(line.quantity, before.quantity),
        already_invoiced=before.amount,
    )


def _too_much(lines: Iterable[DraftLine], charged: Mapping[tuple[str, str, str], Charged]) -> Decimal:
    """What was charged above what its line comes to now, over all lines; a line may be there no more."""
    now = {line.key: line.amount for line in lines}
    total = ZERO
    for key, before in charged.items():
        total = EXACT.add(total, _over(before.amount, now.get(key, ZERO)))
    return total


def _without(lines: Iterable[DraftLine], off: Decimal) -> list[DraftLine]:
    """Lines reduced by `off` in all, in their order, each down to 0."""
    reduced: list[DraftLine] = []
    for line in lines:
        taken = min(line.amount, off)
        off = EXACT.subtract(off, taken)
        if taken:
            already_invoiced = EXACT.add(line.already_invoiced or ZERO, taken)
            reduced.append(replace(line, amount=EXACT.subtract(line.amount, taken), already_invoiced=already_invoiced))
        else:
            reduced.append(line)
    return reduced


def _over(amount: Decimal, other: Decimal) -> Decimal:
    return max(EXACT.subtract(amount, other), ZERO)
