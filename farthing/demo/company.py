"""Who the demo's customers are, what they are billed for by hand, and how they pay.

Pure, and the same for the same seed. Bills that somebody writes by hand are for services and are small beside what
subscriptions come to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from random import Random

from farthing.core import currency
from farthing.core.enums import PriceType
from farthing.core.money import round_to

FEWEST_MONTHS, MOST_MONTHS = 7, 17
"""How long a customer has been one."""


class Habit(StrEnum):
    """How a customer treats its invoices."""

    PROMPT = "prompt"
    SLOW = "slow"
    PARTIAL = "partial"
    FORGETFUL = "forgetful"
    DISPUTING = "disputing"
    GENEROUS = "generous"


HABITS = {
    Habit.PROMPT: 55,
    Habit.SLOW: 15,
    Habit.PARTIAL: 9,
    Habit.FORGETFUL: 12,
    Habit.DISPUTING: 5,
    Habit.GENEROUS: 4,
}

_FIRST_WORDS = """
Aster Beacon Cedar Delta Ember Fjord Granite Harbor Indigo Juniper Kestrel Lumen Meridian Nimbus Orchard Pioneer Quartz
Raven Summit Tidal Umber Vertex Willow Xenon Yarrow Zephyr
"""
_SECOND_WORDS = """
Analytics Robotics Health Logistics Studio Energy Labs Mobility Foods Finance Security Media Research Systems Learning
Travel
"""
_FIRST, _SECOND = _FIRST_WORDS.split(), _SECOND_WORDS.split()
_SUFFIX = {"usd": "Inc.", "eur": "GmbH", "jpy": "KK", "kwd": "WLL"}
_PLACES = {
    "usd": (
        ("New York", "US", "America/New_York"),
        ("Austin", "US", "America/Chicago"),
        ("Oakland", "US", "America/Los_Angeles"),
    ),
    "eur": (("Berlin", "DE", "Europe/Berlin"), ("Lyon", "FR", "Europe/Paris"), ("Porto", "PT", "Europe/Lisbon")),
    "jpy": (("Tokyo", "JP", "Asia/Tokyo"), ("Osaka", "JP", "Asia/Tokyo")),
    "kwd": (("Kuwait City", "KW", "Asia/Kuwait"),),
}
CURRENCIES = {"usd": 50, "eur": 28, "jpy": 12, "kwd": 10}
_SCALE = {"usd": Decimal(1), "eur": Decimal("0.92"), "jpy": Decimal(150), "kwd": Decimal("0.307")}
_USAGE = ("Image generations", "Fine-tuning hours", "Archive, GB-months")
_FIXED = ("Onboarding", "Support hours", "Training")
_STREETS = ("Mill Road", "Station Street", "Canal Walk", "Market Square", "Hill Lane")


@dataclass(frozen=True, slots=True)
class DemoCharge:
    """One line of a demo invoice."""

    name: str
    type: PriceType
    quantity: int
    amount: Decimal


@dataclass(frozen=True, slots=True)
class DemoInvoice:
    """One invoice of the story: when it is issued, for what, and what becomes of it."""

    number: int
    currency: str
    issued: datetime
    due: datetime
    charges: Sequence[DemoCharge]
    payments: Sequence[tuple[datetime, Decimal]] = ()
    voided: datetime | None = None
    draft: bool = False
    failed: datetime | None = None
    """When a collection attempt failed, with nothing paid."""

    @property
    def total(self) -> Decimal:
        return sum((charge.amount for charge in self.charges), Decimal(0))


@dataclass(frozen=True, slots=True)
class DemoCustomer:
    """One customer and its whole story, oldest bill first."""

    external_id: str
    name: str
    email: str
    street: str
    city: str
    country: str
    timezone: str
    billing_currency: str
    since: datetime
    habit: Habit
    bills: Sequence[DemoInvoice]


def customers(count: int, seed: int, now: datetime) -> list[DemoCustomer]:
    """`count` customers whose last months end at `now`."""
    return [_customer(number, Random(f"{seed}/{number}"), now) for number in range(count)]  # noqa: S311 (a story)


def _customer(number: int, chance: Random, now: datetime) -> DemoCustomer:
    code = chance.choices(list(CURRENCIES), list(CURRENCIES.values()))[0]
    city, country, timezone = chance.choice(_PLACES[code])
    name = f"{_FIRST[number % len(_FIRST)]} {_SECOND[(number // len(_FIRST) + number) % len(_SECOND)]}"
    slug = name.lower().replace(" ", "-")
    habit = chance.choices(list(HABITS), list(HABITS.values()))[0]
    months = chance.randint(FEWEST_MONTHS, MOST_MONTHS)
    return DemoCustomer(
        external_id=f"{slug}-{number:03}",
        name=f"{name} {_SUFFIX[code]}",
        email=f"billing@{slug}.example",
        street=f"{chance.randint(1, 240)} {chance.choice(_STREETS)}",
        city=city,
        country=country,
        timezone=timezone,
        billing_currency=code,
        since=_months_before(now, months + 1),
        habit=habit,
        bills=_bills(code, habit, months, chance, now),
    )


def _months_before(now: datetime, months: int) -> datetime:
    index = now.year * 12 + now.month - 1 - months
    return now.replace(year=index // 12, month=index % 12 + 1, day=1, hour=9, minute=0, second=0, microsecond=0)


def _bills(code: str, habit: Habit, months: int, chance: Random, now: datetime) -> list[DemoInvoice]:
    size = Decimal(chance.choice((1, 1, 1, 2)))
    bills: list[DemoInvoice] = []
    for age in range(months, -1, -1):
        issued = _months_before(now, age) + timedelta(minutes=chance.randint(0, 600))
        if issued >= now:
            continue
        # a second currency now and then: a subsidiary that is billed in dollars
        billed_in = "usd" if code != "usd" and chance.random() < 0.08 else code
        charges = _charges(billed_in, size, chance)
        bills.append(_fate(len(bills), billed_in, issued, charges, habit, age, chance, now))
    return bills


def _charges(code: str, size: Decimal, chance: Random) -> list[DemoCharge]:
    digits = currency.digits(code)

    def priced(low: int, high: int) -> Decimal:
        cents = Decimal(chance.randint(low * 100, high * 100)) / 100
        return round_to(cents * size * _SCALE[code], digits)

    lines = [DemoCharge(_FIXED[0], PriceType.FIXED, 1, priced(49, 99))]
    if chance.random() < 0.6:
        lines.append(DemoCharge(_FIXED[1], PriceType.FIXED, chance.randint(2, 12), priced(20, 160)))
    if chance.random() < 0.2:
        lines.append(DemoCharge(_FIXED[2], PriceType.FIXED, 1, priced(50, 120)))
    lines += [
        DemoCharge(name, PriceType.USAGE, chance.randint(10, 9_000), priced(5, 60))
        for name in chance.sample(_USAGE, chance.randint(1, 2))
    ]
    return lines


def _fate(
    number: int,
    code: str,
    issued: datetime,
    charges: list[DemoCharge],
    habit: Habit,
    age: int,
    chance: Random,
    now: datetime,
) -> DemoInvoice:
    due = issued + timedelta(days=chance.choice((14, 30)))
    total = sum((charge.amount for charge in charges), Decimal(0))

    def bill(*payments: tuple[timedelta, Decimal], voided: datetime | None = None, failed: bool = False) -> DemoInvoice:
        happened = [(issued + after, amount) for after, amount in payments if issued + after < now and amount > 0]
        failed_at = issued + timedelta(days=3)
        draft = age == 0 and chance.random() < 0.1
        return DemoInvoice(
            number,
            code,
            issued,
            due,
            charges,
            () if draft else happened,
            voided if voided is not None and voided < now and not draft else None,
            draft=draft,
            failed=failed_at if failed and failed_at < now and not draft else None,
        )

    soon = timedelta(days=chance.randint(1, 12), minutes=chance.randint(0, 1440))
    late = timedelta(days=chance.randint(32, 75), minutes=chance.randint(0, 1440))
    digits = currency.digits(code)
    match habit:
        case Habit.SLOW:
            return bill((late, total))
        case Habit.PARTIAL if chance.random() < 0.5:
            first = round_to(total * Decimal(chance.randint(20, 80)) / 100, digits)
            rest = total - first if chance.random() < 0.5 else Decimal(0)
            return bill((soon, first), (late, rest))
        case Habit.FORGETFUL if age <= chance.randint(1, 4):
            return bill(failed=chance.random() < 0.4)
        case Habit.DISPUTING if chance.random() < 0.3:
            paid_first = chance.random() < 0.6
            return bill(*([(soon, total)] if paid_first else []), voided=issued + timedelta(days=20))
        case Habit.GENEROUS if chance.random() < 0.2:
            return bill((soon, total + round_to(total / 10, digits)))
        case _:
            return bill((soon, total))
