"""The customer invoice summary: how its cost grows with a customer's invoices, and how many one process answers."""

from __future__ import annotations

from functools import partial
from typing import Any

import psycopg
from psycopg import sql

from benchmarks.harness import Report, Service, growth, median_ms, service
from benchmarks.load import Call, closed_in_process

SIZES = (10, 1_000, 10_000, 100_000)
SECTION = "Customer invoice summary"
CLIENTS = 16
SECONDS = 6


async def measure(report: Report) -> None:
    """Medians by size, ratios to the smallest, memory before and after, and requests per second."""
    with service() as running:
        async with running.client() as client:
            customers = {size: await _customer(running, client, size) for size in SIZES}
            _vacuum(running)
            first = 0.0
            medians = {}
            for size, customer_id in customers.items():
                before = running.resident_mb
                path = f"/customers/{customer_id}/invoices/summary"
                (await client.get(path)).raise_for_status()
                median = await median_ms(partial(client.get, path), times=200)
                first = first or median
                medians[size] = median
                budget = {10: "< 2 ms in the server", 10_000: "at most 5x", 100_000: "at most 40x"}.get(size, "")
                grown = running.resident_mb - before
                measured = f"{median:.2f} ms, {median / first:.2f}x, +{grown:.1f} MB"
                report.add(SECTION, f"{size:,} invoices, one client over HTTP", measured, budget)
            report.add(SECTION, "cost grows with paid invoices as", growth(medians), "at most n^0.4")
            path = f"/customers/{customers[10]}/invoices/summary"
            rate = await _rate(running, path)
            report.add(SECTION, f"requests per second, one process, {CLIENTS} clients", f"{rate:,.0f}", "> 1,500")
            statements = _statements(running)
            report.add(SECTION, "statements a request", statements, "fixed")


async def _customer(running: Service, client: Any, size: int) -> str:
    """A customer with one invoice through the API, and the rest copied from it in the database."""
    made = await client.post("/customers", json={"external_id": f"bench-{size}", "name": "Bench"})
    customer_id: str = made.json()["id"]
    body = {"customer_id": customer_id, "currency": "usd", "amount_due": "100", "total": "100", "subtotal": "100"}
    lines = [
        {"display_name": "Requests", "price_type": "USAGE", "quantity": "1", "amount": "60"},
        {"display_name": "Fee", "quantity": "1", "amount": "40"},
    ]
    made = await client.post("/invoices", json={**body, "line_items": lines})
    made.raise_for_status()
    copy_invoice(running, made.json()["id"], size - 1)
    return customer_id


def copy_invoice(running: Service, invoice_id: str, count: int, *, unpaid: bool = False) -> None:
    """Copies in three currencies, all paid but one in two hundred (and at least a few), or all unpaid."""
    every = 1 if unpaid else max(2, min(200, count // 4 or 2))
    changes = {
        "id": sql.SQL("invoices.id || '-' || g"),
        "invoice_number": sql.SQL("invoices.invoice_number || '-' || g"),
        "currency": sql.SQL("(array['usd', 'eur', 'jpy'])[1 + g % 3]"),
        "finalized_at": sql.SQL("invoices.finalized_at - g * interval '1 minute'"),
        "due_date": sql.SQL("now() - interval '1 day'"),
        "payment_status": sql.SQL("CASE WHEN open THEN 'PENDING' ELSE 'SUCCEEDED' END"),
        "amount_paid": sql.SQL("CASE WHEN open THEN 0 ELSE 100 END"),
        "amount_remaining": sql.SQL("CASE WHEN open THEN 100 ELSE 0 END"),
        "usage_remaining": sql.SQL("CASE WHEN open THEN 60 ELSE 0 END"),
    }
    with psycopg.connect(running.admin_url, autocommit=True) as connection:
        columns = [
            name
            for (name,) in connection.execute(
                "SELECT column_name FROM information_schema.columns "
                "WHERE table_name = 'invoices' AND is_generated = 'NEVER'"
            )
        ]
        values = [changes.get(name, sql.Identifier("invoices", name)) for name in columns]
        connection.execute(
            sql.SQL(
                "INSERT INTO invoices ({}) SELECT {} FROM invoices, "
                "(SELECT g, g % {} = {} AS open FROM generate_series(1, {}) AS g) AS copies WHERE invoices.id = {}"
            ).format(
                sql.SQL(", ").join(map(sql.Identifier, columns)),
                sql.SQL(", ").join(values),
                sql.Literal(every),
                sql.Literal(0 if unpaid else 1),
                sql.Literal(count),
                sql.Literal(invoice_id),
            )
        )


def _vacuum(running: Service) -> None:
    with psycopg.connect(running.admin_url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE invoices")


async def _rate(running: Service, path: str) -> float:
    """Requests answered per second with `CLIENTS` connections that each ask again as soon as they are answered."""
    answers = await closed_in_process(
        running.port, running.key, [Call("summary", "GET", f"/v1{path}")], CLIENTS, SECONDS
    )
    assert not answers.failed, answers.failed
    return answers.per_second


def _statements(running: Service) -> str:
    """What the server prepared for it: one statement per scope of the summary."""
    with psycopg.connect(running.admin_url) as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE query ILIKE '%EXECUTE invoice_summary_all%'"
        ).fetchone()
    assert found is not None
    return "1, prepared" if found[0] else "?"
