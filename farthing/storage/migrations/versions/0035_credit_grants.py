"""Credit grants and their applications."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0035"
down_revision = "0034"


def upgrade() -> None:
    _create_grants()
    _create_applications()
    for table in ("credit_grants", "credit_grant_applications"):
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        scope = "environment_id = current_setting('farthing.environment_id', true)"
        op.execute(f"CREATE POLICY scope ON {table} USING ({scope}) WITH CHECK ({scope})")


def _create_grants() -> None:
    op.create_table(
        "credit_grants",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column(
            "scope",
            sa.String(length=40),
            nullable=False,
        ),
        sa.Column("plan_id", sa.String(length=50), nullable=True),
        sa.Column("addon_id", sa.String(length=50), nullable=True),
        sa.Column("subscription_id", sa.String(length=50), nullable=True),
        sa.Column("addon_association_id", sa.String(length=50), nullable=True),
        sa.Column("credits", sa.Numeric(precision=29, scale=9), nullable=False),
        sa.Column(
            "cadence",
            sa.String(length=40),
            nullable=False,
        ),
        sa.Column(
            "period",
            sa.String(length=40),
            nullable=True,
        ),
        sa.Column("period_count", sa.Integer(), nullable=True),
        sa.Column(
            "expiration_type",
            sa.String(length=40),
            nullable=False,
        ),
        sa.Column("expiration_duration", sa.Integer(), nullable=True),
        sa.Column(
            "expiration_duration_unit",
            sa.String(length=40),
            nullable=True,
        ),
        sa.Column("rollover_maximum", sa.Numeric(precision=29, scale=9), nullable=True),
        sa.Column("priority", sa.Integer(), nullable=True),
        sa.Column("conversion_rate", sa.Numeric(precision=20, scale=5), nullable=True),
        sa.Column("topup_conversion_rate", sa.Numeric(precision=20, scale=5), nullable=True),
        sa.Column("start_date", sa.DateTime(timezone=True), nullable=True),
        sa.Column("end_date", sa.DateTime(timezone=True), nullable=True),
        sa.Column("credit_grant_anchor", sa.DateTime(timezone=True), nullable=True),
        sa.Column("metadata", JSONB(), nullable=False),
        sa.Column("tenant_id", sa.String(length=50), nullable=False),
        sa.Column("environment_id", sa.String(length=50), nullable=False),
        sa.Column(
            "status",
            sa.String(length=40),
            nullable=False,
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(length=50), nullable=False),
        sa.Column("updated_by", sa.String(length=50), nullable=False),
        sa.Column("id", sa.String(length=50), nullable=False),
        sa.CheckConstraint(
            "(scope = 'SUBSCRIPTION') = (subscription_id IS NOT NULL) AND (scope = 'SUBSCRIPTION' OR "
            "(start_date IS NULL AND end_date IS NULL AND addon_association_id IS NULL))",
            name=op.f("ck_credit_grants_templates_have_no_dates"),
        ),
        sa.CheckConstraint(
            "CASE cadence WHEN 'RECURRING' THEN period IS NOT NULL AND period_count > 0 ELSE period IS NULL "
            "AND period_count IS NULL AND rollover_maximum IS NULL END",
            name=op.f("ck_credit_grants_recurs"),
        ),
        sa.CheckConstraint(
            "CASE expiration_type WHEN 'DURATION' THEN expiration_duration > 0 AND expiration_duration_unit "
            "IS NOT NULL ELSE expiration_duration IS NULL AND expiration_duration_unit IS NULL END",
            name=op.f("ck_credit_grants_lasts"),
        ),
        sa.CheckConstraint(
            "CASE scope WHEN 'PLAN' THEN plan_id IS NOT NULL WHEN 'ADDON' THEN addon_id IS NOT NULL ELSE "
            "subscription_id IS NOT NULL AND start_date IS NOT NULL AND credit_grant_anchor IS NOT NULL END",
            name=op.f("ck_credit_grants_owned"),
        ),
        sa.CheckConstraint("cadence IN ('ONETIME', 'RECURRING')", name=op.f("ck_credit_grants_cadence_known")),
        sa.CheckConstraint(
            "expiration_duration_unit IN ('DAY', 'WEEK', 'MONTH', 'YEAR')",
            name=op.f("ck_credit_grants_expiration_duration_unit_known"),
        ),
        sa.CheckConstraint(
            "expiration_type IN ('NEVER', 'DURATION', 'BILLING_CYCLE')",
            name=op.f("ck_credit_grants_expiration_type_known"),
        ),
        sa.CheckConstraint("name <> '' AND credits > 0", name=op.f("ck_credit_grants_gives_something")),
        sa.CheckConstraint(
            "period IN ('DAILY', 'WEEKLY', 'MONTHLY', 'QUARTERLY', 'HALF_YEARLY', 'ANNUAL')",
            name=op.f("ck_credit_grants_period_known"),
        ),
        sa.CheckConstraint("scope IN ('PLAN', 'ADDON', 'SUBSCRIPTION')", name=op.f("ck_credit_grants_scope_known")),
        sa.CheckConstraint(
            "status IN ('published', 'archived', 'deleted')", name=op.f("ck_credit_grants_status_known")
        ),
        sa.CheckConstraint(
            "conversion_rate > 0 AND topup_conversion_rate > 0", name=op.f("ck_credit_grants_rates_positive")
        ),
        sa.CheckConstraint("rollover_maximum >= 0", name=op.f("ck_credit_grants_rollover_not_negative")),
        sa.ForeignKeyConstraint(
            ["addon_association_id"], ["addon_associations.id"], name=op.f("fk_credit_grants_addon_association_id")
        ),
        sa.ForeignKeyConstraint(["addon_id"], ["addons.id"], name=op.f("fk_credit_grants_addon_id")),
        sa.ForeignKeyConstraint(["plan_id"], ["plans.id"], name=op.f("fk_credit_grants_plan_id")),
        sa.ForeignKeyConstraint(
            ["subscription_id"], ["subscriptions.id"], name=op.f("fk_credit_grants_subscription_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credit_grants")),
    )
    op.create_index(
        "ix_credit_grants_addon",
        "credit_grants",
        ["addon_id"],
        unique=False,
        postgresql_where=sa.text("scope = 'ADDON'"),
    )
    op.create_index("ix_credit_grants_newest", "credit_grants", ["environment_id", "created_at", "id"], unique=False)
    op.create_index(
        "ix_credit_grants_plan", "credit_grants", ["plan_id"], unique=False, postgresql_where=sa.text("scope = 'PLAN'")
    )
    op.create_index("ix_credit_grants_subscription", "credit_grants", ["subscription_id"], unique=False)


def _create_applications() -> None:
    op.create_table(
        "credit_grant_applications",
        sa.Column("credit_grant_id", sa.String(length=50), nullable=False),
        sa.Column("subscription_id", sa.String(length=50), nullable=False),
        sa.Column("scheduled_for", sa.DateTime(timezone=True), nullable=False),
        sa.Column("period_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("period_end", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "application_status",
            sa.String(length=40),
            nullable=False,
        ),
        sa.Column(
            "application_reason",
            sa.String(length=40),
            nullable=False,
        ),
        sa.Column("credits", sa.Numeric(precision=29, scale=9), nullable=False),
        sa.Column(
            "subscription_status",
            sa.String(length=40),
            nullable=True,
        ),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("retry_count", sa.Integer(), nullable=False),
        sa.Column("failure_reason", sa.String(), nullable=True),
        sa.Column("applied_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("transaction_id", sa.String(length=50), nullable=True),
        sa.Column("rollover_due", sa.Boolean(), nullable=False),
        sa.Column("idempotency_key", sa.String(length=255), nullable=False),
        sa.Column("metadata", JSONB(), nullable=False),
        sa.Column("tenant_id", sa.String(length=50), nullable=False),
        sa.Column("environment_id", sa.String(length=50), nullable=False),
        sa.Column(
            "status",
            sa.String(length=40),
            nullable=False,
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(length=50), nullable=False),
        sa.Column("updated_by", sa.String(length=50), nullable=False),
        sa.Column("id", sa.String(length=50), nullable=False),
        sa.CheckConstraint(
            "(application_status = 'applied') = (transaction_id IS NOT NULL) AND (application_status = "
            "'applied') = (applied_at IS NOT NULL)",
            name=op.f("ck_credit_grant_applications_applied_has_lot"),
        ),
        sa.CheckConstraint(
            "(application_status IN ('pending', 'failed')) = (next_attempt_at IS NOT NULL)",
            name=op.f("ck_credit_grant_applications_open_is_due"),
        ),
        sa.CheckConstraint(
            "NOT rollover_due OR application_status = 'applied'",
            name=op.f("ck_credit_grant_applications_rollover_of_applied"),
        ),
        sa.CheckConstraint(
            "application_reason IN ('first_time_recurring_credit_grant', 'recurring_credit_grant', "
            "'onetime_credit_grant')",
            name=op.f("ck_credit_grant_applications_application_reason_known"),
        ),
        sa.CheckConstraint(
            "application_status <> 'failed' OR failure_reason IS NOT NULL",
            name=op.f("ck_credit_grant_applications_failed_says_why"),
        ),
        sa.CheckConstraint(
            "application_status IN ('pending', 'applied', 'failed', 'skipped', 'cancelled')",
            name=op.f("ck_credit_grant_applications_application_status_known"),
        ),
        sa.CheckConstraint(
            "status IN ('published', 'archived', 'deleted')", name=op.f("ck_credit_grant_applications_status_known")
        ),
        sa.CheckConstraint(
            "subscription_status IN ('draft', 'incomplete', 'trialing', 'active', 'paused', 'cancelled')",
            name=op.f("ck_credit_grant_applications_subscription_status_known"),
        ),
        sa.CheckConstraint("credits >= 0 AND retry_count >= 0", name=op.f("ck_credit_grant_applications_not_negative")),
        sa.CheckConstraint("period_end > period_start", name=op.f("ck_credit_grant_applications_period_runs_forwards")),
        sa.ForeignKeyConstraint(
            ["credit_grant_id"], ["credit_grants.id"], name=op.f("fk_credit_grant_applications_credit_grant_id")
        ),
        sa.ForeignKeyConstraint(
            ["subscription_id"], ["subscriptions.id"], name=op.f("fk_credit_grant_applications_subscription_id")
        ),
        sa.ForeignKeyConstraint(
            ["transaction_id"], ["wallet_transactions.id"], name=op.f("fk_credit_grant_applications_transaction_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credit_grant_applications")),
    )
    op.create_index(
        "ix_credit_grant_applications_due",
        "credit_grant_applications",
        ["environment_id", "next_attempt_at", "id"],
        unique=False,
        postgresql_where=sa.text("application_status IN ('pending', 'failed')"),
    )
    op.create_index(
        "ix_credit_grant_applications_grant",
        "credit_grant_applications",
        ["credit_grant_id", "period_start"],
        unique=False,
    )
    op.create_index(
        "ix_credit_grant_applications_rollover",
        "credit_grant_applications",
        ["environment_id", "id"],
        unique=False,
        postgresql_where=sa.text("rollover_due"),
    )
    op.create_index(
        "ix_credit_grant_applications_subscription", "credit_grant_applications", ["subscription_id"], unique=False
    )
    op.create_index(
        "uq_credit_grant_applications_key",
        "credit_grant_applications",
        ["environment_id", "idempotency_key"],
        unique=True,
    )
    op.create_index(
        "uq_credit_grant_applications_open",
        "credit_grant_applications",
        ["credit_grant_id"],
        unique=True,
        postgresql_where=sa.text("application_status IN ('pending', 'failed')"),
    )
    op.create_index(
        "uq_credit_grant_applications_transaction", "credit_grant_applications", ["transaction_id"], unique=True
    )
