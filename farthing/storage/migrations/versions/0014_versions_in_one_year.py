"""From where a line item's own longer periods are counted, when it is a later version of the one they began with.

NULL is the item's own start, as it was for every item before this revision.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.add_column("subscription_line_items", sa.Column("counted_from", sa.DateTime(timezone=True), nullable=True))
