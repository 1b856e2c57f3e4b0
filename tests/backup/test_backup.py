"""Backups of a database by URL, read by a role that row-level security confines; and what a restore refuses."""

from __future__ import annotations

import asyncio
import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from rich.console import Console
from sqlalchemy import select

from farthing.backup import BackupFailed, export
from farthing.backup.export import back_up
from farthing.backup.load import restore
from farthing.backup.manifest import read_manifest
from farthing.identity.credentials.api_keys import record_used
from farthing.identity.tables import Secret
from farthing.settings import Settings
from farthing.storage.migrations import state
from farthing.storage.scope import SYSTEM
from tests.account import Account
from tests.conftest import settings_for

QUIET = Console(quiet=True)


def _rows(url: str, table: str) -> list[tuple[Any, ...]]:
    """Every row of a table, as a superuser sees it."""
    with psycopg.connect(url.replace("farthing@", "postgres@")) as connection:
        return connection.execute(f"SELECT t::text FROM {table} t ORDER BY 1".encode()).fetchall()


@pytest.fixture
async def filled(account: Account, stranger: Account) -> Account:
    """Books of two tenants and three environments, with awkward texts, and jobs in the queue."""
    other = await account.new_environment()
    key = await account.new_key(["super_admin"], environment_id=other)
    awkward = "tab\t, newline\n, backslash \\N \\., \u00fc\U0001f600"
    for writer, external_id in ((account, "ours"), (stranger, "theirs")):
        await writer.post("/customers", {"external_id": external_id, "name": awkward})
        await writer.post("/events", {"event_name": "call", "external_customer_id": external_id}, expect=202)
    async with account.client(key) as client:
        made = await client.post("/customers", json={"external_id": "elsewhere", "name": "Elsewhere"})
        assert made.status_code == 201
    async with account.database.transaction(SYSTEM) as session:
        keys = list(await session.scalars(select(Secret.id)))
    await record_used(account.database, keys)  # the server would write it in between; now it waits for a minute
    return account


@pytest.mark.slow
async def test_a_confined_role_backs_up_every_row_of_every_tenant(
    filled: Account, tmp_path: Path, new_database: Callable[..., str]
) -> None:
    settings = filled.settings
    manifest = back_up(settings, tmp_path / "backup", QUIET)
    assert manifest.revision == state(filled.database.url)[0]
    target = settings_for(new_database(migrated=False))
    restored = await asyncio.to_thread(restore, target, tmp_path / "backup", QUIET)
    assert restored.revision == state(filled.database.url)[1]
    assert filled.settings.database_url is not None
    assert target.database_url is not None
    for table in manifest.tables:
        before = _rows(filled.settings.database_url, table.name)
        assert len(before) == table.rows, table.name
        assert _rows(target.database_url, table.name) == before, table.name
    query = "SELECT conname, convalidated FROM pg_constraint ORDER BY 1"
    triggers = "SELECT tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1"
    policies = "SELECT relname, relrowsecurity, relforcerowsecurity FROM pg_class WHERE relkind = 'r' ORDER BY 1"
    sequences = "SELECT sequencename, last_value FROM pg_sequences ORDER BY 1"
    with psycopg.connect(settings.database_url or "") as old, psycopg.connect(target.database_url) as new:
        for catalogue in (query, triggers, policies, sequences):
            assert new.execute(catalogue).fetchall() == old.execute(catalogue).fetchall()


@pytest.mark.slow
async def test_a_role_that_sees_all_takes_the_same_backup(filled: Account, tmp_path: Path) -> None:
    url = (filled.settings.database_url or "").replace("farthing@", "postgres@")
    confined = back_up(filled.settings, tmp_path / "confined", QUIET)
    unconfined = back_up(settings_for(url), tmp_path / "unconfined", QUIET)
    assert {table.name: table.rows for table in confined.tables} == {
        table.name: table.rows for table in unconfined.tables
    }


@pytest.fixture
def backup(tmp_path: Path, new_database: Callable[..., str]) -> Path:
    """A backup of a migrated and otherwise empty database."""
    back_up(settings_for(new_database()), tmp_path / "backup", QUIET)
    return tmp_path / "backup"


def _empty(new_database: Callable[..., str]) -> Settings:
    return settings_for(new_database(migrated=False))


def _damage_table(folder: Path) -> None:
    (folder / "tables/tenants.copy.gz").write_bytes(gzip.compress(b""))


def _damage_manifest(folder: Path) -> None:
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace('"rows": 0', '"rows": 1', 1))


def _lose_table(folder: Path) -> None:
    (folder / "tables/tenants.copy.gz").unlink()


def _lose_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        pytest.param(_damage_table, "is damaged", id="a changed file"),
        pytest.param(_damage_manifest, "is damaged", id="a changed manifest"),
        pytest.param(_lose_table, "not whole", id="a missing file"),
        pytest.param(_lose_manifest, "is not a backup", id="no manifest"),
    ],
)
def test_a_damaged_backup_is_refused_before_anything_is_touched(
    backup: Path, new_database: Callable[..., str], damage: Callable[[Path], None], said: str
) -> None:
    damage(backup)
    target = _empty(new_database)
    with pytest.raises(BackupFailed, match=said):
        restore(target, backup, QUIET)
    assert state(target.database_url or "")[0] is None


def test_a_restore_that_fails_on_the_way_leaves_the_database_empty(
    backup: Path, new_database: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from farthing.backup import load, schema

    _damage_table(backup)
    (backup / "tables/users.copy.gz").write_bytes(gzip.compress(b"no such row\n"))
    monkeypatch.setattr(load, "_verify", lambda *_: None)
    target = _empty(new_database)
    with pytest.raises(BackupFailed, match="refused the backup"):
        restore(target, backup, QUIET)
    with psycopg.connect(target.database_url or "") as connection:
        assert schema.relations(connection) == []


def test_only_an_empty_database_is_filled(backup: Path, new_database: Callable[..., str]) -> None:
    with pytest.raises(BackupFailed, match="is not empty"):
        restore(settings_for(new_database()), backup, QUIET)


def test_another_key_is_refused_unless_the_operator_says_so(backup: Path, new_database: Callable[..., str]) -> None:
    target = settings_for(new_database(migrated=False), secret_key="another master key")
    with pytest.raises(BackupFailed, match="not the one this backup was made with"):
        restore(target, backup, QUIET)
    assert restore(target, backup, QUIET, other_key=True).revision


def test_nobody_else_reads_a_backup(backup: Path) -> None:
    parts = [backup, *backup.rglob("*")]
    assert {path.name for path in backup.iterdir()} == {"manifest.json", "manifest.json.sha256", "tables"}
    assert [path for path in parts if path.stat().st_mode & 0o077] == []


def test_a_backup_is_never_written_over_anything(backup: Path, new_database: Callable[..., str]) -> None:
    settings = settings_for(new_database())
    with pytest.raises(BackupFailed, match="exists already"):
        back_up(settings, backup, QUIET)
    with pytest.raises(BackupFailed, match="inside the backup"):
        back_up(settings, backup.parent / "second", QUIET, backup.parent / "second/key")


def test_what_was_interrupted_is_not_taken_for_a_backup(
    tmp_path: Path, new_database: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = export._write_table
    written: list[str] = []

    def interrupted(snapshot: export.Snapshot, shape: Any, draft: Path) -> Any:
        written.append(shape.name)
        if len(written) == 3:
            assert draft.name == f".backup.unfinished-{os.getpid()}"
            shutil.copytree(draft, tmp_path / "left-by-kill")
            raise KeyboardInterrupt
        return whole(snapshot, shape, draft)

    monkeypatch.setattr(export, "_write_table", interrupted)
    with pytest.raises(KeyboardInterrupt):
        back_up(settings_for(new_database()), tmp_path / "backup", QUIET)
    assert [path.name for path in tmp_path.iterdir()] == ["left-by-kill"]
    with pytest.raises(BackupFailed, match="is not a backup"):
        read_manifest(tmp_path / "left-by-kill")


def test_a_backup_of_a_schema_that_is_not_known_is_refused(
    backup: Path, new_database: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from farthing.storage import migrations

    monkeypatch.setattr(migrations, "is_known", lambda _: False)
    with pytest.raises(BackupFailed, match="does not know"):
        restore(_empty(new_database), backup, QUIET)
