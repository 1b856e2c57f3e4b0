"""What late usage is told by: up to where an invoice's usage was read, and from when on a meter measures as it does.

Both are places in the order of acceptance of events. NULL on what is older than this revision: its late usage is
reported, and never charged.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.add_column("invoices", sa.Column("usage_watermark", sa.BigInteger(), nullable=True))
    op.add_column("meter_backfills", sa.Column("finished_sequence", sa.BigInteger(), nullable=True))
