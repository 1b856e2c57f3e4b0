"""Debts that are written off, and failed charges that are tried again on a schedule."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0050"
down_revision = "0049"

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
    _make_cases()
    _make_terms_of_customers()


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


def _row() -> "list[sa.Column[object]]":
    """What every scoped and tracked table has."""
    return [
        sa.Column("id", sa.String(length=50), nullable=False),
        sa.Column("tenant_id", sa.String(length=50), nullable=False),
        sa.Column("environment_id", sa.String(length=50), nullable=False),
        sa.Column("status", sa.String(length=40), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(length=50), nullable=False),
        sa.Column("updated_by", sa.String(length=50), nullable=False),
    ]


def _known(table: str, column: str, *values: str) -> sa.CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=op.f(f"ck_{table}_{column}_known"))


_STATUS = ("published", "archived", "deleted")
_ACTIONS = ("none", "mark_uncollectible", "pause", "cancel")


def _make_cases() -> None:
    table = "dunning_cases"
    op.create_table(
        table,
        sa.Column("invoice_id", sa.String(length=50), nullable=False),
        sa.Column("customer_id", sa.String(length=50), nullable=False),
        sa.Column("subscription_id", sa.String(length=50), nullable=False),
        sa.Column("case_status", sa.String(length=40), nullable=False),
        sa.Column("first_failed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retry_days", JSONB(), nullable=False),
        sa.Column("final_action", sa.String(length=40), nullable=False),
        sa.Column("retries_made", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("payment_id", sa.String(length=50), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        *_row(),
        sa.CheckConstraint(
            "(next_at IS NOT NULL) = (case_status IN ('retrying', 'waiting_for_method')) "
            "AND (closed_at IS NULL) = (next_at IS NOT NULL)",
            name=op.f("ck_dunning_cases_open_has_next_step"),
        ),
        sa.CheckConstraint(
            "jsonb_array_length(retry_days) > 0 AND retries_made BETWEEN 0 AND jsonb_array_length(retry_days)",
            name=op.f("ck_dunning_cases_retries_within_schedule"),
        ),
        _known(
            table, "case_status", "retrying", "waiting_for_method", "recovered", "ended", "stopped", "exhausted"
        ),
        _known(table, "final_action", *_ACTIONS),
        _known(table, "status", *_STATUS),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoices.id"], name=op.f("fk_dunning_cases_invoice_id_invoices")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dunning_cases")),
    )
    is_open = sa.text("next_at IS NOT NULL")
    op.create_index("uq_dunning_cases_invoice", table, ["environment_id", "invoice_id"], unique=True)
    op.create_index("ix_dunning_cases_due", table, ["environment_id", "next_at"], postgresql_where=is_open)
    op.create_index(
        "ix_dunning_cases_subscription", table, ["environment_id", "subscription_id"], postgresql_where=is_open
    )
    op.create_index("ix_dunning_cases_customer", table, ["environment_id", "customer_id"])
    op.create_index("ix_dunning_cases_newest", table, ["environment_id", "created_at", "id"])
    _confine(table)


def _make_terms_of_customers() -> None:
    table = "customer_dunning"
    op.create_table(
        table,
        sa.Column("is_enabled", sa.Boolean(), nullable=True),
        sa.Column("retry_days", JSONB(none_as_null=True), nullable=True),
        sa.Column("final_action", sa.String(length=40), nullable=True),
        *_row(),
        _known(table, "final_action", *_ACTIONS),
        _known(table, "status", *_STATUS),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_customer_dunning")),
    )
    _confine(table)
