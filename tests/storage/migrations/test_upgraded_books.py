"""Books that are undone to each earlier revision and upgraded from there: the doctor finds no difference in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from alembic.script import ScriptDirectory
from psycopg import sql

from farthing.doctor.examination import audit
from farthing.storage.migrations import configuration, state, upgrade
from farthing.storage.postgres import Database
from farthing.wiring import wire
from tests.account import Account
from tests.billing.office import Office
from tests.billing.proof.half_a_year import make_half_a_year
from tests.conftest import running, settings_for
from tests.credits.notes.notebook import Notebook
from tests.storage.earlier import UNDOING, undo_after

GRANTS = "0035"
"""The oldest revision that kept all of what the tenant with credits has."""


async def _credits_of_every_kind(account: Account) -> None:
    """Wallets, what they paid, notes on paid and unpaid invoices, a grant, a webhook, an alert and a view."""
    notebook = Notebook(account)
    await notebook.till.connect()
    customer = await notebook.desk.customer()
    wallet = await account.post("/wallets", {"customer_id": customer, "currency": "usd"}, 200)
    top_up = {"credits_to_add": "30", "transaction_reason": "FREE_CREDIT_GRANT"}
    await account.post(f"/wallets/{wallet['id']}/top-up", top_up, 200)
    await account.post(f"/wallets/{wallet['id']}/top-up", top_up | {"transaction_reason": _PURCHASE}, 200)
    paid, unpaid = await notebook.till.invoice("100"), await notebook.till.invoice("80")
    await notebook.till.charge(paid)
    await notebook.credit(paid, "60")
    await notebook.credit(paid, "10", refund_target="BACK_TO_SOURCE")
    await notebook.credit(unpaid, "20")
    plan = await account.post("/plans", {"name": "Granting", "lookup_key": "granting"})
    grant = {"name": "Monthly", "scope": "PLAN", "plan_id": plan["id"], "credits": "5", "cadence": "ONETIME"}
    await account.post("/creditgrants", {**grant, "expiration_type": "NEVER", "priority": 1})
    endpoint = {"url": "https://example.com/hook", "enabled_events": ["invoice.update.finalized"]}
    await account.post("/webhooks/endpoints", endpoint)


_PURCHASE = "PURCHASED_CREDIT_INVOICED"


def _delete_tenant(connection: psycopg.Connection[Any], tenant_id: str, environment_id: str) -> None:
    """Remove every row of a tenant, as if it had never been there."""
    connection.execute("SET session_replication_role = replica")
    columns = connection.execute(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' "
        "AND column_name IN ('tenant_id', 'environment_id') "
        "AND table_name IN (SELECT tablename FROM pg_tables WHERE schemaname = 'public')"
    ).fetchall()
    for table, column in [*columns, ("tenants", "id")]:
        statement = sql.SQL("DELETE FROM {} WHERE {} = %s").format(sql.Identifier(table), sql.Identifier(column))
        connection.execute(statement, [environment_id if column == "environment_id" else tenant_id])
    connection.execute("SET session_replication_role = origin")


async def _differences(url: str) -> list[Any]:
    database = Database(url, wire())
    try:
        return list((await audit(database)).differences)
    finally:
        await database.close()


@pytest.mark.slow
async def test_the_doctor_finds_no_difference_after_an_upgrade_from_any_revision(
    new_database: Callable[..., str],
) -> None:
    url = new_database()
    database, settings = Database(url, wire()), settings_for(url)
    try:
        async with running(settings, database) as base_url:
            async with Account(base_url, settings, database) as account:
                await make_half_a_year(Office(account))
            async with Account(base_url, settings, database) as with_credits:
                await _credits_of_every_kind(with_credits)
    finally:
        await database.close()
    assert await _differences(url) == []
    scripts = ScriptDirectory.from_config(configuration(url))
    for later in UNDOING:
        revision = scripts.get_revision(later).down_revision
        assert isinstance(revision, str)
        with psycopg.connect(url.replace("farthing@", "postgres@"), autocommit=True) as connection:
            if revision < GRANTS:
                _delete_tenant(connection, with_credits.tenant_id, with_credits.environment_id)
        with psycopg.connect(url) as connection:
            connection.execute(undo_after(revision))
        assert state(url)[0] == revision
        upgrade(url)
        assert await _differences(url) == [], f"upgraded from {revision}"
