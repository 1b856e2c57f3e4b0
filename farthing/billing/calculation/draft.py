"""An invoice as billing hands it over: lines with everything that explains them, before discounts and taxes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from farthing.core.enums import LineKind, PriceType
from farthing.core.money import exact_sum, plain
from farthing.rating.pricing.breakdown import Breakdown
from farthing.subscriptions.snapshot.values import LineItemSnapshot


@dataclass(frozen=True, slots=True)
class DraftLine:
    """One charge; `amount` is rounded to the currency and not negative.

    `item` None is a line of the subscription as a whole, such as a true-up. `base` is the unrounded cost that counts
    towards a commitment, before any overage factor. `rating` says how the amount came about, decimals as text.

    A fee pays for `whole_seconds` of service time.

    What the amount was reduced or raised by stands in fields of its own: `already_invoiced` is what threshold invoices
    have charged of it (None where they have charged nothing), an overage costs `overage_factor` times its base, a
    true-up is `commitment_amount` less `commitment_utilized`. A late line names the line that it is late for.
    `usage_windows` are those of its grants that were over their quota. `metadata` decides nothing.
    """

    kind: LineKind
    subscription_id: str
    item: LineItemSnapshot | None
    display_name: str
    plan_id: str
    plan_name: str
    start: datetime
    end: datetime
    amount: Decimal
    quantity: Decimal
    raw_usage: Decimal | None = None
    covered: Decimal | None = None
    base: Decimal | None = None
    rating: Mapping[str, Any] = field(default_factory=dict)
    commitment_info: Mapping[str, Any] | None = None
    usage_windows: Mapping[str, Any] | None = None
    whole_seconds: Decimal | None = None
    already_invoiced: Decimal | None = None
    late_for_line_id: str | None = None
    overage_factor: Decimal | None = None
    commitment_amount: Decimal | None = None
    commitment_utilized: Decimal | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def price_type(self) -> PriceType:
        return PriceType.FIXED if self.kind in {LineKind.FIXED, LineKind.TRUE_UP} else PriceType.USAGE

    @property
    def key(self) -> tuple[str, str, str]:
        """Which charge it is: subscription, line item, kind."""
        return self.subscription_id, "" if self.item is None else self.item.id, self.kind.value


@dataclass(frozen=True, slots=True)
class InvoiceDraft:
    """The lines of one invoice in their order."""

    lines: tuple[DraftLine, ...]

    @property
    def subtotal(self) -> Decimal:
        return exact_sum([line.amount for line in self.lines])


def explained(breakdown: Breakdown, share: Fraction | None = None) -> dict[str, Any]:
    """A breakdown as a line keeps it; `share` is the part of the period that was charged, as numerator/denominator."""
    explanation: dict[str, Any] = {
        "quantity": plain(breakdown.quantity),
        "list_unit_amount": plain(breakdown.list_unit_amount),
        "parts": [
            {
                "quantity": plain(part.quantity),
                "unit_amount": plain(part.unit_amount),
                "amount": plain(part.amount),
                **({"flat_amount": plain(part.flat_amount)} if part.flat_amount else {}),
                **({"package_size": part.package_size} if part.package_size else {}),
                **({"tier": part.tier, "above": plain(part.above)} if part.tier is not None else {}),
                **({"up_to": plain(part.up_to)} if part.up_to is not None else {}),
            }
            for part in breakdown.parts
        ],
    }
    if share is not None and share != 1:
        explanation["share"] = str(share)
    return explanation
