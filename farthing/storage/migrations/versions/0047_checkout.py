"""Checkout sessions, and what waits for one."""

from datetime import datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from farthing.storage.scope import row_level_security

revision = "0047"
down_revision = "0046"

_OPEN = "checkout_status IN ('initiated', 'pending')"


def _moment(name: str, *, nullable: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    _sessions()
    of_environment = ["environment_id"]
    for table in ("invoices", "payments", "subscriptions"):
        op.add_column(table, sa.Column("checkout_session_id", sa.String(50), nullable=True))
    op.add_column(
        "invoices", sa.Column("awaits_checkout", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.create_check_constraint(
        op.f("ck_invoices_only_drafts_await_checkout"),
        "invoices",
        "NOT awaits_checkout OR checkout_session_id IS NOT NULL AND invoice_status = 'DRAFT'",
    )
    op.create_index(
        "ix_payments_checkout",
        "payments",
        [*of_environment, "checkout_session_id"],
        postgresql_where=sa.text("checkout_session_id IS NOT NULL"),
    )


def _sessions() -> None:
    op.create_table(
        "checkout_sessions",
        sa.Column("customer_id", sa.String(50), nullable=False),
        sa.Column("action", sa.String(40), nullable=False),
        sa.Column("checkout_status", sa.String(40), nullable=False),
        sa.Column("subject_id", sa.String(50), nullable=False),
        sa.Column("subscription_id", sa.String(50), nullable=True),
        sa.Column("invoice_id", sa.String(50), nullable=False),
        sa.Column("holds_draft", sa.Boolean(), nullable=False),
        sa.Column("payment_id", sa.String(50), nullable=False),
        sa.Column("amount", sa.Numeric(24, 8), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("configuration", JSONB(), nullable=False),
        sa.Column("payment_provider", sa.String(40), nullable=False),
        sa.Column("payment_provider_config", JSONB(), nullable=True),
        sa.Column("success_url", sa.Text(), nullable=True),
        sa.Column("failure_url", sa.Text(), nullable=True),
        sa.Column("cancel_url", sa.Text(), nullable=True),
        sa.Column("idempotency_key", sa.String(255), nullable=True),
        sa.Column("page_key", sa.String(64), nullable=False),
        sa.Column("metadata", JSONB(), nullable=False),
        _moment("opened_at"),
        _moment("expires_at"),
        _moment("provider_expires_at", nullable=True),
        _moment("heard_at"),
        _moment("completed_at", nullable=True),
        _moment("cancelled_at", nullable=True),
        sa.Column("failure_reason", sa.Text(), nullable=True),
        sa.Column("entity_id", sa.String(50), nullable=False),
        sa.Column("entity_status", sa.String(40), nullable=True),
        sa.Column("id", sa.String(50), nullable=False),
        sa.Column("tenant_id", sa.String(50), nullable=False),
        sa.Column("environment_id", sa.String(50), nullable=False),
        sa.Column("status", sa.String(40), nullable=False),
        _moment("created_at"),
        _moment("updated_at"),
        sa.Column("created_by", sa.String(50), nullable=False),
        sa.Column("updated_by", sa.String(50), nullable=False),
        *_constraints(),
    )
    _indexes()
    for statement in row_level_security("checkout_sessions", "environment_id"):
        op.execute(statement)


def _constraints() -> list[sa.Constraint]:
    actions = "'create_subscription', 'modify_subscription', 'wallet_topup', 'add_addon', 'pay_invoice'"
    checks = {
        "amount_positive": "amount > 0",
        "completed_at_its_end": "(checkout_status = 'completed') = (completed_at IS NOT NULL)",
        "created_only_when_completed": "entity_status <> 'created' OR checkout_status = 'completed'",
        "currency_lower": "currency = lower(currency) AND length(currency) = 3",
        "action_known": f"action IN ({actions})",
        "checkout_status_known": "checkout_status IN ('initiated', 'pending', 'completed', 'failed', 'expired')",
        "payment_provider_known": "payment_provider IN ('razorpay', 'stripe', 'chargebee')",
        "entity_status_known": "entity_status IN ('created', 'superseded', 'failed_already_exists')",
        "status_known": "status IN ('published', 'archived', 'deleted')",
    }
    references = {"customer_id": "customers.id", "invoice_id": "invoices.id", "payment_id": "payments.id"}
    return [
        *(sa.CheckConstraint(rule, name=op.f(f"ck_checkout_sessions_{name}")) for name, rule in checks.items()),
        *(
            sa.ForeignKeyConstraint([column], [target], name=op.f(f"fk_checkout_sessions_{column}"))
            for column, target in references.items()
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_checkout_sessions")),
    ]


def _indexes() -> None:
    unique = {
        "subject": (["subject_id"], _OPEN),
        "key": (["idempotency_key"], f"idempotency_key IS NOT NULL AND {_OPEN}"),
        "payment": (["payment_id"], None),
        "page": (["page_key"], None),
    }
    others = {
        "invoice": (["invoice_id"], None),
        "subject": (["subject_id", "id"], None),
        "due": (["expires_at", "id"], _OPEN),
        "newest": (["created_at", "id"], None),
        "customer": (["customer_id", "created_at", "id"], None),
    }
    for prefix, indexes in (("uq", unique), ("ix", others)):
        for name, (columns, where) in indexes.items():
            op.create_index(
                f"{prefix}_checkout_sessions_{name}",
                "checkout_sessions",
                ["environment_id", *columns],
                unique=prefix == "uq",
                postgresql_where=None if where is None else sa.text(where),
            )
