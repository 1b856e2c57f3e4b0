"""The job queue's own tables, functions and triggers."""

from alembic import op
from procrastinate.schema import SchemaManager

revision = "0001"
down_revision = None


def upgrade() -> None:
    connection = op.get_bind()
    # the schema holds % and : that neither driver nor SQLAlchemy may read as placeholders
    connection.connection.cursor().execute(SchemaManager.get_schema())
