"""Webhooks: endpoints, deliveries and attempts, and the order in which events are recorded.

Events that were recorded until now keep no position: nobody waits for them.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from farthing.storage.scope import row_level_security

revision = "0033"
down_revision = "0031"


def _moment(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _text(name: str, length: int = 50, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.String(length), nullable=nullable)


def upgrade() -> None:
    op.execute("CREATE SEQUENCE system_events_position")
    # without a default at first: a table of any size is not rewritten
    op.add_column("system_events", sa.Column("position", sa.BigInteger))
    op.execute("ALTER TABLE system_events ALTER COLUMN position SET DEFAULT nextval('system_events_position')")
    op.drop_index("ix_system_events_waiting", "system_events")
    op.create_index(
        "ix_system_events_waiting",
        "system_events",
        ["environment_id", "position"],
        postgresql_where=sa.text("dispatched_at IS NULL AND position IS NOT NULL"),
    )
    op.create_index("ix_system_events_created", "system_events", ["environment_id", "created_at", "id"])
    _endpoints()
    _deliveries()
    _attempts()
    op.create_table(
        "webhook_environments",
        sa.Column("backlog", sa.Integer, nullable=False),
        _moment("oldest_at", nullable=True),
        _moment("measured_at", nullable=True),
        _text("tenant_id"),
        _text("id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_environments")),
    )
    scoped = ("webhook_endpoints", "webhook_deliveries", "webhook_attempts")
    for table, by in (*((table, "environment_id") for table in scoped), ("webhook_environments", "tenant_id")):
        for statement in row_level_security(table, by):
            op.execute(statement)


def _endpoints() -> None:
    op.create_table(
        "webhook_endpoints",
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("filter_types", JSONB, nullable=False),
        sa.Column("ordered", sa.Boolean, nullable=False),
        sa.Column("rate_limit", sa.Integer),
        sa.Column("metadata", JSONB, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        _text("key_id", 16),
        _moment("previous_secret_until", nullable=True),
        sa.Column("disabled", sa.Boolean, nullable=False),
        _text("disabled_reason", 40, nullable=True),
        _moment("disabled_at", nullable=True),
        sa.Column("first_position", sa.BigInteger, nullable=False),
        _moment("failing_since", nullable=True),
        _moment("next_free_at", nullable=True),
        _text("tenant_id"),
        _text("environment_id"),
        _text("status", 40),
        _moment("created_at"),
        _moment("updated_at"),
        _text("created_by"),
        _text("updated_by"),
        _text("id"),
        sa.CheckConstraint("rate_limit > 0", name=op.f("ck_webhook_endpoints_rate_limit_positive")),
        sa.CheckConstraint(
            "disabled = (disabled_reason IS NOT NULL)", name=op.f("ck_webhook_endpoints_disabled_for_a_reason")
        ),
        sa.CheckConstraint(
            "disabled_reason IN ('by_hand', 'gone', 'failing')",
            name=op.f("ck_webhook_endpoints_disabled_reason_known"),
        ),
        sa.CheckConstraint(
            "status IN ('published', 'archived', 'deleted')", name=op.f("ck_webhook_endpoints_status_known")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_endpoints")),
    )
    op.create_index("ix_webhook_endpoints_environment", "webhook_endpoints", ["environment_id", "created_at"])


def _deliveries() -> None:
    op.create_table(
        "webhook_deliveries",
        _text("endpoint_id"),
        _text("event_id"),
        _text("entity_id"),
        sa.Column("position", sa.BigInteger, nullable=False),
        _text("state", 40),
        sa.Column("failures", sa.Integer, nullable=False),
        _moment("next_attempt_at"),
        _moment("event_created_at"),
        _moment("created_at"),
        _moment("finished_at", nullable=True),
        sa.Column("reason", sa.Text),
        _text("tenant_id"),
        _text("environment_id"),
        _text("id"),
        sa.CheckConstraint(
            "(state = 'pending') = (finished_at IS NULL)", name=op.f("ck_webhook_deliveries_finished_at_its_end")
        ),
        sa.CheckConstraint(
            "state IN ('pending', 'delivered', 'failed')", name=op.f("ck_webhook_deliveries_state_known")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_deliveries")),
    )
    of_environment = ["environment_id", "endpoint_id"]
    pending, finished = sa.text("state = 'pending'"), sa.text("state <> 'pending'")
    op.create_index(
        "uq_webhook_deliveries_event", "webhook_deliveries", ["environment_id", "event_id", "endpoint_id"], unique=True
    )
    op.create_index(
        "ix_webhook_deliveries_due",
        "webhook_deliveries",
        [*of_environment, "next_attempt_at", "position"],
        postgresql_where=pending,
    )
    op.create_index(
        "ix_webhook_deliveries_order",
        "webhook_deliveries",
        [*of_environment, "entity_id", "position"],
        postgresql_where=pending,
    )
    op.create_index("ix_webhook_deliveries_endpoint", "webhook_deliveries", [*of_environment, "event_created_at"])
    op.create_index(
        "ix_webhook_deliveries_finished",
        "webhook_deliveries",
        ["environment_id", "finished_at"],
        postgresql_where=finished,
    )


def _attempts() -> None:
    op.create_table(
        "webhook_attempts",
        _text("delivery_id"),
        _text("endpoint_id"),
        _text("event_id"),
        _text("trigger", 40),
        _moment("attempted_at"),
        sa.Column("duration_ms", sa.Integer, nullable=False),
        sa.Column("status_code", sa.Integer),
        sa.Column("error", sa.Text),
        sa.Column("response_body", sa.Text),
        _text("tenant_id"),
        _text("environment_id"),
        _text("id"),
        sa.CheckConstraint("trigger IN ('schedule', 'by_hand')", name=op.f("ck_webhook_attempts_trigger_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_attempts")),
    )
    op.create_index("ix_webhook_attempts_event", "webhook_attempts", ["environment_id", "event_id", "attempted_at"])
    op.create_index("ix_webhook_attempts_age", "webhook_attempts", ["environment_id", "attempted_at"])
