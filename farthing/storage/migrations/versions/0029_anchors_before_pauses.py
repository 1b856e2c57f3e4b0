"""A pause keeps the anchor that it moved, for the periods before it.

Until now the anchor moved by the length of a pause, so the former one is what is left of it without that pause and
all later ones.
"""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"

_TABLES = ("subscriptions", "subscription_pauses")
_FILL = """
    UPDATE subscription_pauses AS pause
    SET original_billing_anchor = subscription.billing_anchor - CASE subscription.billing_cycle
        WHEN 'anniversary' THEN coalesce(
            (
                SELECT sum(later.resumed_at - later.pause_start) FROM subscription_pauses AS later
                WHERE later.environment_id = pause.environment_id AND later.subscription_id = pause.subscription_id
                    AND later.pause_start >= pause.pause_start AND later.resumed_at IS NOT NULL
            ),
            interval '0'
        )
        ELSE interval '0' END
    FROM subscriptions AS subscription
    WHERE subscription.environment_id = pause.environment_id AND subscription.id = pause.subscription_id
"""


def upgrade() -> None:
    op.add_column("subscription_pauses", sa.Column("original_billing_anchor", sa.DateTime(timezone=True)))
    for table in _TABLES:
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    op.execute(_FILL)
    for table in _TABLES:
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.alter_column("subscription_pauses", "original_billing_anchor", nullable=False)
