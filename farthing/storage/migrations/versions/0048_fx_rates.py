"""Exchange rates, the reference rates that they may follow, and what invoices were before they were converted."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, ExcludeConstraint

revision = "0048"
down_revision = "0047"

CONVERSION = (
    "charged_in, fx_rate, fx_rate_id, fx_scope, converted_at, source_subtotal, source_total_discount, "
    "source_total_prepaid_credits_applied"
)
LINE_SOURCES = (
    "source_amount, source_line_item_discount, source_invoice_level_discount, source_prepaid_credits_applied, "
    "source_taxed_credits_applied"
)
SCOPE = "environment_id = current_setting('farthing.environment_id', true)"


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS btree_gist")
    _rates()
    _reference_rates()
    for table in ("fx_rates", "euro_reference_rates"):
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY scope ON {table} USING ({SCOPE}) WITH CHECK ({SCOPE})")
    _conversions()


def _rates() -> None:
    op.create_table(
        "fx_rates",
        sa.Column("from_currency", sa.String(length=3), nullable=False),
        sa.Column("to_currency", sa.String(length=3), nullable=False),
        sa.Column("rate", sa.Numeric(30, 12), nullable=False),
        sa.Column("scope", sa.String(length=40), nullable=False),
        sa.Column("scope_id", sa.String(length=50), nullable=True),
        sa.Column("source", sa.String(length=40), nullable=False),
        sa.Column("market_day", sa.Date(), nullable=True),
        sa.Column("start_date", sa.DateTime(timezone=True), nullable=True),
        sa.Column("end_date", sa.DateTime(timezone=True), nullable=True),
        sa.Column("metadata", JSONB(), nullable=False),
        sa.Column("id", sa.String(length=50), nullable=False),
        sa.Column("tenant_id", sa.String(length=50), nullable=False),
        sa.Column("environment_id", sa.String(length=50), nullable=False),
        sa.Column("status", sa.String(length=40), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(length=50), nullable=False),
        sa.Column("updated_by", sa.String(length=50), nullable=False),
        sa.CheckConstraint("rate > 0", name=op.f("ck_fx_rates_rate_above_zero")),
        sa.CheckConstraint("from_currency <> to_currency", name=op.f("ck_fx_rates_currencies_differ")),
        sa.CheckConstraint(
            "(scope = 'tenant') = (scope_id IS NULL)", name=op.f("ck_fx_rates_override_names_its_scope")
        ),
        sa.CheckConstraint(
            "scope <> 'tenant' OR (start_date IS NULL AND end_date IS NULL AND status = 'published')",
            name=op.f("ck_fx_rates_tenant_rate_always_holds"),
        ),
        sa.CheckConstraint(
            "(source = 'market') = (market_day IS NOT NULL)", name=op.f("ck_fx_rates_market_rate_has_its_day")
        ),
        sa.CheckConstraint("end_date > start_date", name=op.f("ck_fx_rates_ends_after_start")),
        sa.CheckConstraint(
            "from_currency = lower(from_currency) AND length(from_currency) = 3",
            name=op.f("ck_fx_rates_from_currency_lower"),
        ),
        sa.CheckConstraint(
            "to_currency = lower(to_currency) AND length(to_currency) = 3", name=op.f("ck_fx_rates_to_currency_lower")
        ),
        sa.CheckConstraint("scope IN ('tenant', 'customer', 'subscription')", name=op.f("ck_fx_rates_scope_known")),
        sa.CheckConstraint("source IN ('fixed', 'market')", name=op.f("ck_fx_rates_source_known")),
        sa.CheckConstraint("status IN ('published', 'archived', 'deleted')", name=op.f("ck_fx_rates_status_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fx_rates")),
        ExcludeConstraint(
            (sa.literal_column("environment_id"), "="),
            (sa.literal_column("scope_id"), "="),
            (sa.literal_column("from_currency"), "="),
            (sa.literal_column("to_currency"), "="),
            (sa.func.tstzrange(sa.literal_column("start_date"), sa.literal_column("end_date")), "&&"),
            name="ex_fx_rates_windows",
            where=sa.text("status = 'published' AND scope <> 'tenant'"),
        ),
    )
    op.create_index(
        "uq_fx_rates_pair",
        "fx_rates",
        ["environment_id", "from_currency", "to_currency"],
        unique=True,
        postgresql_where=sa.text("scope = 'tenant'"),
    )
    op.create_index("ix_fx_rates_newest", "fx_rates", ["environment_id", "status", "created_at", "id"])


def _reference_rates() -> None:
    op.create_table(
        "euro_reference_rates",
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("environment_id", sa.String(length=50), nullable=False),
        sa.Column("tenant_id", sa.String(length=50), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("units_per_euro", sa.Numeric(30, 12), nullable=False),
        sa.CheckConstraint("units_per_euro > 0", name=op.f("ck_euro_reference_rates_above_zero")),
        sa.CheckConstraint(
            "currency = lower(currency) AND length(currency) = 3", name=op.f("ck_euro_reference_rates_currency_lower")
        ),
        sa.PrimaryKeyConstraint("environment_id", "currency", "day", name=op.f("pk_euro_reference_rates")),
    )


def _conversions() -> None:
    """Nothing was converted before, so all of it is NULL, which costs a large table nothing."""
    op.add_column("invoices", sa.Column("charged_in", sa.String(length=3), nullable=True))
    op.add_column("invoices", sa.Column("fx_rate", sa.Numeric(30, 12), nullable=True))
    op.add_column("invoices", sa.Column("fx_rate_id", sa.String(length=50), nullable=True))
    op.add_column("invoices", sa.Column("fx_scope", sa.String(length=40), nullable=True))
    op.add_column("invoices", sa.Column("converted_at", sa.DateTime(timezone=True), nullable=True))
    for figure in ("source_subtotal", "source_total_discount", "source_total_prepaid_credits_applied"):
        op.add_column("invoices", sa.Column(figure, sa.Numeric(24, 8), nullable=True))
    _check("invoices", "converted_wholly", f"num_nonnulls({CONVERSION}) IN (0, 8)")
    _check(
        "invoices",
        "converted_when_final",
        "fx_rate IS NULL OR (fx_rate > 0 AND charged_in <> currency AND finalized_at IS NOT NULL)",
    )
    _check("invoices", "fx_scope_known", "fx_scope IN ('tenant', 'customer', 'subscription')")
    for figure in LINE_SOURCES.split(", "):
        op.add_column("invoice_line_items", sa.Column(figure, sa.Numeric(24, 8), nullable=True))
    _check("invoice_line_items", "converted_wholly", f"num_nonnulls({LINE_SOURCES}) IN (0, 5)")
    for table, figure, name in (
        ("coupon_applications", "source_discounted_amount", "source_not_negative"),
        ("credit_note_line_items", "source_net_amount", "source_not_negative"),
        ("proration_settlements", "paid_out", "paid_out_not_negative"),
    ):
        op.add_column(table, sa.Column(figure, sa.Numeric(24, 8), nullable=True))
        _check(table, name, f"{figure} >= 0")


def _check(table: str, name: str, condition: str) -> None:
    op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, condition)
