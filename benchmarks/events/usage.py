"""Asking for usage: one customer among ten million events, a heavy customer, and many line items at once."""

from __future__ import annotations

import dataclasses
import os
import time
from datetime import UTC, datetime, timedelta
from functools import partial

import psycopg

from benchmarks.harness import Report, Service, growth, median_ms, service
from farthing.calendar.windows import WindowSize
from farthing.events.usage import usage_query
from farthing.events.usage.usage_statement import UsageQuery
from farthing.metering.meter import Aggregation, AggregationType, Meter
from farthing.storage.postgres import Database
from farthing.storage.scope import Scope
from farthing.wiring import wire

SECTION = "Usage"
EVENTS = int(os.environ.get("BENCH_EVENTS", "10000000"))
HEAVY = int(os.environ.get("BENCH_HEAVY", "1000000"))
MIDDLING = HEAVY // 10
TYPICAL = 10_000
START = datetime(2025, 6, 1, tzinfo=UTC)
END = datetime(2025, 7, 1, tzinfo=UTC)
SCOPE = Scope("tenant_bench", "env_01JBENCHBENCHBENCHBENCHBENC")
METER = Meter("meter_01JBENCHBENCHBENCHBENCHBENC", "tokens", Aggregation(AggregationType.SUM, "tokens"))
ITEMS = 30_000

_FILL = """
    INSERT INTO meter_usage (sequence, timestamp, meter_id, external_customer_id, quantity, key, environment_id)
    SELECT %(first)s + g, %(start)s::timestamptz + g * (interval '30 days' / %(count)s), %(meter)s,
        %(customer)s || CASE WHEN %(customers)s > 1 THEN (g %% %(customers)s)::text ELSE '' END,
        100 + g %% 900, 'user-' || (g %% 5000), %(environment)s
    FROM generate_series(0, %(count)s - 1) AS g
"""


async def measure(report: Report) -> None:
    """Medians in the server, statement and fold included, on rows that vacuum has seen."""
    with service() as running:
        began = time.perf_counter()
        _fill(running)
        report.add(SECTION, f"rows laid down for the test, {EVENTS:,}", f"{time.perf_counter() - began:.0f} s")
        database = Database(f"postgresql://farthing@/farthing?host={running.folder / 'run'}", wire())
        try:
            await _measure(report, database)
        finally:
            await database.close()


async def _measure(report: Report, database: Database) -> None:
    typical = UsageQuery(METER, START, END, frozenset({"customer-7"}))
    middling = dataclasses.replace(typical, customers=frozenset({"middling"}))
    heavy = dataclasses.replace(typical, customers=frozenset({"heavy"}))

    async def ask(query: UsageQuery) -> None:
        async with database.transaction(SCOPE, read_only=True) as session:
            await usage_query.usage(session, query)

    async def days(query: UsageQuery) -> None:
        async with database.transaction(SCOPE, read_only=True) as session:
            await usage_query.series(session, query, WindowSize.DAY)

    kinds = (AggregationType.SUM, AggregationType.LATEST, AggregationType.COUNT_UNIQUE, AggregationType.WEIGHTED_SUM)
    for how in kinds:
        meter = dataclasses.replace(METER, aggregation=Aggregation(how, "tokens"))
        medians = {}
        for what, events, query, budget, times in (
            ("one customer's month", EVENTS // _customers(), typical, "< 10 ms", 30),
            ("a larger customer's month", MIDDLING, middling, "", 10),
            ("a heavy customer's month", HEAVY, heavy, "< 300 ms", 5),
        ):
            asked = dataclasses.replace(query, meter=meter)
            medians[events] = await median_ms(partial(ask, asked), times, 2)
            report.add(SECTION, f"{how}: {what}, {events:,} events", f"{medians[events]:.1f} ms", budget)
        report.add(SECTION, f"{how} grows with the customer's events as", growth(medians), "at most n^1")
    median = await median_ms(lambda: days(heavy), 5, 1)
    report.add(SECTION, f"SUM by day: a heavy customer's month, {HEAVY:,} events", f"{median:.1f} ms")
    customers = _customers()
    items = [
        UsageQuery(METER, START + timedelta(days=n % 3), END, frozenset({f"customer-{n % customers}"}))
        for n in range(ITEMS)
    ]
    small = [dataclasses.replace(item, end=item.start + timedelta(hours=3)) for item in items]
    async with database.transaction(SCOPE, read_only=True) as session:
        began = time.perf_counter()
        await usage_query.usage_of(session, small)
        taken = time.perf_counter() - began
    report.add(SECTION, f"{ITEMS:,} line items in one statement, few events each", f"{taken:.2f} s", "part of < 60 s")


def _customers() -> int:
    return max(EVENTS // TYPICAL, 10)


def _fill(running: Service) -> None:
    with psycopg.connect(running.admin_url, autocommit=True) as connection:
        given = {"meter": METER.id, "environment": SCOPE.environment_id, "start": START}
        heavy = {"first": 1, "count": HEAVY, "customer": "heavy", "customers": 1}
        many = {"first": 10**9, "count": EVENTS, "customer": "customer-", "customers": _customers()}
        middling = {"first": 5 * 10**8, "count": MIDDLING, "customer": "middling", "customers": 1}
        for query in (heavy, middling, many):
            connection.execute(_FILL, {**given, **query})
        connection.execute("VACUUM (ANALYZE) meter_usage")
