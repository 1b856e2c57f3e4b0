"""The run: exactly once, whoever runs it, however often, and whatever kills it."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import time
from calendar import monthrange
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from multiprocessing.connection import Connection
from typing import Any

import pytest
from sqlalchemy import select

from benchmarks.billing.run import BILLED, FINALIZED, company
from benchmarks.billing.terms import add_terms
from farthing.billing.run.passes import Run
from farthing.invoices.figures.derivation import differences
from farthing.invoices.line_tables import InvoiceLineItem, TaxAppliedRow
from farthing.invoices.receivable import InvoiceStatus
from farthing.invoices.tables import Invoice
from farthing.storage.postgres import Database
from farthing.storage.scope import Scope
from farthing.subscriptions.tables import Subscription
from farthing.wiring import wire
from tests.account import Account
from tests.billing.billed_company import ROLLED, books_are_right
from tests.billing.office import ARREAR, Office
from tests.processes import ForkedProcess
from tests.statements import statements_sent
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
    assert draft.last_computed_at is None
    assert draft.subtotal == 0
    await office.used("calls", customer, 1, "2026-01-31T23:59")
    await office.run("2026-02-01T00:15")
    assert await office.totals(subscription) == ["4.00"]
    await office.used("calls", customer, 1, "2026-01-31T23:58")
    await office.run("2026-02-01T02:15")
    assert {str(invoice.invoice_status) for invoice in await office.invoices(subscription)} == {"DRAFT"}
    await office.run("2026-02-01T02:16")
    (claim,) = await office.invoices(subscription)
    assert (str(claim.invoice_status), f"{claim.total:.2f}") == ("FINALIZED", "5.00")


@pytest.mark.parametrize("late", [0, 2])
async def test_what_comes_to_nothing_waits_for_late_usage_too(office: Office, late: int) -> None:
    await office.settings(compute_delay_seconds=900, finalization_delay_seconds=7200)
    calls = await office.feature("calls")
    customer = await office.customer()
    subscription = await office.subscribed(await office.plan(office.usage(calls, "1")), customer)
    await office.run("2026-02-01T00:15")
    assert await office.totals(subscription) == []
    if late:
        await office.used("calls", customer, late, "2026-01-31T23:59")
    assert (await office.run("2026-02-01T02:15")).finalized == 0
    assert (await office.run("2026-02-01T02:16")).finalized == (1 if late else 0)
    assert await office.totals(subscription) == (["2.00"] if late else [])
    async with office.transaction() as session:
        assert await session.scalar(select(Invoice.id).where(Invoice.collect_at.is_not(None))) is None


@pytest.mark.parametrize(
    ("late", "exempt", "figures"),
    [
        pytest.param(0, False, "3.00 + 0.60", id="nothing has changed"),
        pytest.param(1, False, "4.00 + 0.80", id="usage came late"),
        pytest.param(0, True, "3.00 + 0.00", id="the payer was exempted"),
    ],
)
async def test_a_draft_is_worked_out_again_where_something_has_changed(
    office: Office, late: int, exempt: bool, figures: str
) -> None:
    await office.settings(compute_delay_seconds=0, finalization_delay_seconds=7200)
    calls, customer = await office.feature("calls"), await office.customer()
    await office.account.post(
        "/taxes/rates", {"name": "VAT", "code": "vat", "tax_rate_type": "percentage", "percentage_value": "20"}
    )
    taxed = [{"tax_rate_code": "vat", "currency": "usd", "auto_apply": True}]
    subscription = await office.subscribed(
        await office.plan(office.usage(calls, "1")), customer, tax_rate_overrides=taxed
    )
    await office.used("calls", customer, 3, "2026-01-31T23:00")
    await office.run("2026-02-01")
    (before,) = await office.invoices(subscription)
    kept = await _taxes_of(office, before)
    if late:
        await office.used("calls", customer, late, "2026-01-31T23:59")
    if exempt:
        await office.account.put(f"/customers/{customer['id']}", {"tax_treatment": "exempt"})
    await office.run("2026-02-01T02:01")
    (final,) = await office.invoices(subscription)
    assert str(final.invoice_status) == "FINALIZED"
    assert f"{final.subtotal:.2f} + {final.total_tax:.2f}" == figures
    assert (await _taxes_of(office, final) == kept) is (not late and not exempt)
    async with office.account.transaction(read_only=True) as session:
        stored = await session.get(Invoice, final.id)
        assert stored is not None
        assert await differences(session, stored) == []


async def _taxes_of(office: Office, invoice: Invoice) -> list[str]:
    async with office.account.transaction(read_only=True) as session:
        found = await session.scalars(select(TaxAppliedRow.id).where(TaxAppliedRow.entity_id == invoice.id))
        return list(found)


async def test_wallets_whose_balances_are_watched_are_written_together(new_database: Callable[..., str]) -> None:
    database = Database(new_database(), wire())
    try:
        scope = await company(database, 5)
        await add_terms(database, scope)
        await Run(database, scope, BILLED).all()
        with statements_sent(database) as statements:
            done = await Run(database, scope, FINALIZED).all()
    finally:
        await database.close()
    assert (done.finalized, done.failed) == (5, {})
    updates = [statement for statement in statements if statement.startswith("UPDATE ")]
    assert {update.split()[1] for update in updates} == {"invoices", "invoice_line_items", "wallets"}
    assert [update for update in updates if "json_populate_recordset" not in update] == []


async def test_one_that_fails_does_not_hold_the_others(office: Office) -> None:
    amounts = await office.feature("amounts", type="SUM", field="n")
    good, bad = await office.plan(fixed("10")), await office.plan(office.usage(amounts, "1000000"), name="Bad")
    fine = [await office.subscribed(good) for _ in range(3)]
    customer = await office.customer()
    broken = await office.subscribed(bad, customer)
    await office.recorded("amounts", customer, ("2026-01-10", {"n": "1000000000000"}))  # far more than an invoice holds
    done = await office.run("2026-02-01")
    assert list(done.failed) == [broken.id]
    assert "amount" in done.failed[broken.id]
    assert [await office.totals(subscription) for subscription in fine] == [["10.00", "10.00"]] * 3
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
    numbers = sorted(str(invoice.invoice_number) for invoice in await office.invoices())
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
    assert [f"{invoice.total:.2f}" for invoice in invoices] == ["54.00", "79.18"]
    assert coupon["id"]
    async with office.account.transaction(read_only=True) as session:
        for invoice in invoices:
            found = await session.get(Invoice, invoice.id)
            assert found is not None
            assert await differences(session, found) == []


async def _bill(url: str, scope: Scope, batch: int, connection: Connection) -> None:
    database = Database(url, wire())

    def told(name: str, count: int) -> None:
        connection.send((name, count))

    while True:
        done = await Run(database, scope, connection.recv(), batch=batch, progress=told).all()
        assert done.failed == {}, done.failed
        connection.send(("done", done.rolled, done.finalized))


def _work(url: str, scope: Scope, batch: int, connection: Connection) -> None:
    asyncio.run(_bill(url, scope, batch, connection))


DRAFTED = datetime(2026, 2, 1, 0, 5, tzinfo=UTC)
"""When periods have ended, but their drafts wait for late usage."""


class Worker:
    """A process that bills what is due at the times it is told, and says after each batch how far it is."""

    def __init__(self, url: str, scope: Scope, batch: int) -> None:
        self._connection, theirs = multiprocessing.Pipe()
        self.process = ForkedProcess(_work, url, scope, batch, theirs, environment={})
        theirs.close()

    def bill(self, now: datetime) -> None:
        self._connection.send(now)

    def word(self) -> tuple[Any, ...]:
        """What it says next. Raises EOFError if it has ended by itself."""
        said: tuple[Any, ...] = self._connection.recv()
        return said

    def finished(self) -> tuple[int, int]:
        """How many it rolled and finalized, once it is done with what it was told."""
        while (said := self.word())[0] != "done":
            pass
        return said[1], said[2]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.mark.slow
async def test_killed_at_any_point_nothing_is_billed_twice_or_left_out(new_database: Callable[..., str]) -> None:
    url, count = new_database(), 600
    database = Database(url, wire())
    try:
        scope = await company(database, count)
        at_random = random.Random(7)
        # some are killed while periods roll, some while drafts are computed, some while they become claims
        left = []
        for moment in (DRAFTED, BILLED, FINALIZED):
            await asyncio.to_thread(_run_and_kill, url, scope, moment, at_random)
            await _the_half_done_is_whole(database, scope)
            done = await Run(database, scope, moment).all()
            assert done.failed == {}
            left.append(done)
        # the killed have left something to do, but not everything
        assert 0 < left[0].rolled < count
        assert 0 < left[1].computed < count
        assert 0 < left[2].finalized < count
        await books_are_right(database, scope, count)
    finally:
        await database.close()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 4])
async def test_processes_that_race_bill_each_period_once(new_database: Callable[..., str], workers: int) -> None:
    url, count = new_database(), 200
    database = Database(url, wire())
    try:
        scope = await company(database, count)
        rolled, finalized = await asyncio.to_thread(_race, url, scope, workers)
        assert (sum(rolled), sum(finalized)) == (count, count)
        # it was a race: nobody did it all alone
        assert max(rolled) < count
        assert max(finalized) < count
        await books_are_right(database, scope, count)
    finally:
        await database.close()


def _race(url: str, scope: Scope, workers: int) -> tuple[list[int], list[int]]:
    """How many each of them rolled, and finalized."""
    racing = [Worker(url, scope, batch=10) for _ in range(workers)]
    for worker in racing:
        worker.bill(datetime(2026, 1, 2, tzinfo=UTC))
    assert [worker.finished() for worker in racing] == [(0, 0)] * workers, "all are up, and nothing is due yet"
    did = []
    for moment in (BILLED, FINALIZED):
        for worker in racing:
            worker.bill(moment)
        did.append([worker.finished() for worker in racing])
    for worker in racing:
        worker.kill()
    return [rolled for rolled, _ in did[0]], [finalized for _, finalized in did[1]]


def _run_and_kill(url: str, scope: Scope, now: datetime, at_random: random.Random) -> None:
    """Let a worker do a few batches and kill it in the middle of the next."""
    worker = Worker(url, scope, batch=30)
    worker.bill(now)
    for _ in range(at_random.randint(2, 6)):
        worker.word()
    time.sleep(at_random.random() / 20)
    worker.kill()


async def _the_half_done_is_whole(database: Database, scope: Scope) -> None:
    """Whatever was killed: a subscription has rolled if and only if its draft is there, numbered once it is a claim."""
    async with database.transaction(scope, read_only=True) as session:
        rolled = set(await session.scalars(select(Subscription.id).where(ROLLED)))
        invoices = (await session.scalars(select(Invoice))).all()
        lined = set(await session.scalars(select(InvoiceLineItem.invoice_id)))
    assert {invoice.subscription_id for invoice in invoices} == rolled
    assert {invoice.id for invoice in invoices if invoice.last_computed_at is not None} == lined
    claims = [invoice for invoice in invoices if invoice.invoice_status is InvoiceStatus.FINALIZED]
    assert {invoice.invoice_number for invoice in invoices} - {None} == {f"INV-202602-{n:05}" for n in _counted(claims)}


def _counted(rows: Sequence[object]) -> range:
    return range(1, len(rows) + 1)


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


@pytest.mark.slow
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
