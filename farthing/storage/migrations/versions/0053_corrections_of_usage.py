"""Corrections of usage: what events were before they were voided, amended or deleted."""

from alembic import op

revision = "0053"
down_revision = "0045"

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


def upgrade() -> None:
    op.execute(_EVENT_VERSIONS)
    _confine("event_versions")


def _confine(table: str) -> None:
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY scope ON {table} USING ({_HERE}) WITH CHECK ({_HERE})")
