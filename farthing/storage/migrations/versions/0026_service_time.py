"""The service time that fees pay for stands on their lines, apart from their windows; and how a cancellation prorates.

Fees that stand already paid for their windows: what was invoiced before a pause stretched a period is as long as what
was invoiced. Cancellations that are planned say how they prorate; those that have happened said it on their invoices.
"""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"

_READ = ("invoices", "invoice_line_items", "proration_settlements", "subscriptions", "subscription_schedules")


def upgrade() -> None:
    op.add_column("invoice_line_items", sa.Column("whole_seconds", sa.Numeric(20, 6)))
    op.add_column(
        "proration_settlements", sa.Column("charged_seconds", sa.Numeric(20, 6), server_default="0", nullable=False)
    )
    op.add_column("subscriptions", sa.Column("end_proration_behavior", sa.String(40)))
    for table in _READ:
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    op.execute(
        """
        UPDATE invoice_line_items
        SET whole_seconds = greatest(extract(epoch FROM period_end - period_start), 0)
        WHERE kind = 'fixed' AND period_end IS NOT NULL
        """
    )
    op.execute(
        """
        UPDATE proration_settlements
        SET charged_seconds = greatest(extract(epoch FROM window_end - effective_at), 0)
        WHERE charge > 0
        """
    )
    op.alter_column("proration_settlements", "charged_seconds", server_default=None)
    op.execute(
        """
        UPDATE subscriptions
        SET end_proration_behavior = CASE WHEN EXISTS (
            SELECT FROM invoices
            WHERE invoices.subscription_id = subscriptions.id AND invoices.scale_arrears
        ) THEN 'create_prorations' ELSE 'none' END
        WHERE subscription_status = 'cancelled'
        """
    )
    op.execute(
        """
        UPDATE subscriptions
        SET end_proration_behavior = coalesce(planned.configuration ->> 'proration_behavior', 'none')
        FROM subscription_schedules AS planned
        WHERE planned.subscription_id = subscriptions.id AND planned.schedule_type = 'cancellation'
            AND planned.schedule_status = 'pending' AND planned.status = 'published'
        """
    )
    for table in _READ:
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.create_check_constraint(
        op.f("ck_subscriptions_end_proration_behavior_known"),
        "subscriptions",
        "end_proration_behavior IN ('none', 'create_prorations')",
    )
    op.drop_constraint(op.f("ck_invoice_line_items_origins_not_negative"), "invoice_line_items")
    op.create_check_constraint(
        op.f("ck_invoice_line_items_origins_not_negative"),
        "invoice_line_items",
        "proration_credit >= 0 AND already_invoiced >= 0 AND commitment_base >= 0 AND overage_factor >= 1 "
        "AND whole_seconds >= 0",
    )
