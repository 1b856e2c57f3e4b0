"""Refunds of unapplied money: which money goes back, and the reference that the payer sees."""

import sqlalchemy as sa
from alembic import op

revision = "0045"
down_revision = "0043"


def upgrade() -> None:
    op.add_column("refunds", sa.Column("unapplied_money_id", sa.String(length=50), nullable=True))
    op.add_column("refunds", sa.Column("reference", sa.String(length=255), nullable=True))
    op.create_index(
        "ix_refunds_unapplied_money",
        "refunds",
        ["environment_id", "unapplied_money_id"],
        postgresql_where=sa.text("unapplied_money_id IS NOT NULL"),
    )
    op.create_check_constraint(
        op.f("ck_refunds_unapplied_money_is_of_no_invoice"),
        "refunds",
        "unapplied_money_id IS NULL OR (invoice_id IS NULL AND credit_note_id IS NULL "
        "AND refund_destination <> 'WALLET')",
    )
