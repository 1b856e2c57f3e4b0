"""What a database holds, as its own catalogue says: tables, whose rows they are, sequences, foreign keys."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import psycopg

from farthing.backup import BackupFailed
from farthing.backup.manifest import SequenceValue
from farthing.storage.scope import ANY_TENANT

Connection = psycopg.Connection[tuple[Any, ...]]

_TABLES = """
    SELECT c.relname::text,
        ARRAY(SELECT attname::text FROM pg_attribute
              WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum),
        c.relforcerowsecurity,
        ARRAY(SELECT pg_get_expr(polqual, polrelid) FROM pg_policy WHERE polrelid = c.oid AND c.relrowsecurity)
    FROM pg_class c
    WHERE c.relnamespace = current_schema()::text::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
        AND c.relname <> 'alembic_version'
    ORDER BY c.relname
"""
_FOREIGN_KEYS = """
    SELECT r.relname::text, c.conname::text, pg_get_constraintdef(c.oid)
    FROM pg_constraint c JOIN pg_class r ON r.oid = c.conrelid
    WHERE c.contype = 'f' AND c.conparentid = 0 AND c.connamespace = current_schema()::text::regnamespace
    ORDER BY 1, 2
"""
_STRANGERS = """
    SELECT c.relname::text FROM pg_class c
    WHERE c.relnamespace = current_schema()::text::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
    ORDER BY 1
"""


class Visibility(Enum):
    """To whom row-level security shows the rows of a table."""

    EVERYBODY = auto()
    ANY_TENANT = auto()
    """To a scope of every tenant at once."""
    ENVIRONMENT = auto()
    """To a scope of one environment at a time."""


@dataclass(frozen=True, slots=True)
class TableShape:
    """A table as it is in the database; generated columns left out, for they make themselves."""

    name: str
    columns: list[str]
    forced: bool
    """Whether row-level security holds for the table's owner too."""
    visibility: Visibility


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key, and how it is made again."""

    table: str
    name: str
    definition: str


def tables(connection: Connection) -> list[TableShape]:
    """All tables but the migrations' own. Raises BackupFailed for a policy of another kind than ours."""
    return [
        TableShape(name, columns, forced, _visibility(name, policies))
        for name, columns, forced, policies in connection.execute(_TABLES)
    ]


def _visibility(table: str, policies: list[str]) -> Visibility:
    if not policies:
        return Visibility.EVERYBODY
    if all("'farthing.environment_id'" in policy for policy in policies):
        return Visibility.ENVIRONMENT
    if all("'farthing.tenant_id'" in policy and f"'{ANY_TENANT}'" in policy for policy in policies):
        return Visibility.ANY_TENANT
    # a scope that a backup cannot walk would be rows that are silently not in it
    raise BackupFailed(f"the table {table} has a policy of row-level security that a backup cannot follow: {policies}")


def sequences(connection: Connection) -> list[SequenceValue]:
    """All sequences, where they stand now. Raises BackupFailed for one that this role may not read."""
    query = (
        "SELECT sequencename::text, last_value, has_sequence_privilege(format('%I', sequencename), 'SELECT') "
        "FROM pg_sequences WHERE schemaname = current_schema() ORDER BY 1"
    )
    found = []
    for name, last_value, readable in connection.execute(query):
        if not readable:  # it would look as if it had never been used
            raise BackupFailed(f"this role may not read the sequence {name}; give it pg_read_all_data")
        found.append(SequenceValue(name, last_value))
    return found


def foreign_keys(connection: Connection) -> list[ForeignKey]:
    """All foreign keys."""
    return [ForeignKey(*row) for row in connection.execute(_FOREIGN_KEYS)]


def relations(connection: Connection) -> list[str]:
    """The names of all tables, views and sequences that no extension brought."""
    return [name for (name,) in connection.execute(_STRANGERS)]


def revision(connection: Connection) -> str | None:
    """The schema's revision; None for a database that Farthing never migrated."""
    if connection.execute("SELECT to_regclass('alembic_version')").fetchone() == (None,):
        return None
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return None if row is None else str(row[0])


def read_plainly(connection: Connection) -> None:
    """Have values written and read the same way on every server, and let a long transaction live."""
    connection.execute(
        "SELECT set_config('datestyle', 'ISO', true), set_config('intervalstyle', 'postgres', true), "
        "set_config('timezone', 'UTC', true), set_config('extra_float_digits', '3', true), "
        "set_config('client_encoding', 'UTF8', true)"
    )
    connection.execute(
        "SELECT set_config(name, '0', true) FROM pg_settings WHERE name IN "
        "('statement_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout')"
    )
