"""What marketplaces are told of usage, hour by hour: stored before it is sent."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0061"
down_revision = "0060"

_METER = """encode(sha256(convert_to(
    CASE
    WHEN provider = 'aws_marketplace' AND terms ->> 'concurrent_agreements' = 'true'
        THEN concat_ws(E'\\n', terms ->> 'license_arn', terms ->> 'customer_aws_account_id', terms ->> 'dimension')
    WHEN provider = 'aws_marketplace'
        THEN concat_ws(E'\\n', terms ->> 'product_code', terms ->> 'customer_aws_account_id', terms ->> 'dimension')
    WHEN provider = 'gcp_marketplace'
        THEN concat_ws(E'\\n', terms ->> 'service_name', terms ->> 'usage_reporting_id', terms ->> 'metric_name')
    ELSE concat_ws(E'\\n', terms ->> 'resource_id', terms ->> 'dimension')
    END, 'UTF8')), 'hex')"""


def _confine(table: str) -> None:
    scope = "environment_id = current_setting('farthing.environment_id', true)"
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY scope ON {table} USING ({scope}) WITH CHECK ({scope})")


def _scope() -> "list[sa.Column[object]]":
    return [
        sa.Column("id", sa.String(length=50), nullable=False),
        sa.Column("tenant_id", sa.String(length=50), nullable=False),
        sa.Column("environment_id", sa.String(length=50), nullable=False),
    ]


def upgrade() -> None:
    _extend_agreements()
    _make_reports()
    _make_parts()


def _extend_agreements() -> None:
    table = "marketplace_agreements"
    op.add_column(table, sa.Column("meter", sa.String(length=64), nullable=True))
    op.add_column(table, sa.Column("records_from", sa.DateTime(timezone=True), nullable=True))
    op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    # what was recorded before there were reports was reported by hand, if at all: it is not reported again
    op.execute(f"UPDATE {table} SET meter = {_METER}, records_from = date_trunc('hour', now(), 'UTC')")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.alter_column(table, "meter", nullable=False)
    op.alter_column(table, "records_from", nullable=False)
    op.create_index("ix_marketplace_agreements_subscription", table, ["environment_id", "subscription_id"])


def _make_reports() -> None:
    table = "usage_reports"
    op.create_table(
        table,
        sa.Column("provider", sa.String(length=40), nullable=False),
        sa.Column("meter", sa.String(length=64), nullable=False),
        sa.Column("terms", JSONB(), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("usage_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("usage_end", sa.DateTime(timezone=True), nullable=False),
        sa.Column("quantity", sa.Numeric(38, 0), nullable=False),
        sa.Column("report_status", sa.String(length=40), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("in_doubt", sa.Boolean(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.Column("connection_id", sa.String(length=50), nullable=True),
        sa.Column("reporting_id", sa.String(length=255), nullable=True),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=True),
        *_scope(),
        sa.CheckConstraint(
            "report_status IN ('waiting', 'taken', 'refused', 'released')",
            name=op.f("ck_usage_reports_report_status_known"),
        ),
        sa.CheckConstraint("quantity >= 0", name=op.f("ck_usage_reports_quantity_not_negative")),
        sa.CheckConstraint(
            "(report_status = 'taken') = (taken_at IS NOT NULL)", name=op.f("ck_usage_reports_taken_at_a_time")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_usage_reports")),
    )
    op.create_index("uq_usage_reports_hour", table, ["environment_id", "provider", "meter", "hour"], unique=True)
    op.create_index(
        "ix_usage_reports_open",
        table,
        ["environment_id", "provider", "due_at"],
        postgresql_where=sa.text("report_status IN ('waiting', 'refused')"),
    )
    _confine(table)


def _make_parts() -> None:
    table = "usage_report_parts"
    references = {"report_id": "usage_reports", "record_id": "usage_records", "agreement_id": "marketplace_agreements"}
    op.create_table(
        table,
        *(sa.Column(name, sa.String(length=50), nullable=False) for name in references),
        sa.Column("quantity", sa.Numeric(38, 0), nullable=False),
        *_scope(),
        sa.CheckConstraint("quantity >= 0", name=op.f("ck_usage_report_parts_quantity_not_negative")),
        *(
            sa.ForeignKeyConstraint([name], [f"{target}.id"], name=op.f(f"fk_usage_report_parts_{name}_{target}"))
            for name, target in references.items()
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_usage_report_parts")),
    )
    op.create_index(
        "uq_usage_report_parts_record",
        table,
        ["environment_id", "record_id", "agreement_id", "report_id"],
        unique=True,
    )
    op.create_index("ix_usage_report_parts_report", table, ["environment_id", "report_id"])
    _confine(table)
