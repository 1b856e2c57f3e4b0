"""What the demo's customers subscribe to, and a year of bills that the billing run made of it at the time.

`deals` says who subscribes to what and how it goes on; pure, and the same for the same seed. `load_deals` lets it
happen: a few subscriptions at a time, each step through the function behind its route or duty, in the order of time
and in one transaction, so that the worker of a running server never meets a subscription that lives in the past.
"""

from __future__ import annotations

import heapq
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from random import Random
from typing import Any

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.changes.apply_outcome import perform
from farthing.billing.changes.opening import open_subscription
from farthing.billing.changes.plan_change import change_plan
from farthing.billing.plan_change_schemas import SubscriptionChangeV2Request
from farthing.billing.run.passes import Run
from farthing.catalogue.fx import rates
from farthing.catalogue.fx.schemas import CreateFxRateRequest
from farthing.catalogue.fx.tables import FxRate
from farthing.core import currency
from farthing.core.clock import instant
from farthing.core.encoding.decoding import convert
from farthing.core.money import plain, round_to
from farthing.demo.books import Ledger, StoryClock
from farthing.demo.catalogue import ENTERPRISE, FEWEST_SEATS, SCALE, STARTER, TEAM, CatalogueOffer, Offers
from farthing.demo.company import DemoCustomer, Habit
from farthing.invoices.tables import Invoice
from farthing.payments.integrations.gateways import Gateways
from farthing.payments.processing import execution
from farthing.payments.schemas import CreatePaymentRequest
from farthing.settings import Settings
from farthing.storage.queries.rows import find
from farthing.subscriptions.enums import CancellationType, ProrationBehavior
from farthing.subscriptions.lifecycle.cancellation import CancelSubscriptionRequest, cancel
from farthing.subscriptions.schemas.requests import CreateSubscriptionRequest
from farthing.subscriptions.tables import Subscription

AT_ONCE = 40
"""How many subscriptions are told of in one transaction: enough for the run to work in batches."""
FEWEST_MONTHS, MOST_MONTHS = 3, 12
"""How long ago a subscription may have begun."""
FORGETFUL_MONTHS = 6
"""How long ago, at least, that of a forgetful customer: what it owed before that is paid by now."""
COMMITTED = {"usd": "300", "eur": "280", "jpy": "45000", "kwd": "92"}
PLANS = {STARTER: 20, TEAM: 30, SCALE: 32, ENTERPRISE: 18}
METERED = frozenset({SCALE, ENTERPRISE})
"""The plans that charge for usage."""
UPGRADES = {STARTER: TEAM, SCALE: ENTERPRISE}

_KEY = "demo-"
_ROLL = timedelta(hours=12)
"""When the run comes by on the first of a month: by then the month has ended in every zone of the customers."""
_FINALIZE = timedelta(hours=14, minutes=30)
_PATIENCE = timedelta(days=100)
"""How long ago a forgetful customer's unpaid invoices begin."""


DOLLARS = "usd"
RATES = {"eur": "0.9231", "jpy": "150.05", "kwd": "0.3071"}
"""What a dollar is, where a customer is charged in dollars and billed in another currency."""


@dataclass(frozen=True, slots=True)
class Deal:
    """One subscription of the story."""

    customer: DemoCustomer
    plan: str
    begins: datetime
    seats: int
    net_days: int
    upgraded: datetime | None
    cancelled: datetime | None
    """When the customer cancels; it takes effect at the end of that month."""
    is_converted: bool = False
    """Whether it is charged in dollars, and invoiced in the customer's currency."""

    @property
    def charged_in(self) -> str:
        """The currency of its prices."""
        return DOLLARS if self.is_converted else self.customer.billing_currency

    @property
    def key(self) -> str:
        """What the subscription is known by: it is there if and only if one has this lookup key."""
        return f"{_KEY}{self.customer.external_id}"


def deals(customers: Sequence[DemoCustomer], story: CatalogueOffer) -> list[Deal]:
    """Who of `customers` subscribes: three of five."""
    subscribers = [customer for number, customer in enumerate(customers) if number % 5 in {0, 2, 3}]
    found = [
        _deal(customer, Random(f"{story.seed}/deal/{customer.external_id}"), story.until)  # noqa: S311 (a story)
        for customer in subscribers
    ]
    elsewhere = (number for number, deal in enumerate(found) if deal.customer.billing_currency in RATES)
    first = next(elsewhere, None)
    if first is not None:
        found[first] = replace(found[first], is_converted=True)
    return found


def billed_by_hand(customers: Sequence[DemoCustomer], story: CatalogueOffer) -> list[DemoCustomer]:
    """The customers with the bills that are written by hand: a subscriber's end where its subscription begins."""
    begins = {deal.customer.external_id: deal.begins for deal in deals(customers, story)}
    return [
        replace(
            customer,
            bills=[bill for bill in customer.bills if bill.issued < begins.get(customer.external_id, story.until)],
        )
        for customer in customers
    ]


def _deal(customer: DemoCustomer, chance: Random, until: datetime) -> Deal:
    is_forgetful = customer.habit is Habit.FORGETFUL
    # what most is owed for is explained by tiers alone, with no commitment beside them
    plan = SCALE if is_forgetful else chance.choices(list(PLANS), list(PLANS.values()))[0]
    months = chance.randint(FORGETFUL_MONTHS if is_forgetful else FEWEST_MONTHS, MOST_MONTHS)
    begins = _month(until, months) + timedelta(days=chance.randint(1, 26), minutes=chance.randint(420, 1200))
    begins = max(begins, customer.since + timedelta(hours=2))
    life = until - begins
    upgraded = begins + life * chance.uniform(0.3, 0.7) if plan in UPGRADES and chance.random() < 0.4 else None
    cancelled = begins + life * chance.uniform(0.75, 0.9) if chance.random() < 0.1 else None
    return Deal(
        customer=customer,
        plan=plan,
        begins=begins,
        seats=chance.randint(FEWEST_SEATS, 40),
        net_days=chance.choice((15, 30)),
        upgraded=None if upgraded is None else _whole(upgraded),
        cancelled=None if cancelled is None else _whole(cancelled),
    )


def _whole(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)


def _month(until: datetime, before: int) -> datetime:
    """The first instant of the month that lies `before` months before that of `until`, UTC."""
    index = until.year * 12 + until.month - 1 - before
    return until.replace(year=index // 12, month=index % 12 + 1, day=1, hour=0, minute=0, second=0, microsecond=0)


async def missing(ledger: Ledger, wanted: Sequence[Deal]) -> list[Deal]:
    """Those that were not loaded before."""
    async with ledger.database.transaction(ledger.scope, read_only=True) as session:
        there = set(await session.scalars(select(Subscription.lookup_key).where(Subscription.lookup_key != "")))
    return [deal for deal in wanted if deal.key not in there]


async def load_deals(
    ledger: Ledger,
    settings: Settings,
    offers: Offers,
    wanted: Sequence[Deal],
    progress: Callable[[int], None] = lambda count: None,
) -> None:
    """Let deals happen up to the end of the story; `progress` is told how many just did."""
    gateways = Gateways(ledger.database, settings, ledger.effects)
    for start in range(0, len(wanted), AT_ONCE):
        some = wanted[start : start + AT_ONCE]
        clock = StoryClock(offers.story.until)
        async with ledger.database.transaction(ledger.scope, clock=clock) as session:
            tale = Chronicle(ledger, session, clock, gateways, offers)
            await tale.tell(some)
        ledger.invoices += tale.invoices
        ledger.payments += tale.payments
        progress(len(some))


class RunWithin(Run):
    """The billing run inside a transaction of its caller's."""

    async def within(self, session: AsyncSession, ids: Sequence[str]) -> list[str]:
        """The three passes over these subscriptions; the invoices that became final. Raises what fails."""
        ids = sorted(ids)
        rolled = await self._roll_some(session, ids)
        # such as those that end, whose invoices are final at once
        alone = [await self._roll_some(session, [subscription_id]) for subscription_id in rolled.alone]
        computed = await self._compute_some(session, ids)
        final = await self._finalize_some(session, ids)
        return [invoice_id for done in (rolled, *alone, computed, final) for invoice_id in done.issued]


Step = Callable[[], Awaitable[None]]


class Chronicle:
    """Subscriptions from their beginnings to the end of the story: what happens, in the order of time."""

    def __init__(
        self,
        ledger: Ledger,
        session: AsyncSession,
        clock: StoryClock,
        gateways: Gateways,
        offers: Offers,
    ) -> None:
        self.ledger = ledger
        self.session = session
        self.clock = clock
        self.gateways = gateways
        self.offers = offers
        self.story = offers.story
        self.deals: dict[str, Deal] = {}
        self.invoices = 0
        self.payments = 0
        self._to_come: list[tuple[datetime, int, Step]] = []
        self._steps = 0

    async def tell(self, wanted: Sequence[Deal]) -> None:
        """Everything, up to the end of the story."""
        for deal in wanted:
            self._at(deal.begins, partial(self._begin, deal))
        first = min(deal.begins for deal in wanted)
        for before in range(24, -1, -1):
            month = _month(self.story.until, before)
            if month > first:
                self._at(month + _ROLL, self._bill)
                self._at(month + _FINALIZE, self._bill)
        while self._to_come:
            moment, _, step = heapq.heappop(self._to_come)
            self.clock.at = moment
            await step()
        # what has come due since the run last came by
        self.clock.at = self.story.until
        await self._bill()

    def _at(self, moment: datetime, step: Step) -> None:
        if moment < self.story.until:
            self._steps += 1
            heapq.heappush(self._to_come, (moment, self._steps, step))

    async def _set_rate(self, code: str) -> None:
        """Give dollars a rate in a currency, unless they have one."""
        query = select(exists().where(FxRate.from_currency == DOLLARS, FxRate.to_currency == code))
        if not await self.session.scalar(query):
            body = {"from_currency": DOLLARS, "to_currency": code, "scope": "tenant", "rate": RATES[code]}
            await rates.create(self.session, convert(body, CreateFxRateRequest))

    async def _begin(self, deal: Deal) -> None:
        if deal.is_converted:
            await self._set_rate(deal.customer.billing_currency)
        asked = convert(self._asked(deal), CreateSubscriptionRequest, strict=False)
        outcome, performed = await open_subscription(self.session, asked, self.clock.now(), self.gateways.effects)
        subscription_id = outcome.subscription.id
        self.deals[subscription_id] = deal
        await self._expect(performed.to_collect)
        if deal.upgraded is not None:
            self._at(deal.upgraded, partial(self._upgrade, subscription_id, deal))
        if deal.cancelled is not None:
            self._at(deal.cancelled, partial(self._cancel, subscription_id))

    def _asked(self, deal: Deal) -> dict[str, Any]:
        code = deal.charged_in
        body: dict[str, Any] = {
            "external_customer_id": deal.customer.external_id,
            "plan_id": self.offers.plans[deal.plan],
            "lookup_key": deal.key,
            "currency": code,
            "billing_period": "MONTHLY",
            "billing_cycle": "calendar",
            "start_date": instant(deal.begins),
            "proration_behavior": "create_prorations",
            "collection_method": "send_invoice",
            "payment_terms": f"{deal.net_days} NET",
        }
        if deal.plan == TEAM:
            body["override_line_items"] = [{"price_id": self.offers.seats[code], "quantity": str(deal.seats)}]
        if deal.plan == ENTERPRISE:
            body |= {"commitment_amount": COMMITTED[code], "overage_factor": "1.25", "enable_true_up": True}
        return body

    async def _upgrade(self, subscription_id: str, deal: Deal) -> None:
        asked = SubscriptionChangeV2Request(
            target_plan_id=self.offers.plans[UPGRADES[deal.plan]],
            proration_behavior=ProrationBehavior.CREATE_PRORATIONS,
        )
        _, to_collect = await change_plan(self.session, subscription_id, asked, self.clock.now(), self.gateways.effects)
        await self._expect(to_collect)

    async def _cancel(self, subscription_id: str) -> None:
        asked = CancelSubscriptionRequest(
            cancellation_type=CancellationType.END_OF_PERIOD, reason="The project is over"
        )
        done = await cancel(self.session, subscription_id, asked, self.clock.now())
        performed = await perform(self.session, done.outcome, self.clock.now(), self.gateways.effects)
        await self._expect(performed.to_collect)

    async def _bill(self) -> None:
        if not self.deals:
            return
        now = self.clock.now()
        run = RunWithin(self.ledger.database, self.ledger.scope, now)
        await self._expect(await run.within(self.session, list(self.deals)))

    async def _expect(self, invoice_ids: Sequence[str]) -> None:
        """Decide what becomes of new invoices."""
        for invoice_id in invoice_ids:
            self.invoices += 1
            invoice = await find(self.session, Invoice, invoice_id)
            deal = self.deals[invoice.subscription_id or ""]
            chance = Random(f"{self.story.seed}/paid/{deal.key}/{invoice.period_start}/{invoice.billing_reason}")  # noqa: S311
            for after, share in self._habit(deal.customer.habit, chance):
                self._at(self.clock.now() + after, partial(self._pay, invoice_id, share))

    def _habit(self, habit: Habit, chance: Random) -> Sequence[tuple[timedelta, Decimal]]:
        """When and how much of what is left a customer pays."""
        soon = timedelta(days=chance.randint(1, 12), minutes=chance.randint(0, 1440))
        late = timedelta(days=chance.randint(32, 75), minutes=chance.randint(0, 1440))
        whole = Decimal(1)
        match habit:
            case Habit.SLOW:
                return [(late, whole)]
            case Habit.PARTIAL if chance.random() < 0.5:
                return [(soon, Decimal(chance.randint(20, 80)) / 100)]
            case Habit.FORGETFUL if self.clock.now() > self.story.until - _PATIENCE:
                return []
            case _:
                return [(soon, whole)]

    async def _pay(self, invoice_id: str, share: Decimal) -> None:
        invoice = await find(self.session, Invoice, invoice_id)
        amount = round_to(invoice.amount_remaining * share, currency.digits(invoice.currency))
        if amount <= 0:
            return
        self.payments += 1
        body = {
            "destination_type": "INVOICE",
            "destination_id": invoice.id,
            "payment_method_type": "OFFLINE",
            "amount": plain(amount),
            "currency": invoice.currency,
            "process_payment": True,
            "idempotency_key": f"{_KEY}{invoice.id}",
        }
        await execution.record_payment(self.session, self.gateways, convert(body, CreatePaymentRequest), self.clock)
