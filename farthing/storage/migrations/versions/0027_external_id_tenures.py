"""Who held which external id, from which number of the order of arrival to which: it decides whose an event is."""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"

_HERE = "environment_id = current_setting('farthing.environment_id', true)"
_TAKE = """
    CREATE FUNCTION take_external_id() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        former external_id_tenures;
        arrival bigint;
    BEGIN
        IF TG_OP = 'UPDATE' AND NEW.external_id = OLD.external_id THEN
            RETURN NULL;
        END IF;
        SELECT * INTO former FROM external_id_tenures
        WHERE environment_id = NEW.environment_id AND external_id = NEW.external_id AND until_sequence IS NULL
        FOR UPDATE;
        IF former.customer_id = NEW.id THEN
            RETURN NULL;
        END IF;
        -- where this transaction stands in the order of arrival, also before anything has arrived in a cluster that the
        -- database was restored into; never before the former owner came, whose transaction may have begun later
        SELECT greatest(
            (pg_current_xact_id()::text::bigint
                + ((moves + (cluster <> control.system_identifier)::int)::bigint << 40)) << 14,
            former.since_sequence
        ) INTO arrival
        FROM event_arrival, pg_control_system() AS control;
        UPDATE external_id_tenures SET until_sequence = arrival
        WHERE environment_id = NEW.environment_id AND external_id = NEW.external_id AND until_sequence IS NULL;
        INSERT INTO external_id_tenures (environment_id, external_id, customer_id, since_sequence, taken_sequence)
        VALUES (NEW.environment_id, NEW.external_id, NEW.id,
            CASE WHEN former.customer_id IS NULL THEN 0 ELSE arrival END, arrival);
        RETURN NULL;
    END $$
"""
# who holds an id now owns all that was sent under it so far; a former id stays with the customer that had it unless
# another holds it. Whoever had another id before is said to take all of them now: its invoices were computed without
# the former ones.
_FILL = """
    INSERT INTO external_id_tenures (environment_id, external_id, customer_id, since_sequence, taken_sequence)
    SELECT DISTINCT ON (environment_id, external_id) environment_id, external_id, id, 0,
        CASE WHEN jsonb_array_length(former_external_ids) = 0 THEN 0 ELSE (
            SELECT (pg_current_xact_id()::text::bigint + (moves::bigint << 40)) << 14 FROM event_arrival
        ) END
    FROM (
        SELECT environment_id, external_id, id, created_at, former_external_ids,
            CASE status WHEN 'published' THEN 0 ELSE 1 END AS rank
        FROM customers
        UNION ALL
        SELECT environment_id, former.external_id, id, created_at, former_external_ids, 2
        FROM customers, jsonb_array_elements_text(former_external_ids) AS former (external_id)
    ) AS holder
    ORDER BY environment_id, external_id, rank, created_at DESC, id
"""


def upgrade() -> None:
    op.create_table(
        "external_id_tenures",
        sa.Column("external_id", sa.String(length=255), nullable=False),
        sa.Column("customer_id", sa.String(length=50), nullable=False),
        sa.Column("since_sequence", sa.BigInteger(), nullable=False),
        sa.Column("until_sequence", sa.BigInteger(), nullable=True),
        sa.Column("taken_sequence", sa.BigInteger(), nullable=False),
        sa.Column("environment_id", sa.String(length=50), nullable=False),
    )
    op.execute("ALTER TABLE customers NO FORCE ROW LEVEL SECURITY")
    op.execute(_FILL)
    op.execute("ALTER TABLE customers FORCE ROW LEVEL SECURITY")
    op.create_index(
        "uq_external_id_tenures_owner",
        "external_id_tenures",
        ["environment_id", "external_id"],
        unique=True,
        postgresql_where=sa.text("until_sequence IS NULL"),
    )
    op.create_index("ix_external_id_tenures_external_id", "external_id_tenures", ["environment_id", "external_id"])
    op.create_index("ix_external_id_tenures_customer", "external_id_tenures", ["environment_id", "customer_id"])
    op.execute("ALTER TABLE external_id_tenures ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE external_id_tenures FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY scope ON external_id_tenures USING ({_HERE}) WITH CHECK ({_HERE})")
    op.execute(_TAKE)
    op.execute(
        "CREATE TRIGGER take_external_id AFTER INSERT OR UPDATE OF external_id ON customers "
        "FOR EACH ROW EXECUTE FUNCTION take_external_id()"
    )
    # null for what is stored already: no row is rewritten
    op.add_column("events", sa.Column("owner_sequence", sa.BigInteger(), nullable=True))
    op.add_column("meter_usage", sa.Column("owner_sequence", sa.BigInteger(), nullable=True))
