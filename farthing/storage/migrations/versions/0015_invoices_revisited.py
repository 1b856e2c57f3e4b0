"""When the billing run comes back to an invoice that is no draft, and the index that finds those.

NULL on what is older than this revision: it was collected and computed by the release before.
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.add_column("invoices", sa.Column("revisit_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_invoices_revisit",
        "invoices",
        ["environment_id", "revisit_at"],
        postgresql_where=sa.text("revisit_at IS NOT NULL"),
    )
