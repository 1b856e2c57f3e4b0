"""Mails to customers."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from farthing.storage.scope import row_level_security

revision = "0039"
down_revision = "0038"

_KINDS = (
    "invoice_issued",
    "payment_receipt",
    "payment_failed",
    "reminder",
    "credit_note",
    "low_balance",
    "credits_expiring",
    "trial_ending",
    "renewal_notice",
)


def upgrade() -> None:
    op.create_table(
        "emails",
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("entity_id", sa.String(50), nullable=False),
        sa.Column("occasion", sa.String(100), nullable=False),
        sa.Column("customer_id", sa.String(50), nullable=False),
        sa.Column("invoice_id", sa.String(50)),
        sa.Column("details", JSONB, nullable=False),
        sa.Column("state", sa.String(40), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("queued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.Column("reason", sa.Text),
        sa.Column("recipient", sa.String(320)),
        sa.Column("subject", sa.Text),
        sa.Column("language", sa.String(10)),
        sa.Column("tenant_id", sa.String(50), nullable=False),
        sa.Column("environment_id", sa.String(50), nullable=False),
        sa.Column("id", sa.String(50), nullable=False),
        sa.CheckConstraint(
            "(state = 'queued') = (finished_at IS NULL)", name=op.f("ck_emails_finished_at_its_end")
        ),
        sa.CheckConstraint("attempts >= 0", name=op.f("ck_emails_attempts_counted")),
        sa.CheckConstraint(f"kind IN {_KINDS}", name=op.f("ck_emails_kind_known")),
        sa.CheckConstraint(
            "state IN ('queued', 'sent', 'failed', 'parked')", name=op.f("ck_emails_state_known")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_emails")),
    )
    of_environment = ["environment_id"]
    op.create_index("uq_emails_occasion", "emails", [*of_environment, "kind", "entity_id", "occasion"], unique=True)
    op.create_index(
        "ix_emails_due", "emails", [*of_environment, "next_attempt_at"], postgresql_where=sa.text("state = 'queued'")
    )
    op.create_index("ix_emails_newest", "emails", [*of_environment, "created_at", "id"])
    op.create_index("ix_emails_customer", "emails", [*of_environment, "customer_id", "created_at", "id"])
    op.create_index(
        "ix_emails_invoice",
        "emails",
        [*of_environment, "invoice_id", "created_at"],
        postgresql_where=sa.text("invoice_id IS NOT NULL"),
    )
    op.create_table(
        "password_mails",
        sa.Column("user_id", sa.String(50), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tenant_id", sa.String(50), nullable=False),
        sa.Column("id", sa.String(50), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_password_mails")),
    )
    op.create_index("uq_password_mails_user", "password_mails", ["user_id"], unique=True)
    for table, by in (("emails", "environment_id"), ("password_mails", "tenant_id")):
        for statement in row_level_security(table, by):
            op.execute(statement)
