"""Row-level security: no query can forget whose rows it may see."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from farthing.storage.migrations import state
from farthing.storage.postgres import Database, UnsafeDatabase
from farthing.storage.tables import Base, owner_column
from farthing.wiring import wire
from tests.account import Account
from tests.storage.all_tables import load_all_tables


async def test_every_table_with_an_owner_is_confined_for_its_owner_too(database: Database) -> None:
    load_all_tables()
    async with database.engine.connect() as connection:
        rows = await connection.execute(
            text(
                "SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity, count(p.polname) "
                "FROM pg_class c LEFT JOIN pg_policy p ON p.polrelid = c.oid "
                "WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') GROUP BY 1, 2"
            )
        )
        found = {name: (forced, policies) for name, forced, policies in rows}
    owned = [name for name in Base.metadata.tables if owner_column(name) is not None]
    assert len(owned) > 10
    assert {name: found[name] for name in owned} == dict.fromkeys(owned, (True, 1))


async def test_only_the_job_queue_and_its_journal_belong_to_nobody(database: Database) -> None:
    load_all_tables()
    unowned = {name for name in Base.metadata.tables if owner_column(name) is None}
    # counts of runs, the clock of arrivals, where events are, fingerprints of master keys, counts by hashes of emails
    assert unowned <= {"job_runs", "event_arrival", "event_store", "master_keys", "sign_in_attempts"}


async def test_a_select_without_a_scope_gets_no_rows(account: Account) -> None:
    await account.post("/customers", {"external_id": "acme", "name": "Acme"})
    async with account.database.engine.connect() as connection:
        for table in ("customers", "environments", "users", "secrets", "tenants", "system_events"):
            assert (await connection.execute(text(f"SELECT * FROM {table}"))).all() == [], table


async def test_a_row_of_another_scope_cannot_be_written(account: Account, stranger: Account) -> None:
    statement = text(
        "INSERT INTO idempotent_responses (id, tenant_id, environment_id, fingerprint, status_code, body, created_at) "
        "VALUES ('x', :tenant, '', '', 200, '', now())"
    )
    with pytest.raises(ProgrammingError, match="row-level security"):
        async with account.transaction() as session:
            await session.execute(statement, {"tenant": stranger.tenant_id})


async def test_a_read_only_session_is_refused_every_write(account: Account) -> None:
    with pytest.raises(Exception, match="read-only"):
        async with account.transaction(read_only=True) as session:
            await session.execute(text("DELETE FROM customers"))


@pytest.mark.parametrize("role", ["postgres", "looks_past"], ids=["a superuser", "one with BYPASSRLS"])
async def test_a_role_that_could_look_past_the_policies_is_refused(database_url: str, role: str) -> None:
    superuser = database_url.replace("farthing@", "postgres@")
    if role != "postgres":
        with psycopg.connect(superuser, autocommit=True) as connection, suppress(psycopg.errors.DuplicateObject):
            connection.execute("CREATE ROLE looks_past LOGIN BYPASSRLS")
    database = Database(database_url.replace("farthing@", f"{role}@"), wire())
    try:
        with pytest.raises(UnsafeDatabase, match=f"'{role}' .* bypass row-level security"):
            await database.check()
    finally:
        await database.close()


async def test_the_migrated_schema_is_what_the_tables_say(new_database: Callable[..., str]) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext
    from sqlalchemy import create_engine

    from farthing.storage.postgres import dialect_url

    load_all_tables()
    url = new_database()
    engine = create_engine(dialect_url(url))
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_object": lambda _o, name, kind, _r, _c: not (kind == "table" and "procrastinate" in name),
                "compare_type": True,
            },
        )
        differences = compare_metadata(context, Base.metadata)
    engine.dispose()
    assert differences == []


def test_migrating_twice_and_in_parallel_is_harmless(new_database: Callable[..., str]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from farthing.storage.migrations import upgrade

    url = new_database(migrated=False)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(upgrade, [url] * 4))
    current, wanted = state(url)
    assert current == wanted
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)
