"""What documents say of seller and buyer is kept in versions, and finalized invoices name the versions they were made of.

Invoices that are final already name none: theirs are the first that are kept, which are those of today.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from farthing.storage.scope import row_level_security

revision = "0040"
down_revision = "0039"


def upgrade() -> None:
    op.add_column("customers", sa.Column("tax_id", sa.String(100)))
    # columns without a default, or with a constant one, rewrite no table of any size; the release before sets none of them
    op.add_column("invoices", sa.Column("due_date_at_issue", sa.DateTime(timezone=True)))
    op.add_column("invoices", sa.Column("due_date_moved", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("invoices", sa.Column("seller_version_id", sa.String(50)))
    op.add_column("invoices", sa.Column("buyer_version_id", sa.String(50)))
    op.add_column("invoice_line_items", sa.Column("unit_code", sa.String(3)))
    op.create_table(
        "party_versions",
        sa.Column("party_id", sa.String(50), nullable=False),
        sa.Column("terms", JSONB, nullable=False),
        sa.Column("tenant_id", sa.String(50), nullable=False),
        sa.Column("environment_id", sa.String(50), nullable=False),
        sa.Column("id", sa.String(50), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_party_versions")),
    )
    for table in _READ:
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    op.execute(_SELLERS)
    op.execute(_BUYERS)
    for table in _READ:
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.create_index("ix_party_versions_party", "party_versions", ["environment_id", "party_id", "id"])
    for statement in row_level_security("party_versions", "environment_id"):
        op.execute(statement)


_READ = ("settings", "customers", "invoices")

# ids that sort before all that are made from now on

_SELLERS = """
    INSERT INTO party_versions (id, tenant_id, environment_id, party_id, terms)
    SELECT 'party_00' || upper(left(md5(environment_id || '/seller'), 24)), tenant_id, environment_id, 'seller',
           jsonb_build_object('timezone', value ->> 'timezone')
    FROM settings
    WHERE key = 'invoice_config' AND status = 'published' AND environment_id <> '' AND value ->> 'timezone' <> ''
"""

_BUYERS = """
    INSERT INTO party_versions (id, tenant_id, environment_id, party_id, terms)
    SELECT 'party_00' || upper(left(md5(environment_id || '/' || id), 24)), tenant_id, environment_id, id,
           jsonb_strip_nulls(jsonb_build_object(
               'name', nullif(name, ''), 'email', nullif(email, ''),
               'address_line1', nullif(address_line1, ''), 'address_line2', nullif(address_line2, ''),
               'address_city', nullif(address_city, ''), 'address_state', nullif(address_state, ''),
               'address_postal_code', nullif(address_postal_code, ''),
               'address_country', nullif(address_country, ''), 'timezone', nullif(timezone, ''),
               'tax_id', nullif(metadata ->> 'tax_id', ''),
               'buyer_reference', nullif(metadata ->> 'buyer_reference', ''),
               'order_reference', nullif(metadata ->> 'order_reference', ''),
               'electronic_address_scheme', nullif(metadata ->> 'electronic_address_scheme', ''),
               'electronic_address_id', nullif(metadata ->> 'electronic_address_id', '')
           ))
    FROM customers
    WHERE id IN (SELECT customer_id FROM invoices WHERE finalized_at IS NOT NULL)
"""
