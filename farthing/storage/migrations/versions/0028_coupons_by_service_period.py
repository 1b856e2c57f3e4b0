"""Coupons discount lines by their service periods: where an association is cut, which periods it counts, and the budgets
of fixed amounts that what was taken draws on.

A coupon for a number of periods goes on as long as its dates said. What was taken before belongs to no budget.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0028"
down_revision = "0027"

_READ = ("coupon_associations",)


def upgrade() -> None:
    op.add_column("coupon_associations", sa.Column("cut_at", sa.DateTime(timezone=True)))
    op.add_column("coupon_associations", sa.Column("counted_from", sa.DateTime(timezone=True)))
    op.add_column(
        "coupon_associations", sa.Column("periods_used", sa.Integer, server_default="0", nullable=False)
    )
    op.add_column("coupon_associations", sa.Column("continues_id", sa.String(50)))
    op.alter_column("coupon_associations", "periods_used", server_default=None)
    for table in _READ:
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    op.execute("UPDATE coupon_associations SET cut_at = end_date WHERE end_date IS NOT NULL")
    for table in _READ:
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.create_check_constraint(op.f("ck_coupon_associations_cut_after_start"), "coupon_associations", "cut_at >= start_date")
    op.create_check_constraint(
        op.f("ck_coupon_associations_periods_not_negative"), "coupon_associations", "periods_used >= 0"
    )
    op.add_column("invoices", sa.Column("tax_exempt", sa.Boolean, server_default=sa.false(), nullable=False))
    op.alter_column("invoices", "tax_exempt", server_default=None)
    op.add_column("coupon_applications", sa.Column("period_start", sa.DateTime(timezone=True)))
    op.create_index(
        "ix_coupon_applications_association",
        "coupon_applications",
        ["environment_id", "coupon_association_id"],
        postgresql_where=sa.text("coupon_association_id IS NOT NULL"),
    )
    op.add_column("proration_settlements", sa.Column("discount", sa.Numeric(24, 8), server_default="0", nullable=False))
    op.add_column("proration_settlements", sa.Column("returned_discounts", JSONB, server_default="[]", nullable=False))
    op.alter_column("proration_settlements", "discount", server_default=None)
    op.alter_column("proration_settlements", "returned_discounts", server_default=None)
    op.drop_constraint(op.f("ck_proration_settlements_amounts_not_negative"), "proration_settlements")
    op.create_check_constraint(
        op.f("ck_proration_settlements_amounts_not_negative"),
        "proration_settlements",
        "credit >= 0 AND charge >= 0 AND credited_to_payer >= 0 AND discount BETWEEN 0 AND charge",
    )
