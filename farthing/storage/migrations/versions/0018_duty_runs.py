"""The journal answers at once when a duty last ran and last succeeded, however long the journal is."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.drop_index("ix_job_runs_name", table_name="job_runs")
    op.create_index("ix_job_runs_started", "job_runs", ["name", "started_at"])
    op.create_index(
        "ix_job_runs_succeeded",
        "job_runs",
        ["name", "finished_at"],
        postgresql_where=sa.text("finished_at IS NOT NULL AND error IS NULL"),
    )
    # errors of before may hold what belongs into the log alone
    op.execute("UPDATE job_runs SET error = 'an internal error; the log says more' WHERE error IS NOT NULL")
