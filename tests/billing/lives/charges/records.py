"""What is charged, discounted and invoiced: items, coupons, lines, documents."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from tests.billing.lives.arithmetic import NO_TIME, NOTHING


@dataclass(eq=False)
class Item:
    """One version of what is charged: a fee in advance, a fee in arrear, or usage at a price each.

    `credited_beside` are the items whose unused time was credited when this one was charged.
    """

    name: str
    price: Decimal
    start: datetime
    quantity: int = 1
    kind: str = "advance"
    end: datetime | None = None
    follows: Item | None = None
    credited_beside: list[Item] = field(default_factory=list)

    @property
    def listed(self) -> Fraction:
        return Fraction(self.price) * self.quantity

    def continues(self, earlier: Item) -> bool:
        return self is earlier or (self.follows is not None and self.follows.continues(earlier))


@dataclass(eq=False)
class Coupon:
    """`percent` or `amount` off the lines of `item` and its later versions, or of the whole subscription."""

    since: datetime
    cadence: str
    percent: int | None = None
    amount: Decimal | None = None
    periods: int = 0
    until: datetime | None = None
    item: Item | None = None
    first_period: int = 0

    @property
    def is_budgeted(self) -> bool:
        return self.amount is not None and self.cadence != "once"


@dataclass(eq=False)
class Line:
    """`gross` is the charge before a credit for unused time took `credit` off it; a fee pays for `service`.

    `taxes` is what each rate that the line carries takes of it, `prepaid` what prepaid credits took off it. `noted` is
    what credit notes took back of the net, and `noted_taxes` of the taxes; `noted_by_hand` is the part of `noted` that
    somebody asked for.
    """

    name: str
    item: Item | None
    start: datetime
    end: datetime
    gross: Decimal
    service: timedelta = NO_TIME
    late_for: Line | None = None
    credit: Decimal = NOTHING
    discounts: list[tuple[Coupon, int, Decimal]] = field(default_factory=list)
    taxes: dict[str, Decimal] = field(default_factory=dict)
    prepaid: Decimal = NOTHING
    noted: Decimal = NOTHING
    noted_taxes: dict[str, Decimal] = field(default_factory=lambda: defaultdict(lambda: NOTHING))
    noted_by_hand: Decimal = NOTHING
    is_usage: bool = False

    @property
    def discount(self) -> Decimal:
        return sum((amount for _, _, amount in self.discounts), NOTHING)

    @property
    def left(self) -> Decimal:
        return self.gross - self.discount

    @property
    def net(self) -> Decimal:
        return self.left - self.credit

    @property
    def tax(self) -> Decimal:
        return sum(self.taxes.values(), NOTHING)


@dataclass(eq=False)
class Document:
    """One invoice. `work` makes its lines again until it is final; `name` says which one-off it is.

    `paid` is what counts as paid, whatever paid it; `adjusted` and `refunded` are what notes and a void did.
    """

    reason: str
    reference: datetime
    period_end: datetime | None
    work: Callable[[], list[Line]]
    name: str = ""
    final_at: datetime | None = None
    voided: bool = False
    lines: list[Line] = field(default_factory=list)
    taxes: dict[str, tuple[Decimal, Decimal]] = field(default_factory=dict)
    paid: Decimal = NOTHING
    adjusted: Decimal = NOTHING
    refunded: Decimal = NOTHING

    @property
    def tax(self) -> Decimal:
        return sum((tax for _, tax in self.taxes.values()), NOTHING)

    @property
    def charged(self) -> Decimal:
        """The total before prepaid credits."""
        return sum((line.net for line in self.lines), NOTHING) + self.tax

    @property
    def prepaid(self) -> Decimal:
        return sum((line.prepaid for line in self.lines), NOTHING)

    @property
    def total(self) -> Decimal:
        return self.charged - self.prepaid

    @property
    def due(self) -> Decimal:
        return self.total - self.adjusted

    @property
    def remaining(self) -> Decimal:
        return max(self.due - self.paid, NOTHING)

    @property
    def status(self) -> str:
        """The payment status of a final invoice."""
        if self.refunded:
            returnable = self.paid + (self.prepaid if self.voided else NOTHING)
            return "REFUNDED" if self.refunded >= returnable else "PARTIALLY_REFUNDED"
        if self.paid > self.due:
            return "OVERPAID"
        return "PENDING" if self.remaining else "SUCCEEDED"

    def taken(self, coupon: Coupon) -> dict[int, Decimal]:
        amounts: dict[int, Decimal] = defaultdict(lambda: NOTHING)
        for line in self.lines:
            for given, period, amount in line.discounts:
                if given is coupon and amount:
                    amounts[period] += amount
        return amounts


@dataclass(eq=False)
class Period:
    """A billing period as service time: how much it serves for, however long pauses make it."""

    start: datetime
    length: timedelta
    end: datetime
