"""Wallets, the movements of their ledger and what each debit consumed; the ledger's facts cannot be changed."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0030"
down_revision = "0029"

RATE, CREDITS, MOMENT = sa.Numeric(20, 5), sa.Numeric(29, 9), sa.DateTime(timezone=True)


def upgrade() -> None:
    _create_wallets()
    _create_transactions()
    _create_consumptions()
    for table in ("wallets", "wallet_transactions", "wallet_consumptions"):
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        scope = "environment_id = current_setting('farthing.environment_id', true)"
        op.execute(f"CREATE POLICY scope ON {table} USING ({scope}) WITH CHECK ({scope})")
    _guard_facts()
    _guard_chain()
    op.add_column(
        "proration_settlements",
        sa.Column("tax_credited", sa.Numeric(24, 8), nullable=False, server_default=sa.text("0")),
    )
    op.alter_column("proration_settlements", "tax_credited", server_default=None)
    op.drop_constraint(op.f("ck_proration_settlements_amounts_not_negative"), "proration_settlements")
    op.create_check_constraint(
        op.f("ck_proration_settlements_amounts_not_negative"),
        "proration_settlements",
        "credit >= 0 AND charge >= 0 AND credited_to_payer >= 0 AND tax_credited >= 0 AND discount BETWEEN 0 AND charge",
    )
    # the invoice that sells a transaction's credits
    op.create_index(
        "uq_invoices_wallet_transaction",
        "invoices",
        ["environment_id", "wallet_transaction_id"],
        unique=True,
        postgresql_where=sa.text("wallet_transaction_id IS NOT NULL"),
    )


def _text(name: str, length: int | None = None, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.String(length) if length else sa.String(), nullable=nullable)


def _tracked() -> list[sa.Column[Any]]:
    return [
        _text("tenant_id", 50),
        _text("environment_id", 50),
        _text("status", 40),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        _text("created_by", 50),
        _text("updated_by", 50),
    ]


def _known(table: str, **words: str) -> list[sa.CheckConstraint]:
    return [
        sa.CheckConstraint(
            f"{column} IN ({', '.join(repr(word) for word in values.split())})", name=op.f(f"ck_{table}_{column}_known")
        )
        for column, values in words.items()
    ]


def _check(table: str, name: str, condition: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(condition, name=op.f(f"ck_{table}_{name}"))


def _create_wallets() -> None:
    op.create_table(
        "wallets",
        _text("customer_id", 50),
        _text("currency", 3),
        _text("wallet_type", 40),
        _text("wallet_status", 40),
        _text("name", 255),
        _text("description"),
        sa.Column("metadata", JSONB(), nullable=False),
        sa.Column("allowed_price_types", JSONB(), nullable=False),
        sa.Column("conversion_rate", RATE, nullable=False),
        sa.Column("topup_conversion_rate", RATE, nullable=False),
        sa.Column("credit_balance", CREDITS, nullable=False),
        sa.Column("balance", CREDITS, nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        _text("converted_from", 50, nullable=True),
        _text("id", 50),
        *_tracked(),
        *_known(
            "wallets",
            wallet_type="PRE_PAID POST_PAID",
            wallet_status="active frozen closed",
            status="published archived deleted",
        ),
        _check("wallets", "currency_lower", "currency = lower(currency) AND length(currency) = 3"),
        _check("wallets", "rates_positive", "conversion_rate > 0 AND topup_conversion_rate > 0"),
        _check("wallets", "balance_is_value", "balance = round(credit_balance * conversion_rate, 9)"),
        _check("wallets", "closed_is_empty", "wallet_status <> 'closed' OR credit_balance <= 0"),
        _check("wallets", "price_types_listed", "jsonb_typeof(allowed_price_types) = 'array'"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wallets")),
        sa.ForeignKeyConstraint(["customer_id"], ["customers.id"], name=op.f("fk_wallets_customer_id")),
        sa.ForeignKeyConstraint(["converted_from"], ["wallets.id"], name=op.f("fk_wallets_converted_from")),
    )
    op.create_index(
        "uq_wallets_open",
        "wallets",
        ["environment_id", "customer_id", "currency", "wallet_type"],
        unique=True,
        postgresql_where=sa.text("wallet_status <> 'closed'"),
    )
    op.create_index("ix_wallets_newest", "wallets", ["environment_id", "created_at", "id"])


def _create_transactions() -> None:
    table = "wallet_transactions"
    op.create_table(
        table,
        _text("wallet_id", 50),
        _text("customer_id", 50),
        _text("currency", 3),
        _text("transaction_status", 40),
        sa.Column("seq", sa.BigInteger()),
        _text("type", 40),
        _text("transaction_reason", 40),
        _text("credit_class", 40, nullable=True),
        *(
            sa.Column(name, CREDITS, nullable=False)
            for name in (
                "amount",
                "credit_amount",
                "credit_balance_before",
                "credit_balance_after",
                "credits_available",
            )
        ),
        sa.Column("expiry_date", MOMENT),
        sa.Column("valid_from", MOMENT),
        sa.Column("priority", sa.Integer()),
        sa.Column("conversion_rate", RATE),
        sa.Column("topup_conversion_rate", RATE),
        _text("reference_type", 40),
        _text("reference_id", 255),
        _text("parent_transaction_id", 50, nullable=True),
        _text("description"),
        sa.Column("metadata", JSONB(), nullable=False),
        _text("caller_key", 255, nullable=True),
        _text("system_key", 255, nullable=True),
        _text("request_hash", 64, nullable=True),
        _text("id", 50),
        *_tracked(),
        *_known(
            table,
            transaction_status="pending completed failed",
            type="credit debit",
            credit_class="purchased free",
            reference_type="PAYMENT EXTERNAL REQUEST INVOICE",
            transaction_reason="INVOICE_PAYMENT FREE_CREDIT_GRANT SUBSCRIPTION_CREDIT_GRANT PURCHASED_CREDIT_INVOICED "
            "PURCHASED_CREDIT_DIRECT CREDIT_NOTE CREDIT_EXPIRED WALLET_TERMINATION MANUAL_BALANCE_DEBIT "
            "CREDIT_ADJUSTMENT INVOICE_VOID_REFUND PURCHASED_CREDIT_BONUS",
            status="published archived deleted",
        ),
        _check(table, "currency_lower", "currency = lower(currency) AND length(currency) = 3"),
        _check(table, "moves_something", "seq > 0 AND credit_amount > 0 AND amount >= 0"),
        _check(table, "lot_within_credits", "credits_available BETWEEN 0 AND credit_amount"),
        _check(table, "completed_has_place", "(transaction_status = 'completed') = (seq IS NOT NULL)"),
        _check(
            table,
            "balances_chain",
            "CASE WHEN seq IS NULL THEN credit_balance_before = 0 AND credit_balance_after = 0 "
            "AND credits_available = 0 ELSE credit_balance_after = credit_balance_before "
            "+ CASE type WHEN 'credit' THEN credit_amount ELSE -credit_amount END END",
        ),
        _check(
            table,
            "only_purchases_wait",
            "seq IS NOT NULL OR transaction_reason IN ('PURCHASED_CREDIT_INVOICED', 'PURCHASED_CREDIT_BONUS')",
        ),
        _check(
            table,
            "only_manual_debits_overdraw",
            "type = 'credit' OR transaction_reason = 'MANUAL_BALANCE_DEBIT' OR credit_balance_after >= 0",
        ),
        _check(
            table,
            "kinds_differ",
            "CASE type WHEN 'debit' THEN credits_available = 0 AND credit_class IS NULL "
            "AND conversion_rate IS NOT NULL AND topup_conversion_rate IS NULL "
            "ELSE credit_class IS NOT NULL AND topup_conversion_rate IS NOT NULL AND conversion_rate IS NULL END",
        ),
        _check(table, "key_has_request", "(caller_key IS NULL) = (request_hash IS NULL)"),
        _check(table, "one_key", "caller_key IS NULL OR system_key IS NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
        sa.ForeignKeyConstraint(["wallet_id"], ["wallets.id"], name=op.f(f"fk_{table}_wallet_id")),
    )
    op.create_index(f"uq_{table}_seq", table, ["wallet_id", "seq"], unique=True)
    for key in ("caller_key", "system_key"):
        op.create_index(f"uq_{table}_{key}", table, ["environment_id", key], unique=True)
    op.create_index(
        f"ix_{table}_open", table, ["wallet_id"], postgresql_where=sa.text("credits_available > 0")
    )
    op.create_index(
        f"ix_{table}_expiring",
        table,
        ["environment_id", "expiry_date"],
        postgresql_where=sa.text("credits_available > 0 AND expiry_date IS NOT NULL"),
    )
    op.create_index(
        f"ix_{table}_parent",
        table,
        ["parent_transaction_id"],
        postgresql_where=sa.text("parent_transaction_id IS NOT NULL"),
    )
    op.create_index(f"ix_{table}_reference", table, ["environment_id", "reference_id"])
    op.create_index(f"ix_{table}_newest", table, ["environment_id", "created_at", "id"])


def _create_consumptions() -> None:
    table = "wallet_consumptions"
    op.create_table(
        table,
        _text("id", 120),
        _text("debit_id", 50),
        _text("credit_id", 50),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("credits", CREDITS, nullable=False),
        _text("environment_id", 50),
        _check(table, "consumes_something", "credits > 0"),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
        sa.ForeignKeyConstraint(["debit_id"], ["wallet_transactions.id"], name=op.f(f"fk_{table}_debit_id")),
        sa.ForeignKeyConstraint(["credit_id"], ["wallet_transactions.id"], name=op.f(f"fk_{table}_credit_id")),
    )
    op.create_index(f"uq_{table}_position", table, ["debit_id", "position"], unique=True)
    op.create_index(f"ix_{table}_credit", table, ["credit_id"])


def _guard_facts() -> None:
    """A movement and a consumption stay as they were written; only what is left of a lot falls, and a purchase that
    waits is completed, perhaps in another wallet, or fails."""
    op.execute(
        """
        CREATE FUNCTION wallet_facts_stay() RETURNS trigger LANGUAGE plpgsql AS $$
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
            END IF;
            RAISE EXCEPTION 'the ledger of wallets is append-only: % of % is refused', TG_OP, TG_TABLE_NAME
                USING ERRCODE = 'integrity_constraint_violation';
        END $$
        """
    )
    for table in ("wallet_transactions", "wallet_consumptions"):
        op.execute(
            f"CREATE TRIGGER facts_stay BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION wallet_facts_stay()"
        )


def _guard_chain() -> None:
    """At the commit: each movement begins with the balance that the one before it left, and the wallet ends there."""
    op.execute(
        """
        CREATE FUNCTION wallet_transaction_chains() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.credit_balance_before IS DISTINCT FROM (
                CASE WHEN NEW.seq = 1 THEN 0 ELSE (
                    SELECT earlier.credit_balance_after FROM wallet_transactions AS earlier
                    WHERE earlier.wallet_id = NEW.wallet_id AND earlier.seq = NEW.seq - 1
                ) END
            ) THEN
                RAISE EXCEPTION 'movement % does not begin where the one before it ended', NEW.id
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            PERFORM FROM wallets WHERE wallets.id = NEW.wallet_id AND wallets.last_seq >= NEW.seq;
            IF NOT FOUND THEN
                RAISE EXCEPTION 'wallet % does not know its movement %', NEW.wallet_id, NEW.id
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            RETURN NULL;
        END $$
        """
    )
    op.execute(
        "CREATE CONSTRAINT TRIGGER chains AFTER INSERT OR UPDATE OF seq ON wallet_transactions "
        "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.seq IS NOT NULL) "
        "EXECUTE FUNCTION wallet_transaction_chains()"
    )
    op.execute(
        """
        CREATE FUNCTION wallet_ends_its_chain() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE newest record;
        BEGIN
            SELECT last_seq, credit_balance INTO newest FROM wallets WHERE id = NEW.id;
            IF newest.last_seq = 0 AND newest.credit_balance = 0 THEN
                RETURN NULL;
            END IF;
            PERFORM FROM wallet_transactions AS movement
            WHERE movement.wallet_id = NEW.id AND movement.seq = newest.last_seq
                AND movement.credit_balance_after = newest.credit_balance;
            IF NOT FOUND THEN
                RAISE EXCEPTION 'the balance of wallet % is not that of its newest movement', NEW.id
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            RETURN NULL;
        END $$
        """
    )
    op.execute(
        "CREATE CONSTRAINT TRIGGER ends_its_chain AFTER INSERT OR UPDATE OF credit_balance, last_seq ON wallets "
        "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wallet_ends_its_chain()"
    )
