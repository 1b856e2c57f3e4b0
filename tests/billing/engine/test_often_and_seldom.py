"""Lives in which everything changes: billed often or seldom they are billed the same, and every use once."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import select

from farthing.core.money import plain
from farthing.invoices.line_tables import InvoiceLineItem
from farthing.invoices.receivable import InvoiceStatus, InvoiceType
from farthing.invoices.tables import Invoice
from tests.account import Account
from tests.billing.counter import coupon, do, modify, read
from tests.billing.office import ARREAR, Office
from tests.subscriptions.shop import at, fixed

pytestmark = pytest.mark.usefixtures("proven")

START = at("2026-01-31T09:30")
DAYS = 130
HALF = {"type": "percentage", "percentage_off": "50"}


@dataclass
class Life:
    """One customer's story in one office. `subscription` is the one that goes on; `pauses` those that have ended."""

    office: Office
    customer: dict[str, Any]
    plans: list[dict[str, Any]]
    addon: dict[str, Any]
    subscription: dict[str, Any]
    paused_at: datetime | None = None
    over_at: datetime | None = None
    pauses: list[tuple[datetime, datetime]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    async def act(self, what: str, at_random: random.Random) -> None:
        """Do one thing now, and note what it was; what cannot be done is refused in both offices alike."""
        now, behavior = self.office.now, at_random.choice(["none", "create_prorations"])
        seats, kind = at_random.randint(1, 9), at_random.choice(["end_of_period", "scheduled_date", "immediate"])
        ahead = now + timedelta(days=at_random.randint(1, 40))
        if self.over_at is not None:
            return
        match what:
            case "seats":
                items = (await read(self.office, self.subscription))["line_items"]
                fee = next(item for item in items if item["display_name"] == "seats" and item["end_date"] is None)
                await modify(
                    self.office,
                    self.subscription,
                    "quantity_change",
                    line_items=[{"id": fee["id"], "quantity": str(seats)}],
                )
            case "addon":
                add = {"addon_id": self.addon["id"], "proration_behavior": behavior}
                await modify(self.office, self.subscription, "addon", action="add", add=add)
            case "in place" | "at the boundary":
                later = {"change_at": "end_of_period"} if what == "at the boundary" else {}
                await do(
                    self.office,
                    self.subscription,
                    "change/v2/execute",
                    {
                        "target_plan_id": await self._other_plan(),
                        "proration_behavior": "none" if later else behavior,
                        "on_conflict_policies": {"on_pending_schedule": "supersede"},
                        **later,
                    },
                )
            case "replaced":
                done = await do(
                    self.office,
                    self.subscription,
                    "change/execute",
                    {
                        "target_plan_id": await self._other_plan(),
                        "proration_behavior": behavior,
                        "billing_cadence": "RECURRING",
                        "billing_period": "MONTHLY",
                        "billing_cycle": "anniversary",
                    },
                )
                self.subscription = done["new_subscription"]
            case "coupon":
                await self._take_coupon(at_random)
            case "pause":
                await do(self.office, self.subscription, "pause")
                self.paused_at = now
            case "resume":
                await do(self.office, self.subscription, "resume")
                assert self.paused_at is not None
                self.pauses.append((self.paused_at, now))
                self.paused_at = None
            case "cancel":
                body = {"cancellation_type": kind, "cancel_immediately_invoice_policy": "generate_invoice"}
                if kind == "scheduled_date":
                    body["cancel_at"] = ahead.isoformat()
                done = await do(self.office, self.subscription, "cancel", body)
                self.over_at = datetime.fromisoformat(done["effective_date"])
        self.told.append(f"{now:%m-%d %H:%M} {what} {behavior} {seats} {kind}")

    async def _take_coupon(self, at_random: random.Random) -> None:
        code, cadence = f"C{len(self.told)}", at_random.choice(["once", "repeated", "forever"])
        periods = {"duration_in_periods": at_random.randint(1, 3)} if cadence == "repeated" else {}
        off = at_random.choice([{"type": "fixed", "amount_off": "4", "currency": "usd"}, HALF])
        await coupon(self.office, code, cadence=cadence, **off, **periods)
        await modify(self.office, self.subscription, "coupon", action="add", coupon_code=code)

    async def _other_plan(self) -> str:
        had = (await read(self.office, self.subscription))["plan_id"]
        return next(str(plan["id"]) for plan in self.plans if plan["id"] != had)


async def _begin(office: Office) -> Life:
    await office.on(START.isoformat()[:16])
    calls = await office.feature("calls")
    seats = {"display_name": "seats"}
    plans = [
        await office.plan(
            fixed("10", **seats), fixed("5", display_name="support", **ARREAR), office.usage(calls, "1"), name="Small"
        ),
        await office.plan(fixed("30", **seats), office.usage(calls, "0.5"), name="Large"),
    ]
    addon = await office.addon(fixed("7", display_name="extra"))
    customer = await office.customer(timezone="America/New_York")
    begun = await office.subscribed(plans[0], customer)
    return Life(office, customer, plans, addon, {"id": begun.id})


async def _billed(office: Office) -> list[tuple[Any, ...]]:
    """Every invoice with its lines, in order."""
    return [
        (
            str(invoice.billing_reason), invoice.period_start, invoice.period_end, plain(invoice.subtotal),
            plain(invoice.total_discount), plain(invoice.total),
            [
                (row.display_name, row.period_start, row.period_end, plain(row.quantity), plain(row.amount))
                for row in await office.rows(invoice)
            ],
        )
        for invoice in await office.invoices()
    ]  # fmt: skip


async def _charged(office: Office, type: str) -> Sequence[InvoiceLineItem]:
    """All lines of usage, or all fees but settlements of changes; those of invoices that came to nothing too."""
    async with office.account.transaction(read_only=True) as session:
        rows = await session.scalars(
            select(InvoiceLineItem)
            .join(Invoice, Invoice.id == InvoiceLineItem.invoice_id)
            .where(
                InvoiceLineItem.price_type == type,
                Invoice.invoice_type == InvoiceType.SUBSCRIPTION,
                InvoiceLineItem.status == "published",
                Invoice.invoice_status != InvoiceStatus.VOIDED,
            )
        )
        return rows.all()


def _story(at_random: random.Random) -> list[tuple[datetime, str]]:
    """What happens when: changes in any order, pauses with their ends, and a cancellation in the end."""
    kinds = at_random.choices(["seats", "addon", "in place", "at the boundary", "replaced", "pause", "coupon"], k=7)
    names = [name for kind in kinds for name in (["pause", "resume"] if kind == "pause" else [kind])]
    minutes = sorted(at_random.sample(range(60, DAYS * 24 * 60), len(names) + 1))
    return [(START + timedelta(minutes=minute), name) for minute, name in zip(minutes, [*names, "cancel"], strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
async def test_often_and_seldom_agree(office: Office, stranger: Account, seed: int) -> None:
    at_random = random.Random(seed)
    story = _story(at_random)
    other = Office(stranger)
    await other.on("2026-01-01")
    await other.settings(compute_delay_seconds=0, finalization_delay_seconds=0)
    lives = [await _begin(office), await _begin(other)]
    seen = [START + timedelta(minutes=at_random.randrange(0, (DAYS + 60) * 24 * 60)) for _ in range(80)]
    for life in lives:
        await life.office.recorded("calls", life.customer, *((instant.isoformat()[:16], 1) for instant in seen))
    between = sorted(START + timedelta(minutes=at_random.randrange(0, (DAYS + 90) * 24 * 60)) for _ in range(14))
    for number, (moment, what) in enumerate(story):
        before = story[number - 1][0] if number else START
        for instant in between:
            if before < instant < moment:
                assert (await office.run(instant.isoformat()[:16])).failed == {}
        for life in lives:
            assert (await life.office.run(moment.isoformat()[:16])).failed == {}
            await life.act(what, random.Random(f"{seed} {number}"))
    for instant in between:
        if instant > story[-1][0]:
            assert (await office.run(instant.isoformat()[:16])).failed == {}
    for life in lives:
        assert (await life.office.run((START + timedelta(days=DAYS + 100)).isoformat()[:16])).failed == {}
        assert (await read(life.office, life.subscription))["subscription_status"] == "cancelled"
    often, seldom = lives
    assert often.told == seldom.told
    assert await _billed(office) == await _billed(other), often.told
    await _nothing_twice(often, seen)


async def _nothing_twice(life: Life, seen: Sequence[datetime]) -> None:
    over = life.over_at
    assert over is not None
    counted = [
        instant
        for instant in seen
        if instant < over and not any(paused <= instant < back for paused, back in life.pauses)
    ]
    lines = await _charged(life.office, "USAGE")
    assert sum(int(line.raw_usage or 0) for line in lines) == len(counted), life.told
    windows = sorted((line.period_start, line.period_end) for line in lines if line.period_start and line.period_end)
    assert windows[0][0] == START
    for (_, end), (start, _) in pairwise(windows):
        assert end == start, life.told
    fees = sorted(
        (line.subscription_line_item_id, line.period_start, line.period_end)
        for line in await _charged(life.office, "FIXED")
        if line.subscription_line_item_id and line.period_start and line.period_end
    )
    for (item, _, end), (other, start, _) in pairwise(fees):
        assert item != other or end <= start, life.told
