"""Lines of an invoice: what goes into the money calculation and what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from farthing.core.enums import PriceType
from farthing.core.money import EXACT, ZERO, exact_sum


@dataclass(frozen=True, slots=True)
class ChargeLine:
    """A charge to be invoiced; `amount` not negative, rounded by the calculation if it is not yet.

    Anything whose `price_type` is not usage counts as fixed. A line coupon finds its line by
    `subscription_line_item_id`, else by `price_id`.
    """

    id: str
    amount: Decimal
    price_type: PriceType | None = None
    subscription_line_item_id: str | None = None
    price_id: str | None = None
    tax_rate_ids: frozenset[str] | None = None
    """The rates that the line carries; None is all rates of the invoice."""
    proration_credit: Decimal = ZERO
    """What a credit for unused time has taken off the charge; `amount` is what was left."""
    taxed_credits: Decimal = ZERO
    """What credits pay of it that were taxed when they were bought: it is not taxed again."""

    def __post_init__(self) -> None:
        if self.amount < 0:
            raise ValueError("a line's amount must not be negative; use a credit note")

    @property
    def charge(self) -> Decimal:
        """What is charged before a credit for unused time: coupons discount this."""
        return EXACT.add(self.amount, self.proration_credit)


@dataclass(frozen=True, slots=True)
class LineTotals:
    """A line with everything taken off it; each figure is rounded to the currency and none is negative."""

    id: str
    amount: Decimal
    price_type: PriceType | None = None
    line_item_discount: Decimal = ZERO
    invoice_level_discount: Decimal = ZERO
    prepaid_credits_applied: Decimal = ZERO
    taxes: tuple[tuple[str, Decimal], ...] = ()
    """The rates that the line carries, each with the line's share of its tax."""

    @property
    def tax(self) -> Decimal:
        """The line's share of the taxes of its invoice."""
        return exact_sum([amount for _, amount in self.taxes])

    @property
    def rates(self) -> frozenset[str]:
        """The ids of the rates that the line carries."""
        return frozenset(rate_id for rate_id, _ in self.taxes)

    @property
    def discount(self) -> Decimal:
        return EXACT.add(self.line_item_discount, self.invoice_level_discount)

    @property
    def net(self) -> Decimal:
        """What the line still stands for; see `net_amount`."""
        return net_amount(
            self.amount, self.line_item_discount, self.invoice_level_discount, self.prepaid_credits_applied
        )


def net_amount(
    amount: Decimal,
    line_item_discount: Decimal | None = None,
    invoice_level_discount: Decimal | None = None,
    prepaid_credits_applied: Decimal | None = None,
) -> Decimal:
    """A line's amount less discounts and prepaid credits, at least 0; a figure that is missing counts as 0.

    Rule: docs/rules/customer-summary.md#figures
    """
    taken = exact_sum(
        [figure or ZERO for figure in (line_item_discount, invoice_level_discount, prepaid_credits_applied)]
    )
    return max(EXACT.subtract(amount, taken), ZERO)
