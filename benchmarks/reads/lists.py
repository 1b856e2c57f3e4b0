"""Lists: the CPU of a page, of the server and of PostgreSQL apart, and how it stands with what a customer has.

The load comes from this process, one request after another over a raw connection; it is not counted. CPU time is read
from the processes themselves, so that other work on the machine counts little; medians of rounds in which the lists
take turns.

`BENCH_ROUNDS` (5), `BENCH_REQUESTS` (60) of each list a round and `BENCH_INVOICES` (200,000) of the large customer set
the sizes.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
from psycopg import sql

from benchmarks.harness import KEY, Report, Service, growth, service

SECTION = "Lists"
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
REQUESTS = int(os.environ.get("BENCH_REQUESTS", "60"))
LARGE = int(os.environ.get("BENCH_INVOICES", "200000"))
ROWS = 50


@dataclass(slots=True)
class Case:
    """A request that is measured: CPU of the server, CPU of PostgreSQL and the time it took, in ms, by round."""

    what: str
    method: str
    path: str
    body: bytes = b""
    budget: str = ""
    of: int = 0
    """Of how many invoices a page of 50 is read, where that is what the case is about."""
    server: list[float] = field(default_factory=list)
    database: list[float] = field(default_factory=list)
    taken: list[float] = field(default_factory=list)


async def measure(report: Report) -> None:
    """Each list with a page of 50 rows, and the invoices of a customer with many."""
    with service() as running:
        cases = _fill(running)
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port, limit=2**24)
        for case in cases:
            await _ask(running, reader, writer, case, 20)
        for _ in range(ROUNDS):
            for case in cases:
                before = cpu_seconds(running)
                case.taken.append(await _ask(running, reader, writer, case, REQUESTS))
                after = cpu_seconds(running)
                case.server.append((after[0] - before[0]) * 1000 / REQUESTS)
                case.database.append((after[1] - before[1]) * 1000 / REQUESTS)
        writer.close()
        for case in cases:
            server, database = statistics.median(case.server), statistics.median(case.database)
            together = f"{server + database:.2f} ms ({server:.2f} + {database:.2f})"
            report.add(SECTION, case.what, f"{together}, p50 {statistics.median(case.taken):.2f} ms", case.budget)
        by_invoices = {
            case.of: statistics.median(map(sum, zip(case.server, case.database, strict=True)))
            for case in cases
            if case.of
        }
        report.add(SECTION, "a page's cost grows with its customer's invoices as", growth(by_invoices), "at most n^0.1")


async def _ask(
    running: Service, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, case: Case, times: int
) -> float:
    """Ask so many times, one after another; the median time of an answer in ms."""
    head = f"{case.method} /v1{case.path} HTTP/1.1\r\nHost: bench\r\nx-api-key: {running.key}\r\n"
    request = f"{head}Content-Type: application/json\r\nContent-Length: {len(case.body)}\r\n\r\n".encode() + case.body
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        writer.write(request)
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200"), (case.what, answer)
        await reader.readexactly(int(answer.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]))
        taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1000


def cpu_seconds(running: Service) -> tuple[float, float]:
    """Seconds of CPU that the server has taken, and that PostgreSQL's processes have."""
    server = psutil.Process(running.process.pid)
    ours = database = 0.0
    for process in (server, *server.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):  # a process of PostgreSQL that has just ended
            if process.name().startswith("postgres"):
                database += _ran(process.pid)
            else:
                ours += _ran(process.pid)
    return ours, database


def _ran(process: int) -> float:
    """Seconds that all threads of a process have run, to the nanosecond, where /proc/PID/stat counts in hundredths."""
    seconds = 0.0
    for thread in Path(f"/proc/{process}/task").iterdir():
        with suppress(FileNotFoundError):
            seconds += int((thread / "schedstat").read_text().split()[0]) / 1e9
    return seconds


def _fill(running: Service) -> list[Case]:
    """The books, and what is asked of them."""
    with httpx.Client(base_url=running.url, headers={"x-api-key": KEY}, timeout=60) as client:
        books = _Books(running, client)
        payer = books.customer("few", ROWS)
        middling = books.customer("some", LARGE // 50)
        large = books.customer("many", LARGE)
        books.others(payer)
        some, several, many = (f"customer_id={customer}" for customer in (payer, middling, large))
        search = b'{"customer_id": "%s", "limit": 50}' % payer.encode()
        cases = [
            Case("customer, one", "GET", f"/customers/{payer}"),
            Case("summary", "GET", f"/customers/{payer}/invoices/summary"),
            Case("invoices, 50 with 2 lines and payer", "GET", f"/invoices?{some}&limit=50", b"", "< 3 ms", ROWS),
            Case("invoices, 50, searched", "POST", "/invoices/search", search, budget="< 3 ms"),
            Case("invoices, 10 with 2 lines and payer", "GET", f"/invoices?{some}&limit=10", budget="< 1.2 ms"),
            Case(f"invoices, 50 of {LARGE // 50:,}", "GET", f"/invoices?{several}&limit=50", of=LARGE // 50),
            Case(f"invoices, 50 of {LARGE:,}", "GET", f"/invoices?{many}&limit=50", b"", "p50 at most 2x", LARGE),
            Case(f"invoices, 50 of {LARGE + LARGE // 50 + ROWS:,}, all", "GET", "/invoices?limit=50"),
        ]
        paths = ["customers", "payments", "prices", "plans", "features", "entitlements", "subscriptions", "wallets"]
        cases += [Case(f"{path}, 50", "GET", f"/{path}?limit=50") for path in paths]
        cases.append(Case("wallet transactions, 50", "GET", f"/wallets/{books.wallet}/transactions?limit=50"))
        cases.append(Case("events, 50", "POST", "/events/query", b'{"page_size": 50}'))
        return cases


class _Books:
    """What is listed: one of each kind through the API, the others copied from it in the database."""

    def __init__(self, running: Service, client: httpx.Client) -> None:
        self._running, self._client = running, client
        self.wallet = ""

    def _made(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self._client.post(path, json=body)
        assert answer.status_code < 300, (path, answer.text)
        made: dict[str, Any] = answer.json()
        return made

    def customer(self, name: str, invoices: int) -> str:
        """A customer with so many invoices, each with two lines."""
        customer_id: str = self._made("/customers", {"external_id": name, "name": "Bench", "email": "a@example.com"})[
            "id"
        ]
        body = {"customer_id": customer_id, "currency": "usd", "amount_due": "100", "total": "100", "subtotal": "100"}
        lines = [
            {"display_name": "Requests", "price_type": "USAGE", "quantity": "1", "amount": "60"},
            {"display_name": "Fee", "quantity": "1", "amount": "40"},
        ]
        invoice: str = self._made("/invoices", {**body, "line_items": lines})["id"]
        apart = {
            "invoice_number": sql.SQL("of.invoice_number || '-' || g"),
            "created_at": sql.SQL("of.created_at - g * interval '1 minute'"),
            "finalized_at": sql.SQL("of.finalized_at - g * interval '1 minute'"),
        }
        self._copy("invoices", "id", invoice, invoices - 1, apart)
        self._copy(
            "invoice_line_items",
            "invoice_id",
            invoice,
            invoices - 1,
            {"invoice_id": sql.SQL("of.invoice_id || '-' || g")},
        )
        return customer_id

    def others(self, customer_id: str) -> None:
        """Fifty of each other kind."""
        apart = {"created_at": sql.SQL("of.created_at - g * interval '1 second'")}
        more = ROWS - 1
        invoice = self._client.get(f"/invoices?customer_id={customer_id}&limit=1").json()["items"][0]["id"]
        payment = self._made(
            "/payments",
            {
                "destination_type": "INVOICE",
                "destination_id": invoice,
                "payment_method_type": "OFFLINE",
                "amount": "100",
                "currency": "usd",
                "process_payment": True,
            },
        )
        keyed = {**apart, "idempotency_key": sql.SQL("of.idempotency_key || '-' || g")}
        self._copy("payments", "id", payment["id"], more, keyed)
        named = {**apart, "external_id": sql.SQL("of.external_id || '-' || g")}
        self._copy("customers", "id", customer_id, more, named)
        plan = self._made("/plans", {"name": "Pro", "lookup_key": "pro"})["id"]
        looked_up = {**apart, "lookup_key": sql.SQL("of.lookup_key || '-' || g")}
        self._copy("plans", "id", plan, more, looked_up)
        price = self._made(
            "/prices",
            {
                "entity_type": "PLAN",
                "entity_id": plan,
                "type": "FIXED",
                "price_unit_type": "FIAT",
                "amount": "10",
                "currency": "usd",
                "billing_period": "MONTHLY",
                "billing_period_count": 1,
                "billing_model": "FLAT_FEE",
                "billing_cadence": "RECURRING",
                "invoice_cadence": "ADVANCE",
            },
        )["id"]
        subscription = self._made(
            "/subscriptions",
            {
                "customer_id": customer_id,
                "plan_id": plan,
                "currency": "usd",
                "billing_period": "MONTHLY",
                "billing_period_count": 1,
                "start_date": "2026-01-01T00:00:00Z",
            },
        )["id"]
        self._copy("subscriptions", "id", subscription, more, apart)
        self._copy("prices", "id", price, more, looked_up)
        feature = self._made("/features", {"name": "Seats", "lookup_key": "seats", "type": "static"})["id"]
        self._copy("features", "id", feature, more, looked_up)
        entitlement = self._made(
            "/entitlements",
            {
                "entity_type": "PLAN",
                "entity_id": plan,
                "feature_id": feature,
                "feature_type": "static",
                "static_value": "5",
                "is_enabled": True,
            },
        )["id"]
        self._copy(
            "entitlements", "id", entitlement, more, {**apart, "feature_id": sql.SQL("of.feature_id || '-' || g")}
        )
        self.wallet = self._made("/wallets", {"customer_id": customer_id, "currency": "usd", "name": "Credits"})["id"]
        of_customers = {**apart, "customer_id": sql.SQL("of.customer_id || '-' || g")}
        self._copy("wallets", "id", self.wallet, more, of_customers)
        for _ in range(ROWS):
            topped = {"credits_to_add": "10", "transaction_reason": "FREE_CREDIT_GRANT"}
            self._made(f"/wallets/{self.wallet}/top-up", topped)
        events = [
            {"event_name": "call", "external_customer_id": "few", "properties": {"tokens": number}}
            for number in range(ROWS)
        ]
        self._made("/events/bulk", {"events": events})

    def _copy(self, table: str, by: str, of: str, count: int, changes: dict[str, sql.SQL]) -> None:
        with psycopg.connect(self._running.admin_url, autocommit=True) as connection:
            columns = [
                name
                for (name,) in connection.execute(
                    "SELECT column_name FROM information_schema.columns WHERE table_schema = 'public' "
                    "AND table_name = %s AND is_generated = 'NEVER'",
                    (table,),
                )
            ]
            changed = {"id": sql.SQL("of.id || '-' || g"), **changes}
            connection.execute(
                sql.SQL(
                    "INSERT INTO {} ({}) SELECT {} FROM {} AS of, generate_series(1, {}) AS g WHERE of.{} = {}"
                ).format(
                    sql.Identifier(table),
                    sql.SQL(", ").join(map(sql.Identifier, columns)),
                    sql.SQL(", ").join(changed.get(name, sql.Identifier("of", name)) for name in columns),
                    sql.Identifier(table),
                    sql.Literal(count),
                    sql.Identifier(by),
                    sql.Literal(of),
                )
            )
            connection.execute(sql.SQL("VACUUM ANALYZE {}").format(sql.Identifier(table)))
