"""Credit notes, refunds and unapplied money; what was allocated of such money counts as a settlement.

Payments without an invoice that succeeded become unapplied money of their customers. Money that waits to be sent back
becomes a refund that waits for its provider, under the key that the provider may have heard already.
"""

from alembic import op

revision = "0034"
down_revision = "0033"

_REFUNDS = """
    CREATE TABLE refunds (
        customer_id VARCHAR(50) NOT NULL,
        invoice_id VARCHAR(50),
        credit_note_id VARCHAR(50),
        payment_id VARCHAR(50),
        payment_gateway VARCHAR(50),
        gateway_refund_id VARCHAR(255),
        gateway_tracking_id VARCHAR(255),
        gateway_idempotency_token VARCHAR(255),
        gateway_metadata JSONB NOT NULL,
        amount NUMERIC(24, 8) NOT NULL,
        settled_amount NUMERIC(24, 8) NOT NULL,
        currency VARCHAR(3) NOT NULL,
        refund_status VARCHAR(40) NOT NULL,
        refund_reason VARCHAR(40) NOT NULL,
        refund_destination VARCHAR(40) NOT NULL,
        refund_destination_id VARCHAR(50),
        attempt INTEGER NOT NULL,
        failure_reason TEXT,
        idempotency_key VARCHAR(100) NOT NULL,
        metadata JSONB NOT NULL,
        initiated_at TIMESTAMP WITH TIME ZONE NOT NULL,
        sent_at TIMESTAMP WITH TIME ZONE,
        succeeded_at TIMESTAMP WITH TIME ZONE,
        failed_at TIMESTAMP WITH TIME ZONE,
        cancelled_at TIMESTAMP WITH TIME ZONE,
        tenant_id VARCHAR(50) NOT NULL,
        environment_id VARCHAR(50) NOT NULL,
        status VARCHAR(40) NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE NOT NULL,
        updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
        created_by VARCHAR(50) NOT NULL,
        updated_by VARCHAR(50) NOT NULL,
        id VARCHAR(50) NOT NULL,
        CONSTRAINT pk_refunds PRIMARY KEY (id),
        CONSTRAINT ck_refunds_amount_positive CHECK (amount > 0 AND attempt > 0),
        CONSTRAINT ck_refunds_settled_when_succeeded
            CHECK (settled_amount = CASE refund_status WHEN 'SUCCEEDED' THEN amount ELSE 0 END),
        CONSTRAINT ck_refunds_gateway_named
            CHECK (refund_destination <> 'GATEWAY' OR (payment_id IS NOT NULL AND gateway_idempotency_token IS
            NOT NULL AND payment_gateway IS NOT NULL)),
        CONSTRAINT ck_refunds_currency_lower CHECK (currency = lower(currency) AND length(currency) = 3),
        CONSTRAINT ck_refunds_refund_status_known
            CHECK (refund_status IN ('PENDING', 'PROCESSING', 'SUCCEEDED', 'FAILED', 'CANCELLED')),
        CONSTRAINT ck_refunds_refund_reason_known
            CHECK (refund_reason IN ('DUPLICATE', 'FRAUDULENT', 'REQUESTED_BY_CUSTOMER', 'ORDER_CHANGE',
            'SERVICE_ISSUE', 'OTHER')),
        CONSTRAINT ck_refunds_refund_destination_known
            CHECK (refund_destination IN ('GATEWAY', 'WALLET', 'OUT_OF_BAND')),
        CONSTRAINT ck_refunds_status_known CHECK (status IN ('published', 'archived', 'deleted'))
    );
    CREATE INDEX ix_refunds_credit_note ON refunds (environment_id, credit_note_id)
        WHERE credit_note_id IS NOT NULL;
    CREATE INDEX ix_refunds_invoice ON refunds (environment_id, invoice_id) WHERE invoice_id IS NOT NULL;
    CREATE INDEX ix_refunds_newest ON refunds (environment_id, status, created_at, id);
    CREATE INDEX ix_refunds_payment ON refunds (environment_id, payment_id) WHERE payment_id IS NOT NULL;
    CREATE INDEX ix_refunds_underway ON refunds (environment_id, id)
        WHERE refund_status IN ('PENDING', 'PROCESSING');
    CREATE UNIQUE INDEX uq_refunds_idempotency_key ON refunds (environment_id, idempotency_key);
"""
_UNAPPLIED_MONEY = """
    CREATE TABLE unapplied_money (
        customer_id VARCHAR(50) NOT NULL,
        currency VARCHAR(3) NOT NULL,
        source VARCHAR(40) NOT NULL,
        payment_id VARCHAR(50),
        invoice_id VARCHAR(50),
        credit_note_id VARCHAR(50),
        amount NUMERIC(24, 8) NOT NULL,
        allocated NUMERIC(24, 8) NOT NULL,
        withdrawn NUMERIC(24, 8) NOT NULL,
        for_next_invoice BOOLEAN NOT NULL,
        tenant_id VARCHAR(50) NOT NULL,
        environment_id VARCHAR(50) NOT NULL,
        status VARCHAR(40) NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE NOT NULL,
        updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
        created_by VARCHAR(50) NOT NULL,
        updated_by VARCHAR(50) NOT NULL,
        id VARCHAR(50) NOT NULL,
        CONSTRAINT pk_unapplied_money PRIMARY KEY (id),
        CONSTRAINT ck_unapplied_money_within_amount
            CHECK (amount > 0 AND allocated >= 0 AND withdrawn >= 0 AND allocated + withdrawn <= amount),
        CONSTRAINT ck_unapplied_money_note_named CHECK ((source = 'CREDIT_NOTE') = (credit_note_id IS NOT NULL)),
        CONSTRAINT ck_unapplied_money_payment_named CHECK ((source <> 'CREDIT_NOTE') = (payment_id IS NOT NULL)),
        CONSTRAINT ck_unapplied_money_invoice_named CHECK ((source = 'PAYMENT') = (invoice_id IS NULL)),
        CONSTRAINT ck_unapplied_money_currency_lower CHECK (currency = lower(currency) AND length(currency) = 3),
        CONSTRAINT fk_unapplied_money_customer_id FOREIGN KEY(customer_id) REFERENCES customers (id),
        CONSTRAINT ck_unapplied_money_source_known CHECK (source IN ('PAYMENT', 'OVERPAYMENT', 'CREDIT_NOTE')),
        CONSTRAINT ck_unapplied_money_status_known CHECK (status IN ('published', 'archived', 'deleted'))
    );
    CREATE INDEX ix_unapplied_money_left ON unapplied_money (environment_id, customer_id, currency, created_at, id)
        WHERE amount > allocated + withdrawn;
    CREATE INDEX ix_unapplied_money_payment ON unapplied_money (environment_id, payment_id);
    CREATE UNIQUE INDEX uq_unapplied_money_credit_note ON unapplied_money (environment_id, credit_note_id)
        WHERE source = 'CREDIT_NOTE';
    CREATE UNIQUE INDEX uq_unapplied_money_payment ON unapplied_money (environment_id, payment_id)
        WHERE source = 'PAYMENT';
"""
_CREDIT_NOTES = """
    CREATE TABLE credit_notes (
        credit_note_number VARCHAR(100) NOT NULL,
        invoice_id VARCHAR(50) NOT NULL,
        customer_id VARCHAR(50) NOT NULL,
        subscription_id VARCHAR(50),
        credit_note_status VARCHAR(40) NOT NULL,
        credit_note_type VARCHAR(40) NOT NULL,
        reason VARCHAR(40) NOT NULL,
        memo TEXT NOT NULL,
        currency VARCHAR(3) NOT NULL,
        total_amount NUMERIC(24, 8) NOT NULL,
        net_amount NUMERIC(24, 8) NOT NULL,
        tax_amount NUMERIC(24, 8) NOT NULL,
        to_wallet NUMERIC(24, 8) NOT NULL,
        to_source NUMERIC(24, 8) NOT NULL,
        to_next_invoice NUMERIC(24, 8) NOT NULL,
        split_is_exact BOOLEAN NOT NULL,
        metadata JSONB NOT NULL,
        idempotency_key VARCHAR(255) NOT NULL,
        derived_key BOOLEAN NOT NULL,
        request_hash VARCHAR(64) NOT NULL,
        invoice_version INTEGER,
        finalized_at TIMESTAMP WITH TIME ZONE,
        voided_at TIMESTAMP WITH TIME ZONE,
        tenant_id VARCHAR(50) NOT NULL,
        environment_id VARCHAR(50) NOT NULL,
        status VARCHAR(40) NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE NOT NULL,
        updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
        created_by VARCHAR(50) NOT NULL,
        updated_by VARCHAR(50) NOT NULL,
        id VARCHAR(50) NOT NULL,
        CONSTRAINT pk_credit_notes PRIMARY KEY (id),
        CONSTRAINT ck_credit_notes_net_and_tax
            CHECK (total_amount > 0 AND net_amount >= 0 AND tax_amount >= 0 AND total_amount = net_amount +
            tax_amount),
        CONSTRAINT ck_credit_notes_split_is_whole
            CHECK (to_wallet >= 0 AND to_source >= 0 AND to_next_invoice >= 0 AND to_wallet + to_source +
            to_next_invoice = CASE credit_note_type WHEN 'REFUND' THEN total_amount ELSE 0 END),
        CONSTRAINT ck_credit_notes_finalized_has_time
            CHECK ((credit_note_status = 'FINALIZED') <= (finalized_at IS NOT NULL)),
        CONSTRAINT ck_credit_notes_voided_has_time
            CHECK ((credit_note_status = 'VOIDED') = (voided_at IS NOT NULL)),
        CONSTRAINT ck_credit_notes_currency_lower CHECK (currency = lower(currency) AND length(currency) = 3),
        CONSTRAINT fk_credit_notes_invoice_id FOREIGN KEY(invoice_id) REFERENCES invoices (id),
        CONSTRAINT ck_credit_notes_credit_note_status_known
            CHECK (credit_note_status IN ('DRAFT', 'FINALIZED', 'VOIDED')),
        CONSTRAINT ck_credit_notes_credit_note_type_known CHECK (credit_note_type IN ('ADJUSTMENT', 'REFUND')),
        CONSTRAINT ck_credit_notes_reason_known
            CHECK (reason IN ('DUPLICATE', 'FRAUDULENT', 'ORDER_CHANGE', 'UNSATISFACTORY', 'SERVICE_ISSUE',
            'BILLING_ERROR', 'SUBSCRIPTION_CANCELLATION')),
        CONSTRAINT ck_credit_notes_status_known CHECK (status IN ('published', 'archived', 'deleted'))
    );
    CREATE INDEX ix_credit_notes_invoice ON credit_notes (environment_id, invoice_id);
    CREATE INDEX ix_credit_notes_newest ON credit_notes (environment_id, status, created_at, id);
    CREATE UNIQUE INDEX uq_credit_notes_idempotency_key ON credit_notes (environment_id, idempotency_key)
        WHERE NOT derived_key OR credit_note_status <> 'VOIDED';
    CREATE UNIQUE INDEX uq_credit_notes_number ON credit_notes (environment_id, credit_note_number);
"""
_CREDIT_NOTE_LINE_ITEMS = """
    CREATE TABLE credit_note_line_items (
        credit_note_id VARCHAR(50) NOT NULL,
        invoice_line_item_id VARCHAR(50) NOT NULL,
        display_name TEXT NOT NULL,
        amount NUMERIC(24, 8) NOT NULL,
        net_amount NUMERIC(24, 8) NOT NULL,
        tax_amount NUMERIC(24, 8) NOT NULL,
        taxes JSONB NOT NULL,
        currency VARCHAR(3) NOT NULL,
        metadata JSONB NOT NULL,
        position INTEGER NOT NULL,
        tenant_id VARCHAR(50) NOT NULL,
        environment_id VARCHAR(50) NOT NULL,
        status VARCHAR(40) NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE NOT NULL,
        updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
        created_by VARCHAR(50) NOT NULL,
        updated_by VARCHAR(50) NOT NULL,
        id VARCHAR(50) NOT NULL,
        CONSTRAINT pk_credit_note_line_items PRIMARY KEY (id),
        CONSTRAINT ck_credit_note_line_items_net_and_tax
            CHECK (amount > 0 AND net_amount >= 0 AND tax_amount >= 0 AND amount = net_amount + tax_amount),
        CONSTRAINT ck_credit_note_line_items_currency_lower
            CHECK (currency = lower(currency) AND length(currency) = 3),
        CONSTRAINT fk_credit_note_line_items_credit_note_id
            FOREIGN KEY(credit_note_id) REFERENCES credit_notes (id),
        CONSTRAINT fk_credit_note_line_items_invoice_line_item_id
            FOREIGN KEY(invoice_line_item_id) REFERENCES invoice_line_items (id),
        CONSTRAINT ck_credit_note_line_items_status_known CHECK (status IN ('published', 'archived', 'deleted'))
    );
    CREATE INDEX ix_credit_note_line_items_line ON credit_note_line_items (environment_id, invoice_line_item_id);
    CREATE UNIQUE INDEX uq_credit_note_line_items_position ON credit_note_line_items (credit_note_id, position);
"""
_CREDIT_NOTE_SEQUENCES = """
    CREATE TABLE credit_note_sequences (
        id VARCHAR(50) NOT NULL,
        environment_id VARCHAR(50) NOT NULL,
        last_value INTEGER NOT NULL,
        tenant_id VARCHAR(50) NOT NULL,
        CONSTRAINT pk_credit_note_sequences PRIMARY KEY (environment_id, id)
    );
"""
_SETTLEMENTS = """
    ALTER TABLE invoice_settlements ADD COLUMN unapplied_money_id VARCHAR(50);
    ALTER TABLE invoice_settlements DROP CONSTRAINT ck_invoice_settlements_kind_known;
    ALTER TABLE invoice_settlements ADD CONSTRAINT ck_invoice_settlements_kind_known
        CHECK (kind IN ('payment', 'manual', 'auto_complete', 'allocation'));
    ALTER TABLE invoice_settlements ADD CONSTRAINT ck_invoice_settlements_allocation_named
        CHECK ((kind = 'allocation') = (unapplied_money_id IS NOT NULL));
    DROP INDEX uq_invoice_settlements_other;
    CREATE UNIQUE INDEX uq_invoice_settlements_other ON invoice_settlements (environment_id, invoice_id)
        WHERE kind IN ('manual', 'auto_complete');
    CREATE INDEX ix_invoice_settlements_unapplied_money ON invoice_settlements (environment_id, unapplied_money_id)
        WHERE kind = 'allocation';
"""
_MONEY_WITHOUT_INVOICE = """
    INSERT INTO unapplied_money (id, tenant_id, environment_id, customer_id, currency, source, payment_id, amount,
        allocated, withdrawn, for_next_invoice, status, created_at, updated_at, created_by, updated_by)
    SELECT 'unapplied_' || substr(payments.id, 5), payments.tenant_id, payments.environment_id, destination_id,
        payments.currency, 'PAYMENT', payments.id, amount, 0,
        CASE payment_status WHEN 'REFUNDED' THEN amount ELSE least(refunded_amount, amount) END,
        false, 'published', coalesce(succeeded_at, payments.created_at), payments.updated_at, '', ''
    FROM payments
    WHERE destination_type = 'CUSTOMER'
    AND payment_status IN ('SUCCEEDED', 'OVERPAID', 'PARTIALLY_REFUNDED', 'REFUNDED')
"""
_MONEY_TO_SEND_BACK = """
    INSERT INTO refunds (id, tenant_id, environment_id, customer_id, invoice_id, payment_id, payment_gateway,
        gateway_idempotency_token, gateway_metadata, amount, settled_amount, currency, refund_status, refund_reason,
        refund_destination, attempt, idempotency_key, metadata, initiated_at, status, created_at, updated_at,
        created_by, updated_by)
    SELECT 'refund_' || substr(payments.id, 5), payments.tenant_id, payments.environment_id, invoices.customer_id,
        invoices.id, payments.id, payment_gateway, payments.id || '/return', '{}', amount - payments.refunded_amount, 0,
        payments.currency, 'PENDING', 'OTHER', 'GATEWAY', 1, payments.id || '/return', '{}', payments.updated_at,
        'published', payments.updated_at, payments.updated_at, '', ''
    FROM payments JOIN invoices ON invoices.id = destination_id
    WHERE return_due AND payment_gateway IS NOT NULL AND amount > payments.refunded_amount
"""
_RETURN_DUE = """
    DROP INDEX ix_payments_loose_ends;
    ALTER TABLE payments DROP COLUMN return_due;
    CREATE INDEX ix_payments_loose_ends ON payments (environment_id, id) WHERE withdrawal_due;
"""


def upgrade() -> None:
    for statements in (_REFUNDS, _UNAPPLIED_MONEY, _CREDIT_NOTES, _CREDIT_NOTE_LINE_ITEMS, _CREDIT_NOTE_SEQUENCES):
        op.execute(statements)
    op.execute(_SETTLEMENTS)
    op.execute(_MONEY_WITHOUT_INVOICE)
    op.execute(_MONEY_TO_SEND_BACK)
    op.execute(_RETURN_DUE)
    scope = "environment_id = current_setting('farthing.environment_id', true)"
    for table in ("refunds", "unapplied_money", "credit_notes", "credit_note_line_items", "credit_note_sequences"):
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY scope ON {table} USING ({scope}) WITH CHECK ({scope})")
