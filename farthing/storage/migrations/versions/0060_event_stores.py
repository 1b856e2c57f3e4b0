"""Where events are stored, and writes to a store elsewhere that may not have reached it whole."""

from alembic import op

revision = "0060"
down_revision = "0059"

_HERE = "environment_id = current_setting('farthing.environment_id', true)"
_STATEMENTS = (
    """CREATE TABLE pending_event_writes (
        environment_id VARCHAR(50) NOT NULL,
        sequence BIGINT NOT NULL,
        content BYTEA NOT NULL,
        CONSTRAINT pk_pending_event_writes PRIMARY KEY (environment_id, sequence)
    )""",
    "ALTER TABLE pending_event_writes ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE pending_event_writes FORCE ROW LEVEL SECURITY",
    f"CREATE POLICY scope ON pending_event_writes USING ({_HERE}) WITH CHECK ({_HERE})",
    """CREATE TABLE event_store (
        id VARCHAR(10) NOT NULL,
        address TEXT NOT NULL,
        token VARCHAR(40) NOT NULL,
        reached TEXT DEFAULT '' NOT NULL,
        CONSTRAINT pk_event_store PRIMARY KEY (id)
    )""",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
