"""Customers can be erased: when they were, how long their documents stay, and the one way to erase texts.

Settings of alerts say whose they are, and what was given up to deliver is counted for each environment.

What a person is called is written over in the activity log and in the ledger too, by a function and in the columns that
can say it; everything else of them stays as it was.
"""

import sqlalchemy as sa
from alembic import op

from farthing.storage.scope import row_level_security

revision = "0046"
down_revision = "0045"

_LOG_COLUMNS = ("payload", "state", "changes", "entity_label", "actor_label", "ip", "user_agent")
_LEDGER_COLUMNS = ("description", "metadata", "caller_key")


def upgrade() -> None:
    for name in ("erased_at", "documents_kept_until"):
        op.add_column("customers", sa.Column(name, sa.DateTime(timezone=True)))
    op.create_index(
        "ix_customers_documents_kept",
        "customers",
        ["environment_id", "documents_kept_until"],
        postgresql_where=sa.text("documents_kept_until IS NOT NULL"),
    )
    _name_customers_of_alert_settings()
    _count_undelivered()
    _admit_erasure_to_log()
    _admit_erasure_to_ledger()
    _erase_texts()


def _name_customers_of_alert_settings() -> None:
    op.add_column("alert_settings", sa.Column("customer_id", sa.String(50)))
    for table in ("alert_settings", "subscriptions"):
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    op.execute(
        "UPDATE alert_settings AS setting SET customer_id = subscription.customer_id "
        "FROM subscriptions AS subscription WHERE subscription.id = setting.subscription_id"
    )
    op.execute("UPDATE alert_settings SET customer_id = '' WHERE customer_id IS NULL")
    for table in ("alert_settings", "subscriptions"):
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.alter_column("alert_settings", "customer_id", nullable=False)


def _count_undelivered() -> None:
    op.create_table(
        "undelivered_counts",
        sa.Column("messages", sa.Integer, nullable=False),
        sa.Column("emails", sa.Integer, nullable=False),
        sa.Column("tenant_id", sa.String(50), nullable=False),
        sa.Column("id", sa.String(50), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_undelivered_counts")),
        sa.CheckConstraint("messages >= 0 AND emails >= 0", name=op.f("ck_undelivered_counts_not_negative")),
    )
    for statement in row_level_security("undelivered_counts", "tenant_id"):
        op.execute(statement)
    op.create_index(
        "ix_webhook_deliveries_failed",
        "webhook_deliveries",
        ["environment_id"],
        postgresql_where=sa.text("state = 'failed'"),
    )
    op.create_index("ix_emails_parked", "emails", ["environment_id"], postgresql_where=sa.text("state = 'parked'"))


def _admits(columns: tuple[str, ...]) -> str:
    """Whether a change is one of `erase_texts`, and of nothing but columns that can name a person."""
    listed = ", ".join(f"'{name}'" for name in columns)
    return (
        "TG_OP = 'UPDATE' AND current_setting('farthing.erases_texts', true) = 'yes' "
        f"AND to_jsonb(NEW) - ARRAY[{listed}] = to_jsonb(OLD) - ARRAY[{listed}]"
    )


def _admit_erasure_to_log() -> None:
    op.execute(
        f"""
        CREATE OR REPLACE FUNCTION system_event_facts_stay() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'DELETE' AND current_setting('farthing.forgets_activities', true) = 'yes' THEN
                RETURN OLD;
            END IF;
            IF {_admits(_LOG_COLUMNS)} THEN
                RETURN NEW;
            END IF;
            RAISE EXCEPTION 'the activity log is append-only: % is refused', TG_OP
                USING ERRCODE = 'integrity_constraint_violation';
        END $$
        """
    )


def _admit_erasure_to_ledger() -> None:
    op.execute(
        f"""
        CREATE OR REPLACE FUNCTION wallet_facts_stay() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE completed text[] = ARRAY[
            'transaction_status', 'wallet_id', 'seq', 'credit_amount', 'credit_balance_before', 'credit_balance_after',
            'credits_available', 'updated_at', 'updated_by'
        ];
        BEGIN
            IF TG_OP = 'UPDATE' AND TG_TABLE_NAME = 'wallet_transactions' THEN
                IF NEW.credits_available <= OLD.credits_available
                    AND to_jsonb(NEW) - 'credits_available' = to_jsonb(OLD) - 'credits_available' THEN
                    RETURN NEW;
                END IF;
                IF OLD.transaction_status = 'pending' AND NEW.transaction_status <> 'pending'
                    AND to_jsonb(NEW) - completed = to_jsonb(OLD) - completed THEN
                    RETURN NEW;
                END IF;
                IF {_admits(_LEDGER_COLUMNS)} THEN
                    RETURN NEW;
                END IF;
            END IF;
            RAISE EXCEPTION 'the ledger of wallets is append-only: % of % is refused', TG_OP, TG_TABLE_NAME
                USING ERRCODE = 'integrity_constraint_violation';
        END $$
        """
    )


def _erase_texts() -> None:
    """Write columns of rows over: each row is given with the columns that it is known by, and those to write."""
    op.execute(
        """
        CREATE FUNCTION erase_texts(
            of_environment text, of_table text, keys text[], columns text[], given_rows jsonb
        ) RETURNS integer LANGUAGE plpgsql AS $$
        DECLARE
            assignments text;
            known text;
            erased integer;
        BEGIN
            SELECT string_agg(format('%1$I = given.%1$I', name), ', ') INTO assignments FROM unnest(columns) AS name;
            SELECT string_agg(format('stored.%1$I = given.%1$I', name), ' AND ') INTO known FROM unnest(keys) AS name;
            PERFORM set_config('farthing.erases_texts', 'yes', true);
            EXECUTE format(
                'UPDATE %1$I AS stored SET %2$s FROM jsonb_populate_recordset(NULL::%1$I, $1) AS given '
                'WHERE stored.environment_id = $2 AND %3$s',
                of_table, assignments, known
            ) USING given_rows, of_environment;
            GET DIAGNOSTICS erased = ROW_COUNT;
            PERFORM set_config('farthing.erases_texts', '', true);
            RETURN erased;
        END $$
        """
    )
