"""Notes of staff about customers and invoices, and files beside them."""

from alembic import op

revision = "0056"
down_revision = "0055"

_HERE = "environment_id = current_setting('farthing.environment_id', true)"
_ABOUT = """
        entity_type VARCHAR(40) NOT NULL,
        entity_id VARCHAR(50) NOT NULL,
        customer_id VARCHAR(50) NOT NULL,
        author_id VARCHAR(50) NOT NULL,
        author_name VARCHAR(320) NOT NULL,
        idempotency_key VARCHAR(50) NOT NULL,
        tenant_id VARCHAR(50) NOT NULL,
        environment_id VARCHAR(50) NOT NULL,
        status VARCHAR(40) NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE NOT NULL,
        updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
        created_by VARCHAR(50) NOT NULL,
        updated_by VARCHAR(50) NOT NULL,
        id VARCHAR(50) NOT NULL,
"""


def upgrade() -> None:
    op.execute(f"""
        CREATE TABLE internal_notes (
            body TEXT NOT NULL,
            {_ABOUT}
            CONSTRAINT pk_internal_notes PRIMARY KEY (id),
            CONSTRAINT fk_internal_notes_customer_id FOREIGN KEY(customer_id) REFERENCES customers (id),
            CONSTRAINT ck_internal_notes_body_written CHECK (body <> ''),
            CONSTRAINT ck_internal_notes_entity_type_known CHECK (entity_type IN ('customer', 'invoice')),
            CONSTRAINT ck_internal_notes_status_known CHECK (status IN ('published', 'archived', 'deleted'))
        );
        CREATE UNIQUE INDEX uq_internal_notes_idempotency_key ON internal_notes (environment_id, idempotency_key);
        CREATE INDEX ix_internal_notes_entity ON internal_notes (environment_id, entity_id, created_at, id);
        CREATE TABLE attachments (
            file_name VARCHAR(255) NOT NULL,
            media_type VARCHAR(99) NOT NULL,
            size_bytes BIGINT NOT NULL,
            sha256 VARCHAR(64) NOT NULL,
            {_ABOUT}
            CONSTRAINT pk_attachments PRIMARY KEY (id),
            CONSTRAINT fk_attachments_customer_id FOREIGN KEY(customer_id) REFERENCES customers (id),
            CONSTRAINT ck_attachments_size_positive CHECK (size_bytes > 0),
            CONSTRAINT ck_attachments_entity_type_known CHECK (entity_type IN ('customer', 'invoice')),
            CONSTRAINT ck_attachments_status_known CHECK (status IN ('published', 'archived', 'deleted'))
        );
        CREATE UNIQUE INDEX uq_attachments_idempotency_key ON attachments (environment_id, idempotency_key);
        CREATE INDEX ix_attachments_entity ON attachments (environment_id, entity_id, created_at, id);
        CREATE INDEX ix_attachments_customer ON attachments (environment_id, customer_id);
        CREATE TABLE attachment_contents (
            attachment_id VARCHAR(50) NOT NULL,
            content BYTEA NOT NULL,
            environment_id VARCHAR(50) NOT NULL,
            CONSTRAINT pk_attachment_contents PRIMARY KEY (attachment_id)
        );
    """)
    for table in ("internal_notes", "attachments", "attachment_contents"):
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY scope ON {table} USING ({_HERE}) WITH CHECK ({_HERE})")
