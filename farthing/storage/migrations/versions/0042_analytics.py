"""Views of analytics, and the indexes that reports are read by."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0042"
down_revision = "0041"


def upgrade() -> None:
    op.create_table(
        "analytics_views",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("family", sa.String(length=40), nullable=False),
        sa.Column("definition", JSONB(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(length=50), nullable=False),
        sa.Column("tenant_id", sa.String(length=50), nullable=False),
        sa.Column("environment_id", sa.String(length=50), nullable=False),
        sa.Column("status", sa.String(length=40), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(length=50), nullable=False),
        sa.Column("updated_by", sa.String(length=50), nullable=False),
        sa.CheckConstraint("version >= 1 AND name <> ''", name=op.f("ck_analytics_views_edited_from_one_on")),
        sa.CheckConstraint(
            "family IN ('usage', 'billing', 'report')", name=op.f("ck_analytics_views_family_known")
        ),
        sa.CheckConstraint(
            "status IN ('published', 'archived', 'deleted')", name=op.f("ck_analytics_views_status_known")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_analytics_views")),
    )
    op.create_index("uq_analytics_views_name", "analytics_views", ["environment_id", "name"], unique=True)
    scope = "environment_id = current_setting('farthing.environment_id', true)"
    op.execute("ALTER TABLE analytics_views ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE analytics_views FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY scope ON analytics_views USING ({scope}) WITH CHECK ({scope})")
