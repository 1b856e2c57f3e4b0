"""What may be credited of an invoice's lines, and how a gross amount divides into net and tax.

Amounts are in the currency's major unit and have at most its decimals. The tax of a line is that of the invoice's
calculation, split over its lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

from farthing.core.money import EXACT, ZERO, allocate, exact_sum, round_to


@dataclass(frozen=True, slots=True)
class CreditableLine:
    """A line of an invoice: its gross `amount`, its `net` after discounts, of which fixed amounts took
    `fixed_discount`, its tax by rate, and what the notes that are not void have credited of it already."""

    amount: Decimal
    net: Decimal
    taxes: Mapping[str, Decimal]
    credited: Decimal = ZERO
    credited_taxes: Mapping[str, Decimal] = field(default_factory=dict)
    fixed_discount: Decimal = ZERO

    @property
    def tax(self) -> Decimal:
        return exact_sum(list(self.taxes.values()))


@dataclass(frozen=True, slots=True)
class CreditedLine:
    """A gross amount of a line as net and tax, the tax by rate."""

    net: Decimal
    tax: Decimal
    taxes: tuple[tuple[str, Decimal], ...]


def line_ceiling(line: CreditableLine, overpaid: Decimal) -> Decimal:
    """What all notes together may credit of a line: its amount, its tax, and what the invoice was paid too much.

    Rule: docs/rules/credit-notes.md#ceilings
    """
    return exact_sum([line.amount, line.tax, max(overpaid, ZERO)])


def divide(line: CreditableLine, amount: Decimal, digits: int) -> CreditedLine:
    """Net and tax of `amount`, above 0: the line's own proportion, its whole tax once the line is credited in full.

    What goes beyond the line's net and tax, such as money that was paid too much, carries no tax.
    Rule: docs/rules/credit-notes.md#net-and-tax
    """
    left_by_rate = {rate: EXACT.subtract(tax, line.credited_taxes.get(rate, ZERO)) for rate, tax in line.taxes.items()}
    left_tax = exact_sum(list(left_by_rate.values()))
    gross = EXACT.add(line.net, line.tax)
    taxed = min(amount, max(EXACT.subtract(gross, line.credited), ZERO))
    if taxed <= 0 or left_tax <= 0:
        tax = ZERO
    elif EXACT.add(line.credited, taxed) == gross:
        tax = min(left_tax, taxed)
    else:
        net = round_to(Fraction(taxed) * Fraction(line.net) / Fraction(gross), digits)
        tax = min(EXACT.subtract(taxed, net), left_tax)
    shares = allocate(tax, list(left_by_rate.values()), digits) if tax > 0 else []
    taxes = tuple((rate, share) for rate, share in zip(left_by_rate, shares, strict=False) if share > 0)
    return CreditedLine(net=EXACT.subtract(amount, tax), tax=tax, taxes=taxes)


def share_of_taxes(
    net: Decimal, line_net: Decimal, taxes: Mapping[str, Decimal], left: Mapping[str, Decimal], digits: int
) -> tuple[tuple[str, Decimal], ...]:
    """The tax on `net` of a line: the same share of what each rate charged on it, rounded, at most what is left.

    Rule: docs/rules/proration.md#tax-on-what-is-given-back
    """
    share = Fraction(net) / Fraction(line_net)
    return tuple(
        (rate, min(round_to(share * Fraction(tax), digits), max(left[rate], ZERO))) for rate, tax in taxes.items()
    )


def divided_at(
    net: Decimal, taxes: Sequence[tuple[str, Decimal]], gross: Decimal, digits: int
) -> tuple[CreditedLine, CreditedLine]:
    """What was taken back of a line in two: `gross` of it, above 0, in the same proportion, and the rest."""
    amounts = [amount for _, amount in taxes]
    tax = exact_sum(amounts)
    first_net = max(
        min(round_to(Fraction(gross) * Fraction(net) / Fraction(EXACT.add(net, tax)), digits), net),
        EXACT.subtract(gross, tax),
    )
    first_tax = EXACT.subtract(gross, first_net)
    shares = allocate(first_tax, amounts, digits) if first_tax > 0 else [ZERO] * len(amounts)
    first = tuple((rate, share) for (rate, _), share in zip(taxes, shares, strict=True))
    rest = tuple((rate, EXACT.subtract(amount, share)) for (rate, amount), share in zip(taxes, shares, strict=True))
    rest_net = EXACT.subtract(net, first_net)
    return CreditedLine(first_net, first_tax, first), CreditedLine(rest_net, EXACT.subtract(tax, first_tax), rest)


def most_adjusted(total: Decimal, adjusted: Decimal, paid: Decimal, set_aside: Decimal) -> Decimal:
    """What an adjustment may come to: what is unpaid, less what drafts and payments in flight have `set_aside`.

    Rule: docs/rules/credit-notes.md#ceilings
    """
    return max(EXACT.subtract(total, exact_sum([adjusted, paid, set_aside])), ZERO)


def most_refunded(paid: Decimal, refunded: Decimal, set_aside: Decimal) -> Decimal:
    """What a refund may come to: what was paid and not refunded yet, less what drafts have `set_aside`.

    Rule: docs/rules/credit-notes.md#ceilings
    """
    return max(EXACT.subtract(paid, EXACT.add(refunded, set_aside)), ZERO)
