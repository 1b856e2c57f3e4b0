"""The statements that put events into the store, change them there and take them out again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import text

from farthing.events.ingest.sequence import FIRST_SEQUENCE, PLACE

LOCK_SPACE = 7007
LOCK = f"{LOCK_SPACE}, hashtext(%s)"
CONFINE = (
    "SELECT set_config('farthing.tenant_id', $1, true), set_config('farthing.environment_id', $2, true), "
    f"pg_advisory_xact_lock_shared({LOCK_SPACE}, hashtext($2))"
)
RULES = """
    SELECT (SELECT version FROM meter_versions WHERE environment_id = $2),
        (SELECT value FROM settings WHERE tenant_id = $1 AND environment_id = $2 AND key = 'event_ingestion_filter'
            AND status = 'published'),
        ARRAY(SELECT id FROM event_store)
"""
"""The version of the meters, the ingestion filter, and what is said of where events are (see `stores.place`)."""

ARRIVALS = "%b::int[], %b::timestamptz[], %b::timestamptz[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::bigint[]"  # noqa: E501
COLUMNS = "timestamp, ingested_at, id, external_customer_id, event_name, customer_id, source, properties, sent_by"
MEASURED = "%b::int[], %b::text[], %b::numeric[], %b::text[], %b::text[]"
COUNT = """
    INSERT INTO meter_usage
        (sequence, timestamp, meter_id, external_customer_id, quantity, key, quantity_error, owner_sequence,
        environment_id)
    SELECT e.sequence, e.timestamp, m.meter_id, e.external_customer_id, m.quantity, m.key, m.error, e.owner_sequence,
        {environment}
"""
NOTICE = f"""
    INSERT INTO usage_notices (environment_id, sequence, arrived_at, external_customer_ids)
    SELECT {{environment}}, (SELECT {FIRST_SEQUENCE}), {{arrived_at}}, {{customers}}
"""
NOTICE_CHANGES = f"""
    {NOTICE.format(environment="%s", arrived_at="%s", customers="%s::text[]")}
    ON CONFLICT (environment_id, sequence)
        DO UPDATE SET external_customer_ids = usage_notices.external_customer_ids || EXCLUDED.external_customer_ids
"""
NOTICE_REMOVAL = text(
    f"""
    {NOTICE.format(environment=":environment", arrived_at=":arrived_at", customers="CAST(:customers AS text[])")}
    ON CONFLICT (environment_id, sequence)
        DO UPDATE SET external_customer_ids = usage_notices.external_customer_ids || EXCLUDED.external_customer_ids
    """
)
VOID = "SELECT event_id FROM event_versions WHERE environment_id = $1 AND blocks_id AND event_id = ANY($2::text[])"


_KINDS = ("int", "timestamptz", "timestamptz", "text", "text", "text", "text", "text", "text", "bigint")
_MEASURED_KINDS = ("int", "text", "numeric", "text", "text")
_MEASURED_COLUMNS = ("place", "meter_id", "quantity", "key", "error")
Rows = Callable[[Sequence[str], Sequence[str]], str]
"""SQL for rows of parameters, from these and the names of the columns."""
_AS_EXPECTED = """
    WHERE coalesce((SELECT version FROM meter_versions WHERE environment_id = $1), 0) = ${version}::bigint
        AND NOT EXISTS (
            SELECT FROM settings WHERE tenant_id = ${tenant}::text AND environment_id = $1
                AND key = 'event_ingestion_filter' AND status = 'published' AND value ->> 'enabled' = 'true'
        )
        AND NOT EXISTS (SELECT FROM event_store)
"""
"""What `RULES` would answer, as a condition: the meters are of this version, the filter is off, and events are here."""


def _insertion(rows: Rows, dimensions: str, order: str = "", *, conditional: bool = False) -> str:
    """The insertion of arrivals and what they count: $1 is the environment, and then come the columns of both, when the
    first of them came and whose they are; a conditional one takes the version of the meters and the tenant besides.

    What is stored on condition has ids that no other event has. To look for them anyway, and to mark each row while
    that is done, is a sixth of what PostgreSQL needs for an event; an id that is stored already fails the statement.
    """
    columns = [f"${number}::{kind}{dimensions}" for number, kind in enumerate((*_KINDS, *_MEASURED_KINDS), 2)]
    arrivals, measured = columns[: len(_KINDS)], columns[len(_KINDS) :]
    after = len(columns) + 2
    arrived_at, customers = f"${after}::timestamptz", f"${after + 1}::text[]"
    condition = _AS_EXPECTED.format(version=after + 2, tenant=after + 3) if conditional else ""
    return f"""
    WITH added AS (
        INSERT INTO events (sequence, environment_id, {COLUMNS})
        SELECT (SELECT {FIRST_SEQUENCE}) + place, $1::text, {COLUMNS.replace("properties", "properties::jsonb")}
        FROM {rows(arrivals, ("place", *COLUMNS.split(", ")))} AS a
        {condition or "ON CONFLICT (environment_id, id) DO NOTHING"}
        RETURNING {PLACE} AS place, sequence, timestamp, external_customer_id, owner_sequence
    ), counted AS (
        {COUNT.format(environment="$1::text")}
        FROM {rows(measured, _MEASURED_COLUMNS)} AS m JOIN added AS e USING (place) {order}
    ), noticed AS (
        {NOTICE.format(environment="$1::text", arrived_at=arrived_at, customers=customers)}
        WHERE EXISTS (SELECT FROM added)
    )
    SELECT array_agg(place) FROM added
    """


def _of_arrays(columns: Sequence[str], names: Sequence[str]) -> str:
    """The elements of arrays of one length as rows: read from the arrays as they are needed, where a function in FROM
    writes all of them down first.
    """
    return f"(SELECT {', '.join(f'unnest({column}) AS {name}' for column, name in zip(columns, names, strict=True))})"


def _of_values(columns: Sequence[str], names: Sequence[str]) -> str:
    return f"(SELECT {', '.join(f'{column} AS {name}' for column, name in zip(columns, names, strict=True))})"


_ORDER = "ORDER BY m.meter_id, e.external_customer_id"
"""That of the index of what is counted: a page of it that several rows of a batch enter is read once."""

INSERT = _insertion(_of_arrays, "[]", _ORDER)
INSERT_ONE = _insertion(_of_values, "")
"""Of one event that one meter counts: planning and running it costs less than with arrays of one."""
INSERT_IF = _insertion(_of_arrays, "[]", _ORDER, conditional=True)
INSERT_ONE_IF = _insertion(_of_values, "", conditional=True)
LOCK_STORED = """
    SELECT id, event_name, external_customer_id, timestamp, properties::text, source, customer_id, sequence,
        sent_by
    FROM events WHERE environment_id = %s AND id = ANY(%s) ORDER BY id COLLATE "C" FOR UPDATE
"""
UNCOUNT = """
    DELETE FROM meter_usage AS u
    USING unnest(%b::text[], %b::text[], %b::timestamptz[], %b::bigint[]) AS o (name, customer, timestamp, sequence),
        meters AS m
    WHERE m.environment_id = %b AND m.event_name = o.name
        AND u.environment_id = %b AND u.meter_id = m.id AND u.external_customer_id = o.customer
        AND u.timestamp = o.timestamp AND u.sequence = o.sequence
"""
REPLACE = f"""
    WITH replaced AS (
        UPDATE events AS e SET sequence = (SELECT {FIRST_SEQUENCE}) + a.place, timestamp = a.timestamp,
            ingested_at = a.ingested_at, external_customer_id = a.external_customer_id, event_name = a.event_name,
            customer_id = a.customer_id, source = a.source, properties = a.properties::jsonb,
            sent_by = a.sent_by,
            owner_sequence = CASE WHEN e.external_customer_id = a.external_customer_id
                THEN coalesce(e.owner_sequence, e.sequence) END
        FROM unnest({ARRIVALS}) AS a (place, {COLUMNS})
        WHERE e.environment_id = %b AND e.id = a.id
        RETURNING a.place, e.sequence, e.timestamp, e.external_customer_id, e.owner_sequence
    )
    {COUNT.format(environment="%b")}
    FROM unnest({MEASURED}) AS m (place, meter_id, quantity, key, error) JOIN replaced AS e USING (place)
"""
WITHDRAW = f"""
    INSERT INTO events_withdrawn (environment_id, external_customer_id, timestamp, sequence)
    SELECT %b, o.customer, o.timestamp, (SELECT {FIRST_SEQUENCE})
    FROM unnest(%b::text[], %b::timestamptz[]) AS o (customer, timestamp)
"""
REMOVE = f"""
    WITH removed AS (
        DELETE FROM events WHERE environment_id = :environment AND id = ANY(:ids)
        RETURNING environment_id, external_customer_id, timestamp
    )
    INSERT INTO events_withdrawn (environment_id, external_customer_id, timestamp, sequence)
    SELECT environment_id, external_customer_id, timestamp, (SELECT {FIRST_SEQUENCE})
    FROM removed
    RETURNING external_customer_id
"""
REMOVE_COUNTED = """
    DELETE FROM meter_usage AS u USING events AS e, meters AS m
    WHERE e.environment_id = :environment AND e.id = ANY(:ids)
        AND m.environment_id = e.environment_id AND m.event_name = e.event_name
        AND u.environment_id = e.environment_id AND u.meter_id = m.id
        AND u.external_customer_id = e.external_customer_id AND u.timestamp = e.timestamp AND u.sequence = e.sequence
"""
