"""A backup goes from one PostgreSQL to another: of any version that Farthing runs on, under any role's name.

Tried with every version that is installed as Debian installs it, and with those whose folders of programs
FARTHING_TEST_POSTGRES names, separated by colons.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
from psycopg import sql
from rich.console import Console
from sqlalchemy import select

from farthing.backup.export import back_up
from farthing.backup.load import restore
from farthing.doctor.examination import audit
from farthing.identity.credentials.api_keys import record_used
from farthing.identity.tables import Secret
from farthing.settings import Settings
from farthing.storage import embedded
from farthing.storage.embedded import EmbeddedPostgres
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM
from farthing.wiring import wire
from tests.account import Account
from tests.billing.office import Office
from tests.conftest import running, settings_for
from tests.subscriptions.shop import fixed
from tests.waiting import PATIENCE_SECONDS

QUIET = Console(quiet=True)
ROLE = 'Billing "north", 2'
"""A name that has to be quoted wherever it is written."""


def _installed() -> list[Path]:
    named = [Path(folder) for folder in os.environ.get("FARTHING_TEST_POSTGRES", "").split(":") if folder]
    return [*sorted(Path("/usr/lib/postgresql").glob("[1-9][0-9]/bin")), *named]


class OtherPostgres(EmbeddedPostgres):
    """A server of other programs than the embedded ones, of any version; a `with` runs it."""

    def _make_cluster(self) -> None:
        arguments = ["--username=postgres", "--encoding=UTF8", "--auth=trust", "--locale=C"]
        self._run([str(embedded._BINARIES / "initdb"), f"--pgdata={self._data}", *arguments])


@pytest.fixture(params=_installed(), ids=lambda folder: str(folder).strip("/").replace("/", "-"))
def other(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[EmbeddedPostgres]:
    """A server of another version."""
    monkeypatch.setattr(embedded, "_BINARIES", request.param)
    with OtherPostgres(tmp_path / "other", {"fsync": "off"}) as server:
        yield server


def _emptied(admin: str, role: str) -> Settings:
    """An empty database that belongs to a role of this name, at the server of this superuser's URL."""
    name = f"of_{os.urandom(6).hex()}"
    with psycopg.connect(admin, autocommit=True) as connection:
        owner = sql.Identifier(role)
        if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone():
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN NOBYPASSRLS").format(owner))
        connection.execute(
            sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0").format(sql.Identifier(name), owner)
        )
    at = admin.replace("//postgres@/postgres", f"//{_quoted(role)}@/{name}")
    return settings_for(at)


def _quoted(role: str) -> str:
    return role.replace('"', "%22").replace(" ", "%20").replace(",", "%2C")


async def _books(account: Account) -> None:
    """A month of a customer with usage, which was invoiced."""
    office = Office(account)
    await office.set_up()
    calls = await office.feature("calls")
    customer = await office.customer()
    await office.subscribed(await office.plan(office.usage(calls, "0.5"), fixed("10")), customer)
    await office.used("calls", customer, 3, "2026-01-11", awkward="tab\t, newline\n, \\N \\., \U0001f600")
    await office.run("2026-02-01T00:10")
    async with account.database.transaction(SYSTEM) as session:
        keys = list(await session.scalars(select(Secret.id)))
    await record_used(account.database, keys)  # the server would write it in between; now it waits for a minute


def _rows(url: str, tables: list[str]) -> dict[str, list[tuple[str]]]:
    """Every row of every table, as a superuser sees it."""
    with psycopg.connect(url) as connection:
        connection.execute("SET timezone TO 'UTC'")
        return {
            table: connection.execute(f"SELECT t::text FROM {table} t ORDER BY 1".encode()).fetchall()
            for table in tables
        }


def _as_superuser(settings: Settings) -> str:
    url = settings.database_url or ""
    return "postgresql://postgres@" + url.partition("@")[2]


@pytest.mark.slow
async def test_a_backup_goes_to_another_version_and_role_and_comes_back(
    alone: Account, other: EmbeddedPostgres, sockets: str, tmp_path: Path
) -> None:
    await _books(alone)
    manifest = back_up(alone.settings, tmp_path / "there", QUIET)
    there = _emptied(other.url("postgres", "postgres"), ROLE)
    await asyncio.to_thread(restore, there, tmp_path / "there", QUIET)
    tables = [table.name for table in manifest.tables]
    assert _rows(_as_superuser(there), tables) == _rows(_as_superuser(alone.settings), tables)

    back_up(there, tmp_path / "back", QUIET)
    back = _emptied(f"postgresql://postgres@/postgres?host={sockets}", "somebody_else")
    await asyncio.to_thread(restore, back, tmp_path / "back", QUIET)
    assert _rows(_as_superuser(back), tables) == _rows(_as_superuser(alone.settings), tables)

    for restored in (there, back):
        database = Database(restored.database_url or "", wire())
        async with running(restored, database) as url:
            client = httpx.AsyncClient(base_url=f"{url}/v1", headers={"x-api-key": alone.key}, timeout=PATIENCE_SECONDS)
            async with client:
                before = (await alone.http.post("/invoices/search", json={})).json()
                assert (await client.post("/invoices/search", json={})).json() == before
                sent = {"event_name": "calls", "external_customer_id": "late", "timestamp": "2026-02-02T00:00:00Z"}
                assert (await client.post("/events", json=sent)).status_code == 202
        findings = await audit(database)
        assert (findings.invoices, findings.differences) == (2, [])
        await database.close()
