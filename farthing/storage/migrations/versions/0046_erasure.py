"""Customers can be erased: when they were, how long their documents stay, and the one way to erase texts.

What a person is called is written over in the activity log and in the ledger too, by a function and in the columns that
can say it; everything else of them stays as it was.
"""

import sqlalchemy as sa
from alembic import op

revision = "0046"
down_revision = "0042"

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
    _admit_erasure_to_log()
    _admit_erasure_to_ledger()
    _erase_texts()


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
    """Write texts and documents of rows over: each row is given with its id and every column that is named."""
    op.execute(
        """
        CREATE FUNCTION erase_texts(
            of_environment text, of_table text, texts text[], documents text[], given_rows jsonb
        ) RETURNS integer LANGUAGE plpgsql AS $$
        DECLARE
            assignments text;
            erased integer;
        BEGIN
            SELECT string_agg(assignment, ', ') INTO assignments FROM (
                SELECT format('%1$I = given.value ->> %1$L', name) AS assignment FROM unnest(texts) AS name
                UNION ALL
                SELECT format('%1$I = nullif(given.value -> %1$L, ''null'')', name) FROM unnest(documents) AS name
            ) AS listed;
            PERFORM set_config('farthing.erases_texts', 'yes', true);
            EXECUTE format(
                'UPDATE %I AS stored SET %s FROM jsonb_array_elements($1) AS given (value) '
                'WHERE stored.environment_id = $2 AND stored.id = given.value ->> ''id''',
                of_table, assignments
            ) USING given_rows, of_environment;
            GET DIAGNOSTICS erased = ROW_COUNT;
            PERFORM set_config('farthing.erases_texts', '', true);
            RETURN erased;
        END $$
        """
    )
