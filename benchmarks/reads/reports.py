"""Built-in reports over up to 100,000 invoices of 5,000 customers: how long each takes, over a year by month.

`BENCH_INVOICES` (100,000) is the largest of three sizes, each in a database of its own.
"""

from __future__ import annotations

import os
from functools import partial

import psycopg
from psycopg import sql

from benchmarks.harness import Report, Service, growth, median_ms, service

SECTION = "Reports"
INVOICES = int(os.environ.get("BENCH_INVOICES", "100000"))
SIZES = (INVOICES // 10, INVOICES * 3 // 10, INVOICES)
CUSTOMERS = 5_000
YEAR = "2026-01-01..2027-01-01"
BUDGET = "< 500 ms"
CASES: tuple[tuple[str, str, list[str]], ...] = (
    ("net_billing", "timeseries", []),
    ("net_billing_issued", "timeseries", []),
    ("net_billing", "breakdown", ["customer_id"]),
    ("net_billing", "breakdown", ["price_id"]),
    ("total_receivables", "timeseries", []),
    ("receivables_aging", "breakdown", ["bucket"]),
    ("days_to_pay", "timeseries", []),
    ("arpu", "timeseries", []),
    ("mrr", "timeseries", []),
    ("deferred_revenue", "timeseries", []),
)


async def measure(report: Report) -> None:
    """The median of each report at each size, and how it grows with invoices."""
    taken: dict[str, dict[int, float]] = {}
    for invoices in SIZES:
        with service() as running:
            async with running.client() as client:
                await fill(running, client, invoices)
                for key, shape, dimensions in CASES:
                    body = {"range": YEAR, "shape": shape, "dimensions": dimensions}
                    if shape == "timeseries":
                        body["grain"] = "month"
                    path = f"/analytics/reports/{key}/query"
                    (await client.post(path, json=body)).raise_for_status()
                    median = await median_ms(partial(client.post, path, json=body), times=5, warm=1)
                    name = f"{key} by {dimensions[0] if dimensions else 'month'}"
                    taken.setdefault(name, {})[invoices] = median
                    budget = BUDGET if invoices == INVOICES else ""
                    report.add(SECTION, f"{name}, {invoices:,} invoices", f"{median:.0f} ms", budget)
    for name, medians in taken.items():
        report.add(SECTION, f"{name} grows with invoices as", growth(medians), "at most n^1.1")


async def fill(running: Service, client: object, invoices: int = 100_000) -> None:
    """One invoice through the API, and copies of it, of its customer and of its line, spread over a year."""
    made = await client.post("/customers", json={"external_id": "bench", "name": "Bench"})  # type: ignore[attr-defined]
    customer_id = made.json()["id"]
    line = {"display_name": "Fee", "quantity": "1", "amount": "100"}
    body = {"customer_id": customer_id, "currency": "usd", "amount_due": "100", "total": "100", "subtotal": "100"}
    made = await client.post("/invoices", json={**body, "line_items": [line]})  # type: ignore[attr-defined]
    made.raise_for_status()
    invoice_id = made.json()["id"]
    owner = sql.SQL("{} || '-' || (g % {})").format(sql.Literal(customer_id), sql.Literal(CUSTOMERS))
    moment = sql.SQL("timestamptz '2026-01-01' + g * (interval '350 days' / {})").format(sql.Literal(invoices))
    paid = sql.SQL("g % 20 <> 0")
    with psycopg.connect(running.admin_url, autocommit=True) as connection:
        # triggers keep totals by customer, which nothing here reads
        connection.execute("SET session_replication_role = replica")
        _copies(
            connection,
            "customers",
            customer_id,
            CUSTOMERS,
            {
                "id": sql.SQL("customers.id || '-' || (g - 1)"),
                "external_id": sql.SQL("customers.external_id || '-' || (g - 1)"),
            },
        )
        _copies(
            connection,
            "invoices",
            invoice_id,
            invoices,
            {
                "id": sql.SQL("invoices.id || '-' || g"),
                "invoice_number": sql.SQL("invoices.invoice_number || '-' || g"),
                "idempotency_key": sql.SQL("NULL"),
                "customer_id": owner,
                "finalized_at": moment,
                "reference_date": moment,
                "due_date": sql.SQL("{} + interval '14 days'").format(moment),
                "paid_at": sql.SQL("CASE WHEN {} THEN {} + interval '10 days' END").format(paid, moment),
                "payment_status": sql.SQL("CASE WHEN {} THEN 'SUCCEEDED' ELSE 'PENDING' END").format(paid),
                "amount_paid": sql.SQL("CASE WHEN {} THEN 100 ELSE 0 END").format(paid),
                "amount_remaining": sql.SQL("CASE WHEN {} THEN 0 ELSE 100 END").format(paid),
            },
        )
        connection.execute(
            """
            INSERT INTO invoice_settlements (id, tenant_id, environment_id, invoice_id, kind, amount, created_at)
            SELECT 'settle-' || id, tenant_id, environment_id, id, 'manual', amount_paid, paid_at
            FROM invoices WHERE paid_at IS NOT NULL
            """
        )
        (line_id,) = connection.execute(
            "SELECT id FROM invoice_line_items WHERE invoice_id = %s", [invoice_id]
        ).fetchone() or ("",)
        _copies(
            connection,
            "invoice_line_items",
            line_id,
            invoices,
            {
                "id": sql.SQL("invoice_line_items.id || '-' || g"),
                "invoice_id": sql.SQL("invoice_line_items.invoice_id || '-' || g"),
                "customer_id": owner,
                "price_id": sql.SQL("'price-' || (g % 50)"),
            },
        )
        connection.execute("VACUUM ANALYZE")


def _copies(
    connection: psycopg.Connection[tuple[object, ...]],
    table: str,
    row_id: str,
    count: int,
    changes: dict[str, sql.Composable],
) -> None:
    """Copies of a row, each with its number `g` in what differs."""
    columns = [
        str(name)
        for (name,) in connection.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_name = %s AND is_generated = 'NEVER'",
            [table],
        )
    ]
    values = [changes.get(name, sql.Identifier(table, name)) for name in columns]
    connection.execute(
        sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {}, generate_series(1, {}) AS g WHERE {}.id = {}").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.SQL(", ").join(values),
            sql.Identifier(table),
            sql.Literal(count),
            sql.Identifier(table),
            sql.Literal(row_id),
        )
    )
