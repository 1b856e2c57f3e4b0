"""Credit notes: what they may come to, and how an amount divides into net and tax.

Rule: docs/rules/credit-notes.md#net-and-tax
Rule: docs/rules/credit-notes.md#unused-time
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from tests.billing.lives.arithmetic import NOTHING, in_cents, split
from tests.billing.lives.charges.records import Document, Line


@dataclass(eq=False)
class Part:
    """What a note takes back of a line."""

    line: Line
    net: Decimal
    taxes: dict[str, Decimal]

    @property
    def gross(self) -> Decimal:
        return self.net + sum(self.taxes.values(), NOTHING)


@dataclass(eq=False)
class Note:
    """A note that took effect."""

    document: Document
    is_refund: bool
    parts: list[Part]
    by_hand: bool = False
    is_void: bool = False

    @property
    def total(self) -> Decimal:
        return sum((part.gross for part in self.parts), NOTHING)


def credited(line: Line) -> Decimal:
    """What notes took back of a line, with its tax."""
    return line.noted + sum(line.noted_taxes.values(), NOTHING)


def ceiling(document: Document, line: Line) -> Decimal:
    """What one more note may take of a line."""
    overpaid = max(document.paid - document.due, NOTHING)
    return line.gross - line.credit + line.tax + overpaid - credited(line)


def divided(line: Line, amount: Decimal) -> Part:
    """A gross amount of a line in the line's own proportion; the last of the line takes the last of its tax."""
    left = {code: tax - line.noted_taxes[code] for code, tax in line.taxes.items()}
    left_tax = sum(left.values(), NOTHING)
    gross = line.net + line.tax
    taxed = min(amount, max(gross - credited(line), NOTHING))
    if not taxed or left_tax <= 0:
        tax = NOTHING
    elif credited(line) + taxed == gross:
        tax = min(left_tax, taxed)
    else:
        tax = min(taxed - in_cents(Fraction(taxed) * Fraction(line.net) / Fraction(gross)), left_tax)
    return Part(line, amount - tax, _by_rate(tax, left))


def _by_rate(tax: Decimal, weights: dict[str, Decimal]) -> dict[str, Decimal]:
    if not tax:
        return {}
    shares = split(tax, list(weights.values()))
    return {code: share for code, share in zip(weights, shares, strict=True) if share}


def within(parts: Sequence[Part], room: Decimal) -> tuple[list[Part], list[Part]]:
    """The first parts up to `room`, the one at the edge divided in its own proportion, and the rest."""
    first: list[Part] = []
    rest: list[Part] = []
    for part in parts:
        fits = min(part.gross, room)
        room -= fits
        if fits == part.gross:
            first.append(part)
        elif not fits:
            rest.append(part)
        else:
            net = min(in_cents(Fraction(fits) * Fraction(part.net) / Fraction(part.gross)), part.net)
            net = max(net, fits - (part.gross - part.net))
            taxes = _by_rate(fits - net, part.taxes)
            first.append(Part(part.line, net, taxes))
            others = {code: tax - taxes.get(code, NOTHING) for code, tax in part.taxes.items()}
            rest.append(Part(part.line, part.net - net, others))
    return first, rest
