"""What a correction takes back of a commitment over several periods: later invoices count it as not used."""

import sqlalchemy as sa
from alembic import op

revision = "0062"
down_revision = "0061"


def upgrade() -> None:
    table = "invoice_correction_lines"
    # what was made before took nothing back of such a commitment: that was refused
    op.add_column(table, sa.Column("commitment_base", sa.Numeric(), nullable=True))
    op.create_check_constraint(
        op.f(f"ck_{table}_used_when_taken_back"), table, "direction = 'credit' OR commitment_base IS NULL"
    )
