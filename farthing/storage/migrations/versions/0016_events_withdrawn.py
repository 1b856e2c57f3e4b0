"""Where events stood that were deleted or moved, so that an invoice's usage can be told to have changed since."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

_HERE = "environment_id = current_setting('farthing.environment_id', true)"


def upgrade() -> None:
    op.create_table(
        "events_withdrawn",
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("timestamp", sa.DateTime(timezone=True), nullable=False),
        sa.Column("external_customer_id", sa.String(length=255), nullable=False),
        sa.Column("environment_id", sa.String(length=50), nullable=False),
    )
    op.create_index(
        "ix_events_withdrawn_customer", "events_withdrawn", ["environment_id", "external_customer_id", "timestamp"]
    )
    op.execute("ALTER TABLE events_withdrawn ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE events_withdrawn FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY scope ON events_withdrawn USING ({_HERE}) WITH CHECK ({_HERE})")
