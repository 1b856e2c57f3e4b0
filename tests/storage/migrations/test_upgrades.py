"""Upgrades from every earlier revision: a database with rows of every kind in it loses and changes none of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from alembic.script import ScriptDirectory
from psycopg import sql
from psycopg.types.json import Jsonb
from sqlalchemy import Enum

import farthing.app  # noqa: F401 (every table)
from farthing.storage.migrations import configuration, state, upgrade
from farthing.storage.tables import Base

REWRITTEN: Mapping[str, Mapping[str, set[str]]] = {
    "0022": {"invoices": {"revisit_at"}},
    "0034": {"payments": {"return_due"}},
}
"""By revision and table: the columns that its migration drops or writes anew, which are then tested by hand."""

AT = datetime(2026, 2, 1, tzinfo=UTC)
# a row of the migrations' own, and rows that there are only one of
SKIPPED = {"alembic_version", "event_arrival", "event_store"}
BY_TYPE = {
    "numeric": 0,
    "boolean": False,
    "integer": 1,
    "smallint": 1,
    "bigint": 1,
    "jsonb": Jsonb({}),
    "bytea": b"\1",
    "text[]": [],
    "date": AT.date(),
}
BY_COLUMN: Mapping[str, object] = {
    # a later revision checks that columns of words hold words
    **{
        f"{table.name}.{column.name}": column.type.enums[0]
        for table in Base.metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, Enum)
    },
    **dict.fromkeys(("currency", "base_currency"), "usd"),
    "status": "published",
    "payments.amount": 5,
    "invoice_settlements.kind": "manual",
    "features.type": "boolean",
    "customers.former_external_ids": Jsonb([]),
    "subscription_pauses.pause_status": "active",
    "subscription_line_items.price_type": "FIXED",
    "prices.type": "FIXED",
    "price_units.conversion_rate": 2,
    "entitlements.aggregation_mode": "additive",
    "entitlement_grants.quota": 1,
    "entitlement_grants.valid_to": AT + timedelta(hours=1),
    "subscriptions.current_period_end": AT + timedelta(days=28),
    "subscriptions.overage_factor": 1,
    "subscription_line_items.commitment_overage_factor": 1,
    **dict.fromkeys(("conversion_rate", "topup_conversion_rate", "credit_balance", "balance", "last_seq"), 1),
    **dict.fromkeys(("credit_amount", "credit_balance_after", "seq", "credits"), 1),
    **dict.fromkeys(("total_amount", "net_amount"), 1),
    "credit_notes.tax_amount": 0,
    "credit_note_line_items.tax_amount": 0,
    "credit_note_line_items.amount": 1,
    "credit_note_line_items.taxes": Jsonb([]),
    "credit_notes.split_is_exact": False,
    "credit_notes.derived_key": False,
    **dict.fromkeys(("to_wallet", "to_source", "to_next_invoice"), 0),
    "refunds.amount": 1,
    "refunds.attempt": 1,
    "refunds.settled_amount": 0,
    "refunds.refund_status": "PENDING",
    "refunds.refund_destination": "WALLET",
    "checkout_sessions.amount": 1,
    "checkout_sessions.action": "pay_invoice",
    "checkout_sessions.checkout_status": "pending",
    "checkout_sessions.payment_provider": "stripe",
    "euro_reference_rates.units_per_euro": 1,
    "fx_rates.rate": 1,
    "tasks.processed_records": 2,
    "migrated_records.outcome": "left_out",
    "invoice_correction_lines.amount": 1,
    "invoice_correction_lines.net_amount": 0,
    "invoice_correction_lines.tax_amount": 0,
    "invoice_correction_lines.direction": "charge",
    "fx_rates.from_currency": "usd",
    "fx_rates.to_currency": "eur",
    "invoice_write_offs.amount": 1,
    "dunning_cases.retry_days": Jsonb([1]),
    "dunning_cases.retries_made": 0,
    "dunning_cases.case_status": "exhausted",
    "usage_records.period_end": AT + timedelta(hours=1),
    "usage_recordings.period_end": AT + timedelta(hours=1),
    "unapplied_money.amount": 1,
    "unapplied_money.allocated": 0,
    "unapplied_money.withdrawn": 0,
    "unapplied_money.source": "PAYMENT",
    "wallets.allowed_price_types": Jsonb([]),
    "wallet_transactions.transaction_status": "completed",
    "wallet_transactions.type": "credit",
    "wallet_transactions.credit_class": "purchased",
}
"""What a check constraint asks for, by column or by table and column."""
DISTINCT = {"master_keys.accepted_until"}
"""Columns that may be empty, in one row at most."""
FILLED = {
    "credit_grant_applications.next_attempt_at",
    "credit_grants.plan_id",
    "idempotent_responses.resume_point",
    "credit_notes.finalized_at",
    "dunning_cases.closed_at",
    "unapplied_money.payment_id",
    "wallet_transactions.credit_class",
    "wallet_transactions.seq",
    "wallet_transactions.topup_conversion_rate",
}
"""Columns that may be empty where another is not."""

_COLUMNS = """
    SELECT a.attname::text, format_type(a.atttypid, NULL), a.attnotnull AND NOT a.atthasdef AND a.attidentity = '',
        f.confrelid::regclass::text, coalesce((SELECT enumlabel::text FROM pg_enum e WHERE e.enumtypid = a.atttypid
                                               ORDER BY enumsortorder LIMIT 1), '')
    FROM pg_attribute a
    LEFT JOIN pg_constraint f ON f.conrelid = a.attrelid AND f.contype = 'f' AND f.conkey = ARRAY[a.attnum]
    WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
"""


def _tables(connection: psycopg.Connection[Any]) -> list[str]:
    query = "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
    return sorted(name for (name,) in connection.execute(query) if name not in SKIPPED)


def _add_row(connection: psycopg.Connection[Any], table: str, number: int) -> None:
    """A row that is as whole as its table demands; what it refers to is the row of the same number."""
    row: dict[str, object] = {}
    for column, kind, required, referred, label in connection.execute(_COLUMNS, [table]):
        if column == "id":
            row[column] = number if kind in {"bigint", "integer"} else f"{referred or table}_{number}"[:50]
        elif f"{table}.{column}" in DISTINCT:
            row[column] = AT + timedelta(days=number)
        elif not required and f"{table}.{column}" not in FILLED:
            continue
        elif referred is not None:
            row[column] = number if kind == "bigint" else f"{referred}_{number}"[:50]
        elif kind.startswith("timestamp"):
            row[column] = AT
        else:
            row[column] = label or BY_TYPE.get(kind, f"{number:02}")
        if column in row:
            row[column] = BY_COLUMN.get(f"{table}.{column}", BY_COLUMN.get(column, row[column]))
    statement = sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ({})").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join(sql.SQL("%s") for _ in row),
    )
    connection.execute(statement, list(row.values()))


def _rows(connection: psycopg.Connection[Any]) -> dict[str, list[dict[str, object]]]:
    """Every row of every table, by the table."""
    return {
        table: [
            row for (row,) in connection.execute(sql.SQL("SELECT to_jsonb(t) FROM {} t").format(sql.Identifier(table)))
        ]
        for table in _tables(connection)
    }


def _projected(rows: list[dict[str, object]], columns: set[str]) -> list[str]:
    return sorted(str(sorted((name, row.get(name, "gone")) for name in columns)) for row in rows)


def _validate_foreign_keys(connection: psycopg.Connection[Any]) -> None:
    """Make every foreign key anew, which the database only does when every row satisfies it."""
    query = (
        "SELECT conrelid::regclass::text, conname::text, pg_get_constraintdef(oid) "
        "FROM pg_constraint WHERE contype = 'f'"
    )
    for table, name, definition in connection.execute(query).fetchall():
        connection.execute(f'ALTER TABLE {table} DROP CONSTRAINT "{name}"'.encode())
        connection.execute(f'ALTER TABLE {table} ADD CONSTRAINT "{name}" {definition}'.encode())


@pytest.mark.slow
def test_an_upgrade_from_any_revision_keeps_every_row_of_every_kind(new_database: Callable[..., str]) -> None:
    url = new_database(migrated=False)
    scripts = ScriptDirectory.from_config(configuration(url))
    revisions = [script.revision for script in reversed(list(scripts.walk_revisions()))]
    before: dict[str, list[dict[str, object]]] = {}
    for number, revision in enumerate(revisions, 1):
        upgrade(url, revision)
        with psycopg.connect(url.replace("farthing@", "postgres@")) as connection:
            after = _rows(connection)
            for table, rows in before.items():
                columns = {name for row in rows for name in row} - REWRITTEN.get(revision, {}).get(table, set())
                assert _projected(after[table], columns) == _projected(rows, columns), f"{revision}: {table}"
            # rows as this release left them; triggers and foreign keys are seen to below
            connection.execute("SET LOCAL session_replication_role = replica")
            for table in _tables(connection):
                _add_row(connection, table, number)
            connection.execute("SET LOCAL session_replication_role = origin")
            before = _rows(connection)
    assert state(url) == (revisions[-1], revisions[-1])
    assert all(before.values()), "a kind of row is missing"
    assert len(before["customers"]) == len(revisions) - revisions.index("0003")
    with psycopg.connect(url.replace("farthing@", "postgres@")) as connection:
        _validate_foreign_keys(connection)
