"""The run: exactly once, whoever runs it, however often, and whatever kills it."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from calendar import monthrange
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest
from sqlalchemy import func, select

from benchmarks.billing_run import BILLED, company
from farthing.billing.run import Run
from farthing.invoices.derivation import differences
from farthing.invoices.tables import Invoice, InvoiceLineItem
from farthing.storage.outbox import SystemEvent
from farthing.storage.postgres import Database
from farthing.storage.scope import Scope
from farthing.subscriptions.tables import Subscription
from tests.account import Account
from tests.billing.office import ARREAR, Office
from tests.subscriptions.shop import fixed


async def test_running_again_changes_nothing(office: Office) -> None:
    subscription = await office.subscribed(await office.plan(fixed("10")))
    await office.run("2026-04-01")
    before = await office.billed(subscription)
    again = await office.run("2026-04-01")
    assert (again.rolled, again.drafted, again.computed, again.finalized) == (0, 0, 0, 0)
    assert await office.billed(subscription) == before


async def test_a_dry_run_leaves_no_trace(office: Office) -> None:
    subscription = await office.subscribed(await office.plan(fixed("10")))
    done = await office.run("2026-02-01", dry=True)
    assert (done.rolled, done.drafted) == (1, 1)
    assert {code: f"{amount:.2f}" for code, amount in done.amounts.items()} == {"usd": "10.00"}
    assert await office.totals(subscription) == ["10.00"]
    read = await office.account.get(f"/subscriptions/{subscription.id}")
    assert read["current_period_start"] == "2026-01-01T00:00:00Z"


async def test_drafts_wait_for_late_usage_and_claims_for_corrections(office: Office) -> None:
    await office.settings(compute_delay_seconds=900, finalization_delay_seconds=7200)
    calls = await office.feature("calls")
    plan = await office.plan(office.usage(calls, "1"))
    customer = await office.customer()
    subscription = await office.subscribed(plan, customer)
    await office.used("calls", customer, 3, "2026-01-31T23:00")
    await office.run("2026-02-01T00:01")
    (draft,) = await office.invoices(subscription)
    assert (draft.last_computed_at, draft.subtotal) == (None, 0)
    await office.used("calls", customer, 1, "2026-01-31T23:59")
    await office.run("2026-02-01T00:15")
    assert await office.totals(subscription) == ["4.00"]
    await office.used("calls", customer, 1, "2026-01-31T23:58")
    await office.run("2026-02-01T02:15")
    assert {str(one.invoice_status) for one in await office.invoices(subscription)} == {"DRAFT"}
    await office.run("2026-02-01T02:16")
    (claim,) = await office.invoices(subscription)
    assert (str(claim.invoice_status), f"{claim.total:.2f}") == ("FINALIZED", "5.00")


async def test_one_that_fails_does_not_hold_the_others(office: Office) -> None:
    calls = await office.feature("calls")
    good, bad = await office.plan(fixed("10")), await office.plan(office.usage(calls, "1"), name="Bad")
    # a quota for an hour is not billable yet: it must be said, and not be guessed
    await office.account.post(
        "/entitlements",
        {
            "entity_type": "PLAN",
            "entity_id": bad["id"],
            "feature_id": calls["id"],
            "feature_type": "metered",
            "is_enabled": True,
            "grant_measure": "quantity",
            "grant_quota": "10",
            "grant_duration_unit": "hour",
            "grant_duration_value": 1,
            "grant_allocation_behavior": "first_usage",
        },
    )
    fine = [await office.subscribed(good) for _ in range(3)]
    broken = await office.subscribed(bad)
    done = await office.run("2026-02-01")
    assert list(done.failed) == [broken.id]
    assert "Grants for less than a period" in done.failed[broken.id]
    assert [await office.totals(one) for one in fine] == [["10.00", "10.00"]] * 3
    read = await office.account.get(f"/subscriptions/{broken.id}")
    assert read["current_period_start"] == "2026-01-01T00:00:00Z"


async def test_two_workers_bill_each_period_once(office: Office) -> None:
    plan = await office.plan(fixed("10"))
    subscriptions = [await office.subscribed(plan) for _ in range(12)]
    await office.on("2026-06-01")
    runs = [Run(office.account.database, office.account.scope, office.now, batch=3).all() for _ in range(4)]
    done = await asyncio.gather(*runs)
    assert [summary.failed for summary in done] == [{}] * 4
    assert sum(summary.rolled for summary in done) == 12
    for subscription in subscriptions:
        assert await office.totals(subscription) == ["10.00"] * 6
    numbers = sorted(str(one.invoice_number) for one in await office.invoices())
    assert len(set(numbers)) == len(numbers) == 72


async def test_figures_are_what_their_sources_say(office: Office) -> None:
    calls = await office.feature("calls")
    plan = await office.plan(fixed("50"), office.usage(calls, "0.03"))
    customer = await office.customer()
    coupon = await office.account.post(
        "/coupons",
        {"name": "Tenth", "type": "percentage", "cadence": "forever", "percentage_off": "10", "coupon_code": "t"},
    )
    await office.account.post(
        "/taxes/rates", {"name": "VAT", "code": "vat", "tax_rate_type": "percentage", "percentage_value": "20"}
    )
    subscription = await office.subscribed(
        plan,
        customer,
        subscription_coupons=[{"coupon_code": "t"}],
        tax_rate_overrides=[{"tax_rate_code": "vat", "priority": 1, "currency": "usd", "auto_apply": True}],
    )
    await office.used("calls", customer, 777, "2026-01-20")
    await office.run("2026-02-01")
    invoices = await office.invoices(subscription)
    assert [f"{one.total:.2f}" for one in invoices] == ["54.00", "79.18"]
    assert coupon["id"]
    async with office.account.transaction(read_only=True) as session:
        for invoice in invoices:
            found = await session.get(Invoice, invoice.id)
            assert found is not None
            assert await differences(session, found) == []


_WORKER = """
import asyncio, sys
from datetime import datetime
from farthing.billing.run import Run
from farthing.storage.postgres import Database
from farthing.storage.scope import Scope

async def main(url, tenant, environment, now):
    database = Database(url)
    def told(name, count):
        print(name, count, flush=True)
    await Run(database, Scope(tenant, environment), datetime.fromisoformat(now), batch=25, progress=told).all()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_killed_at_any_point_nothing_is_billed_twice_or_left_out(new_database: Callable[..., str]) -> None:
    url, count = new_database(), 300
    database = Database(url)
    try:
        scope = await company(database, count)
        at_random = random.Random(7)
        for _ in range(3):
            await asyncio.to_thread(_run_and_kill, url, scope, at_random)
        done = await Run(database, scope, BILLED, batch=50).all()
        assert done.failed == {}
        await _books_are_right(database, scope, count)
    finally:
        await database.close()


def _run_and_kill(url: str, scope: Scope, at_random: random.Random) -> None:
    """Let a worker do a few batches and kill it in the middle of the next."""
    arguments = [sys.executable, "-c", _WORKER, url, scope.tenant_id, scope.environment_id, BILLED.isoformat()]
    worker = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    for _ in range(at_random.randint(1, 3)):
        worker.stdout.readline()
    time.sleep(at_random.random() / 5)
    worker.send_signal(signal.SIGKILL)
    worker.wait()


async def _books_are_right(database: Database, scope: Scope, count: int) -> None:
    async with database.transaction(scope, read_only=True) as session:
        began = Subscription.current_period_start == datetime(2026, 2, 1, tzinfo=UTC)
        rolled = await session.scalar(select(func.count()).select_from(Subscription).where(began))
        invoices = (await session.scalars(select(Invoice))).all()
        lines = await session.scalar(select(func.count()).select_from(InvoiceLineItem))
        told = await session.scalar(
            select(func.count()).select_from(SystemEvent).where(SystemEvent.event_name == "subscription.updated")
        )
    assert (rolled, len(invoices), lines, told) == (count, count, count * 4, count)
    assert len({one.subscription_id for one in invoices}) == count
    # each meter counted 1 + 2 + ... + 20 of 0.02, three times, beside the fee
    assert {f"{one.subtotal:.2f}" for one in invoices} == {"62.60"}


@dataclass(frozen=True)
class Life:
    """A random subscription, and what it should have been billed, said by a model that knows nothing of the engine."""

    start: date
    fee: Decimal
    advance: bool
    unit: Decimal
    used: dict[date, int]
    trial: int
    end: date | None

    def expected(self, until: date) -> list[str]:
        begins = self.start + timedelta(days=self.trial)
        totals = ["0.00"] if self.trial else []
        anchor, at, number = begins.day, begins, 0
        if self.end is not None and self.end <= begins:
            return totals
        if self.advance and begins <= until:
            totals.append(f"{self.fee:.2f}")
        while True:
            number += 1
            month = begins.year * 12 + begins.month - 1 + number
            year, month = divmod(month, 12)
            boundary = date(year, month + 1, min(anchor, monthrange(year, month + 1)[1]))
            over = self.end is not None and self.end <= boundary
            if over and self.end is not None:
                boundary = self.end
            if boundary > until:
                return totals
            units = sum(count for day, count in self.used.items() if at <= day < boundary)
            total = (units * self.unit).quantize(Decimal("0.01"), ROUND_HALF_UP)
            if not self.advance or not over:
                total += self.fee
            if total > 0:
                totals.append(f"{total:.2f}")
            if over:
                return totals
            at = boundary


def _life(at_random: random.Random) -> Life:
    start = date(2026, 1, 1) + timedelta(days=at_random.randrange(0, 31))
    days = [start + timedelta(days=at_random.randrange(0, 110)) for _ in range(at_random.randrange(0, 6))]
    return Life(
        start=start,
        fee=Decimal(at_random.randrange(1, 500)),
        advance=at_random.random() < 0.5,
        unit=Decimal(at_random.randrange(1, 999)).scaleb(-3),
        used={day: at_random.randrange(1, 40) for day in days},
        trial=at_random.choice([0, 0, 7, 14]),
        end=start + timedelta(days=at_random.randrange(30, 90)) if at_random.random() < 0.4 else None,
    )


async def _lived(office: Office, lives: Sequence[Life]) -> list[Subscription]:
    calls = await office.feature("calls")
    begun = []
    for number, life in enumerate(lives):
        fee = fixed(str(life.fee), **({} if life.advance else ARREAR))
        plan = await office.plan(fee, office.usage(calls, str(life.unit)), name=f"Plan {number}")
        customer = await office.customer()
        more: dict[str, Any] = {"start_date": f"{life.start}T00:00:00Z", "trial_period_days": life.trial}
        if life.end is not None:
            more["end_date"] = f"{life.end}T00:00:00Z"
        begun.append(await office.subscribed(plan, customer, **more))
        for day, count in life.used.items():
            await office.used("calls", customer, count, f"{day}T12:00")
    return begun


@pytest.mark.parametrize("seed", [1, 2])
async def test_day_by_day_at_once_and_a_model_agree(office: Office, stranger: Account, seed: int) -> None:
    at_random = random.Random(seed)
    lives = [_life(at_random) for _ in range(6)]
    other = Office(stranger)
    await other.on("2026-01-01")
    await other.settings(compute_delay_seconds=0, finalization_delay_seconds=0)
    patient, late = await _lived(office, lives), await _lived(other, lives)
    until = date(2026, 4, 20)
    day = date(2026, 1, 2)
    while day <= until:
        done = await office.run(datetime(day.year, day.month, day.day, tzinfo=UTC))
        assert done.failed == {}
        day += timedelta(days=1)
    at_once = await other.run(datetime(until.year, until.month, until.day, tzinfo=UTC))
    assert at_once.failed == {}
    for life, one, same in zip(lives, patient, late, strict=True):
        assert await office.billed(one) == await other.billed(same), life
        assert await office.totals(one) == life.expected(until), life
