"""Indexes: forgetting withdrawn events in order of time, and finding out whether a tax rate was charged."""

from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    op.create_index("ix_events_withdrawn_timestamp", "events_withdrawn", ["environment_id", "timestamp"])
    op.create_index("ix_taxes_applied_tax_rate", "taxes_applied", ["environment_id", "tax_rate_id"])
