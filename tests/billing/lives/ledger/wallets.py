"""A wallet's ledger: lots, what debits take of them, and the balances on the way.

Rule: docs/rules/credits.md#consumption-order
Rule: docs/rules/credits.md#eligibility
Rule: docs/rules/credits.md#manual-debits
Rule: docs/rules/credits.md#negative-balances
Rule: docs/rules/credits.md#voiding-a-lot
Rule: docs/rules/credits.md#conversion-to-postpaid
Rule: docs/rules/credits.md#bonus-credits
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from itertools import count

from tests.billing.lives.arithmetic import NOTHING, rounded
from tests.billing.lives.ledger.top_ups import AutomaticTopUp

SMALLEST = Decimal("0.000000001")
_numbers = count()
Taken = list[tuple["Lot", Decimal]]


def nine_digits(amount: Fraction) -> Decimal:
    return rounded(amount, 9)


@dataclass(eq=False)
class Lot:
    """Credits that were added, or wait to be paid; `number` is their order of making."""

    reason: str
    credits: Decimal
    amount: Decimal
    created: datetime
    kind: str
    expiry: datetime | None = None
    priority: int | None = None
    valid_from: datetime | None = None
    bonus: Lot | None = None
    left: Decimal = NOTHING
    is_void: bool = False
    number: int = field(default_factory=lambda: next(_numbers))

    @property
    def is_bought_at_price(self) -> bool:
        return self.reason.startswith("PURCHASED_")

    def is_eligible(self, at: datetime) -> bool:
        if not self.left or (self.valid_from is not None and self.valid_from >= at):
            return False
        return self.expiry is None or self.expiry >= at


@dataclass(eq=False)
class Movement:
    """One place in a chain: a lot that was added, or a debit and what it took of which lots."""

    reason: str
    credits: Decimal
    amount: Decimal
    after: Decimal
    lot: Lot | None = None
    taken: Taken = field(default_factory=list)


def in_order(lots: Iterable[Lot]) -> list[Lot]:
    """By priority, by expiry, larger ones first, older ones first."""
    ordered = sorted(lots, key=lambda lot: (lot.created, lot.number))
    ordered.sort(key=lambda lot: lot.credits, reverse=True)
    ordered.sort(key=lambda lot: (lot.expiry is None, lot.expiry.timestamp() if lot.expiry else 0))
    ordered.sort(key=lambda lot: (lot.priority is None, lot.priority or 0))
    return ordered


def take(lots: Iterable[Lot], credits: Decimal) -> Taken:
    """Up to so many credits of lots, in order."""
    taken = []
    for lot in in_order(lots):
        part = min(lot.left, credits)
        if part:
            taken.append((lot, part))
            credits -= part
    return taken


def sum_of(taken: Taken) -> Decimal:
    return sum((credits for _, credits in taken), NOTHING)


@dataclass(eq=False)
class Wallet:
    """`rate` is what a credit is worth when it is consumed, `price` when it is bought; `added` is what the wallet has
    added by itself, paid or not."""

    is_prepaid: bool
    rate: Decimal = Decimal(1)
    price: Decimal = Decimal(1)
    is_closed: bool = False
    is_frozen: bool = False
    top_up: AutomaticTopUp | None = None
    added: list[Lot] = field(default_factory=list)
    movements: list[Movement] = field(default_factory=list)

    @property
    def balance(self) -> Decimal:
        return self.movements[-1].after if self.movements else NOTHING

    @property
    def lots(self) -> list[Lot]:
        return [movement.lot for movement in self.movements if movement.lot is not None]

    def worth(self, credits: Decimal) -> Decimal:
        return nine_digits(Fraction(credits) * Fraction(self.rate))

    def signed_worth(self, credits: Decimal) -> Decimal:
        return self.worth(credits) if credits >= 0 else -self.worth(-credits)

    def credits_for(self, amount: Decimal) -> Decimal:
        return nine_digits(Fraction(amount) / Fraction(self.rate))

    def signed_credits_for(self, amount: Decimal) -> Decimal:
        return self.credits_for(amount) if amount >= 0 else -self.credits_for(-amount)

    def usable(self, at: datetime) -> Decimal:
        """What eligible lots can pay, in whole cents."""
        credits = sum((lot.left for lot in self.lots if lot.is_eligible(at)), NOTHING)
        return Decimal(int(Fraction(credits) * Fraction(self.rate) * 100)) / 100

    def add(self, lot: Lot) -> None:
        """A lot first repays a negative balance."""
        before, after = self.balance, self.balance + lot.credits
        lot.left = lot.credits if before >= 0 else max(after, NOTHING)
        self.movements.append(Movement(lot.reason, lot.credits, lot.amount, after, lot))

    def add_with_bonus(self, lot: Lot) -> None:
        """What was bought, and what it brought."""
        self.add(lot)
        if lot.bonus is not None:
            self.add(lot.bonus)

    def debit(self, reason: str, taken: Taken, uncovered: Decimal = NOTHING, amount: Decimal | None = None) -> Movement:
        for lot, part in taken:
            lot.left -= part
        credits = sum_of(taken) + uncovered
        amount = self.worth(credits) if amount is None else amount
        movement = Movement(reason, credits, amount, self.balance - credits, taken=taken)
        self.movements.append(movement)
        return movement

    def pay(self, reason: str, amount: Decimal, at: datetime) -> Movement:
        """What an invoice takes, at most what is usable."""
        taken = take([lot for lot in self.lots if lot.is_eligible(at)], max(self.credits_for(amount), SMALLEST))
        return self.debit(reason, taken, amount=amount)

    def debit_by_hand(self, credits: Decimal, now: datetime) -> None:
        """Lots past their expiry come last; what no lot covers is owed."""
        taken = take([lot for lot in self.lots if lot.is_eligible(now)], credits)
        eligible = {lot for lot, _ in taken}
        taken += take([lot for lot in self.lots if lot not in eligible], credits - sum_of(taken))
        self.debit("MANUAL_BALANCE_DEBIT", taken, credits - sum_of(taken))

    def void(self, lot: Lot) -> bool:
        """Take a lot and its bonus out again, if what is left covers both; whether it did."""
        parts = [lot, *([lot.bonus] if lot.bonus is not None and not lot.bonus.is_void else [])]
        if sum((part.credits for part in parts), NOTHING) > max(self.balance, NOTHING):
            return False
        for part in parts:
            taken = take([part], part.credits)
            taken += take([other for other in self.lots if other is not part], part.credits - sum_of(taken))
            self.debit("MANUAL_BALANCE_DEBIT", taken)
            part.is_void = True
        return True

    def close(self) -> Taken:
        """Empty the wallet for good; what was left."""
        rest = take(self.lots, max(self.balance, NOTHING))
        if rest:
            self.debit("WALLET_TERMINATION", rest)
        self.is_closed, self.top_up = True, None
        return rest

    def convert(self, now: datetime) -> Wallet:
        """A postpaid wallet with the lots that are left of this one."""
        after = Wallet(is_prepaid=False, rate=self.rate, price=self.price, top_up=self.top_up)
        for lot, left in self.close():
            amount = nine_digits(Fraction(left) * Fraction(self.price if lot.is_bought_at_price else self.rate))
            after.add(Lot(lot.reason, left, amount, now, lot.kind, lot.expiry, lot.priority, lot.valid_from))
        return after


@dataclass(frozen=True)
class Slab:
    """Who buys at least `threshold` credits is given `value` more, or `value` percent; they last so many units."""

    threshold: Decimal
    value: Decimal
    is_percentage: bool
    lasts: tuple[int, str] | None = None

    def bonus(self, credits: Decimal) -> Decimal:
        return nine_digits(Fraction(credits) * Fraction(self.value) / 100) if self.is_percentage else self.value


def last_of(taken: Sequence[tuple[Lot, Decimal]], credits: Decimal) -> Taken:
    """What was taken last, up to so many credits, in the order in which it was taken."""
    parts: Taken = []
    for lot, part in reversed(taken):
        if credits:
            parts.insert(0, (lot, min(part, credits)))
            credits -= parts[0][1]
    return parts
