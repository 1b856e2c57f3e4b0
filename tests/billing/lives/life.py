"""A customer of an office lives beside the model of what it must be billed, given and owed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from farthing.billing.collection.collect import collect_due
from farthing.billing.entitlement_grants.evaluation import GrantEvaluation
from farthing.core.clock import FixedClock
from tests.billing.counter import Body, cancel, do, modify, open_items, opened, seats
from tests.billing.late_usage.lateness import settled
from tests.billing.lives.charges.quotas import QuotaTerms
from tests.billing.lives.charges.records import Coupon, Item
from tests.billing.lives.charges.taxes import Taxes
from tests.billing.lives.customer import Customer
from tests.billing.lives.ledger.grants import GrantTerms
from tests.billing.lives.ledger.wallets import Slab
from tests.billing.lives.model import LifeModel
from tests.billing.lives.money import Money, random_terms, request_of
from tests.billing.lives.wallet_deeds import sweep
from tests.billing.office import ARREAR, Office
from tests.payments.till import Till
from tests.subscriptions.shop import at, fixed

PLANS = {
    "Small": [("seats", "9.99", "advance"), ("support", "4.55", "arrear"), ("calls", "1.01", "usage")],
    "Large": [("seats", "33.35", "advance"), ("calls", "0.37", "usage")],
}
EXTRA = "7.77"
PRORATED = {"proration_behavior": "create_prorations"}
ACTS = ["seats", "seats", "extra", "plan", "plan at no charge", "pause", "announce", "coupon", "coupon", "rename"]


@dataclass
class Life:
    """One customer of an office, beside the model of what it must be billed."""

    office: Office
    dice: random.Random
    model: LifeModel
    now: datetime
    plans: dict[str, Body]
    addon: Body
    customer: Body
    subscription: Body
    money: Money
    plan: str = "Small"
    names: list[str] = field(default_factory=list)
    taken_names: set[str] = field(default_factory=set)
    story: list[str] = field(default_factory=list)
    has_extra: bool = False

    def note(self, deed: str) -> None:
        self.story.append(f"{self.now:%m-%d %H:%M} {deed}")

    def next_moment(self) -> datetime:
        """Some time later; often while a renewal waits, sometimes long after."""
        if self.model.time.cancels_at is not None:
            return self.now + (self.model.time.cancels_at - self.now) * self.dice.randint(1, 9) / 10
        end = self.model.time.open_period.end
        if self.model.delay and self.model.time.paused_at is None and self.dice.random() < 0.4:
            return end + self.model.delay * self.dice.randint(1, 9) / 10
        return self.now + timedelta(minutes=self.dice.randint(30, 60 * 24 * 17))

    async def go_to(self, moment: datetime) -> None:
        """Live until a moment: what falls due is done when it is due, and usage arrives, some of it late."""
        moment = moment.replace(microsecond=0)
        duty = self.model.next_duty()
        while duty is not None and duty <= moment:
            await self._use(duty)
            await self._attend(duty)
            duty = self.model.next_duty()
        await self._use(moment)
        self.now = moment
        await self.office.on(moment.isoformat()[:19])

    async def _attend(self, now: datetime) -> None:
        """Let the duties do what is due, each in its turn."""
        account, clock = self.office.account, FixedClock(now)
        assert (await GrantEvaluation(account.database, account.scope, now).run()).failed == {}
        assert (await self.office.run(now)).failed == {}
        assert await collect_due(account.database, account.scope, Till(account).gateways(), clock) == {}
        await sweep(self.office, now, fails=any(wallet.is_frozen for wallet in self.model.books.wallets))
        self.model.run(now)

    async def _use(self, until: datetime) -> None:
        """Usage since a while ago, under a name that the customer has or had."""
        since = max(self.model.start, until - timedelta(days=self.dice.choice([3, 12, 30])))
        minutes = max(int((until - since) / timedelta(minutes=1)), 1)
        moments = [since + timedelta(minutes=self.dice.randrange(minutes)) for _ in range(self.dice.randint(0, 6))]
        name = self.dice.choice(self.names)
        if moments:
            await self.office.recorded("calls", {"external_id": name}, *((use.isoformat()[:19], 1) for use in moments))
            if name not in self.taken_names:
                self.model.use(moments)

    async def act(self) -> None:
        """Something happens now, in the office and in the model."""
        for _ in range(self.dice.randint(1, 6)):
            deed = await self.money.act()
            if deed:
                self.note(deed)
        if self.dice.random() < 0.6:
            await self._change()

    async def _change(self) -> None:
        """Something happens to the subscription."""
        if self.model.time.paused_at is not None:
            self.note("resume")
            await do(self.office, self.subscription, "resume")
            self.model.resume(self.now)
        elif self.model.time.cancels_at is not None:
            self.note("take back")
            await do(self.office, self.subscription, "uncancel")
            self.model.take_back()
        else:
            deed = self.dice.choice(ACTS)
            match deed:
                case "seats":
                    await self._seats()
                case "extra":
                    await self._extra()
                case "plan" | "plan at no charge":
                    await self._plan(prorated=deed == "plan")
                case "pause":
                    self.note("pause")
                    await do(self.office, self.subscription, "pause")
                    self.model.pause(self.now)
                case "announce":
                    await self._announce()
                case "coupon":
                    await self._coupon()
                case "rename":
                    await self._rename()

    async def _seats(self) -> None:
        quantity = self.dice.randint(1, 7)
        self.note(f"{quantity} seats")
        (item,) = [item for item in await open_items(self.office, self.subscription) if item["display_name"] == "seats"]
        await seats(self.office, self.subscription, item, quantity)
        self.model.change_quantity("seats", quantity, self.now)

    async def _extra(self) -> None:
        if self.has_extra:
            return
        self.has_extra = True
        self.note("extra")
        await modify(
            self.office, self.subscription, "addon", action="add", add={"addon_id": self.addon["id"], **PRORATED}
        )
        self.model.add(Item("extra", Decimal(EXTRA), self.now))

    async def _plan(self, *, prorated: bool) -> None:
        self.plan = next(name for name in self.plans if name != self.plan)
        self.note(f"plan {self.plan} {'prorated' if prorated else 'at no charge'}")
        behavior = "create_prorations" if prorated else "none"
        body = {"target_plan_id": self.plans[self.plan]["id"], "proration_behavior": behavior}
        await do(self.office, self.subscription, "change/v2/execute", body)
        self.model.change_plan(self.plan, items_of(self.plan, self.now), self.now, prorated=prorated)

    async def _announce(self) -> None:
        date = self.now + timedelta(hours=self.dice.randint(20, 24 * 40))
        self.note(f"announce {date:%m-%d %H:%M}")
        await cancel(self.office, self.subscription, "scheduled_date", cancel_at=date.isoformat(), **PRORATED)
        self.model.announce_end(date)

    async def _coupon(self) -> None:
        coupon, code = await self.new_coupon(self.now)
        params: dict[str, Any] = {"action": "add", "coupon_code": code}
        if self.dice.random() < 0.4:
            open_ones = await open_items(self.office, self.subscription)
            (shown,) = [shown for shown in open_ones if shown["display_name"] == "seats"]
            params["subscription_line_item_id"] = shown["id"]
            coupon.item = next(item for item in self.model.items if item.name == "seats" and item.end is None)
        if coupon.cadence != "once" and self.dice.random() < 0.4:
            coupon.until = self.now + timedelta(days=self.dice.randint(1, 80))
            params["end_date"] = coupon.until.isoformat()
        self.note(f"coupon {describe(coupon)}")
        await modify(self.office, self.subscription, "coupon", **params)
        self.model.attach(coupon)

    async def new_coupon(self, since: datetime) -> tuple[Coupon, str]:
        coupon = random_coupon(self.dice, since)
        return coupon, await registered(self.office, coupon)

    async def _rename(self) -> None:
        """Half of the time somebody else takes the former name."""
        former, name = self.names[-1], f"name-{len(self.names)}-{self.dice.randrange(10**9)}"
        self.note("rename")
        await self.office.account.put(f"/customers/{self.customer['id']}", {"external_id": name})
        self.names.append(name)
        if self.dice.random() < 0.5:
            await self.office.customer(former)
            self.taken_names.add(former)

    async def end(self) -> None:
        self.note("cancel")
        await cancel(self.office, self.subscription, cancel_immediately_invoice_policy="generate_invoice", **PRORATED)
        self.model.cancel(self.now)
        while (duty := self.model.next_duty()) is not None:
            await self._attend(duty)


def items_of(plan: str, start: datetime) -> list[Item]:
    return [Item(name, Decimal(price), start, kind=kind) for name, price, kind in PLANS[plan]]


def random_coupon(dice: random.Random, since: datetime) -> Coupon:
    cadence = dice.choice(["once", "repeated", "repeated", "forever"])
    coupon = Coupon(since, cadence, periods=dice.randint(1, 3) if cadence == "repeated" else 0)
    if dice.random() < 0.5:
        coupon.percent = dice.choice([7, 15, 33, 50, 100])
    else:
        coupon.amount = Decimal(dice.choice(["3.33", "10", "25.01"]))
    return coupon


async def registered(office: Office, coupon: Coupon) -> str:
    """Make a coupon known to the office; its code."""
    code = f"C{len((await office.account.get('/coupons'))['items'])}"
    off = (
        {"type": "percentage", "percentage_off": str(coupon.percent)}
        if coupon.amount is None
        else {"type": "fixed", "amount_off": str(coupon.amount), "currency": "usd"}
    )
    periods = {"duration_in_periods": coupon.periods} if coupon.periods else {}
    await office.account.post(
        "/coupons", {"name": code, "coupon_code": code, "cadence": coupon.cadence, **off, **periods}
    )
    return code


def describe(coupon: Coupon) -> str:
    off = f"{coupon.percent} %" if coupon.amount is None else str(coupon.amount)
    until = "" if coupon.until is None else f" until {coupon.until:%m-%d}"
    return f"{off} {coupon.cadence} {coupon.periods}{until}{' on seats' if coupon.item else ''}"


async def begun(office: Office, dice: random.Random, code: str = "usd") -> Life:
    """A life on its first day: plans with grants, taxes that change some day, perhaps a coupon from the start.

    Who is billed in another currency than dollars pays as much in it, and is granted nothing: grants are of dollars.
    """
    start = at("2026-01-01") + timedelta(minutes=dice.randrange(27 * 24 * 60))
    delay = dice.choice([timedelta(0), timedelta(days=3)])
    await office.on(start.isoformat()[:19])
    await office.settings(
        compute_delay_seconds=0,
        finalization_delay_seconds=int(delay.total_seconds()),
        late_usage_policy="next_invoice",
    )
    calls = await office.feature("calls")
    await settled(office)
    plans = {name: await office.plan(*prices_of(office, calls, name), name=name) for name in PLANS}
    grants = {name: await granted_with(office, dice, plan) for name, plan in plans.items() if code == "usd"}
    addon = await office.addon(fixed(EXTRA, display_name="extra"))
    customer = await office.customer(billing_currency=code)
    if code != "usd":
        rate = {"from_currency": "usd", "to_currency": code, "scope": "tenant", "rate": "1"}
        await office.account.post("/forex", rate)
    turn = start + timedelta(days=dice.randint(20, 100))
    rates = [("former", Decimal(19), None, turn), ("later", Decimal("8.875"), turn, None)]
    rate_ids = await taxed(office, customer, rates) if dice.random() < 0.7 else {}
    items, coupons, terms = items_of("Small", start), [], []
    if dice.random() < 0.6:
        coupon = random_coupon(dice, start)
        terms.append({"coupon_code": await registered(office, coupon)})
        coupons.append(coupon)
        if dice.random() < 0.3:
            coupon.item = items[0]
            terms[0]["price_id"] = plans["Small"]["prices"][0]["id"]
    subscription = await opened(office, plans["Small"], customer, subscription_coupons=terms)
    quota = await granted_quota(office, dice, subscription, calls)
    model = LifeModel(start, delay, Taxes(rates if rate_ids else []), items, coupons, grants, "Small", quota)
    model.books.slabs = await slabs_of(office, dice)
    money = Money(Customer(office, dice, model, customer["id"], code), subscription, rate_ids)
    life = Life(
        office, dice, model, start, plans, addon, customer, subscription, money, names=[customer["external_id"]]
    )
    life.note(f"begin, delay {delay}, taxes turn {turn:%m-%d %H:%M} {bool(rate_ids)}, grants {grants}")
    life.note(f"quota {quota}, slabs {model.books.slabs}")
    life.note(f"{[describe(coupon) for coupon in coupons]}")
    return life


async def granted_with(office: Office, dice: random.Random, plan: Body) -> list[GrantTerms]:
    """Perhaps let a plan come with credits."""
    if dice.random() < 0.5:
        return []
    terms = random_terms(dice)
    await office.account.post("/creditgrants", {**request_of(terms), "scope": "PLAN", "plan_id": plan["id"]})
    return [terms]


async def granted_quota(office: Office, dice: random.Random, subscription: Body, calls: Body) -> QuotaTerms | None:
    """Perhaps let a subscription come with a quota of usage for a time."""
    if dice.random() < 0.4:
        return None
    unit, most = dice.choice([("hour", 40), ("day", 9), ("week", 3), ("period", 1)])
    in_money = dice.random() < 0.5
    quota = Decimal(dice.randint(1, 900)) / 100 if in_money else Decimal(dice.randint(1, 7))
    terms = QuotaTerms(quota, in_money, unit, dice.randint(1, most), dice.random() < 0.4 and unit != "period")
    body = {
        "entity_type": "SUBSCRIPTION",
        "entity_id": subscription["id"],
        "feature_id": calls["id"],
        "feature_type": "metered",
        "is_enabled": True,
        "grant_measure": "amount" if in_money else "quantity",
        "grant_quota": str(quota),
        "grant_duration_unit": "subscription_period" if unit == "period" else unit,
        "grant_allocation_behavior": "unit_start" if terms.from_unit_start else "first_usage",
    }
    body |= {} if unit == "period" else {"grant_duration_value": terms.count}
    await office.account.post("/entitlements", body)
    return terms


async def slabs_of(office: Office, dice: random.Random) -> list[Slab]:
    """Perhaps let purchases bring a bonus by their size."""
    if dice.random() < 0.4:
        return []
    thresholds = sorted({Decimal(dice.randint(0, 90_000)) / 100 for _ in range(3)}, reverse=True)
    slabs = [
        Slab(
            threshold,
            Decimal(dice.randint(0, 3000)) / 100,
            dice.random() < 0.5,
            dice.choice([None, (dice.randint(1, 40), "DAY"), (1, "MONTH")]),
        )
        for threshold in thresholds
    ]
    value = [
        {
            "threshold": str(slab.threshold),
            "operator": "gte",
            "bonus": {"type": "percentage" if slab.is_percentage else "flat", "value": str(slab.value)},
            **(
                {}
                if slab.lasts is None
                else {"expiration_duration": slab.lasts[0], "expiration_duration_unit": slab.lasts[1]}
            ),
        }
        for slab in slabs
    ]
    await office.account.put("/settings/bonus_credits_topup_config", {"value": {"enabled": True, "slabs": value}})
    return slabs


async def taxed(
    office: Office, customer: Body, rates: list[tuple[str, Decimal, datetime | None, datetime | None]]
) -> dict[str, str]:
    """Let a customer be taxed at these rates, each in its window; their ids by code."""
    ids = {}
    for code, percentage, since, until in rates:
        rate = {"name": code, "code": code, "tax_rate_type": "percentage", "percentage_value": str(percentage)}
        ids[code] = (await office.account.post("/taxes/rates", rate))["id"]
        window = {"start_date": "2020-01-01T00:00:00Z" if since is None else since.isoformat()}
        association = {
            "tax_rate_code": code,
            "external_customer_id": customer["external_id"],
            "auto_apply": True,
            **window,
            **({} if until is None else {"end_date": until.isoformat()}),
        }
        await office.account.post("/taxes/associations", association, expect=200)
    return ids


def prices_of(office: Office, calls: Body, plan: str) -> list[dict[str, Any]]:
    made = {
        "advance": lambda name, price: fixed(price, display_name=name),
        "arrear": lambda name, price: fixed(price, display_name=name, **ARREAR),
        "usage": lambda name, price: office.usage(calls, price, display_name=name),
    }
    return [made[kind](name, price) for name, price, kind in PLANS[plan]]
