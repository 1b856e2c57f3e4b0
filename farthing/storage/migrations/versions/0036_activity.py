"""The outbox is the activity log: who did it, from where, what changed; and what no webhook tells of.

What was recorded until now keeps no actor. It is listed, with the customer that its payload names.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0036"
down_revision = "0035"

_TEXTS = {
    "customer_id": 50,
    "entity_label": 320,
    "actor_type": 20,
    "actor_id": 100,
    "actor_label": 320,
    "owner_id": 50,
    "source": 20,
    "request_id": 128,
    "ip": 64,
    "user_agent": 512,
}


def upgrade() -> None:
    op.add_column("system_events", sa.Column("is_echo", sa.Boolean(), server_default=sa.false(), nullable=False))
    for name, length in _TEXTS.items():
        op.add_column("system_events", sa.Column(name, sa.String(length)))
    for name in ("state", "changes"):
        op.add_column("system_events", sa.Column(name, JSONB()))
    op.alter_column("system_events", "payload", nullable=True)
    op.alter_column("system_events", "entity_id", type_=sa.String(255))  # usage events are named by their senders
    _name_customers()
    _index()
    _admit_tenants()
    _guard_facts()
    _forget()


def _name_customers() -> None:
    """Whose books the events of before touch: the payload says so, as its one object."""
    op.execute("ALTER TABLE system_events NO FORCE ROW LEVEL SECURITY")
    op.execute(
        """
        UPDATE system_events SET customer_id = left(CASE entity_type
            WHEN 'customer' THEN entity_id
            ELSE coalesce(payload -> entity_type ->> 'customer_id', payload -> 'transaction' ->> 'customer_id',
                payload ->> 'customer_id') END, 50)
        """
    )
    op.execute("ALTER TABLE system_events FORCE ROW LEVEL SECURITY")


def _index() -> None:
    op.drop_index("ix_system_events_entity", "system_events")
    by_age = ["created_at", "id"]
    op.create_index("ix_system_events_entity", "system_events", ["environment_id", "entity_id", *by_age])
    for name, column, condition in (
        ("customer", "customer_id", "customer_id IS NOT NULL"),
        ("actor", "actor_id", "actor_type <> 'system'"),
        ("owner", "owner_id", "owner_id IS NOT NULL"),
    ):
        columns = ["environment_id", column, *by_age]
        op.create_index(f"ix_system_events_{name}", "system_events", columns, postgresql_where=sa.text(condition))
    op.create_index(
        "ix_system_events_request",
        "system_events",
        ["environment_id", "request_id"],
        postgresql_where=sa.text("request_id IS NOT NULL"),
    )


def _admit_tenants() -> None:
    """What belongs to a tenant and no environment has the tenant's id for one; every environment of it may read that."""
    mine = (
        "environment_id = current_setting('farthing.environment_id', true) "
        "OR (environment_id = tenant_id AND current_setting('farthing.tenant_id', true) IN (tenant_id, '*'))"
    )
    op.execute("DROP POLICY scope ON system_events")
    op.execute(f"CREATE POLICY scope ON system_events USING ({mine}) WITH CHECK ({mine})")


def _guard_facts() -> None:
    """Rows are never changed, but for what delivery notes; and deleted by `forget_activities` alone."""
    op.execute(
        """
        CREATE FUNCTION system_event_facts_stay() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'DELETE' AND current_setting('farthing.forgets_activities', true) = 'yes' THEN
                RETURN OLD;
            END IF;
            RAISE EXCEPTION 'the activity log is append-only: % is refused', TG_OP
                USING ERRCODE = 'integrity_constraint_violation';
        END $$
        """
    )
    columns = "id, tenant_id, environment_id, event_name, entity_type, entity_id, payload, created_at, position, is_echo"
    op.execute(
        f"CREATE TRIGGER facts_stay BEFORE DELETE OR UPDATE OF {columns}, {', '.join(_TEXTS)}, state, changes "
        "ON system_events FOR EACH ROW EXECUTE FUNCTION system_event_facts_stay()"
    )


def _forget() -> None:
    """The one way to delete: whole months, at least a year old, and nothing that is on its way to an endpoint."""
    op.execute(
        """
        CREATE FUNCTION forget_activities(of_environment text, before timestamptz, most integer) RETURNS integer
        LANGUAGE plpgsql AS $$
        DECLARE forgotten integer;
        BEGIN
            IF before <> date_trunc('month', before, 'UTC') OR before > now() - interval '365 days' THEN
                RAISE EXCEPTION 'activities are forgotten in whole months, after a year at the earliest'
                    USING ERRCODE = 'invalid_parameter_value';
            END IF;
            PERFORM set_config('farthing.forgets_activities', 'yes', true);
            DELETE FROM system_events WHERE id IN (
                SELECT event.id FROM system_events AS event
                WHERE event.environment_id = of_environment AND event.created_at < before
                    AND NOT EXISTS (
                        SELECT FROM webhook_deliveries AS delivery
                        WHERE delivery.environment_id = of_environment AND delivery.event_id = event.id
                            AND delivery.state = 'pending'
                    )
                ORDER BY event.created_at, event.id LIMIT most
            );
            GET DIAGNOSTICS forgotten = ROW_COUNT;
            PERFORM set_config('farthing.forgets_activities', '', true);
            RETURN forgotten;
        END $$
        """
    )
