"""Imports and exports: tasks, what exports on schedule, files that were uploaded, and connections to local folders."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from farthing.storage.scope import row_level_security

revision = "0049"
down_revision = "0048"

_EXPORTED = "'events', 'invoice', 'credit_topups', 'credit_usage', 'usage_analytics', 'wallet_debits', 'revenue_facts'"
_IMPORTED = "'EVENTS', 'PRICES', 'CUSTOMERS', 'FEATURES'"
_PROVIDERS = (
    "'flexprice', 'stripe', 's3', 'hubspot', 'razorpay', 'chargebee', 'quickbooks', 'zoho_books', 'nomod', 'moyasar', "
    "'paddle', 'whop', 'tabs', 'aws_marketplace', 'gcp_marketplace', 'azure_marketplace'"
)


def _id() -> sa.Column[str]:
    return sa.Column("id", sa.String(50), nullable=False)


def _scope() -> tuple[sa.Column[str], ...]:
    return tuple(sa.Column(name, sa.String(50), nullable=False) for name in ("tenant_id", "environment_id"))


def _tracked(table: str) -> tuple[sa.schema.SchemaItem, ...]:
    return (
        sa.Column("status", sa.String(40), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(50), nullable=False),
        sa.Column("updated_by", sa.String(50), nullable=False),
        sa.CheckConstraint("status IN ('published', 'archived', 'deleted')", name=op.f(f"ck_{table}_status_known")),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
    )


def upgrade() -> None:
    op.drop_constraint("ck_connections_provider_type_known", "connections")
    op.create_check_constraint(
        op.f("ck_connections_provider_type_known"), "connections", f"provider_type IN ({_PROVIDERS}, 'local')"
    )
    op.drop_index("uq_connections_provider", "connections")
    op.create_index(
        "uq_connections_provider",
        "connections",
        ["environment_id", "provider_type"],
        unique=True,
        postgresql_where=sa.text("status = 'published' AND provider_type NOT IN ('s3', 'local')"),
    )
    _scheduled_tasks()
    _tasks()
    _files()
    for table in ("scheduled_tasks", "tasks", "task_problems", "stored_files", "stored_file_pieces"):
        for statement in row_level_security(table, "environment_id"):
            op.execute(statement)


def _scheduled_tasks() -> None:
    op.create_table(
        "scheduled_tasks",
        _id(),
        *_scope(),
        sa.Column("connection_id", sa.String(50), nullable=False),
        sa.Column("entity_type", sa.String(40), nullable=False),
        sa.Column("interval", sa.String(40), nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("job_config", JSONB, nullable=False),
        sa.Column("exported_until", sa.DateTime(timezone=True), nullable=False),
        *_tracked("scheduled_tasks"),
        sa.ForeignKeyConstraint(
            ["connection_id"], ["connections.id"], name=op.f("fk_scheduled_tasks_connection_id")
        ),
        sa.CheckConstraint("interval <> 'custom'", name=op.f("ck_scheduled_tasks_interval_regular")),
        sa.CheckConstraint(f"entity_type IN ({_EXPORTED})", name=op.f("ck_scheduled_tasks_entity_type_known")),
        sa.CheckConstraint(
            "interval IN ('15MIN', '30MIN', 'custom', 'hourly', 'daily')",
            name=op.f("ck_scheduled_tasks_interval_known"),
        ),
    )
    op.create_index("ix_scheduled_tasks_newest", "scheduled_tasks", ["environment_id", "status", "created_at", "id"])
    op.create_index(
        "ix_scheduled_tasks_due",
        "scheduled_tasks",
        ["environment_id", "exported_until"],
        postgresql_where=sa.text("enabled AND status = 'published'"),
    )


def _tasks() -> None:
    op.create_table(
        "tasks",
        _id(),
        *_scope(),
        sa.Column("task_type", sa.String(40), nullable=False),
        sa.Column("entity_type", sa.String(40), nullable=False),
        sa.Column("file_type", sa.String(40), nullable=False),
        sa.Column("file_name", sa.String(255)),
        sa.Column("file_url", sa.Text, nullable=False),
        sa.Column("stored_file_id", sa.String(50)),
        sa.Column("fingerprint", sa.String(64)),
        sa.Column("dry_run", sa.Boolean, nullable=False),
        sa.Column("task_status", sa.String(40), nullable=False),
        sa.Column("is_queued", sa.Boolean, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("total_records", sa.BigInteger),
        sa.Column("processed_records", sa.BigInteger, nullable=False),
        sa.Column("successful_records", sa.BigInteger, nullable=False),
        sa.Column("failed_records", sa.BigInteger, nullable=False),
        sa.Column("bytes_total", sa.BigInteger),
        sa.Column("bytes_done", sa.BigInteger, nullable=False),
        sa.Column("error_summary", sa.Text),
        sa.Column("started_at", sa.DateTime(timezone=True)),
        sa.Column("completed_at", sa.DateTime(timezone=True)),
        sa.Column("failed_at", sa.DateTime(timezone=True)),
        sa.Column("scheduled_task_id", sa.String(50)),
        sa.Column("window_start", sa.DateTime(timezone=True)),
        sa.Column("window_end", sa.DateTime(timezone=True)),
        sa.Column("is_automatic", sa.Boolean, nullable=False),
        sa.Column("location", sa.Text, nullable=False),
        sa.Column("metadata", JSONB, nullable=False),
        *_tracked("tasks"),
        sa.ForeignKeyConstraint(
            ["scheduled_task_id"], ["scheduled_tasks.id"], name=op.f("fk_tasks_scheduled_task_id")
        ),
        sa.CheckConstraint(
            "successful_records >= 0 AND failed_records >= 0 "
            "AND processed_records = successful_records + failed_records",
            name=op.f("ck_tasks_records_add_up"),
        ),
        sa.CheckConstraint(
            "(task_type = 'EXPORT') = (window_end IS NOT NULL)", name=op.f("ck_tasks_exports_have_a_window")
        ),
        sa.CheckConstraint("window_end > window_start", name=op.f("ck_tasks_window_not_empty")),
        sa.CheckConstraint("task_type IN ('IMPORT', 'EXPORT')", name=op.f("ck_tasks_task_type_known")),
        sa.CheckConstraint(
            f"entity_type IN ({_IMPORTED}, {_EXPORTED})", name=op.f("ck_tasks_entity_type_known")
        ),
        sa.CheckConstraint("file_type IN ('CSV', 'JSON', 'PARQUET')", name=op.f("ck_tasks_file_type_known")),
        sa.CheckConstraint(
            "task_status IN ('PENDING', 'PROCESSING', 'COMPLETED', 'FAILED')", name=op.f("ck_tasks_task_status_known")
        ),
    )
    op.create_index(
        "uq_tasks_window",
        "tasks",
        ["environment_id", "scheduled_task_id", "window_start"],
        unique=True,
        postgresql_where=sa.text("is_automatic"),
    )
    op.create_index(
        "uq_tasks_fingerprint",
        "tasks",
        ["environment_id", "fingerprint", "entity_type"],
        unique=True,
        postgresql_where=sa.text("NOT dry_run AND task_status <> 'COMPLETED' AND fingerprint IS NOT NULL"),
    )
    op.create_index("ix_tasks_newest", "tasks", ["environment_id", "status", "created_at", "id"])
    op.create_index("ix_tasks_schedule", "tasks", ["environment_id", "scheduled_task_id", "created_at"])
    op.create_index(
        "ix_tasks_queued", "tasks", ["environment_id", "created_at"], postgresql_where=sa.text("is_queued")
    )
    op.create_table(
        "task_problems",
        sa.Column("task_id", sa.String(50), nullable=False),
        sa.Column("environment_id", sa.String(50), nullable=False),
        sa.Column("row_number", sa.BigInteger, nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("line_number", sa.BigInteger, nullable=False),
        sa.Column("column_name", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("task_id", "row_number", "place", name=op.f("pk_task_problems")),
    )


def _files() -> None:
    op.create_table(
        "stored_files",
        _id(),
        *_scope(),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("is_whole", sa.Boolean, nullable=False),
        sa.Column("task_id", sa.String(50)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stored_files")),
    )
    op.create_index("ix_stored_files_expiring", "stored_files", ["environment_id", "expires_at"])
    op.create_table(
        "stored_file_pieces",
        sa.Column("file_id", sa.String(50), nullable=False),
        sa.Column("environment_id", sa.String(50), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("file_id", "position", name=op.f("pk_stored_file_pieces")),
    )
