"""A key without an answer says where a repeat goes on; payments know by real time when they succeeded."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.alter_column("idempotent_responses", "status_code", existing_type=sa.SmallInteger(), nullable=True)
    op.alter_column("idempotent_responses", "body", existing_type=sa.LargeBinary(), nullable=True)
    op.add_column("idempotent_responses", sa.Column("resume_point", sa.LargeBinary(), nullable=True))
    op.create_check_constraint(
        op.f("ck_idempotent_responses_answer_whole"),
        "idempotent_responses",
        "(status_code IS NULL) = (body IS NULL)",
    )
    op.create_check_constraint(
        op.f("ck_idempotent_responses_answered_or_resumable"),
        "idempotent_responses",
        "status_code IS NOT NULL OR resume_point IS NOT NULL",
    )
    # what succeeded before the upgrade did so more than a minute ago: nothing has to be filled in
    op.add_column("payments", sa.Column("success_recorded_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("payments", sa.Column("invoice_version", sa.Integer(), nullable=True))
    op.add_column("subscriptions", sa.Column("request_token", sa.String(length=64), nullable=True))
