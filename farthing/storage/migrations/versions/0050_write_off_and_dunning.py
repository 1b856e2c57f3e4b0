"""Debts that are written off, and failed charges that are tried again on a schedule."""

import sqlalchemy as sa
from alembic import op

revision = "0050"
down_revision = "0042"

_UNPAID = (
    "status = 'published' AND invoice_status = 'FINALIZED' AND invoice_type IN ('SUBSCRIPTION', 'ONE_OFF') "
    "AND amount_remaining > 0 AND payment_status NOT IN ('SUCCEEDED', 'OVERPAID', 'REFUNDED', 'VOIDED') "
    "AND written_off_at IS NULL"
)
_OWED = ["currency", "amount_remaining", "usage_remaining", "due_date"]


def upgrade() -> None:
    op.add_column("invoices", sa.Column("written_off_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("invoices", sa.Column("written_off_amount", sa.Numeric(24, 8), nullable=True))
    op.add_column("invoices", sa.Column("write_off_reason", sa.String(length=500), nullable=True))
    op.create_check_constraint(
        op.f("ck_invoices_write_off_whole"),
        "invoices",
        "(written_off_at IS NULL) = (written_off_amount IS NULL) "
        "AND (written_off_at IS NULL) = (write_off_reason IS NULL)",
    )
    op.create_check_constraint(
        op.f("ck_invoices_loss_is_remainder"),
        "invoices",
        "coalesce(written_off_amount, amount_remaining) = amount_remaining",
    )
    op.create_check_constraint(
        op.f("ck_invoices_written_off_when_final"),
        "invoices",
        "written_off_at IS NULL OR invoice_status = 'FINALIZED'",
    )
    _index_what_is_unpaid()
    op.create_table(
        "invoice_write_offs",
        sa.Column("invoice_id", sa.String(length=50), nullable=False),
        sa.Column("amount", sa.Numeric(24, 8), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("id", sa.String(length=50), nullable=False),
        sa.Column("tenant_id", sa.String(length=50), nullable=False),
        sa.Column("environment_id", sa.String(length=50), nullable=False),
        sa.CheckConstraint("amount <> 0", name=op.f("ck_invoice_write_offs_amount_not_zero")),
        sa.ForeignKeyConstraint(
            ["invoice_id"], ["invoices.id"], name=op.f("fk_invoice_write_offs_invoice_id_invoices")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invoice_write_offs")),
    )
    op.create_index(
        "ix_invoice_write_offs_invoice", "invoice_write_offs", ["environment_id", "invoice_id", "created_at"]
    )
    op.create_index("ix_invoice_write_offs_created", "invoice_write_offs", ["environment_id", "created_at"])
    _confine("invoice_write_offs")


def _index_what_is_unpaid() -> None:
    """What is written off is not unpaid any more."""
    for name in ("ix_invoices_unpaid_payer", "ix_invoices_unpaid_owner", "ix_invoices_overdue"):
        op.drop_index(name, table_name="invoices")
    for name, column, other in (
        ("ix_invoices_unpaid_payer", "customer_id", "owner_id"),
        ("ix_invoices_unpaid_owner", "owner_id", "customer_id"),
    ):
        op.create_index(
            name,
            "invoices",
            ["environment_id", column],
            postgresql_where=sa.text(_UNPAID),
            postgresql_include=[other, *_OWED],
        )
    op.create_index(
        "ix_invoices_overdue",
        "invoices",
        ["environment_id", "due_date"],
        postgresql_where=sa.text(f"{_UNPAID} AND due_date IS NOT NULL AND overdue_notified_at IS NULL"),
    )


def _confine(table: str) -> None:
    scope = "environment_id = current_setting('farthing.environment_id', true)"
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY scope ON {table} USING ({scope}) WITH CHECK ({scope})")
