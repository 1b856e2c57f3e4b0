"""Credits: debits per second, real-time balances by events and lots, the sweeps of grants and of expired lots, and what
wallets cost the billing run.

`BENCH_CREDITS_SHARE=0.01` does a hundredth of the work, to see that it runs; `BENCH_CREDITS=grants,billing` only these
parts.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import psutil
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncConnection

from benchmarks.billing.run import BILLED, FINALIZED, START, company
from benchmarks.harness import Report, Service, growth, median_ms, service
from farthing.billing.run.passes import Run
from farthing.core.clock import FixedClock
from farthing.credits.grants.sweep import GrantSweep
from farthing.credits.ledger.expiry import expire_due
from farthing.credits.ledger.opening import WalletKey, new_wallet
from farthing.credits.ledger.tables import Wallet
from farthing.credits.reads.real_time import real_time_balances
from farthing.storage.embedded import EmbeddedPostgres
from farthing.storage.migrations import upgrade
from farthing.storage.postgres import Database
from farthing.storage.scope import Scope
from farthing.wiring import wire

SECTION = "Credits"
SHARE = float(os.environ.get("BENCH_CREDITS_SHARE", "1"))
CLIENTS = 16
DEBITS = max(int(2_000 * SHARE), 32)
WALLETS = 64
EVENTS = (100, 1_000, 10_000)
LOTS = (1, 100, 1_000)
GRANTS = [max(int(count * SHARE), 10) for count in (1_000, 3_000, 10_000)]
EXPIRED = [max(int(count * SHARE), 100) for count in (1_000, 10_000, 100_000)]
BILLED_SUBSCRIPTIONS = max(int(10_000 * SHARE), 20)
PARTS = os.environ.get("BENCH_CREDITS", "debits,real_time,grants,expiry,billing").split(",")


async def measure(report: Report) -> None:
    """Debits over HTTP, the rest in this process on a database of its own."""
    parts = {"debits": _debits, "real_time": _real_times, "grants": _grants, "expiry": _expiry, "billing": _billing}
    for name in PARTS:
        await parts[name](report)
    report.add(SECTION, "resident memory after all of it", f"{psutil.Process().memory_info().rss / 2**20:.0f} MB")


@asynccontextmanager
async def _database() -> AsyncIterator[Database]:
    with (
        tempfile.TemporaryDirectory(prefix="farthing-bench-") as folder,
        EmbeddedPostgres(Path(folder) / "data") as server,
    ):
        await asyncio.to_thread(upgrade, server.url())
        database = Database(server.url(), wire())
        try:
            yield database
        finally:
            await database.close()


async def _debits(report: Report) -> None:
    with service() as running:
        for count, name in ((1, "one wallet"), (WALLETS, f"{WALLETS} wallets")):
            rate = await _debit_rate(running, count)
            report.add(SECTION, f"debits per second over HTTP, {CLIENTS} clients, {name}", f"{rate:,.0f}")


async def _debit_rate(running: Service, wallets: int) -> float:
    """Debits of one credit each, by clients that take turns over the wallets."""
    async with running.client() as client:
        paths = []
        for number in range(wallets):
            body = {"external_id": f"{wallets}-{number}-{uuid.uuid4().hex}", "name": "Acme"}
            customer = (await client.post("/customers", json=body)).raise_for_status().json()
            body = {"customer_id": customer["id"], "currency": "usd", "initial_credits_to_load": "1000000"}
            wallet = (await client.post("/wallets", json=body)).raise_for_status().json()
            paths.append(f"/wallets/{wallet['id']}/debit")
        turns = asyncio.Semaphore(CLIENTS)

        async def debit(number: int) -> None:
            body = {
                "credits": "1",
                "transaction_reason": "MANUAL_BALANCE_DEBIT",
                "idempotency_key": f"{wallets}-{number}",
            }
            async with turns:
                (await client.post(paths[number % wallets], json=body)).raise_for_status()

        began = time.perf_counter()
        await asyncio.gather(*(debit(number) for number in range(DEBITS)))
        return DEBITS / (time.perf_counter() - began)


async def _real_times(report: Report) -> None:
    medians = {}
    for events, lots in (*((events, 1) for events in EVENTS), *((EVENTS[0], lots) for lots in LOTS[1:])):
        async with _database() as database:
            medians[events, lots] = await _real_time(report, database, events, lots)
    by_events = {events: medians[events, LOTS[0]] for events in EVENTS}
    report.add(SECTION, "a real-time balance's cost grows with events as", growth(by_events), "at most n^1")
    by_lots = {lots: medians[EVENTS[0], lots] for lots in LOTS}
    report.add(SECTION, "a real-time balance's cost grows with lots as", growth(by_lots), "at most n^1")


async def _real_time(report: Report, database: Database, events: int, lots: int) -> float:
    """One wallet whose customer has one subscription, so many events in the month and so many open lots.

    The median, in milliseconds.
    """
    scope = await company(database, 2)
    now = START + timedelta(days=27)
    async with database.transaction(scope) as session:
        customer_id = (await session.execute(text("SELECT id FROM customers WHERE external_id = 'c0'"))).scalar_one()
        await session.execute(
            text(
                "INSERT INTO meter_usage "
                "(environment_id, sequence, timestamp, meter_id, external_customer_id, quantity, key) "
                "SELECT environment_id, 1000000 + e, :start + e * interval '1 second', meter_id, 'c0', 1, '' "
                "FROM (SELECT DISTINCT environment_id, meter_id FROM meter_usage LIMIT 1) AS meter, "
                "generate_series(1, :events) AS e"
            ),
            {"start": START + timedelta(hours=2), "events": events},
        )
        wallet = new_wallet(WalletKey(customer_id, "usd"))
        session.add(wallet)
        await session.flush()
        await _fill(await session.connection(), lots, START + timedelta(days=300))
    await _analyze(database)
    statements: Counter[str] = Counter()
    event.listen(database.engine.sync_engine, "before_cursor_execute", lambda *_: statements.update(["sent"]))

    async def look() -> None:
        async with database.transaction(scope, read_only=True, clock=FixedClock(now)) as session:
            row = await session.get_one(Wallet, wallet.id)
            await real_time_balances(session, [row], now)

    await look()
    sent = statements["sent"]
    times, warm, worked = max(int(100 * SHARE), 5), 5, time.process_time()
    median = await median_ms(look, times=times, warm=warm)
    cpu = (time.process_time() - worked) / (times + warm) * 1000
    budget = "< 15 ms" if events == EVENTS[-1] else ""
    what = f"real-time balance, {events:,} events, {lots:,} lots"
    report.add(SECTION, what, f"{median:.1f} ms ({cpu:.1f} ms), {sent} statements", budget)
    return median


async def _fill(connection: AsyncConnection, lots: int, expiry: datetime) -> None:
    """Give every wallet, all of them empty, so many lots of one credit."""
    await connection.execute(
        text(
            "INSERT INTO wallet_transactions (wallet_id, customer_id, currency, transaction_status, type, "
            "transaction_reason, credit_class, amount, credit_amount, credit_balance_before, credit_balance_after, "
            "credits_available, reference_type, reference_id, description, metadata, taxed_at_purchase, automatic, "
            "seq, topup_conversion_rate, expiry_date, tenant_id, environment_id, status, created_at, updated_at, "
            "created_by, updated_by, id) "
            "SELECT id, customer_id, currency, 'completed', 'credit', 'FREE_CREDIT_GRANT', 'free', 1, 1, n - 1, n, 1, "
            "'REQUEST', 'bench', '', '{}', false, false, n, 1, :expiry, tenant_id, environment_id, 'published', "
            "created_at, updated_at, '', '', id || '-' || n FROM wallets, generate_series(1, :lots) AS n"
        ),
        {"lots": lots, "expiry": expiry},
    )
    await connection.execute(
        text("UPDATE wallets SET last_seq = :lots, credit_balance = :lots, balance = :lots"), {"lots": lots}
    )


async def _analyze(database: Database) -> None:
    async with database.engine.connect() as connection:
        autocommit = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await autocommit.execute(text("VACUUM ANALYZE"))


async def _grants(report: Report) -> None:
    for count in GRANTS:
        async with _database() as database:
            await _sweep_grants(report, database, count)


async def _sweep_grants(report: Report, database: Database, count: int) -> None:
    """A sweep of applications that are due, each for a subscription and a new wallet of its own."""
    scope = await company(database, count)
    own = "tenant_id, environment_id, 'published', created_at, updated_at, '', ''"
    audit = "tenant_id, environment_id, status, created_at, updated_at, created_by, updated_by"
    async with database.transaction(scope) as session:
        await session.execute(
            text(
                "INSERT INTO credit_grants (id, name, scope, subscription_id, credits, cadence, expiration_type, "
                f"metadata, start_date, credit_grant_anchor, {audit}) SELECT 'cg-' || id, 'Bench', 'SUBSCRIPTION', id, "
                f"10, 'ONETIME', 'NEVER', '{{}}', :start, :start, {own} FROM subscriptions"
            ),
            {"start": START},
        )
        await session.execute(
            text(
                "INSERT INTO credit_grant_applications (id, credit_grant_id, subscription_id, scheduled_for, "
                "period_start, application_status, application_reason, credits, next_attempt_at, retry_count, "
                f"rollover_due, idempotency_key, metadata, {audit}) SELECT 'cga_' || id, 'cg-' || id, id, :start, "
                "CAST(:start AS timestamptz), 'pending', 'onetime_credit_grant', 10, :start, 0, false, id, '{}', "
                f"{own} FROM subscriptions"
            ),
            {"start": START},
        )
    await _analyze(database)
    began, worked = time.perf_counter(), time.process_time()
    await GrantSweep(database, scope, START + timedelta(days=1)).run()
    seconds, cpu = time.perf_counter() - began, time.process_time() - worked
    async with database.transaction(scope, read_only=True) as session:
        applied = await session.scalar(
            text("SELECT count(*) FROM credit_grant_applications WHERE application_status = 'applied'")
        )
    assert applied == count, applied
    report.add(SECTION, f"grants sweep, {count:,} due", _each(seconds, cpu, count))


def _each(seconds: float, cpu: float, count: int) -> str:
    """Time in all and for each, and of that CPU of this process."""
    return f"{seconds:.1f} s ({cpu:.1f} s), {seconds / count * 1000:.2f} ms each"


async def _expiry(report: Report) -> None:
    for count in EXPIRED:
        async with _database() as database:
            await _sweep_expired(report, database, count)


async def _sweep_expired(report: Report, database: Database, count: int) -> None:
    """A sweep of expired lots, spread over a hundred wallets."""
    scope = await company(database, 100)
    wallets = await open_wallets(database, scope, 1, count // 100, START + timedelta(days=1))
    began, worked, now = time.perf_counter(), time.process_time(), START + timedelta(days=3)
    swept = 0
    while True:
        async with database.transaction(scope, clock=FixedClock(now)) as session:
            done = await expire_due(session, now)
        if not done:
            break
        swept += done
    seconds, cpu = time.perf_counter() - began, time.process_time() - worked
    assert swept == count // wallets * wallets, swept
    report.add(SECTION, f"expiry sweep, {swept:,} lots in {wallets} wallets", _each(seconds, cpu, swept))


async def open_wallets(database: Database, scope: Scope, every: int, lots: int, expiry: datetime) -> int:
    """Give every so manieth customer a wallet with lots of one credit; how many there are."""
    async with database.transaction(scope) as session:
        customers = (await session.scalars(text("SELECT id FROM customers ORDER BY id"))).all()[::every]
        session.add_all(new_wallet(WalletKey(customer_id, "usd")) for customer_id in customers)
        await session.flush()
        await _fill(await session.connection(), lots, expiry)
    await _analyze(database)
    return len(customers)


async def _billing(report: Report) -> None:
    """The billing run without wallets, and with one for every second customer."""
    seconds = [await _billing_seconds(every) for every in (0, 2)]
    for name, (wall, cpu) in zip(("no wallets", "wallets for half"), seconds, strict=True):
        what = f"billing run, {BILLED_SUBSCRIPTIONS:,} subscriptions, {name}"
        report.add(SECTION, what, f"{wall:.1f} s ({cpu:.1f} s)")
    (without, without_cpu), (with_wallets, with_cpu) = seconds
    times = f"{with_wallets / without:.2f} ({with_cpu / without_cpu:.2f} of this process's CPU)"
    report.add(SECTION, "with wallets, times without", times, "< 1.3")


async def _billing_seconds(every: int) -> tuple[float, float]:
    """Wall time and this process's CPU for a month's invoices."""
    async with _database() as database:
        scope = await company(database, BILLED_SUBSCRIPTIONS)
        if every:
            await open_wallets(database, scope, every, 2, START + timedelta(days=300))
        began, worked = time.perf_counter(), time.process_time()
        for moment in (BILLED, FINALIZED):
            done = await Run(database, scope, moment).all()
            assert done.failed == {}, list(done.failed.items())[:3]
        seconds = time.perf_counter() - began, time.process_time() - worked
        async with database.transaction(scope, read_only=True) as session:
            paid = await session.scalar(text("SELECT count(*) FROM invoices WHERE total_prepaid_credits_applied > 0"))
        assert paid == (len(range(0, BILLED_SUBSCRIPTIONS, every)) if every else 0), paid
        return seconds
