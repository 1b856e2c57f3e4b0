"""Changes in mid-period: what stands behind each fee, what its unused time is worth, and who gets it.

Rule: docs/rules/proration.md#what-is-settled
Rule: docs/rules/proration.md#tax-on-what-is-given-back
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from tests.billing.lives.arithmetic import NO_TIME, NOTHING, in_cents, part_of
from tests.billing.lives.charges.discounts import Discounts
from tests.billing.lives.charges.records import Coupon, Document, Item, Line, Period
from tests.billing.lives.charges.service_time import ServiceTime
from tests.billing.lives.charges.taxes import Taxes
from tests.billing.lives.ledger.books import Books
from tests.billing.lives.ledger.notes import Part

Change = tuple[Item | None, Item | None]
"""The item before and the one after."""


@dataclass(frozen=True)
class Share:
    """A part of a credit for unused time, and the line that paid for it; `rates` are the taxes that it carries."""

    amount: Decimal
    line: Line

    @property
    def rates(self) -> frozenset[str]:
        return frozenset(self.line.taxes)


@dataclass(eq=False)
class Standing:
    """What stands behind a fee in the open period: what was paid for it, for how much service, up to how far."""

    net: Decimal
    service: timedelta
    until: timedelta
    window_end: datetime
    discounts: list[tuple[Coupon, int, Decimal]]
    is_invoiced: bool = True


@dataclass
class Settlements:
    """`given_back` is what was owed to the payer, with its tax, by change."""

    time: ServiceTime
    discounts: Discounts
    taxes: Taxes
    books: Books
    standing: dict[Item, Standing] = field(default_factory=dict)
    given_back: list[tuple[datetime, Decimal, Decimal]] = field(default_factory=list)

    def stand(self, line: Line) -> None:
        """A final line pays for its fee."""
        assert line.item is not None, "a subscription's lines charge its items"
        until = self.time.served(self.time.open_period.start, line.start) + line.service
        self.standing[line.item] = Standing(line.left, line.service, until, line.end, line.discounts)

    def settle(self, changes: Sequence[Change], now: datetime) -> Document | None:
        """Credit what ends, charge what begins; the invoice of the difference, which is not issued yet."""
        period = self.time.open_period
        lines: list[Line] = []
        carried: list[tuple[Coupon, Item, Decimal]] = []
        shares: list[Share] = []
        credited: list[Item] = []
        consumed = min(self.time.served(period.start, now), period.length)
        for before, after in changes:
            goes_on: list[tuple[Coupon, Fraction]] = []
            if before is not None and before in self.standing:
                back, goes_on = self._credit(before, consumed, period)
                shares += self._shares(before, back, shares)
                credited += [before] if back else []
            if after is not None and after.kind == "advance":
                rest = period.length - consumed
                amount = in_cents(after.listed * part_of(rest, period.length))
                line = Line(after.name, after, now, period.end, amount, rest)
                lines.append(line)
                if before is not None:
                    listed = before.listed * part_of(rest, period.length)
                    part = min(Fraction(line.gross) / listed, Fraction(1)) if listed else Fraction(0)
                    carried += [(coupon, after, in_cents(amount * part)) for coupon, amount in goes_on]
        self.discounts.apply(lines, self.books.documents, carried)
        owed = self._net(lines, shares, now)
        document = None
        if any(line.gross > line.credit for line in lines):
            document = Document("UPDATE", now, period.end, lambda: lines, lines=lines)
            self.discounts.apply(lines, self.books.documents, carried)
            self.taxes.charge(document)
        for line in lines:
            assert line.item is not None, "a change charges items"
            line.item.credited_beside = credited
            self.stand(line)
            self.standing[line.item].is_invoiced = document is not None
        self._give_back(owed, now)
        return document

    def _credit(self, item: Item, consumed: timedelta, period: Period) -> tuple[Decimal, list[tuple[Coupon, Fraction]]]:
        """What the unused time of a fee is worth, and what a coupon for one invoice took of it; budgets get their part
        back. What somebody took back by hand is not credited again."""
        paid = self.standing[item]
        unused = max(min(paid.until, period.length) - consumed, NO_TIME)
        part = part_of(unused, paid.service)
        worth = Fraction(paid.net) * part
        if paid.net == in_cents(item.listed * part_of(paid.service, period.length)):
            worth = item.listed * part_of(unused, period.length)
        behind = self._paid_by(item)
        by_hand = sum((line.noted_by_hand for line in behind if line.item is item), NOTHING)
        back = min(in_cents(worth), max(paid.net - by_hand, NOTHING))
        # of what a credit stands on, notes may have left less
        back = min(back, sum((max(line.net - line.noted, NOTHING) for line in behind), NOTHING))
        goes_on = []
        # what coupons made free is worth nothing, and returns its part all the same
        for coupon, budget, amount in paid.discounts if back or not paid.net else ():
            if coupon.is_budgeted:
                self.discounts.returned[coupon, budget] += in_cents(Fraction(amount) * part)
            elif coupon.cadence == "once":
                goes_on.append((coupon, Fraction(amount) * part))
        return back, goes_on

    def _shares(self, item: Item, credit: Decimal, given: Sequence[Share]) -> list[Share]:
        """The lines that paid for a credit: the newest first, each for what notes and credits beside it left of it."""
        shares = []
        for line in self._paid_by(item):
            beside = sum((share.amount for share in given if share.line is line), NOTHING)
            amount = min(credit, line.net - line.noted - beside)
            if amount > 0:
                credit -= amount
                shares.append(Share(amount, line))
        assert not credit, "whatever is credited was paid"
        return shares

    def _paid_by(self, item: Item) -> list[Line]:
        """An item's own lines of the open period, those of the items that it followed, those of what was credited when
        one of these was charged."""
        items = [item]
        for charged in items:
            earlier = [*([charged.follows] if charged.follows else []), *charged.credited_beside]
            items += [other for other in earlier if other not in items]
        period = self.time.open_period
        return [
            line
            for charged in items
            for document in reversed(self.books.documents)
            for line in document.lines
            if line.item is charged and period.start <= line.start < period.end
        ]

    def _net(self, lines: Sequence[Line], shares: Sequence[Share], now: datetime) -> list[Share]:
        """Lower charges by the credits that carry the same taxes; the shares that are owed to the payer, newest line
        first."""
        rates = self.taxes.at(now)
        left = sum((share.amount for share in shares if share.rates == rates), NOTHING)
        for line in lines:
            line.credit = min(left, line.left)
            left -= line.credit
        owed = []
        for share in shares:
            amount = min(left, share.amount) if share.rates == rates else share.amount
            left -= amount if share.rates == rates else NOTHING
            owed += [replace(share, amount=amount)] if amount else []
        return owed

    def _give_back(self, owed: Sequence[Share], now: datetime) -> None:
        """Each share goes back with the same share of each tax on its line, at most what is left of that: by notes on
        the invoices, in their order, and into the wallet."""
        by_document: dict[Document, list[Part]] = defaultdict(list)
        asked: dict[tuple[Line, str], Decimal] = defaultdict(lambda: NOTHING)
        tax = NOTHING
        for share in owed:
            line, taxes = share.line, {}
            for code, charged in line.taxes.items():
                back = in_cents(Fraction(charged) * Fraction(share.amount) / Fraction(line.net))
                back = max(min(back, charged - line.noted_taxes[code] - asked[line, code]), NOTHING)
                asked[line, code] += back
                taxes[code] = back
                tax += back
            document = next(document for document in self.books.documents if line in document.lines)
            by_document[document].append(Part(line, share.amount, taxes))
        left = NOTHING
        for document in self.books.documents:
            if document in by_document:
                left += self.books.take_back(document, by_document[document], now)
        self.books.credit_unused(left, now)
        if owed:
            self.given_back.append((now, sum((share.amount for share in owed), NOTHING), tax))
