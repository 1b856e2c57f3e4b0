"""The invoice run: many subscriptions, each with a fee and three usage charges, billed for one month.

Two runs, as in life: after the period they are rolled, invoiced and computed; when the time for corrections is over
they are computed again and finalized. `BENCH_SUBSCRIPTIONS=100,1000` asks for other numbers of them.
"""

from __future__ import annotations

import asyncio
import gc
import os
import tempfile
import time
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
from sqlalchemy import event, text

from benchmarks.harness import Report, growth
from farthing.billing.run.passes import Run
from farthing.catalogue.plans import plans
from farthing.catalogue.plans.schemas import CreatePlanRequest
from farthing.catalogue.prices import lifecycle as prices
from farthing.catalogue.prices.schemas import CreatePriceRequest
from farthing.catalogue.products import features
from farthing.catalogue.products.schemas import CreateFeatureRequest
from farthing.core.clock import FixedClock
from farthing.core.encoding.decoding import convert
from farthing.customers.lifecycle import create as create_customer
from farthing.customers.schemas import CreateCustomerRequest
from farthing.identity.bootstrap import new_tenant
from farthing.storage.embedded import EmbeddedPostgres
from farthing.storage.migrations import upgrade
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM, Scope
from farthing.subscriptions.lifecycle import creation
from farthing.subscriptions.schemas.requests import CreateSubscriptionRequest
from farthing.wiring import wire

SECTION = "Billing run"
COUNTS = [int(count) for count in os.environ.get("BENCH_SUBSCRIPTIONS", "100,1000,10000").split(",")]

START = datetime(2026, 1, 1, tzinfo=UTC)
BILLED = datetime(2026, 2, 1, 1, tzinfo=UTC)
FINALIZED = datetime(2026, 2, 1, 4, tzinfo=UTC)
EVENTS_PER_METER = 20


async def measure(report: Report) -> None:
    """Wall time and CPU of the one Python process, for each number of subscriptions on a database of its own."""
    collected = gc.get_threshold()
    gc.set_threshold(50_000, 20, 20)  # as the command does
    taken = {}
    try:
        for count in COUNTS:
            with (
                tempfile.TemporaryDirectory(prefix="farthing-bench-") as folder,
                EmbeddedPostgres(Path(folder) / "data") as server,
            ):
                await asyncio.to_thread(upgrade, server.url())
                database = Database(server.url(), wire())
                try:
                    taken[count] = await _measure(report, database, count)
                finally:
                    await database.close()
    finally:
        gc.set_threshold(*collected)
    report.add(SECTION, "cost grows with subscriptions as", growth(taken), "at most n^1.1")


async def _measure(report: Report, database: Database, count: int) -> float:
    """The CPU of this process for both runs, in seconds."""
    scope = await company(database, count)
    statements: Counter[str] = Counter()
    event.listen(database.engine.sync_engine, "before_cursor_execute", lambda *_: statements.update(["sent"]))
    total = worked_in_all = 0.0
    for what, moment in (("rolled, invoiced and computed", BILLED), ("computed again and finalized", FINALIZED)):
        began, worked = time.perf_counter(), time.process_time()
        done = await Run(database, scope, moment).all()
        seconds, cpu = time.perf_counter() - began, time.process_time() - worked
        did = done.finalized or done.computed
        assert did == count, (done.counts(), list(done.failed.items())[:3])
        measured = f"{seconds:.1f} s ({cpu:.1f} s), {seconds / count * 1000:.2f} ms each"
        report.add(SECTION, f"{count:,} subscriptions {what}", measured)
        total += seconds
        worked_in_all += cpu
    resident = psutil.Process().memory_info().rss / 2**20
    measured = f"{total:.1f} s, {statements['sent'] / count:.2f} statements an invoice, {resident:.0f} MB"
    report.add(SECTION, f"{count:,} subscriptions, both runs", measured, "< 60 s" if count == 10_000 else "")
    return worked_in_all


async def company(
    database: Database, count: int, events_per_meter: int = EVENTS_PER_METER, frozen_time: datetime | None = None
) -> Scope:
    """A tenant with `count` subscriptions to one plan, each with its own customer and events in January.

    The customers are `c0`, `c1` and so on, the events `e0` to `e2` with a number `n`. With a `frozen_time` nothing that
    comes after it is due, whoever looks meanwhile.
    """
    async with database.transaction(SYSTEM) as session:
        tenant, _, environment = await new_tenant(session, name="Bench", email=f"{uuid.uuid4().hex}@example.com")
        environment.frozen_time = frozen_time
    scope = Scope(tenant.id, environment.id)
    async with database.transaction(scope, clock=FixedClock(START)) as session:
        plan = await plans.create(session, convert({"name": "Plan"}, CreatePlanRequest), START)
        common = {"billing_period": "MONTHLY", "currency": "usd", "price_unit_type": "FIAT", "entity_type": "PLAN"}
        common |= {"entity_id": plan.id, "billing_model": "FLAT_FEE", "start_date": "2020-01-01T00:00:00Z"}
        fee = {**common, "type": "FIXED", "invoice_cadence": "ADVANCE", "amount": "50"}
        await prices.create(session, convert(fee, CreatePriceRequest, strict=False), START)
        meters = []
        for number in range(3):
            feature = await features.create(session, convert(_feature(number), CreateFeatureRequest, strict=False))
            meters.append(feature.meter_id or "")
            usage = {**common, "type": "USAGE", "invoice_cadence": "ARREAR", "amount": "0.02", "meter_id": meters[-1]}
            await prices.create(session, convert(usage, CreatePriceRequest, strict=False), START)
    async with database.transaction(scope, clock=FixedClock(START)) as session:
        customer = await create_customer(session, CreateCustomerRequest(external_id="c0", name="c"), strict_ids=False)
        body = {"customer_id": customer.id, "plan_id": plan.id, "currency": "usd", "billing_period": "MONTHLY"}
        outcome = await creation.create(session, convert(body, CreateSubscriptionRequest, strict=False), START)
    await _multiply(database, scope, customer.id, outcome.subscription.id, meters, count, events_per_meter)
    return scope


def _feature(number: int) -> dict[str, object]:
    return {
        "name": f"f{number}",
        "lookup_key": f"f{number}",
        "type": "metered",
        "meter": {
            "name": f"m{number}",
            "event_name": f"e{number}",
            "aggregation": {"type": "SUM", "field": "n"},
            "reset_usage": "BILLING_PERIOD",
        },
    }


async def _multiply(
    database: Database,
    scope: Scope,
    customer_id: str,
    subscription_id: str,
    meters: list[str],
    count: int,
    events_per_meter: int,
) -> None:
    """Copies of one customer, subscription and line items, made where the rows are; and their measured events."""
    async with database.transaction(scope) as session:
        connection = await session.connection()

        async def copy(table: str, key: str, value: str, **replaced: str) -> None:
            columns = (
                (
                    await connection.execute(
                        text(
                            "SELECT column_name FROM information_schema.columns "
                            "WHERE table_name = :t AND is_generated = 'NEVER' ORDER BY ordinal_position"
                        ),
                        {"t": table},
                    )
                )
                .scalars()
                .all()
            )
            values = [replaced.get(column, f'one."{column}"') for column in columns]
            names = ", ".join(f'"{column}"' for column in columns)
            await connection.execute(
                text(
                    f"INSERT INTO {table} ({names}) SELECT {', '.join(values)} "
                    f"FROM {table} AS one, generate_series(1, :count) AS n WHERE one.{key} = :value"
                ),
                {"count": count - 1, "value": value},
            )

        # of this company, so that a database may hold several
        number = f"'{scope.environment_id[-10:]}_' || lpad(n::text, 8, '0')"
        own = {"customer_id": f"'cust_' || {number}", "subscription_id": f"'subs_' || {number}"}
        await copy("customers", "id", customer_id, id=own["customer_id"], external_id="'c' || n")
        await copy("subscriptions", "id", subscription_id, id=own["subscription_id"], customer_id=own["customer_id"])
        await copy(
            "subscription_line_items",
            "subscription_id",
            subscription_id,
            id="'subs_line_' || right(one.id, 6) || n",
            **own,
        )
        await connection.execute(
            text(
                "INSERT INTO meter_usage "
                "(environment_id, sequence, timestamp, meter_id, external_customer_id, quantity, key) "
                "SELECT :environment, row_number() OVER (), :start + (e * interval '20 days' / :events), meter, "
                "'c' || c, e, '' "
                "FROM generate_series(0, :last) AS c, unnest(CAST(:meters AS text[])) AS meter, "
                "generate_series(1, :events) AS e"
            ),
            {
                "environment": scope.environment_id,
                "start": START + timedelta(hours=1),
                "last": count - 1,
                "meters": meters,
                "events": events_per_meter,
            },
        )
    async with database.engine.connect() as connection:
        autocommit = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await autocommit.execute(text("VACUUM ANALYZE"))
