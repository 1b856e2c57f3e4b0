"""Triggers that keep each customer's invoice totals, so that the summary never reads paid invoices.

Statement-level, over transition tables: a batch of invoices moves each total once, in the order of its key, so that
two batches that share customers wait for each other and never deadlock.
"""

from alembic import op

revision = "0011"
down_revision = "0010"

_CONTRIBUTIONS = """
    SELECT tenant_id, environment_id, currency, relation, customer,
           greatest(amount_due - greatest(refunded_amount - greatest(amount_paid - amount_due, 0), 0), 0) AS revenue
    FROM {rows},
    LATERAL (
        SELECT 'self' AS relation, customer_id AS customer WHERE owner_id = customer_id
        UNION ALL SELECT 'payer', customer_id WHERE owner_id <> customer_id
        UNION ALL SELECT 'owner', owner_id WHERE owner_id <> customer_id
    ) AS sides
    WHERE status = 'published' AND invoice_status = 'FINALIZED' AND invoice_type IN ('SUBSCRIPTION', 'ONE_OFF')
"""

_APPLY = """
    INSERT INTO invoice_totals
        (tenant_id, environment_id, customer_id, currency, relation, invoice_count, revenue)
    SELECT tenant_id, environment_id, customer, currency, relation, sum(n), sum(n * revenue)
    FROM ({changes}) AS changes
    GROUP BY tenant_id, environment_id, customer, currency, relation
    HAVING sum(n) <> 0 OR sum(n * revenue) <> 0
    ORDER BY environment_id, customer, currency, relation
    ON CONFLICT (environment_id, customer_id, currency, relation) DO UPDATE SET
        invoice_count = invoice_totals.invoice_count + excluded.invoice_count,
        revenue = invoice_totals.revenue + excluded.revenue;
"""

_ADDED = "SELECT 1 AS n, a.* FROM (" + _CONTRIBUTIONS.format(rows="new_rows") + ") AS a"
_GONE = "SELECT -1 AS n, g.* FROM (" + _CONTRIBUTIONS.format(rows="old_rows") + ") AS g"


def upgrade() -> None:
    for event, changes, tables in (
        ("insert", _ADDED, "NEW TABLE AS new_rows"),
        ("update", f"{_ADDED} UNION ALL {_GONE}", "OLD TABLE AS old_rows NEW TABLE AS new_rows"),
        ("delete", _GONE, "OLD TABLE AS old_rows"),
    ):
        op.execute(
            f"CREATE FUNCTION invoice_totals_on_{event}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"{_APPLY.format(changes=changes)} RETURN NULL; END $$"
        )
        op.execute(
            f"CREATE TRIGGER invoice_totals_on_{event} AFTER {event.upper()} ON invoices "
            f"REFERENCING {tables} FOR EACH STATEMENT EXECUTE FUNCTION invoice_totals_on_{event}()"
        )
