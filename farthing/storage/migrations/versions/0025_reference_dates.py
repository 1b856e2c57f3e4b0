"""Invoices keep the instant at which what they charge became payable, and whether their due date follows from it.

Subscriptions that start later wait for their opening invoice; those that are there have had theirs.
"""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0023"


_DUE = """
CASE
    WHEN status <> 'published' OR subscription_type IN ('inherited', 'grouped_invoicing') THEN NULL
    WHEN opens_at IS NOT NULL AND subscription_status IN ('active', 'trialing', 'incomplete') THEN opens_at
    WHEN subscription_status = 'active' THEN least(current_period_end, cancel_at, pause_due_at)
    WHEN subscription_status = 'paused' THEN least(pause_due_at, cancel_at, end_date)
    WHEN subscription_status = 'trialing' THEN least(trial_end, cancel_at, end_date)
    WHEN subscription_status = 'incomplete' THEN least(cancel_at, end_date)
END
"""


def upgrade() -> None:
    _add_reference_dates()
    _add_openings()


def _add_openings() -> None:
    moment = sa.DateTime(timezone=True)
    op.drop_index("ix_subscriptions_due", table_name="subscriptions")
    op.drop_column("subscriptions", "due_at")
    op.add_column("subscriptions", sa.Column("opens_at", moment))
    op.add_column("subscriptions", sa.Column("due_at", moment, sa.Computed(_DUE, persisted=True)))
    op.create_index(
        "ix_subscriptions_due",
        "subscriptions",
        ["environment_id", "due_at", "id"],
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )


def _add_reference_dates() -> None:
    op.add_column("invoices", sa.Column("reference_date", sa.DateTime(timezone=True)))
    op.add_column(
        "invoices", sa.Column("derives_due_date", sa.Boolean(), nullable=False, server_default=sa.text("false"))
    )
    op.alter_column("invoices", "derives_due_date", server_default=None)
    for table in ("invoices", "subscriptions"):
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    # totals follow from figures, which stay as they are
    op.execute("ALTER TABLE invoices DISABLE TRIGGER USER")
    _fill()
    op.execute("ALTER TABLE invoices ENABLE TRIGGER USER")
    for table in ("invoices", "subscriptions"):
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.alter_column("invoices", "reference_date", nullable=False)


def _fill() -> None:
    """Billing's own invoices by their occasion, others from when they were made.

    The due date of a draft is derived again, unless a caller chose it: what billing wrote was whole days after the
    period, or the end of a month. Final invoices keep theirs in any case.
    """
    op.execute(
        """
        UPDATE invoices SET
            reference_date = CASE
                WHEN derived_key AND billing_reason IN (
                    'SUBSCRIPTION_CREATE', 'SUBSCRIPTION_UPDATE', 'SUBSCRIPTION_TRIAL_START', 'SUBSCRIPTION_TRIAL_END'
                ) THEN coalesce(period_start, created_at)
                WHEN derived_key THEN coalesce(period_end, created_at)
                WHEN idempotency_key LIKE 'proration-%' AND billing_reason = 'SUBSCRIPTION_UPDATE'
                    THEN coalesce(period_start, created_at)
                ELSE coalesce(finalized_at, created_at)
            END,
            derives_due_date = derived_key AND due_date IS NOT NULL AND (
                extract(epoch FROM due_date - period_end) % 86400 = 0
                OR EXISTS (
                    SELECT FROM subscriptions
                    WHERE subscriptions.environment_id = invoices.environment_id
                        AND subscriptions.id = invoices.subscription_id
                        AND subscriptions.payment_terms LIKE 'END_OF_%'
                )
            )
        """
    )
