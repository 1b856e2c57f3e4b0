"""Credit notes that a change of a subscription makes, what credits may be netted against, credits taxed when bought."""

from decimal import Decimal

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0041"
down_revision = "0040"


def upgrade() -> None:
    op.add_column("credit_notes", sa.Column("settlement_key", sa.String(length=100), nullable=True))
    op.create_index(
        "ix_credit_notes_settlement",
        "credit_notes",
        ["environment_id", "settlement_key"],
        postgresql_where=sa.text("settlement_key IS NOT NULL"),
    )
    op.add_column(
        "invoices",
        sa.Column("opening_credit_terms", JSONB(), nullable=False, server_default=sa.text("'[]'::jsonb")),
    )
    op.alter_column("invoices", "opening_credit_terms", server_default=None)
    # a credit was netted against every fee of its opening invoice, whatever rates that carried
    op.execute("ALTER TABLE invoices NO FORCE ROW LEVEL SECURITY")
    op.execute(
        """
        UPDATE invoices SET opening_credit_terms = jsonb_build_array(jsonb_build_object(
            'rates', CASE WHEN tax_exempt THEN '[]'::jsonb ELSE coalesce(
                (SELECT jsonb_agg(DISTINCT term ->> 'tax_rate_id') FROM jsonb_array_elements(tax_terms) AS term),
                '[]'::jsonb) END,
            'amount', trim_scale(opening_credit)::text, 'version', 1))
        WHERE opening_credit > 0
        """
    )
    op.execute("ALTER TABLE invoices FORCE ROW LEVEL SECURITY")
    _tax_purchases()


def _tax_purchases() -> None:
    flag: sa.Column[bool] = sa.Column("taxed_at_purchase", sa.Boolean(), nullable=False, server_default=sa.false())
    op.add_column("wallet_transactions", flag)
    op.alter_column("wallet_transactions", "taxed_at_purchase", server_default=None)
    op.create_check_constraint(
        op.f("ck_wallet_transactions_only_purchases_are_taxed"),
        "wallet_transactions",
        "NOT taxed_at_purchase OR credit_class = 'purchased'",
    )
    credits_taken: sa.Column[Decimal] = sa.Column("taxed_credits_applied", sa.Numeric(24, 8), nullable=False, server_default=sa.text("0"))
    op.add_column("invoice_line_items", credits_taken)
    op.alter_column("invoice_line_items", "taxed_credits_applied", server_default=None)
    op.create_check_constraint(
        op.f("ck_invoice_line_items_taxed_credits_within_credits"),
        "invoice_line_items",
        "taxed_credits_applied BETWEEN 0 AND prepaid_credits_applied",
    )
