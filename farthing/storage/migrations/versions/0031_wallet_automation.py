"""Wallets that top themselves up, and the alerts on their balances."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0031"
down_revision = "0030"

CREDITS = sa.Numeric(29, 9)


def upgrade() -> None:
    op.add_column("wallets", sa.Column("auto_topup_enabled", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("wallets", sa.Column("auto_topup_invoicing", sa.Boolean(), server_default=sa.false(), nullable=False))
    for name in ("auto_topup_threshold", "auto_topup_amount", "auto_topup_monthly_limit"):
        op.add_column("wallets", sa.Column(name, CREDITS))
    op.add_column("wallets", sa.Column("auto_topup_cooldown_value", sa.Integer()))
    op.add_column("wallets", sa.Column("auto_topup_cooldown_unit", sa.String(40)))
    op.add_column("wallets", sa.Column("alert_settings", JSONB()))
    for name in ("alert_state", "credit_alert_state"):
        op.add_column("wallets", sa.Column(name, sa.String(40), server_default="ok", nullable=False))
    op.add_column("wallets", sa.Column("evaluate_at", sa.DateTime(timezone=True)))
    for name in ("auto_topup_enabled", "auto_topup_invoicing", "alert_state", "credit_alert_state"):
        op.alter_column("wallets", name, server_default=None)
    for name, condition in (
        (
            "auto_topup_is_whole",
            "NOT auto_topup_enabled OR (auto_topup_threshold IS NOT NULL AND auto_topup_amount IS NOT NULL)",
        ),
        ("auto_topup_adds", "auto_topup_amount > 0 AND auto_topup_threshold >= 0 AND auto_topup_monthly_limit > 0"),
        (
            "cooldown_is_whole",
            "(auto_topup_cooldown_value IS NULL) = (auto_topup_cooldown_unit IS NULL) "
            "AND auto_topup_cooldown_value > 0",
        ),
        ("auto_topup_cooldown_unit_known", "auto_topup_cooldown_unit IN ('second', 'minute', 'hour', 'day')"),
        ("alert_state_known", "alert_state IN ('ok', 'info', 'warning', 'in_alarm')"),
        ("credit_alert_state_known", "credit_alert_state IN ('ok', 'info', 'warning', 'in_alarm')"),
    ):
        op.create_check_constraint(op.f(f"ck_wallets_{name}"), "wallets", condition)
    op.create_index(
        "ix_wallets_evaluate",
        "wallets",
        ["environment_id", "evaluate_at"],
        postgresql_where=sa.text("evaluate_at IS NOT NULL"),
    )
    op.add_column("wallet_transactions", sa.Column("automatic", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.alter_column("wallet_transactions", "automatic", server_default=None)
    op.create_index(
        "ix_wallet_transactions_automatic",
        "wallet_transactions",
        ["wallet_id", "created_at"],
        postgresql_where=sa.text("automatic"),
    )
    _look_again_after_movements()


def _look_again_after_movements() -> None:
    """A wallet that is looked at now and then is looked at soon after each movement."""
    op.execute(
        """
        CREATE FUNCTION wallet_is_looked_at_again() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.evaluate_at IS NOT NULL AND NEW.last_seq IS DISTINCT FROM OLD.last_seq THEN
                NEW.evaluate_at := NEW.updated_at;
            END IF;
            RETURN NEW;
        END $$
        """
    )
    op.execute(
        "CREATE TRIGGER looked_at_again BEFORE UPDATE OF last_seq ON wallets "
        "FOR EACH ROW EXECUTE FUNCTION wallet_is_looked_at_again()"
    )
