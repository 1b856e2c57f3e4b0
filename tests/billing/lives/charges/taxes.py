"""Taxes by tax point, per line.

Rule: docs/rules/discounts-and-taxes.md#tax-points
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from tests.billing.lives.arithmetic import MOMENT, NOTHING, in_cents, split
from tests.billing.lives.charges.records import Document


@dataclass(frozen=True)
class Taxes:
    """`rates`: code, percentage, and the window of each."""

    rates: list[tuple[str, Decimal, datetime | None, datetime | None]]

    def at(self, point: datetime) -> frozenset[str]:
        """The rates in force."""
        return frozenset(
            code
            for code, _, since, until in self.rates
            if (since is None or since <= point) and (until is None or point < until)
        )

    def charge(self, document: Document) -> None:
        """Tax each rate's lines together, and give every line its part."""
        document.taxes = {}
        for line in document.lines:
            line.taxes = dict.fromkeys(self.at(min(document.reference, line.end - MOMENT)), NOTHING)
        for code, percentage, _, _ in self.rates:
            carrying = [line for line in document.lines if code in line.taxes]
            base = sum((line.net for line in carrying), NOTHING)
            if carrying:
                document.taxes[code] = base, in_cents(Fraction(base) * Fraction(percentage) / 100)
            if base:
                parts = split(document.taxes[code][1], [line.net for line in carrying])
                for line, part in zip(carrying, parts, strict=True):
                    line.taxes[code] = part
