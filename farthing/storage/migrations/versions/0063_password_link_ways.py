"""Links to set a password that were mailed, apart from those that somebody handed out."""

import sqlalchemy as sa
from alembic import op

revision = "0063"
down_revision = "0062"


def upgrade() -> None:
    table = "password_links"
    op.add_column(table, sa.Column("way", sa.String(length=40), nullable=True))
    op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    # what is valid for an hour was mailed to whoever forgot a password; nothing else says how a link went
    op.execute(
        f"UPDATE {table} SET way = CASE WHEN expires_at - created_at <= interval '1 hour' THEN 'mailed' ELSE 'handed' END"
    )
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.alter_column(table, "way", nullable=False)
    op.create_check_constraint(op.f(f"ck_{table}_way_known"), table, "way IN ('mailed', 'handed')")
    op.drop_index("uq_password_links_user", table_name=table)
    op.create_index("uq_password_links_user_way", table, ["user_id", "way"], unique=True)
