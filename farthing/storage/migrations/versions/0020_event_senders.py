"""Which credential sent an event, so that one that may only send cannot replace what another sent."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    # null for what is stored already: no row is rewritten
    op.add_column("events", sa.Column("sent_by", sa.BigInteger(), nullable=True))
