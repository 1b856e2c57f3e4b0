"""Migrations: an empty database comes to what the tables say, a filled one keeps what it holds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from psycopg.rows import dict_row
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError

import farthing.migration.tables  # noqa: F401  # a table that no route needs
from farthing.storage import migrations
from farthing.storage.migrations import state, upgrade
from farthing.storage.postgres import dialect_url
from farthing.storage.tables import Base
from tests.application import routed_application

NEW: dict[str, Any] = {
    "awaits_checkout": False,
    "checkout_session_id": None,
    "written_off_at": None,
    "written_off_amount": None,
    "write_off_reason": None,
    "usage_watermark": None,
    "scale_arrears": False,
    "opening_credit": Decimal(0),
    "opening_credit_terms": [],
    "wallet_transaction_id": None,
    "auto_completed": False,
    "collect_at": None,
    "recompute_at": None,
    "reference_date": datetime(2026, 2, 1, tzinfo=UTC),
    "derives_due_date": False,
    "tax_exempt": False,
    "due_date_at_issue": None,
    "due_date_moved": False,
    "seller_version_id": None,
    "buyer_version_id": None,
    "charged_in": None,
    "fx_rate": None,
    "fx_rate_id": None,
    "fx_scope": None,
    "converted_at": None,
    "source_subtotal": None,
    "source_total_discount": None,
    "source_total_prepaid_credits_applied": None,
}
"""Columns of invoices that revisions after 0012 add, and what they hold of an invoice of before."""


def test_an_empty_database_comes_to_what_the_tables_say(new_database: Callable[..., str]) -> None:
    routed_application()  # every domain's tables are known once its endpoints are
    url = new_database(migrated=False)
    upgrade(url)
    current, wanted = state(url)
    assert current == wanted
    engine = create_engine(dialect_url(url))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_name": _of_ours})
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


def _of_ours(name: str | None, type_: str, _parents: object) -> bool:
    """The tables of the job queue are its own business, and so are those of the migrations."""
    return type_ != "table" or not str(name).startswith(("procrastinate", "alembic"))


def test_a_migration_that_waits_too_long_for_a_table_fails_and_can_be_run_again(
    new_database: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = new_database(migrated=False)
    monkeypatch.setattr(migrations, "LOCK_TIMEOUT_SECONDS", 0.1)
    with psycopg.connect(url) as holder:
        holder.execute("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
        holder.commit()
        holder.execute("LOCK TABLE alembic_version IN SHARE MODE")
        with pytest.raises(OperationalError, match="lock timeout"):
            upgrade(url, "0001")
    assert state(url)[0] is None
    upgrade(url, "0001")
    assert state(url)[0] == "0001"


def test_migrations_go_forward_only() -> None:
    versions = list(Path(migrations.__file__).with_name("versions").glob("[0-9]*.py"))
    assert len(versions) > 50
    assert [path.name for path in versions if "def downgrade" in path.read_text()] == []


def test_upgrading_twice_changes_nothing(new_database: Callable[..., str]) -> None:
    url = new_database()
    before = state(url)
    upgrade(url)
    assert state(url) == before


def test_invoices_of_before_late_usage_stay_what_they_are(new_database: Callable[..., str]) -> None:
    url = new_database(migrated=False)
    upgrade(url, "0012")
    with psycopg.connect(url, row_factory=dict_row) as connection:
        connection.execute(
            "SELECT set_config('farthing.tenant_id', 't', true), set_config('farthing.environment_id', 'e', true)"
        )
        for number, status in enumerate(("DRAFT", "FINALIZED", "SKIPPED"), 1):
            _put_invoice(connection, f"inv_{number}", status)
        connection.execute("SET LOCAL timezone TO 'UTC'")
        before = connection.execute("SELECT * FROM invoices ORDER BY id").fetchall()
    upgrade(url)
    with psycopg.connect(url, row_factory=dict_row) as connection:
        connection.execute("SELECT set_config('farthing.environment_id', 'e', true)")
        connection.execute("SET LOCAL timezone TO 'UTC'")
        after = connection.execute("SELECT * FROM invoices ORDER BY id").fetchall()
        totals = connection.execute("SELECT invoice_count, revenue FROM invoice_totals").fetchall()
    assert len(before) == 3
    assert [{name: row[name] for name in before[0]} for row in after] == before
    assert set(after[0]) - set(before[0]) == set(NEW)
    assert all(row[name] == NEW[name] for row in after for name in NEW)
    assert totals == [{"invoice_count": 1, "revenue": Decimal(10)}]


def _put_invoice(connection: psycopg.Connection[dict[str, object]], id: str, status: str) -> None:
    """An invoice of 10 usd as revision 0012 holds it, with its payer."""
    at = datetime(2026, 2, 1, tzinfo=UTC)
    _insert(
        connection,
        "customers",
        {"id": f"cust_{id}", "external_id": id, "name": id, "tax_treatment": "taxable"},
        at,
    )
    _insert(
        connection,
        "invoices",
        {
            "id": id,
            "customer_id": f"cust_{id}",
            "currency": "usd",
            "invoice_type": "SUBSCRIPTION",
            "invoice_status": status,
            "payment_status": "PENDING",
            "billing_reason": "SUBSCRIPTION_CYCLE",
            **dict.fromkeys(("subtotal", "total", "amount_due", "amount_remaining", "net_total"), 10),
            "invoice_number": f"INV-{id}" if status == "FINALIZED" else None,
            "finalized_at": at if status == "FINALIZED" else None,
            "period_end": at,
        },
        at,
    )


_ZEROS = {
    "numeric": 0,
    "boolean": False,
    "integer": 1,
    "text": "",
    "character varying": "",
    "jsonb": "{}",
}
"""What a column that must have a value and was given none holds, by its type."""


def _insert(
    connection: psycopg.Connection[dict[str, object]], table: str, given: dict[str, object], at: datetime
) -> None:
    """A row, as whole as the table of that revision demands."""
    row: dict[str, object] = {"tenant_id": "t", "environment_id": "e", "status": "published", **given}
    for column in connection.execute(
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = %s AND is_nullable = 'NO' "
        "AND is_generated = 'NEVER' AND column_default IS NULL AND table_schema = 'public'",
        (table,),
    ):
        kind = str(column["data_type"])
        row.setdefault(str(column["column_name"]), at if kind.startswith("timestamp") else _ZEROS.get(kind))
    names = ", ".join(row)
    values = ", ".join(["%s"] * len(row))
    connection.execute(f"INSERT INTO {table} ({names}) VALUES ({values})".encode(), list(row.values()))
