"""The event store as it grows: one table each as it is, and partitioned by month, asked in turn on one PostgreSQL.

CPU is that of the one backend that works for the benchmark, from the scheduler's counts, because the machine may be
busy; sizes and WAL are PostgreSQL's. `BENCH_SIZES=1000000,3000000,10000000` sets how many events there are. Both
layouts together take about 2 GB for each million; `BENCH_LAYOUTS=whole` or `=months` leaves one out.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
from sqlalchemy import text

from benchmarks.events.layouts import DIGEST, MONTHS, Layout, evenly, layouts, month, partition
from benchmarks.events.tail import Scheduled
from benchmarks.harness import Report, growth
from farthing.events.ingest import statements
from farthing.events.stores.postgres_upkeep import forget
from farthing.events.usage import usage_query
from farthing.events.usage.usage_statement import UsageQuery
from farthing.metering.meter import Aggregation, AggregationType, Meter
from farthing.storage.embedded import EmbeddedPostgres
from farthing.storage.migrations import upgrade
from farthing.storage.postgres import Database
from farthing.storage.scope import Scope
from farthing.wiring import wire

SECTION = "Events by month"
SIZES = [int(size) for size in os.environ.get("BENCH_SIZES", "300000,1000000,3000000").split(",")]
CHOSEN = os.environ.get("BENCH_LAYOUTS", "whole,months").split(",")
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "4"))
CUSTOMERS = 5_000
BULK = 1_000
SCOPE = Scope("tenant_bench", "env_01JBENCHBENCHBENCHBENCHBENC")
METER = Meter("meter_01JBENCHBENCHBENCHBENCHBENC", "tokens", Aggregation(AggregationType.SUM, "tokens"))
PROPERTIES = '{"tokens": 512, "model": "model-large", "region": "eu-west-1"}'

_METER = """
    INSERT INTO meters (id, tenant_id, environment_id, name, event_name, aggregation_type, field, filters, reset_usage,
        status, created_at, updated_at, created_by, updated_by)
    VALUES (%s, %s, %s, 'Tokens', 'tokens', 'SUM', 'tokens', '[]', 'BILLING_PERIOD', 'published', now(), now(), '', '')
"""
_ARRIVED = """
    CREATE TEMP TABLE arrived AS
    SELECT %(first)s::bigint + g AS sequence,
        date_trunc('milliseconds', %(start)s::timestamptz + g * %(apart)s::interval) AS timestamp,
        gen_random_uuid()::text AS id, 'customer-' || (random() * %(customers)s)::int AS customer
    FROM generate_series(%(from)s, %(to)s - 1) AS g
"""
_FILL = f"""
    INSERT INTO events (environment_id, sequence, timestamp, ingested_at, id, external_customer_id, event_name,
        customer_id, source, properties, sent_by)
    SELECT %(environment)s, sequence, timestamp, timestamp, id, customer, 'tokens', '', 'sdk', '{PROPERTIES}', 1
    FROM arrived
"""
_FILL_USAGE = """
    INSERT INTO meter_usage (environment_id, sequence, timestamp, meter_id, external_customer_id, quantity, key)
    SELECT %(environment)s, sequence, timestamp, %(meter)s, customer, 512, '' FROM arrived
"""
_FILL_IDS = f"""
    INSERT INTO event_ids (key, timestamp)
    SELECT {DIGEST.format(environment="%(environment)s::text")}, timestamp FROM arrived
"""
_MONTH_OF = """
    SELECT count(*), sum(quantity) FROM meter_usage WHERE environment_id = %s AND meter_id = %s
        AND external_customer_id = %s AND timestamp >= %s AND timestamp < %s
"""
_BYTES = """
    SELECT coalesce(sum(pg_table_size(oid)), 0)::bigint, coalesce(sum(pg_indexes_size(oid)), 0)::bigint FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
        AND (relname IN ('events', 'meter_usage', 'event_ids') OR oid IN (SELECT inhrelid FROM pg_inherits))
"""
_FORGET_IDS = """
    DELETE FROM event_ids
    WHERE ctid = ANY(ARRAY(SELECT ctid FROM event_ids WHERE timestamp < %s LIMIT 50000))
"""


@dataclass(slots=True)
class Work:
    """CPU in milliseconds and WAL in bytes, of what was done in a block."""

    cpu_ms: float = 0
    wal: int = 0


class Store:
    """A database in one of the layouts, and a backend that works in it."""

    def __init__(self, server: EmbeddedPostgres, layout: Layout) -> None:
        self.layout = layout
        self.filled = 0
        self.appended = 0
        with psycopg.connect(server.url("postgres", "postgres"), autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {layout.database} TEMPLATE farthing OWNER farthing")
        self.connection = psycopg.connect(server.url(layout.database), autocommit=True)
        if layout.tables:
            self.connection.execute(layout.tables)
        self.connection.execute("SELECT set_config('farthing.environment_id', %s, false)", [SCOPE.environment_id])
        self.connection.execute("SELECT set_config('farthing.tenant_id', %s, false)", [SCOPE.tenant_id])
        self.connection.execute("SET max_parallel_maintenance_workers = 0")  # what they do would not be counted
        self.connection.execute(_METER, [METER.id, SCOPE.tenant_id, SCOPE.environment_id])
        self.database = Database(server.url(layout.database), wire(), pool_size=1, overflow=0)

    @contextmanager
    def counted(self, process_id: int | None = None) -> Iterator[Work]:
        """Count what the block costs in the backend, or in another one."""
        scheduled, work = Scheduled([process_id or self.connection.info.backend_pid]), Work()
        before, (cpu, _) = self._written(), scheduled.read()
        yield work
        work.cpu_ms = (scheduled.read()[0] - cpu) / 1e6
        work.wal = self._written() - before

    def _written(self) -> int:
        row = self.connection.execute("SELECT (pg_current_wal_lsn() - '0/0')::bigint").fetchone()
        assert row is not None
        return int(row[0])

    def fill(self, size: int) -> None:
        """Lay events down, one after the other in time, until there are `size`."""
        missing = size - self.filled
        start, apart = evenly(missing)
        given = {"environment": SCOPE.environment_id, "meter": METER.id, "customers": CUSTOMERS}
        fills = [_FILL, _FILL_USAGE, *([_FILL_IDS] if self.layout.has_ids else [])]
        for first in range(0, missing, 200_000):
            span = {"first": self.filled, "start": start, "apart": apart, "from": first}
            self.connection.execute(_ARRIVED, {**given, **span, "to": min(first + 200_000, missing)})
            for statement in fills:
                self.connection.execute(statement, given)
            self.connection.execute("DROP TABLE arrived")
        self.filled = size

    def append(self, count: int, new_id: Callable[[], UUID] = uuid4) -> None:
        """One append of ingest, as far as it is the database's: `count` new events in one transaction."""
        now = datetime.now(UTC).replace(microsecond=0)
        places = list(range(count))
        customers = [f"customer-{uuid4().int % CUSTOMERS}" for _ in places]
        ids = [str(new_id()) for _ in places]
        times, texts = [now] * count, (["tokens"] * count, [""] * count, ["sdk"] * count, [PROPERTIES] * count)
        arrivals: list[Any] = [places, times, times, ids, customers, *texts, [1] * count]
        measured: list[Any] = [places, [METER.id] * count, [512] * count, [""] * count, [None] * count]
        statement = self.layout.insert
        if count == 1:
            statement = self.layout.insert_one
            arrivals, measured = [value for (value,) in arrivals], [value for (value,) in measured]
        here = SCOPE.environment_id
        with self.connection.pipeline(), self.connection.transaction():
            cursor = psycopg.RawCursor(self.connection)
            cursor.execute(statements.CONFINE, (SCOPE.tenant_id, here))
            cursor.execute(statement, [here, *arrivals, *measured, now, list(set(customers))], prepare=True)
        self.appended += count

    def size(self) -> tuple[int, int]:
        """Bytes of all rows, and of all indexes."""
        row = self.connection.execute(_BYTES).fetchone()
        assert row is not None
        return int(row[0]), int(row[1])

    async def read_month(self) -> None:
        """A customer's usage of last month, as the product asks for it."""
        query = UsageQuery(METER, month(-1), month(0), frozenset({f"customer-{uuid4().int % CUSTOMERS}"}))
        async with self.database.transaction(SCOPE, read_only=True) as session:
            await usage_query.usage(session, query)

    def read_month_by_bounds(self) -> None:
        """The same rows by a statement that is planned once and whose times are parameters: other months are left out
        when it begins."""
        given = [SCOPE.environment_id, METER.id, f"customer-{uuid4().int % CUSTOMERS}", month(-1), month(0)]
        self.connection.execute(_MONTH_OF, given, prepare=True).fetchall()

    async def backend(self) -> int:
        """The process that `read_month` asks."""
        async with self.database.transaction(SCOPE, read_only=True) as session:
            return int((await session.execute(text("SELECT pg_backend_pid()"))).scalar_one())


def _id_by_time() -> UUID:
    """As version 7 of UUIDs is made: milliseconds, then chance."""
    return UUID(int=time.time_ns() // 1_000_000 << 80 | uuid4().int & (1 << 80) - 1)


Costs = dict[str, dict[str, dict[int, float]]]
"""By what was done, by layout, by size."""


async def measure(report: Report) -> None:
    """Appends, reads, vacuum and forgetting, at each size."""
    chosen = [layout for layout in layouts() if layout.database.removeprefix("farthing_") in CHOSEN]
    costs: Costs = defaultdict(lambda: defaultdict(dict))
    with tempfile.TemporaryDirectory(prefix="farthing-bench-") as folder, EmbeddedPostgres(Path(folder)) as server:
        upgrade(server.url())
        stores = [Store(server, layout) for layout in chosen]
        try:
            for size in SIZES:
                for store in stores:
                    store.fill(size)
                    _keep(costs, "vacuum after filling, CPU in s", store, _vacuum(store) / 1000)
                await _ask(costs, stores)
            await _forget_first_month(report, stores)
        finally:
            for store in stores:
                store.connection.close()
                await store.database.close()
    for what, by_layout in costs.items():
        for name, by_size in by_layout.items():
            figures = ", ".join(f"{cost:,.1f}" for cost in by_size.values())
            report.add(SECTION, f"{what}, {name}", f"{figures} ({growth(by_size)})")
    report.add(SECTION, "events at each of these", ", ".join(f"{size:,}" for size in SIZES))


def _keep(costs: Costs, what: str, store: Store, cost: float) -> None:
    costs[what][store.layout.name][store.filled] = cost


async def _ask(costs: Costs, stores: list[Store]) -> None:
    """Medians of some rounds, the layouts in turn; the first round warms up."""
    taken: dict[tuple[str, str], list[float]] = defaultdict(list)

    def note(what: str, store: Store, cost: float) -> None:
        taken[what, store.layout.name].append(cost)

    for turn in range(ROUNDS + 1):
        for store in stores if turn % 2 else stores[::-1]:
            with store.counted() as work:
                for _ in range(10):
                    store.append(BULK)
            note(f"an event in a bulk of {BULK:,}, CPU in us", store, work.cpu_ms * 1000 / BULK / 10)
            note(f"an event in a bulk of {BULK:,}, WAL in bytes", store, work.wal / BULK / 10)
            with store.counted() as work:
                for _ in range(10):
                    store.append(BULK, _id_by_time)
            note("the same with ids that begin with the time, CPU in us", store, work.cpu_ms * 1000 / BULK / 10)
            note("the same with ids that begin with the time, WAL in bytes", store, work.wal / BULK / 10)
        for store in stores if turn % 2 else stores[::-1]:
            with store.counted() as work:
                for _ in range(200):
                    store.append(1)
            note("an event alone, CPU in us", store, work.cpu_ms * 1000 / 200)
        for store in stores if turn % 2 else stores[::-1]:
            with store.counted(await store.backend()) as work:
                for _ in range(100):
                    await store.read_month()
            note("a customer's month as it is asked, CPU in us", store, work.cpu_ms * 1000 / 100)
            store.connection.execute("SET plan_cache_mode = force_generic_plan")
            with store.counted() as work:
                for _ in range(100):
                    store.read_month_by_bounds()
            store.connection.execute("RESET plan_cache_mode")
            note("a customer's month, bounds given, planned once, CPU in us", store, work.cpu_ms * 1000 / 100)
        if not turn:
            taken.clear()
    for store in stores:
        for what in dict.fromkeys(what for what, _ in taken):
            _keep(costs, what, store, statistics.median(taken[what, store.layout.name]))
        rows, indexes = store.size()
        events = store.filled + store.appended
        _keep(costs, "bytes of rows for an event", store, rows / events)
        _keep(costs, "bytes of indexes for an event", store, indexes / events)


def _vacuum(store: Store) -> float:
    """CPU in milliseconds."""
    tables = ["events", "meter_usage", *(["event_ids"] if store.layout.has_ids else [])]
    with store.counted() as work:
        for table in tables:
            store.connection.execute(f"VACUUM (ANALYZE) {table}")
    return work.cpu_ms


async def _forget_first_month(report: Report, stores: list[Store]) -> None:
    """What retention costs for the oldest month: rows deleted in batches, or partitions dropped and ids deleted."""
    oldest, before = month(1 - MONTHS), month(2 - MONTHS)
    for store in stores:
        _vacuum(store)
        name = store.layout.name
        deleted = 0
        if not store.layout.has_ids:
            with store.counted(await store.backend()) as work:
                while batch := await _forget_batch(store, before):
                    deleted += batch
            report.add(SECTION, f"a month's {deleted:,} events deleted, {name}", _per_event(work, deleted))
        else:
            began = time.perf_counter()
            with store.counted() as work:
                names = [partition(table, oldest) for table in ("events", "meter_usage")]
                store.connection.execute(f"DROP TABLE {', '.join(names)}")
            took = f"{work.cpu_ms:.0f} ms of CPU, {time.perf_counter() - began:.2f} s"
            report.add(SECTION, f"a month's partitions dropped, {name}", took)
            with store.counted() as work:
                while batch := store.connection.execute(_FORGET_IDS, [before]).rowcount:
                    deleted += batch
            report.add(SECTION, f"a month's {deleted:,} ids deleted, {name}", _per_event(work, deleted))
        report.add(SECTION, f"vacuum after that, {name}", f"{_vacuum(store) / 1000:.2f} s of CPU")


async def _forget_batch(store: Store, before: datetime) -> int:
    async with store.database.transaction(SCOPE) as session:
        return await forget(session, before, [])


def _per_event(work: Work, events: int) -> str:
    if not events:
        return "none"
    return f"{work.cpu_ms * 1000 / events:.1f} us, {work.wal / events:,.0f} bytes of WAL each"
