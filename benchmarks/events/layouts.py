"""Two layouts of the event store in PostgreSQL: one table each, as it is, and partitioned by month (decision 28).

Partitioned, `events` has no unique key of its id any more, because such a key would have to hold the month; `event_ids`
promises it instead, by a digest of 16 bytes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from farthing.events.ingest import statements
from farthing.events.ingest.sequence import FIRST_SEQUENCE

MONTHS = 24


@dataclass(frozen=True, slots=True)
class Layout:
    """How events lie, in a database of its own; both insertions take the same parameters as those of ingest."""

    name: str
    database: str
    tables: str
    """What makes the tables of a new database these."""
    insert: str
    insert_one: str
    has_ids: bool


def month(number: int) -> datetime:
    """When the month `number` months from this one begins."""
    now = datetime.now(UTC)
    months = now.year * 12 + now.month - 1 + number
    return datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)


def partition(table: str, start: datetime) -> str:
    """The name of the partition that begins then."""
    return f"{table}_{start:%Y_%m}"


def layouts() -> Sequence[Layout]:
    """Both, each for a database that has the tables of this release."""
    return (
        Layout("one table", "farthing_whole", "", statements.INSERT, statements.INSERT_ONE, has_ids=False),
        Layout(
            "by month",
            "farthing_months",
            _IDS + _partitioned("events", _EVENT_INDEXES) + _partitioned("meter_usage", _USAGE_INDEXES),
            _claiming(statements.INSERT),
            _claiming(statements.INSERT_ONE),
            has_ids=True,
        ),
    )


DIGEST = "encode(substring(sha256(convert_to({environment} || ':' || id, 'UTF8')) FROM 1 FOR 16), 'hex')::uuid"
_IDS = "CREATE TABLE event_ids (key uuid PRIMARY KEY, timestamp timestamptz NOT NULL);"
_EVENT_INDEXES = """
    CREATE UNIQUE INDEX uq_events_id ON events (environment_id, timestamp, id);
    CREATE INDEX ix_events_customer ON events (environment_id, external_customer_id, timestamp);
"""
_USAGE_INDEXES = """
    CREATE UNIQUE INDEX uq_meter_usage
        ON meter_usage (environment_id, meter_id, external_customer_id, timestamp, sequence) INCLUDE (quantity, key);
"""
_HERE = "environment_id = current_setting('farthing.environment_id', true)"


def _partitioned(table: str, indexes: str) -> str:
    """The months that are filled, the next one, and what lies before and after."""
    first, last = month(1 - MONTHS), month(2)
    bounds = [(f"{table}_before", "MINVALUE", f"'{first}'"), (f"{table}_after", f"'{last}'", "MAXVALUE")]
    for number in range(1 - MONTHS, 2):
        start, end = month(number), month(number + 1)
        bounds.append((partition(table, start), f"'{start}'", f"'{end}'"))
    parts = "".join(
        f"CREATE TABLE {name} PARTITION OF {table} FOR VALUES FROM ({start}) TO ({end});" for name, start, end in bounds
    )
    return f"""
        ALTER TABLE {table} RENAME TO former;
        CREATE TABLE {table} (LIKE former INCLUDING DEFAULTS) PARTITION BY RANGE (timestamp);
        DROP TABLE former;
        {indexes}
        ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
        ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
        CREATE POLICY scope ON {table} USING ({_HERE}) WITH CHECK ({_HERE});
        {parts}
    """


def _claiming(insertion: str) -> str:
    """An insertion of ingest that takes an event's id first: whose was taken already is not inserted."""
    _, conflict, rest = insertion.partition("ON CONFLICT (environment_id, id) DO NOTHING")
    arrivals = re.search(r"FROM (\S.*) AS a \(place", insertion)
    if not conflict or arrivals is None:
        raise ValueError("ingest inserts in another way than this benchmark knows")
    columns = statements.COLUMNS
    return f"""
        WITH arrived AS MATERIALIZED (
            SELECT here.environment_id, {DIGEST.format(environment="here.environment_id")} AS key, a.*
            FROM (SELECT $1::text AS environment_id) AS here, {arrivals[1]} AS a (place, {columns})
        ), claimed AS (
            INSERT INTO event_ids (key, timestamp) SELECT key, timestamp FROM arrived
            ON CONFLICT DO NOTHING RETURNING key
        ), added AS (
            INSERT INTO events (sequence, environment_id, {columns})
            SELECT (SELECT {FIRST_SEQUENCE}) + place, environment_id,
                {columns.replace("properties", "properties::jsonb")}
            FROM arrived JOIN claimed USING (key)
        {rest}
    """


def evenly(count: int) -> tuple[datetime, timedelta]:
    """When the first of `count` events happens that fill all months up to now, and how far apart they are."""
    start = month(1 - MONTHS)
    return start, (datetime.now(UTC) - timedelta(minutes=1) - start) / count
