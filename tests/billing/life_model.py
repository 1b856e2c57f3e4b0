"""What a subscription's life must come to, worked out from the rules alone: plain dates, decimals and fractions.

It shares no code with what it checks. One subscription of monthly periods in UTC, to which things happen at moments
that the caller goes through in order. `documents` are the invoices, and `given_back` what was owed to the payer, with
its tax, as they must be.

Rule: docs/rules/discounts-and-taxes.md#which-lines-a-coupon-discounts
Rule: docs/rules/discounts-and-taxes.md#budgets
Rule: docs/rules/discounts-and-taxes.md#tax-points
Rule: docs/rules/calendar.md#pauses-and-dates
Rule: docs/rules/proration.md#service-time
Rule: docs/rules/proration.md#what-is-settled
Rule: docs/rules/proration.md#tax-on-what-is-given-back
Rule: docs/rules/late-usage.md#what-is-charged
"""

from __future__ import annotations

from calendar import monthrange
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

NOTHING = Decimal(0)
NO_TIME = timedelta(0)
MOMENT = timedelta(microseconds=1)
LATEST_LATE = timedelta(days=35)


def in_cents(amount: Fraction) -> Decimal:
    """Half a cent and more is a cent."""
    return Decimal(int(amount * 100 + Fraction(1, 2))) / 100


def split(amount: Decimal, weights: Sequence[Decimal]) -> list[Decimal]:
    """By largest remainder; of equal remainders the larger weight is first, then the earlier."""
    total = sum(weights)
    exact = [Fraction(amount) * 100 * Fraction(weight) / Fraction(total) for weight in weights]
    cents = [int(part) for part in exact]
    order = sorted(range(len(weights)), key=lambda index: (cents[index] - exact[index], -weights[index], index))
    for index in order[: int(amount * 100) - sum(cents)]:
        cents[index] += 1
    return [Decimal(part) / 100 for part in cents]


def part_of(service: timedelta, whole: timedelta) -> Fraction:
    return Fraction(service // MOMENT, whole // MOMENT) if whole else Fraction(0)


def boundary_after(moment: datetime, anchor: datetime) -> datetime:
    """The next time that it is the anchor's day of a month, or the last of a shorter month, at the anchor's clock."""
    months = (moment.year * 12 + moment.month - 1 + ahead for ahead in range(3))
    days = (anchor.replace(year=month // 12, month=month % 12 + 1, day=_day_of(anchor, month)) for month in months)
    return next(day for day in days if day > moment)


def _day_of(anchor: datetime, month: int) -> int:
    return min(anchor.day, monthrange(month // 12, month % 12 + 1)[1])


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

    `taxes` is what each rate that the line carries takes of it. `noted` is what credit notes took back of the net, and
    `noted_taxes` of the taxes.
    """

    name: str
    item: Item
    start: datetime
    end: datetime
    gross: Decimal
    service: timedelta = NO_TIME
    usage: int = 0
    late_for: Line | None = None
    credit: Decimal = NOTHING
    discounts: list[tuple[Coupon, int, Decimal]] = field(default_factory=list)
    taxes: dict[str, Decimal] = field(default_factory=dict)
    noted: Decimal = NOTHING
    noted_taxes: dict[str, Decimal] = field(default_factory=lambda: defaultdict(lambda: NOTHING))

    @property
    def discount(self) -> Decimal:
        return sum((amount for _, _, amount in self.discounts), NOTHING)

    @property
    def left(self) -> Decimal:
        return self.gross - self.discount

    @property
    def net(self) -> Decimal:
        return self.left - self.credit


@dataclass(frozen=True)
class Share:
    """A part of a credit for unused time, and the line that paid for it; `rates` are the taxes that it carries."""

    amount: Decimal
    line: Line

    @property
    def rates(self) -> frozenset[str]:
        return frozenset(self.line.taxes)


@dataclass(eq=False)
class Document:
    """One invoice. `work` makes its lines again until it is final."""

    reason: str
    reference: datetime
    period_end: datetime
    work: Callable[[], list[Line]]
    final_at: datetime | None = None
    lines: list[Line] = field(default_factory=list)
    taxes: dict[str, tuple[Decimal, Decimal]] = field(default_factory=dict)

    @property
    def total(self) -> Decimal:
        return sum((line.net for line in self.lines), NOTHING) + sum((tax for _, tax in self.taxes.values()), NOTHING)

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
class LifeModel:
    """`rates` are the taxes: code, percentage, and the window of each. `delay` is how long a renewal stays a draft."""

    start: datetime
    delay: timedelta
    rates: list[tuple[str, Decimal, datetime | None, datetime | None]]
    items: list[Item]
    coupons: list[Coupon] = field(default_factory=list)
    documents: list[Document] = field(default_factory=list)
    given_back: list[tuple[datetime, Decimal, Decimal]] = field(default_factory=list)
    periods: list[Period] = field(default_factory=list)
    pauses: list[tuple[datetime, datetime]] = field(default_factory=list)
    paused_at: datetime | None = None
    cancels_at: datetime | None = None
    ended_at: datetime | None = None
    uses: list[datetime] = field(default_factory=list)
    standing: dict[Item, Standing] = field(default_factory=dict)
    returned: dict[tuple[Coupon, int], Decimal] = field(default_factory=lambda: defaultdict(lambda: NOTHING))

    anchor: datetime = field(init=False)

    def __post_init__(self) -> None:
        self.anchor = self.start
        end = boundary_after(self.start, self.anchor)
        self.periods = [Period(self.start, end - self.start, end)]
        self._issue(Document("CREATE", self.start, end, lambda: self._advance(self.periods[0])))

    # what happens

    @property
    def patience(self) -> timedelta:
        """A draft is final when more than the delay has passed."""
        return timedelta(seconds=1) if self.delay else NO_TIME

    @property
    def open_period(self) -> Period:
        return self.periods[-1]

    @property
    def draft(self) -> Document | None:
        """The renewal that is not final yet."""
        return next((document for document in self.documents if document.final_at is None), None)

    def next_duty(self) -> datetime | None:
        """When the run has something to do next."""
        duties = []
        if self.draft is not None:
            duties.append(self.draft.reference + self.delay + self.patience)
        if self.paused_at is None and self.ended_at is None:
            duties.append(self.open_period.end)
        return min(duties, default=None)

    def run(self, now: datetime) -> None:
        """Renew what has ended by now, and make final what has waited long enough."""
        period = self.open_period
        if self.paused_at is None and self.ended_at is None and period.end <= now:
            closed, end = period, boundary_after(period.end, self.anchor)
            following = Period(period.end, end - period.end, end)
            self.periods.append(following)
            former = self.standing
            self.standing = {}
            document = Document(
                "CYCLE", closed.end, closed.end, lambda: self._renewal(document, closed, following, former)
            )
            self.documents.append(document)
            self._compute(document)
        draft = self.draft
        if draft is not None and draft.reference + self.delay + self.patience <= now:
            self._issue(draft)

    def use(self, moments: Iterable[datetime]) -> None:
        """Usage arrives, for whatever moments."""
        self.uses += moments

    def pause(self, now: datetime) -> None:
        self.paused_at = now

    def resume(self, now: datetime) -> None:
        assert self.paused_at is not None
        self.open_period.end += now - self.paused_at
        end, moved = self.open_period.end, self.anchor + (now - self.paused_at)
        # months differ in length: the next period begins where this one ends, and is whole
        self.anchor = moved if boundary_after(end - timedelta(seconds=1), moved) == end else end
        self.pauses.append((self.paused_at, now))
        self.paused_at = None

    def attach(self, coupon: Coupon) -> None:
        """A coupon for a number of periods begins with the next one where this one is invoiced already."""
        coupon.first_period = len(self.periods) - 1
        period = self.open_period
        for document in self.documents:
            for line in document.lines:
                named = coupon.item is None or coupon.item.continues(line.item) or line.item.continues(coupon.item)
                if named and period.start <= line.start < period.end:
                    coupon.first_period = len(self.periods)
        self.coupons.append(coupon)

    def announce_end(self, at: datetime) -> None:
        """A cancellation on a date to come, which prorates."""
        self.cancels_at = at

    def take_back(self) -> None:
        self.cancels_at = None

    def change_quantity(self, name: str, quantity: int, now: datetime) -> None:
        before = self._current(name)
        if before.quantity == quantity:
            return
        after = Item(name, before.price, now, quantity, before.kind, follows=before)
        before.end = now
        self.items.append(after)
        self._settle([(before, after)], now)

    def add(self, item: Item) -> None:
        """An addon."""
        self.items.append(item)
        self._settle([(None, item)], item.start)

    def change_plan(self, items: list[Item], now: datetime, *, prorated: bool) -> None:
        """The plan's items close and the new plan's open; the quantity of a fee of the same name goes on."""
        closed = [item for item in self.items if item.end is None and item.name != "extra"]
        for item in closed:
            item.end = now
        for item in items:
            former = next((before for before in closed if before.name == item.name), None)
            if former is not None and item.kind != "usage":
                item.quantity = former.quantity
        self.items += items
        if prorated:
            changes: list[tuple[Item | None, Item | None]] = [(item, None) for item in closed]
            self._settle([*changes, *((None, item) for item in items)], now)

    def cancel(self, now: datetime) -> None:
        """At once, with an invoice of what is in arrear, and a credit for what was paid and not had."""
        period, standing = self.open_period, self.standing
        open_items = [item for item in self.items if item.end is None]
        self.ended_at = self.cancels_at = now
        if self.draft is not None:
            self._compute(self.draft)
        self._issue(
            Document(
                "PRORATION",
                now,
                now,
                lambda: self._closing(Period(period.start, period.length, now), standing),
            )
        )
        self._settle([(item, None) for item in open_items], now)
        for item in open_items:
            item.end = now

    # time

    def _served(self, since: datetime, until: datetime) -> timedelta:
        """Time between two moments that no pause takes."""
        paused = sum((max(min(until, back) - max(since, stop), NO_TIME) for stop, back in self._stops(until)), NO_TIME)
        return max(until - since - paused, NO_TIME)

    def _stops(self, now: datetime) -> list[tuple[datetime, datetime]]:
        """The pauses, the one that goes on until `now` among them."""
        return [*self.pauses, *([] if self.paused_at is None else [(self.paused_at, now)])]

    def _service(self, item: Item, period: Period) -> timedelta:
        """The service time of a period in which an item is in force, as far as is known now."""
        since = max(item.start, period.start)
        ends = [end for end in (item.end, self.cancels_at) if end is not None]
        until = min([*ends, period.end]) if ends else None
        consumed = self._served(period.start, since)
        if until is None:
            return period.length - consumed
        return min(self._served(period.start, until), period.length) - consumed

    def _period_of(self, moment: datetime) -> int:
        return max(index for index, period in enumerate(self.periods) if period.start <= moment)

    # lines

    def _current(self, name: str) -> Item:
        return next(item for item in self.items if item.name == name and item.end is None)

    def _in_force(self, kind: str, start: datetime, end: datetime) -> list[tuple[Item, datetime, datetime]]:
        """The items of a kind in a window, each with the part in which it is in force."""
        ordered = sorted((item for item in self.items if item.kind == kind), key=lambda item: item.start)
        parts = [(item, max(item.start, start), end if item.end is None else min(item.end, end)) for item in ordered]
        return [(item, since, until) for item, since, until in parts if since < until]

    def _fee(self, item: Item, start: datetime, end: datetime, period: Period, service: timedelta) -> Line:
        return Line(item.name, item, start, end, in_cents(item.listed * part_of(service, period.length)), service)

    def _advance(self, period: Period) -> list[Line]:
        end = period.end if self.cancels_at is None else min(period.end, self.cancels_at)
        if end <= period.start:
            return []
        return [
            self._fee(item, since, until, period, self._service(item, period))
            for item, since, until in self._in_force("advance", period.start, end)
        ]

    def _closing(self, period: Period, standing: dict[Item, Standing]) -> list[Line]:
        """What a period owes at its end: fees in arrear, the rest of fees that were charged in part, and usage."""
        lines = [
            self._fee(item, since, until, period, self._service(item, period))
            for item, since, until in self._in_force("arrear", period.start, period.end)
        ]
        for item, _, until in self._in_force("advance", period.start, period.end):
            paid = standing.get(item)
            rest = NO_TIME if paid is None or not paid.is_invoiced else self._service(item, period) - paid.service
            if paid is not None and rest > NO_TIME:
                lines.append(self._fee(item, paid.window_end, until, period, rest))
        for item, since, until in self._in_force("usage", period.start, period.end):
            usage = self._usage(since, until)
            lines.append(Line(item.name, item, since, until, in_cents(Fraction(item.price) * usage), usage=usage))
        return lines

    def _renewal(
        self, document: Document, closed: Period, following: Period, standing: dict[Item, Standing]
    ) -> list[Line]:
        return [*self._closing(closed, standing), *self._advance(following), *self._late(document)]

    def _usage(self, start: datetime, end: datetime) -> int:
        stops = self._stops(end)
        return sum(start <= use < end and not any(stop <= use < back for stop, back in stops) for use in self.uses)

    def _late(self, document: Document) -> list[Line]:
        """What final invoices of the last 35 days would charge more for their usage by now."""
        found = []
        for earlier in self.documents:
            if earlier.reason != "CYCLE" or earlier.final_at is None or earlier is document:
                continue
            if not document.period_end - LATEST_LATE <= earlier.period_end < document.period_end:
                continue
            for line in earlier.lines:
                if line.item.kind != "usage" or line.late_for is not None:
                    continue
                charged = [
                    other
                    for other_document in self.documents
                    if other_document is not document
                    for other in other_document.lines
                    if other is line or other.late_for is line
                ]
                usage = self._usage(line.start, line.end)
                more = in_cents(Fraction(line.item.price) * usage) - sum((other.gross for other in charged), NOTHING)
                if more > 0:
                    found.append(
                        Line(f"{line.name} (Late Usage)", line.item, line.start, line.end, more, late_for=line)
                    )
        return found

    # figures

    def _compute(self, document: Document, carried: Sequence[tuple[Coupon, Item, Decimal]] = ()) -> None:
        document.lines = document.work()
        self._discount(document, document.lines, carried)
        document.taxes = {}
        for line in document.lines:
            line.taxes = dict.fromkeys(self._rates_at(min(document.reference, line.end - MOMENT)), NOTHING)
        for code, percentage, _, _ in self.rates:
            carrying = [line for line in document.lines if code in line.taxes]
            base = sum((line.net for line in carrying), NOTHING)
            if carrying:
                document.taxes[code] = base, in_cents(Fraction(base) * Fraction(percentage) / 100)
            if base:
                parts = split(document.taxes[code][1], [line.net for line in carrying])
                for line, part in zip(carrying, parts, strict=True):
                    line.taxes[code] = part

    def _rates_at(self, point: datetime) -> frozenset[str]:
        return frozenset(
            code
            for code, _, since, until in self.rates
            if (since is None or since <= point) and (until is None or point < until)
        )

    def _issue(self, document: Document) -> None:
        """Compute a document once more, and make it final."""
        if document not in self.documents:
            self.documents.append(document)
        self._compute(document)
        document.final_at = document.reference
        period = self.open_period
        for line in document.lines:
            if line.item.kind == "advance" and line.start >= period.start and line.late_for is None:
                self._stand(line)

    def _stand(self, line: Line) -> None:
        until = self._served(self.open_period.start, line.start) + line.service
        self.standing[line.item] = Standing(line.left, line.service, until, line.end, line.discounts)

    def _discount(
        self, document: Document | None, lines: Sequence[Line], carried: Sequence[tuple[Coupon, Item, Decimal]] = ()
    ) -> None:
        for line in lines:
            line.discounts = []
        for coupon, item, amount in carried:
            for line in lines:
                if line.item is item:
                    line.discounts.append((coupon, -1, min(amount, line.left)))
        ordered = [coupon for coupon in self.coupons if coupon.item is not None]
        ordered += [coupon for coupon in self.coupons if coupon.item is None]
        for coupon in ordered:
            others = [other for other in self.documents if other is not document]
            if coupon.cadence == "once" and any(other.taken(coupon) for other in others):
                continue
            reached = [line for line in lines if self._reaches(coupon, line)]
            groups: dict[int, list[Line]] = defaultdict(list)
            for line in reached:
                groups[self._period_of(line.start) if coupon.is_budgeted else -1].append(line)
            for period in sorted(groups):
                most = coupon.amount
                if most is not None and coupon.is_budgeted:
                    most -= sum((other.taken(coupon)[period] for other in others), NOTHING)
                    most = max(most + self.returned[coupon, period], NOTHING)
                self._take(coupon, period, groups[period], most)

    def _reaches(self, coupon: Coupon, line: Line) -> bool:
        if coupon.item is not None and not line.item.continues(coupon.item):
            return False
        if coupon.until is not None and line.start >= coupon.until:
            return False
        if coupon.cadence == "repeated":
            return coupon.first_period <= self._period_of(line.start) < coupon.first_period + coupon.periods
        return coupon.since < line.end

    @staticmethod
    def _take(coupon: Coupon, period: int, lines: list[Line], most: Decimal | None) -> None:
        """Coupons on a line discount the whole charge of each; the others what is left of all together."""
        if coupon.item is not None and coupon.percent is not None:
            for line in lines:
                off = in_cents(Fraction(line.gross) * coupon.percent / 100)
                line.discounts.append((coupon, period, min(off, line.left)))
            return
        bases = [line.left if coupon.item is None else line.gross for line in lines]
        base = sum(bases, NOTHING)
        off = in_cents(Fraction(base) * (coupon.percent or 0) / 100) if most is None else most
        off = min(off, base)
        if off > 0:
            for line, part in zip(lines, split(off, bases), strict=True):
                line.discounts.append((coupon, period, min(part, line.left)))

    # changes in mid-period

    def _settle(self, changes: Sequence[tuple[Item | None, Item | None]], now: datetime) -> None:
        if self.draft is not None:
            return
        period = self.open_period
        lines: list[Line] = []
        carried: list[tuple[Coupon, Item, Decimal]] = []
        shares: list[Share] = []
        credited: list[Item] = []
        consumed = min(self._served(period.start, now), period.length)
        for before, after in changes:
            goes_on: list[tuple[Coupon, Fraction]] = []
            if before is not None and before in self.standing:
                back, goes_on = self._credit(before, consumed, period)
                shares += self._shares(before, back, shares)
                credited += [before] if back else []
            if after is not None and after.kind == "advance":
                line = self._fee(after, now, period.end, period, period.length - consumed)
                lines.append(line)
                if before is not None:
                    listed = before.listed * part_of(period.length - consumed, period.length)
                    part = min(Fraction(line.gross) / listed, Fraction(1)) if listed else Fraction(0)
                    carried += [(coupon, after, in_cents(amount * part)) for coupon, amount in goes_on]
        self._discount(None, lines, carried)
        owed = self._net(lines, shares, now)
        is_invoiced = any(line.gross > line.credit for line in lines)
        if is_invoiced:
            document = Document("UPDATE", now, period.end, lambda: lines, final_at=now)
            self._compute(document, carried)
            self.documents.append(document)
        for line in lines:
            line.item.credited_beside = credited
            self._stand(line)
            self.standing[line.item].is_invoiced = is_invoiced
        self._give_back(owed, now)

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
        period = self.open_period
        return [
            line
            for charged in items
            for document in reversed(self.documents)
            for line in document.lines
            if line.item is charged and period.start <= line.start < period.end
        ]

    def _net(self, lines: Sequence[Line], shares: Sequence[Share], now: datetime) -> list[Share]:
        """Lower charges by the credits that carry the same taxes; the shares that are owed to the payer, newest line
        first."""
        rates = self._rates_at(now)
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
        """Each share goes back with the same share of each tax on its line, at most what is left of that."""
        tax = NOTHING
        for share in owed:
            line = share.line
            for code, charged in line.taxes.items():
                back = in_cents(Fraction(charged) * Fraction(share.amount) / Fraction(line.net))
                back = min(back, charged - line.noted_taxes[code])
                line.noted_taxes[code] += back
                tax += back
            line.noted += share.amount
        if owed:
            self.given_back.append((now, sum((share.amount for share in owed), NOTHING), tax))

    def _credit(self, item: Item, consumed: timedelta, period: Period) -> tuple[Decimal, list[tuple[Coupon, Fraction]]]:
        """What the unused time of a fee is worth, and what a coupon for one invoice took of it; budgets get their part
        back."""
        paid = self.standing.pop(item)
        unused = max(min(paid.until, period.length) - consumed, NO_TIME)
        part = part_of(unused, paid.service)
        worth = Fraction(paid.net) * part
        if paid.net == in_cents(item.listed * part_of(paid.service, period.length)):
            worth = item.listed * part_of(unused, period.length)
        back = min(in_cents(worth), paid.net)
        goes_on = []
        for coupon, budget, amount in paid.discounts if back else ():
            if coupon.is_budgeted:
                self.returned[coupon, budget] += in_cents(Fraction(amount) * part)
            elif coupon.cadence == "once":
                goes_on.append((coupon, Fraction(amount) * part))
        return back, goes_on
