"""Books that are taken over from another system: what became of each record, and from when a subscription is billed."""

from alembic import op

revision = "0055"
down_revision = "0053"

_HERE = "environment_id = current_setting('farthing.environment_id', true)"
_MIGRATIONS = """
    CREATE TABLE migrations (
        id VARCHAR(50) NOT NULL,
        tenant_id VARCHAR(50) NOT NULL,
        environment_id VARCHAR(50) NOT NULL,
        source_url VARCHAR(2000) NOT NULL,
        started_at TIMESTAMP WITH TIME ZONE NOT NULL,
        completed_at TIMESTAMP WITH TIME ZONE,
        CONSTRAINT pk_migrations PRIMARY KEY (id)
    );
    CREATE UNIQUE INDEX uq_migrations_environment ON migrations (environment_id);
    CREATE TABLE migrated_records (
        environment_id VARCHAR(50) NOT NULL,
        kind VARCHAR(40) NOT NULL,
        source_id VARCHAR(99) NOT NULL,
        target_id VARCHAR(50),
        name VARCHAR(255) NOT NULL,
        outcome VARCHAR(40) NOT NULL,
        problems JSONB NOT NULL,
        recorded_at TIMESTAMP WITH TIME ZONE NOT NULL,
        CONSTRAINT pk_migrated_records PRIMARY KEY (environment_id, kind, source_id),
        CONSTRAINT ck_migrated_records_outcome_known
            CHECK (outcome IN ('carried', 'carried_in_part', 'left_out', 'failed')),
        CONSTRAINT ck_migrated_records_carried_has_target
            CHECK ((outcome IN ('carried', 'carried_in_part')) = (target_id IS NOT NULL))
    );
"""


def upgrade() -> None:
    op.execute("ALTER TABLE subscriptions ADD COLUMN billed_from TIMESTAMP WITH TIME ZONE")
    op.execute(
        "ALTER TABLE subscriptions ADD CONSTRAINT ck_subscriptions_billed_from "
        "CHECK (billed_from BETWEEN start_date AND current_period_start)"
    )
    op.execute(_MIGRATIONS)
    for table in ("migrations", "migrated_records"):
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY scope ON {table} USING ({_HERE}) WITH CHECK ({_HERE})")
