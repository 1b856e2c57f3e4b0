"""Corrections of usage: what events were before they were changed, and what invoices took back or charge for it."""

from alembic import op

revision = "0053"
down_revision = "0051"

_HERE = "environment_id = current_setting('farthing.environment_id', true)"
_EVENT_VERSIONS = """
    CREATE TABLE event_versions (
        event_id VARCHAR(255) NOT NULL,
        sequence BIGINT NOT NULL,
        change VARCHAR(40) NOT NULL,
        blocks_id BOOLEAN NOT NULL,
        reason TEXT NOT NULL,
        changed_at TIMESTAMP WITH TIME ZONE NOT NULL,
        actor_type VARCHAR(20) NOT NULL,
        actor_id VARCHAR(100) NOT NULL,
        actor_label VARCHAR(320) NOT NULL,
        former_sequence BIGINT NOT NULL,
        timestamp TIMESTAMP WITH TIME ZONE NOT NULL,
        ingested_at TIMESTAMP WITH TIME ZONE NOT NULL,
        external_customer_id VARCHAR(255) NOT NULL,
        event_name VARCHAR(255) NOT NULL,
        customer_id TEXT NOT NULL,
        source TEXT NOT NULL,
        properties JSONB NOT NULL,
        owner_sequence BIGINT,
        sent_by BIGINT,
        environment_id VARCHAR(50) NOT NULL,
        CONSTRAINT pk_event_versions PRIMARY KEY (environment_id, event_id, sequence),
        CONSTRAINT ck_event_versions_change_known CHECK (change IN ('voided', 'amended', 'deleted'))
    );
    CREATE UNIQUE INDEX uq_event_versions_void ON event_versions (environment_id, event_id) WHERE blocks_id;
    CREATE INDEX ix_event_versions_timestamp ON event_versions (environment_id, timestamp);
"""
_TRACKED = """
        tenant_id VARCHAR(50) NOT NULL,
        environment_id VARCHAR(50) NOT NULL,
        status VARCHAR(40) NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE NOT NULL,
        updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
        created_by VARCHAR(50) NOT NULL,
        updated_by VARCHAR(50) NOT NULL,
        id VARCHAR(50) NOT NULL,
"""
_CORRECTIONS = f"""
    CREATE TABLE invoice_corrections (
        invoice_id VARCHAR(50) NOT NULL,
        subscription_id VARCHAR(50) NOT NULL,
        customer_id VARCHAR(50) NOT NULL,
        currency VARCHAR(3) NOT NULL,
        resolution VARCHAR(40) NOT NULL,
        state_hash VARCHAR(64) NOT NULL,
        net_amount NUMERIC(24, 8) NOT NULL,
        tax_amount NUMERIC(24, 8) NOT NULL,
        {_TRACKED}
        CONSTRAINT pk_invoice_corrections PRIMARY KEY (id),
        CONSTRAINT fk_invoice_corrections_invoice_id FOREIGN KEY(invoice_id) REFERENCES invoices (id),
        CONSTRAINT ck_invoice_corrections_taken_back CHECK (net_amount >= 0 AND tax_amount >= 0),
        CONSTRAINT ck_invoice_corrections_currency_lower CHECK (currency = lower(currency) AND length(currency) = 3),
        CONSTRAINT ck_invoice_corrections_resolution_known CHECK (resolution IN ('credit_note', 'next_invoice')),
        CONSTRAINT ck_invoice_corrections_status_known CHECK (status IN ('published', 'archived', 'deleted'))
    );
    CREATE INDEX ix_invoice_corrections_invoice ON invoice_corrections (environment_id, invoice_id, created_at, id);
    CREATE TABLE invoice_correction_lines (
        correction_id VARCHAR(50) NOT NULL,
        invoice_id VARCHAR(50) NOT NULL,
        invoice_line_item_id VARCHAR(50) NOT NULL,
        usage_line_id VARCHAR(50) NOT NULL,
        subscription_id VARCHAR(50) NOT NULL,
        subscription_line_item_id VARCHAR(50) NOT NULL,
        period_start TIMESTAMP WITH TIME ZONE NOT NULL,
        direction VARCHAR(40) NOT NULL,
        amount NUMERIC(24, 8) NOT NULL,
        quantity NUMERIC(38, 15) NOT NULL,
        usage NUMERIC(38, 15) NOT NULL,
        net_amount NUMERIC(24, 8) NOT NULL,
        tax_amount NUMERIC(24, 8) NOT NULL,
        {_TRACKED}
        CONSTRAINT pk_invoice_correction_lines PRIMARY KEY (id),
        CONSTRAINT fk_invoice_correction_lines_correction_id FOREIGN KEY(correction_id)
            REFERENCES invoice_corrections (id),
        CONSTRAINT ck_invoice_correction_lines_sides
            CHECK (CASE direction WHEN 'credit' THEN amount < 0 AND net_amount >= 0 AND tax_amount >= 0
                ELSE amount > 0 AND net_amount = 0 AND tax_amount = 0 END),
        CONSTRAINT ck_invoice_correction_lines_direction_known CHECK (direction IN ('credit', 'charge')),
        CONSTRAINT ck_invoice_correction_lines_status_known CHECK (status IN ('published', 'archived', 'deleted'))
    );
    CREATE INDEX ix_invoice_correction_lines_correction ON invoice_correction_lines (correction_id);
    CREATE INDEX ix_invoice_correction_lines_item ON invoice_correction_lines
        (environment_id, subscription_line_item_id, period_start);
    CREATE INDEX ix_invoice_correction_lines_charged ON invoice_correction_lines (environment_id, subscription_id)
        WHERE direction = 'charge';
"""


def upgrade() -> None:
    op.execute(_EVENT_VERSIONS)
    op.execute(_CORRECTIONS)
    op.execute("ALTER TABLE credit_notes ADD COLUMN correction_id VARCHAR(50)")
    op.execute(
        "CREATE INDEX ix_credit_notes_correction ON credit_notes (environment_id, correction_id) "
        "WHERE correction_id IS NOT NULL"
    )
    for table in ("event_versions", "invoice_corrections", "invoice_correction_lines"):
        _confine(table)


def _confine(table: str) -> None:
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY scope ON {table} USING ({_HERE}) WITH CHECK ({_HERE})")
