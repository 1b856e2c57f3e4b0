"""The usage windows of entitlements' grants, and what a line keeps of them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0038"
down_revision = "0037"


def upgrade() -> None:
    op.create_table(
        "entitlement_grants",
        sa.Column("entitlement_config_id", sa.String(length=50), nullable=False),
        sa.Column("customer_id", sa.String(length=50), nullable=False),
        sa.Column("subscription_id", sa.String(length=50), nullable=False),
        sa.Column("feature_id", sa.String(length=50), nullable=False),
        sa.Column("measure", sa.String(length=40), nullable=False),
        sa.Column("duration_unit", sa.String(length=40), nullable=False),
        sa.Column("quota", sa.Numeric(), nullable=False),
        sa.Column("usage", sa.Numeric(), nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("valid_to", sa.DateTime(timezone=True), nullable=False),
        sa.Column("grant_status", sa.String(length=40), nullable=False),
        sa.Column("quota_crossed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_computed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tenant_id", sa.String(length=50), nullable=False),
        sa.Column("environment_id", sa.String(length=50), nullable=False),
        sa.Column("id", sa.String(length=50), nullable=False),
        sa.CheckConstraint("valid_to > valid_from", name=op.f("ck_entitlement_grants_life")),
        sa.CheckConstraint("quota > 0 AND usage >= 0", name=op.f("ck_entitlement_grants_amounts")),
        sa.CheckConstraint(
            "(grant_status = 'exhausted') = (quota_crossed_at IS NOT NULL)",
            name=op.f("ck_entitlement_grants_exhausted_has_time"),
        ),
        sa.CheckConstraint("measure IN ('quantity', 'amount')", name=op.f("ck_entitlement_grants_measure_known")),
        sa.CheckConstraint(
            "duration_unit IN ('hour', 'day', 'week', 'subscription_period')",
            name=op.f("ck_entitlement_grants_duration_unit_known"),
        ),
        sa.CheckConstraint(
            "grant_status IN ('active', 'exhausted')", name=op.f("ck_entitlement_grants_grant_status_known")
        ),
        sa.ForeignKeyConstraint(
            ["entitlement_config_id"], ["entitlements.id"], name=op.f("fk_entitlement_grants_entitlement_config_id")
        ),
        sa.ForeignKeyConstraint(["customer_id"], ["customers.id"], name=op.f("fk_entitlement_grants_customer_id")),
        sa.ForeignKeyConstraint(
            ["subscription_id"], ["subscriptions.id"], name=op.f("fk_entitlement_grants_subscription_id")
        ),
        sa.ForeignKeyConstraint(["feature_id"], ["features.id"], name=op.f("fk_entitlement_grants_feature_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_entitlement_grants")),
    )
    op.create_index(
        "uq_entitlement_grants_window",
        "entitlement_grants",
        ["environment_id", "subscription_id", "entitlement_config_id", "customer_id", "valid_from"],
        unique=True,
    )
    op.create_index(
        "ix_entitlement_grants_subscription", "entitlement_grants", ["environment_id", "subscription_id", "valid_to"]
    )
    op.create_index("ix_entitlement_grants_config", "entitlement_grants", ["entitlement_config_id"])
    op.execute("ALTER TABLE entitlement_grants ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE entitlement_grants FORCE ROW LEVEL SECURITY")
    scope = "environment_id = current_setting('farthing.environment_id', true)"
    op.execute(f"CREATE POLICY scope ON entitlement_grants USING ({scope}) WITH CHECK ({scope})")
    op.create_index(
        "ix_entitlements_granting",
        "entitlements",
        ["environment_id", "entity_id"],
        postgresql_where=sa.text("grant_measure IS NOT NULL"),
    )
    op.add_column("invoice_line_items", sa.Column("usage_windows", JSONB(), nullable=True))
