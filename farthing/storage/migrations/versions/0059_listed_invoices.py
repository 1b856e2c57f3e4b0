"""An index of the listed invoices that no total of `invoice_totals` counts, so that lists say how many there are.

Rule: docs/rules/invoices-and-payments.md#reading-invoices
"""

from alembic import op

revision = "0059"
down_revision = "0058"


def upgrade() -> None:
    op.execute(
        "CREATE INDEX ix_invoices_listed_uncounted ON invoices (environment_id, customer_id) "
        "WHERE status = 'published' AND invoice_status <> 'SKIPPED' "
        "AND (invoice_status <> 'FINALIZED' OR invoice_type NOT IN ('SUBSCRIPTION', 'ONE_OFF'))"
    )
