"""Signing in: sessions as rows, failed attempts, links to set a password, second factors; and the master keys known."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0017"
down_revision = "0016"

_TENANT = "current_setting('farthing.tenant_id', true)"
_MINE = f"(tenant_id = {_TENANT} OR {_TENANT} = '*')"


def _confine(table: str) -> None:
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY scope ON {table} USING ({_MINE}) WITH CHECK ({_MINE})")


def upgrade() -> None:
    op.create_table(
        "master_keys",
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("accepted_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.String(length=50), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_master_keys")),
    )
    op.create_index(
        "uq_master_keys_end", "master_keys", ["accepted_until"], unique=True, postgresql_nulls_not_distinct=True
    )

    op.create_table(
        "sign_in_sessions",
        sa.Column("user_id", sa.String(length=50), nullable=False),
        sa.Column(
            "kind", sa.Enum("dashboard", "api", name="sessionkind", native_enum=False, length=40), nullable=False
        ),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("password_stamp", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("user_agent", sa.String(length=300), nullable=False),
        sa.Column("tenant_id", sa.String(length=50), nullable=False),
        sa.Column("id", sa.String(length=50), nullable=False),
        sa.CheckConstraint("kind IN ('dashboard', 'api')", name=op.f("ck_sign_in_sessions_kind_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_in_sessions")),
    )
    op.create_index("uq_sign_in_sessions_token", "sign_in_sessions", ["token_hash"], unique=True)
    op.create_index("ix_sign_in_sessions_user", "sign_in_sessions", ["tenant_id", "user_id", "last_seen_at"])
    _confine("sign_in_sessions")

    op.create_table(
        "sign_in_attempts",
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("blocked_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("id", sa.String(length=50), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_in_attempts")),
    )
    op.create_index("ix_sign_in_attempts_last_at", "sign_in_attempts", ["last_at"])

    op.create_table(
        "password_links",
        sa.Column("user_id", sa.String(length=50), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(length=50), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tenant_id", sa.String(length=50), nullable=False),
        sa.Column("id", sa.String(length=50), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_password_links")),
    )
    op.create_index("uq_password_links_token", "password_links", ["token_hash"], unique=True)
    op.create_index("uq_password_links_user", "password_links", ["user_id"], unique=True)
    _confine("password_links")

    op.create_table(
        "second_factors",
        sa.Column("user_id", sa.String(length=50), nullable=False),
        sa.Column("sealed_secret", sa.LargeBinary(), nullable=False),
        sa.Column("key_id", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_step", sa.Integer(), nullable=False),
        sa.Column("recovery_hashes", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("tenant_id", sa.String(length=50), nullable=False),
        sa.Column("id", sa.String(length=50), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_second_factors")),
    )
    op.create_index("uq_second_factors_user", "second_factors", ["user_id"], unique=True)
    _confine("second_factors")
