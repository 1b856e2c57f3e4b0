"""What a subscription's life must come to: its invoices, its grants, and what changes give back.

One subscription of monthly periods in UTC, to which things happen at moments that the caller goes through in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from tests.billing.lives.arithmetic import NO_TIME, NOTHING, in_cents, part_of
from tests.billing.lives.charges.discounts import Discounts
from tests.billing.lives.charges.quotas import Quotas, QuotaTerms
from tests.billing.lives.charges.records import Coupon, Document, Item, Line, Period
from tests.billing.lives.charges.service_time import ServiceTime
from tests.billing.lives.charges.settlements import Change, Settlements, Standing
from tests.billing.lives.charges.taxes import Taxes
from tests.billing.lives.charges.usage import Usage
from tests.billing.lives.ledger.books import Books
from tests.billing.lives.ledger.grants import Application, Grant, GrantTerms
from tests.billing.lives.ledger.top_ups import RealTimeBalance, is_open, real_time_balance
from tests.billing.lives.ledger.wallets import Lot, Wallet, take

ONE_OFFS = {"MANUAL", "WALLET_AUTO_TOPUP"}


@dataclass
class LifeModel:
    """`delay` is how long a renewal stays a draft; `plan_grants` what each plan grants, and `plan` the first one.

    `quota` is what the subscription's own entitlement grants of usage.
    """

    start: datetime
    delay: timedelta
    taxes: Taxes
    items: list[Item]
    coupons: list[Coupon] = field(default_factory=list)
    plan_grants: dict[str, list[GrantTerms]] = field(default_factory=dict)
    plan: str = ""
    quota: QuotaTerms | None = None
    books: Books = field(default_factory=Books)
    grants: list[Grant] = field(default_factory=list)
    time: ServiceTime = field(init=False)
    usage: Usage = field(init=False)
    discounts: Discounts = field(init=False)
    settlements: Settlements = field(init=False)

    def __post_init__(self) -> None:
        self.time = ServiceTime(self.start)
        self.usage = Usage(self.time, self.items, None if self.quota is None else Quotas(self.time, self.quota))
        self.discounts = Discounts(self.time, self.coupons)
        self.settlements = Settlements(self.time, self.discounts, self.taxes, self.books)
        opening = self.time.open_period
        document = Document("CREATE", self.start, opening.end, lambda: self._advance(opening))
        self._issue(document, self.start)
        self.books.collect(document, self.start)
        for terms in self.plan_grants.get(self.plan, []):
            self.grants.append(Grant.begun(terms, self.start, is_plans=True))
        self.give(self.start)

    # what happens

    @property
    def patience(self) -> timedelta:
        """A draft is final when more than the delay has passed."""
        return timedelta(seconds=1) if self.delay else NO_TIME

    @property
    def draft(self) -> Document | None:
        """The renewal that is not final yet."""
        return next((document for document in self.books.documents if document.final_at is None), None)

    def next_duty(self) -> datetime | None:
        """When there is something to do next; what failed is tried again whenever there is."""
        waiting = [grant.open_application for grant in self.grants]
        duties = [waits.start for waits in waiting if waits is not None and not waits.failures]
        if self.draft is not None:
            duties.append(self.draft.reference + self.delay + self.patience)
        if self.time.serves:
            duties.append(self.time.open_period.end)
        return min(duties, default=None)

    def run(self, now: datetime) -> None:
        """Renew what has ended by now, make final what has waited long enough, give what is granted, and expire what is
        to expire."""
        self.usage.count_quotas(now)
        if self.time.serves and self.time.open_period.end <= now:
            closed, following = self.time.roll()
            former, self.settlements.standing = self.settlements.standing, {}
            document = Document(
                "CYCLE", closed.end, closed.end, lambda: self._renewal(document, closed, following, former)
            )
            self.books.documents.append(document)
            self._compute(document)
        draft = self.draft
        if draft is not None and draft.reference + self.delay + self.patience <= now:
            self._issue(draft, now)
            self.books.collect(draft, now)
        self.sweep(now)

    def sweep(self, now: datetime) -> None:
        """Give what is granted and due, cut what rolls over, and take out what has expired."""
        self.give(now)
        self._roll_over(now)
        self.books.expire(now)

    def use(self, moments: Iterable[datetime]) -> None:
        """Usage arrives, for whatever moments."""
        self.usage.moments += moments

    def pause(self, now: datetime) -> None:
        self.time.paused_at = now

    def resume(self, now: datetime) -> None:
        self.time.resume(now)

    def attach(self, coupon: Coupon) -> None:
        self.discounts.attach(
            coupon, [document for document in self.books.documents if document.reason not in ONE_OFFS]
        )

    def announce_end(self, at: datetime) -> None:
        """A cancellation on a date to come, which prorates."""
        self.time.cancels_at = at

    def take_back(self) -> None:
        self.time.cancels_at = None

    def change_quantity(self, name: str, quantity: int, now: datetime) -> None:
        before = next(item for item in self.items if item.name == name and item.end is None)
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

    def change_plan(self, plan: str, items: list[Item], now: datetime, *, prorated: bool) -> None:
        """The plan's items and grants end and the new plan's begin; the quantity of a fee of the same name goes on."""
        self.plan = plan
        closed = [item for item in self.items if item.end is None and item.name != "extra"]
        for item in closed:
            item.end = now
        for item in items:
            former = next((before for before in closed if before.name == item.name), None)
            if former is not None and item.kind != "usage":
                item.quantity = former.quantity
        self.items += items
        for grant in self.grants:
            if grant.is_plans:
                grant.stop(now)
        period, granted = self.time.open_period, []
        for terms in self.plan_grants.get(plan, []):
            waits = terms.recurs_monthly and not prorated and period.start < now
            start = period.end if waits else now
            granted.append(Grant.begun(terms, start, None if waits else period, is_plans=True))
        self.grants += granted
        self._give(granted, now)
        if prorated:
            changes: list[Change] = [(item, None) for item in closed]
            self._settle([*changes, *((None, item) for item in items)], now)

    def cancel(self, now: datetime) -> None:
        """At once, with an invoice of what is in arrear, and a credit for what was paid and not had."""
        period, standing = self.time.open_period, self.settlements.standing
        open_items = [item for item in self.items if item.end is None]
        self.time.ended_at = self.time.cancels_at = now
        if self.draft is not None:
            self._compute(self.draft)
        closing = Period(period.start, period.length, now)

        def work() -> list[Line]:
            return [*self._closing(closing, standing), *self.usage.late_lines(document, self.books.documents)]

        document = Document("PRORATION", now, now, work)
        self._issue(document, now)
        self._settle([(item, None) for item in open_items], now)
        self.books.collect(document, now)
        for item in open_items:
            item.end = now
        for grant in self.grants:
            grant.stop(now)

    # grants

    def grant(self, terms: GrantTerms, now: datetime) -> Grant:
        """A grant of the subscription's own."""
        grant = Grant.begun(terms, now)
        self.grants.append(grant)
        self._give([grant], now)
        return grant

    def give(self, now: datetime) -> None:
        """Attend to the applications that are due."""
        self._give(self.grants, now)

    def _give(self, grants: Sequence[Grant], now: datetime) -> None:
        """The earliest first."""
        while due := _due(grants, now):
            for grant, application in due:
                self._attend(grant, application, now)

    def _attend(self, grant: Grant, application: Application, now: datetime) -> None:
        start, ends = application.start, self.time.cancels_at
        billing_end = next(period.end for period in reversed(self.time.periods) if period.start <= start)
        expiry = grant.expiry(start, billing_end if ends is None or ends <= start else min(billing_end, ends))
        is_over = self.time.ended_at is not None or (ends is not None and ends <= start)
        if is_over or (grant.end is not None and grant.end <= start):
            application.became = "cancelled"
            return
        skipped = self.time.paused_at is not None or not application.credits or (expiry is not None and expiry <= now)
        if not skipped and self.books.wallet().is_frozen:
            application.fail(now)
            return
        application.became = "skipped" if skipped else "applied"
        if not skipped:
            wallet, credits = self.books.wallet(), application.credits
            amount = wallet.worth(credits)
            lot = Lot("SUBSCRIPTION_CREDIT_GRANT", credits, amount, now, "free", expiry, grant.terms.priority, start)
            wallet.add(lot)
            application.lot, application.rolls_over = lot, grant.terms.rollover is not None
        grant.follow(application)

    def _roll_over(self, now: datetime) -> None:
        """Of what earlier applications left, let the grant's maximum stay, once their invoices have taken from it."""
        for grant in self.grants:
            for application in grant.applications:
                if not application.rolls_over or self._is_behind(application.start):
                    continue
                application.rolls_over = False
                assert grant.terms.rollover is not None, "only such grants roll over"
                earlier = [other.lot for other in grant.applications if other.lot and other.start < application.start]
                lots = [lot for lot in earlier if lot.is_eligible(application.start)]
                beyond = sum((lot.left for lot in lots), NOTHING) - grant.terms.rollover
                wallet = next((wallet for wallet in self.books.wallets if application.lot in wallet.lots), None)
                assert wallet is not None, "what was applied is in a wallet"
                lots = [lot for lot in lots if lot in wallet.lots]
                if beyond > 0 and lots:
                    wallet.debit("CREDIT_EXPIRED", take(lots, beyond))

    def _is_behind(self, at: datetime) -> bool:
        """Whether a period that ended by then is not invoiced yet."""
        draft = self.draft
        waits = draft is not None and draft.period_end is not None and draft.period_end <= at
        return waits or (self.time.serves and self.time.open_period.end <= at)

    # wallets

    def real_time_balances(self, now: datetime) -> dict[Wallet, RealTimeBalance]:
        """What each open wallet is worth."""
        usage = self._open_usage()
        documents = [document for document in self.books.documents if is_open(document, now)]
        return {
            wallet: real_time_balance(
                wallet, usage, [other for other in documents if other not in self.books.sold_by(wallet)], now
            )
            for wallet in self.books.wallets
            if not wallet.is_closed
        }

    def look(self, now: datetime) -> None:
        """Wallets that are low top themselves up."""
        for wallet, balance in self.real_time_balances(now).items():
            if not wallet.is_frozen:
                self.books.top_up(wallet, wallet.signed_credits_for(balance.balance), now)

    def _open_usage(self) -> Decimal:
        """What the next invoice will charge for the usage of the open period, before tax."""
        if not self.time.serves:
            return NOTHING
        closed, following = self.time.roll()
        lines = [*self._closing(closed, self.settlements.standing), *self._advance(following)]
        self.discounts.apply(lines, self.books.documents)
        self.time.roll_back()
        return sum((line.net for line in lines if line.is_usage), NOTHING)

    # lines

    def _in_force(self, kind: str, start: datetime, end: datetime) -> list[tuple[Item, datetime, datetime]]:
        """The items of a kind in a window, each with the part in which it is in force."""
        ordered = sorted((item for item in self.items if item.kind == kind), key=lambda item: item.start)
        parts = [(item, max(item.start, start), end if item.end is None else min(item.end, end)) for item in ordered]
        return [(item, since, until) for item, since, until in parts if since < until]

    def _fee(self, item: Item, start: datetime, end: datetime, period: Period, service: timedelta) -> Line:
        return Line(item.name, item, start, end, in_cents(item.listed * part_of(service, period.length)), service)

    def _advance(self, period: Period) -> list[Line]:
        ends = self.time.cancels_at
        end = period.end if ends is None else min(period.end, ends)
        if end <= period.start:
            return []
        return [
            self._fee(item, since, until, period, self.time.service(item, period))
            for item, since, until in self._in_force("advance", period.start, end)
        ]

    def _closing(self, period: Period, standing: dict[Item, Standing]) -> list[Line]:
        """What a period owes at its end: fees in arrear, the rest of fees that were charged in part, and usage."""
        lines = [
            self._fee(item, since, until, period, self.time.service(item, period))
            for item, since, until in self._in_force("arrear", period.start, period.end)
        ]
        for item, _, until in self._in_force("advance", period.start, period.end):
            paid = standing.get(item)
            rest = NO_TIME if paid is None or not paid.is_invoiced else self.time.service(item, period) - paid.service
            if paid is not None and rest > NO_TIME:
                lines.append(self._fee(item, paid.window_end, until, period, rest))
        for item, since, until in self._in_force("usage", period.start, period.end):
            amount = in_cents(self.usage.cost(item, since, until))
            lines.append(Line(item.name, item, since, until, amount, is_usage=True))
        return lines

    def _renewal(
        self, document: Document, closed: Period, following: Period, standing: dict[Item, Standing]
    ) -> list[Line]:
        late = self.usage.late_lines(document, self.books.documents)
        return [*self._closing(closed, standing), *self._advance(following), *late]

    # figures

    def _compute(self, document: Document) -> None:
        document.lines = document.work()
        self.discounts.apply(document.lines, [other for other in self.books.documents if other is not document])
        self.taxes.charge(document)

    def _issue(self, document: Document, now: datetime) -> None:
        """Compute a document once more, and make it final."""
        if document not in self.books.documents:
            self.books.documents.append(document)
        self._compute(document)
        self.books.issue(document, now)
        for line in document.lines:
            is_fee = line.item is not None and line.item.kind == "advance"
            if is_fee and line.start >= self.time.open_period.start and line.late_for is None:
                self.settlements.stand(line)

    def _settle(self, changes: list[Change], now: datetime) -> None:
        if self.draft is not None:
            return
        document = self.settlements.settle(changes, now)
        if document is not None:
            self.books.documents.append(document)
            self.books.issue(document, now)
            self.books.collect(document, now)


def _due(grants: Iterable[Grant], now: datetime) -> list[tuple[Grant, Application]]:
    waiting = [(grant, grant.open_application) for grant in grants]
    due = [(grant, waits) for grant, waits in waiting if waits is not None and waits.due_at <= now]
    return sorted(due, key=lambda pair: pair[1].due_at)
