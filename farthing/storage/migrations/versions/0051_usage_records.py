"""Agreements at cloud marketplaces, and hourly records of what usage comes to."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0051"
down_revision = "0050"


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


def _confine(table: str) -> None:
    scope = "environment_id = current_setting('farthing.environment_id', true)"
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY scope ON {table} USING ({scope}) WITH CHECK ({scope})")


_STATUS = "status IN ('published', 'archived', 'deleted')"


def upgrade() -> None:
    _make_agreements()
    _make_recordings()
    _make_records()


def _make_agreements() -> None:
    table = "marketplace_agreements"
    op.create_table(
        table,
        sa.Column("provider", sa.String(length=40), nullable=False),
        sa.Column("agreement_id", sa.String(length=255), nullable=False),
        sa.Column("subscription_id", sa.String(length=50), nullable=False),
        sa.Column("customer_id", sa.String(length=50), nullable=False),
        sa.Column("plan_id", sa.String(length=50), nullable=False),
        sa.Column("connection_id", sa.String(length=50), nullable=False),
        sa.Column("terms", JSONB(), nullable=False),
        sa.Column("agreement_status", sa.String(length=40), nullable=False),
        *_row(),
        sa.CheckConstraint(
            "agreement_status IN ('active', 'closed')", name=op.f("ck_marketplace_agreements_agreement_status_known")
        ),
        sa.CheckConstraint(_STATUS, name=op.f("ck_marketplace_agreements_status_known")),
        sa.ForeignKeyConstraint(
            ["subscription_id"],
            ["subscriptions.id"],
            name=op.f("fk_marketplace_agreements_subscription_id_subscriptions"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_marketplace_agreements")),
    )
    is_active = sa.text("agreement_status = 'active'")
    for name, column in (("agreement", "agreement_id"), ("subscription", "subscription_id")):
        op.create_index(
            f"uq_marketplace_agreements_{name}",
            table,
            ["environment_id", "provider", column],
            unique=True,
            postgresql_where=is_active,
        )
    _confine(table)


def _make_recordings() -> None:
    table = "usage_recordings"
    op.create_table(
        table,
        sa.Column("is_open", sa.Boolean(), nullable=False),
        sa.Column("recorded_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("previous_start", sa.DateTime(timezone=True), nullable=True),
        sa.Column("period_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("period_end", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_amount", sa.Numeric(38, 8), nullable=False),
        sa.Column("closed_amount", sa.Numeric(38, 8), nullable=False),
        sa.Column("id", sa.String(length=50), nullable=False),
        sa.Column("tenant_id", sa.String(length=50), nullable=False),
        sa.Column("environment_id", sa.String(length=50), nullable=False),
        sa.CheckConstraint("period_end > period_start", name=op.f("ck_usage_recordings_period_not_empty")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_usage_recordings")),
    )
    op.create_index(
        "ix_usage_recordings_due", table, ["environment_id", "recorded_until"], postgresql_where=sa.text("is_open")
    )
    _confine(table)


def _make_records() -> None:
    table = "usage_records"
    op.create_table(
        table,
        sa.Column("customer_id", sa.String(length=50), nullable=False),
        sa.Column("customer_external_id", sa.String(length=255), nullable=False),
        sa.Column("subscription_id", sa.String(length=50), nullable=False),
        sa.Column("plan_id", sa.String(length=50), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("period_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("period_end", sa.DateTime(timezone=True), nullable=False),
        sa.Column("amount", sa.Numeric(24, 8), nullable=False),
        sa.Column("quantity", sa.Numeric(38, 0), nullable=False),
        sa.Column("synced", sa.Boolean(), nullable=False),
        sa.Column("syncs", JSONB(), nullable=False),
        *_row(),
        sa.CheckConstraint("amount >= 0 AND quantity >= 0", name=op.f("ck_usage_records_amounts_not_negative")),
        sa.CheckConstraint("period_end > period_start", name=op.f("ck_usage_records_period_not_empty")),
        sa.CheckConstraint(
            "currency = lower(currency) AND length(currency) = 3", name=op.f("ck_usage_records_currency_lower")
        ),
        sa.CheckConstraint(_STATUS, name=op.f("ck_usage_records_status_known")),
        sa.ForeignKeyConstraint(
            ["subscription_id"], ["subscriptions.id"], name=op.f("fk_usage_records_subscription_id_subscriptions")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_usage_records")),
    )
    op.create_index(
        "uq_usage_records_period",
        table,
        ["environment_id", "subscription_id", "period_start", "period_end"],
        unique=True,
    )
    op.create_index("ix_usage_records_newest", table, ["environment_id", "created_at", "id"])
    op.create_index("ix_usage_records_customer", table, ["environment_id", "customer_id", "created_at"])
    op.create_index(
        "ix_usage_records_waiting", table, ["environment_id", "period_end"], postgresql_where=sa.text("NOT synced")
    )
    _confine(table)
