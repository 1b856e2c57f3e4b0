"""What discounts, taxes, wallets, thresholds and alerts cost the invoice run: the same run without and with them.

CPU of this process and of PostgreSQL, which other work on the machine distorts less than time. `BENCH_TERMS=1000` asks
for another number of subscriptions.
"""

from __future__ import annotations

import asyncio
import gc
import os
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psutil
from sqlalchemy import text

from benchmarks.billing.credits import open_wallets
from benchmarks.billing.run import BILLED, FINALIZED, START, company
from benchmarks.harness import Report
from farthing.billing.run.passes import Run
from farthing.billing.run.thresholds import invoice_thresholds
from farthing.catalogue.discounts import coupons
from farthing.catalogue.discounts.schemas import CreateCouponRequest
from farthing.catalogue.taxes import rates
from farthing.catalogue.taxes.schemas import CreateTaxRateRequest
from farthing.core.clock import FixedClock
from farthing.core.encoding.decoding import convert
from farthing.storage.embedded import EmbeddedPostgres
from farthing.storage.migrations import upgrade
from farthing.storage.postgres import Database
from farthing.storage.scope import Scope
from farthing.wiring import wire

SECTION = "Billing run with all terms"
COUNT = int(os.environ.get("BENCH_TERMS", "2000"))
ROUNDS = 2


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of CPU of a month's run: this process's, and the database's."""

    python: float
    database: float

    @property
    def total(self) -> float:
        return self.python + self.database


async def measure(report: Report) -> None:
    """In alternation; of each the cheapest round."""
    plain, whole = [], []
    for _ in range(ROUNDS):
        plain.append(await _cost(with_terms=False))
        whole.append(await _cost(with_terms=True))
    least, most = min(plain, key=lambda cost: cost.total), min(whole, key=lambda cost: cost.total)
    for name, cost in (("plain", least), ("with coupon, tax, wallet, threshold, alert", most)):
        each = f"{cost.python / COUNT * 1000:.2f} + {cost.database / COUNT * 1000:.2f} ms of CPU each"
        report.add(SECTION, f"{COUNT:,} subscriptions, {name}", each)
    report.add(SECTION, "with them, times without", f"{most.total / least.total:.2f}", "< 1.3")


async def _cost(*, with_terms: bool) -> Cost:
    with (
        tempfile.TemporaryDirectory(prefix="farthing-bench-") as folder,
        EmbeddedPostgres(Path(folder) / "data") as server,
    ):
        await asyncio.to_thread(upgrade, server.url())
        database = Database(server.url(), wire())
        try:
            scope = await company(database, COUNT)
            if with_terms:
                await add_terms(database, scope)
            gc.collect()
            worked, stored = time.process_time(), database_seconds(server.process_id)
            done = await Run(database, scope, BILLED).all()
            await invoice_thresholds(Run(database, scope, BILLED), done)
            final = await Run(database, scope, FINALIZED).all()
            assert (done.failed, final.failed, final.finalized) == ({}, {}, COUNT), final.counts()
            return Cost(time.process_time() - worked, database_seconds(server.process_id) - stored)
        finally:
            await database.close()


def database_seconds(postmaster: int) -> float:
    """CPU that a PostgreSQL has used: its processes of now, and those that have ended."""
    parent = psutil.Process(postmaster)
    seconds = sum(parent.cpu_times()[:4])
    for process in parent.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            seconds += sum(process.cpu_times()[:2])
    return float(seconds)


async def add_terms(database: Database, scope: Scope) -> None:
    """Give every subscription a coupon of 10 %, a tax of 20 %, a threshold beyond its usage and a spend alert, and
    every customer a wallet with lots that pay a part, whose balance is watched; one in ten falls too low."""
    off = {"name": "Tenth", "type": "percentage", "cadence": "forever", "percentage_off": "10"}
    tax = {"name": "VAT", "code": "vat", "tax_rate_type": "percentage", "percentage_value": "20"}
    async with database.transaction(scope, clock=FixedClock(START)) as session:
        coupon = await coupons.create(session, convert(off, CreateCouponRequest, strict=False))
        rate = await rates.create(session, convert(tax, CreateTaxRateRequest, strict=False))
        await session.execute(text(_COUPONS), {"coupon": coupon.id, "start": START})
        await session.execute(text(_TAXES), {"rate": rate.id, "start": START})
        await session.execute(text("UPDATE subscriptions SET auto_invoice_threshold = 1000000"))
        await session.execute(text(_SPEND_ALERTS), {"alerts": _ALERTS % 1})
    await open_wallets(database, scope, 1, 2, START + timedelta(days=300))
    async with database.transaction(scope) as session:
        await session.execute(text(_WATCHED))


_AUDIT = "tenant_id, environment_id, status, created_at, updated_at, created_by, updated_by"
_ALERTS = '{"alert_enabled": true, "critical": {"threshold": "%d", "condition": "below"}}'
_WATCHED = (
    f"UPDATE wallets SET alert_settings = CAST(CASE WHEN right(id, 1) IN ('0', '1', '2') THEN '{_ALERTS % 1}' "
    f"ELSE '{_ALERTS % 0}' END AS jsonb)"
)
"""One in ten falls below its threshold."""
_COUPONS = (
    f"INSERT INTO coupon_associations (id, coupon_id, subscription_id, start_date, periods_used, metadata, {_AUDIT}) "
    f"SELECT 'ca_' || id, :coupon, id, CAST(:start AS timestamptz), 0, '{{}}', {_AUDIT} FROM subscriptions"
)
_TAXES = (
    "INSERT INTO tax_associations (id, tax_rate_id, entity_type, entity_id, priority, auto_apply, currency, "
    f"start_date, metadata, {_AUDIT}) SELECT 'ta_' || id, :rate, 'subscription', id, 1, true, 'usd', "
    f"CAST(:start AS timestamptz), '{{}}', {_AUDIT} FROM subscriptions"
)
_SPEND_ALERTS = (
    f"INSERT INTO alert_settings (id, entity_type, entity_id, customer_id, config, enabled, set_by, {_AUDIT}) "
    "SELECT 'as_' || id, 'subscription', id, customer_id, CAST(:alerts AS jsonb), true, 'merchant', "
    f"{_AUDIT} FROM subscriptions"
)
