"""The master key: kept whole and private, known by its fingerprint, changed without losing what it sealed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from farthing import rotation, secret_file
from farthing.core.clock import FixedClock
from farthing.core.errors import InvalidOperation
from farthing.identity.authentication import HeaderAuthenticator
from farthing.identity.credentials.api_keys import record_rehashed
from farthing.identity.credentials.master_key import MasterKeyRow, MasterKeys, confirm, fingerprint, settle
from farthing.identity.sign_in.email_and_password import sign_in
from farthing.identity.sign_in.tables import SignInSession
from farthing.identity.tables import Secret
from farthing.payments.integrations.credentials import Safe
from farthing.payments.integrations.gateways import sealed_for
from farthing.payments.tables import Connection
from farthing.secret_file import UnusableSecretKey
from farthing.settings import Settings
from farthing.storage.postgres import Database
from farthing.storage.record.outbox import SystemEvent
from farthing.storage.scope import SYSTEM
from farthing.wiring import wire
from tests.account import Account
from tests.conftest import running, settings_for
from tests.processes import run_farthing

OLD, NEW = "the old master key of this deployment", "the new master key of this deployment"
MONTH = timedelta(days=30)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


def test_a_new_folder_gets_a_long_key_that_only_its_owner_reads(folder: Path) -> None:
    secret_file.ensure(folder)
    key = secret_file.read(folder)
    assert len(key) >= 32
    assert (folder / secret_file.NAME).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in folder.iterdir()] == [secret_file.NAME]
    secret_file.ensure(folder)
    assert secret_file.read(folder) == key


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param("", "is empty", id="an empty file"),
        pytest.param(" \n", "is empty", id="a blank one"),
        pytest.param("x" * 31, "has only 31 characters", id="a short one"),
    ],
)
def test_a_key_file_that_protects_nothing_is_refused(folder: Path, content: str, reason: str) -> None:
    folder.mkdir()
    (folder / secret_file.NAME).write_text(content)
    with pytest.raises(UnusableSecretKey, match=reason):
        secret_file.ensure(folder)
    with pytest.raises(UnusableSecretKey, match="Restore the file from a backup"):
        Settings(data_dir=str(folder)).master_key()


@pytest.mark.slow
def test_a_database_whose_key_is_gone_is_refused_and_no_key_is_made(folder: Path) -> None:
    (folder / "postgres").mkdir(parents=True)
    (folder / "postgres" / "PG_VERSION").write_text("18")
    with pytest.raises(UnusableSecretKey, match="is missing, but the folder holds a database"):
        secret_file.ensure(folder)
    assert not (folder / secret_file.NAME).exists()
    for command in (["serve"], ["doctor"], ["keys", "list"]):
        done = run_command([*command, "--data-dir", str(folder)], {})
        assert done.returncode == 2
        assert "farthing secret replace" in done.stderr


def test_a_file_is_whole_or_absent(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    synced: list[int] = []
    real = os.fsync

    def sync(descriptor: int) -> None:
        synced.append(descriptor)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    secret_file.write_durably(folder / secret_file.NAME, "k" * 40)
    assert len(synced) == 2  # the file, then its folder
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        secret_file.write_durably(folder / secret_file.NAME, "other" * 10)
    assert secret_file.read(folder) == "k" * 40


@pytest.fixture
async def fresh(new_database: Callable[..., str]) -> AsyncIterator[Database]:
    """A database of its own, which has met no master key."""
    database = Database(new_database(), wire(), pool_size=4)
    yield database
    await database.close()


async def test_the_first_key_is_remembered_and_another_is_refused(fresh: Database) -> None:
    await confirm(fresh, MasterKeys(OLD))
    await confirm(fresh, MasterKeys(OLD))
    with pytest.raises(UnusableSecretKey, match="not the one this database was set up with"):
        await confirm(fresh, MasterKeys(NEW))
    with pytest.raises(UnusableSecretKey, match="farthing secret rotate"):
        await confirm(fresh, MasterKeys(NEW, previous=OLD))
    async with fresh.transaction(SYSTEM) as session:
        assert (await session.scalars(select(MasterKeyRow.id))).all() == [fingerprint(OLD)]


@pytest.mark.slow
async def test_every_process_refuses_a_wrong_key(fresh: Database) -> None:
    await confirm(fresh, MasterKeys(OLD))
    for command in (["serve", "--port", "0"], ["worker"], ["doctor"], ["keys", "list"]):
        done = run_command(command, {"FARTHING_DATABASE_URL": fresh.url, "FARTHING_SECRET_KEY": NEW})
        assert done.returncode == 2, command
        assert "not the one this database was set up with" in done.stderr


@asynccontextmanager
async def served(database: Database, **given: Any) -> AsyncIterator[Account]:
    settings = settings_for(database.url, **given)
    async with running(settings, database) as url, Account(url, settings, database) as account:
        yield account


async def test_after_a_rotation_what_the_old_key_made_goes_on_until_its_end(fresh: Database) -> None:
    body = {
        "name": "shop",
        "provider_type": "razorpay",
        "encrypted_secret_data": {"key_id": "rzp_1", "secret_key": "words"},
    }
    async with served(fresh, secret_key=OLD) as account:
        connection = await account.post("/connections", body)
        customer = await account.post("/customers", {"external_id": "acme", "name": "Acme"})
        portal = (await account.get(f"/customers/portal/{customer['external_id']}"))["token"]
        made = {"email": "ada@example.com", "password": "correct horse battery"}
        token = (await account.post("/auth/signup", made, expect=200))["token"]
        key = account.key
        tenant, environment = account.tenant_id, account.environment_id
    written = await activities_of(fresh, account)

    changed = settings_for(fresh.url, secret_key=NEW, secret_key_previous=OLD)
    done = await rotation.rotate(changed, fresh, MONTH)
    assert (done.already_in_force, done.credentials) == (False, 1)
    assert await activities_of(fresh, account) == written  # nobody changed the connection
    again = await rotation.rotate(changed, fresh, MONTH)
    assert (again.already_in_force, again.credentials, again.accepted_until) == (True, 0, done.accepted_until)

    async with fresh.session(account.scope) as session:
        row = await session.get_one(Connection, connection["id"])
        opened = Safe(NEW).open(row.credentials, row.credentials_key_id, sealed_for(environment, row.id))
    assert opened["secret_key"] == "words"
    assert tenant == row.tenant_id

    async with running(changed, fresh) as url, httpx.AsyncClient(base_url=f"{url}/v1") as http:
        assert (await http.get("/users/me", headers={"x-api-key": key})).status_code == 200
        assert (await http.get("/users/me", headers={"Authorization": f"Bearer {token}"})).status_code == 200
        invoices = await http.get("/customer/portal/invoices/summary", headers={"X-Session-Token": portal})
        assert invoices.status_code == 200, invoices.text

    # the same after the end of the old key: only what was used meanwhile still opens
    authenticator = HeaderAuthenticator(fresh, changed)
    await confirm(fresh, authenticator.keys)
    scope = {"type": "http", "headers": [(b"x-api-key", key.encode())]}
    caller = await authenticator(_connection(scope), needs_environment=True)
    assert caller.tenant_id == tenant
    rehashed = authenticator.take_rehashed()
    assert len(rehashed) == 1
    await record_rehashed(fresh, rehashed)
    async with fresh.transaction(SYSTEM) as session:
        assert (await session.get_one(Secret, next(iter(rehashed)))).hash == authenticator.hasher.hash(key)
    keys = MasterKeys(NEW, OLD)
    await confirm(fresh, keys)
    assert done.accepted_until is not None
    assert keys.accepted(done.accepted_until - timedelta(seconds=1)) == (NEW, OLD)
    assert keys.accepted(done.accepted_until) == (NEW,)


def _connection(scope: dict[str, Any]) -> Any:
    class Connection:
        pass

    connection = Connection()
    connection.scope = scope  # type: ignore[attr-defined]
    return connection


async def test_a_second_rotation_waits_for_the_end_of_the_first_old_key(fresh: Database) -> None:
    third = "a third master key of this deployment"
    await confirm(fresh, MasterKeys(OLD))
    await rotation.rotate(settings_for(fresh.url, secret_key=NEW, secret_key_previous=OLD), fresh, MONTH)
    settings = settings_for(fresh.url, secret_key=third, secret_key_previous=NEW)
    with pytest.raises(InvalidOperation, match="--end-previous"):
        await rotation.rotate(settings, fresh, MONTH)
    await rotation.rotate(settings, fresh, MONTH, end_previous=True)
    await confirm(fresh, MasterKeys(third))


@pytest.mark.parametrize(
    ("where", "new_key_counts"),
    [
        pytest.param("lock_master_keys", False, id="before the database is changed"),
        pytest.param("reseal_credentials", False, id="in the middle of the transaction"),
        pytest.param("secret_file.promote_next", True, id="after the commit, before the files"),
    ],
)
async def test_a_rotation_killed_anywhere_happened_or_did_not(
    fresh: Database, folder: Path, where: str, new_key_counts: bool
) -> None:
    secret_file.ensure(folder)
    settings = Settings(data_dir=str(folder))
    old = secret_file.read(folder)
    async with served(fresh, secret_key=old) as account:
        await account.post("/connections", {"name": "test", "provider_type": "stripe", "metadata": {"mode": "test"}})
        environment = account.environment_id
    script = f"""
        import asyncio, os, signal
        from datetime import timedelta
        from farthing import rotation, secret_file
        from farthing.settings import Settings
        from farthing.storage.postgres import Database
        from farthing.wiring import wire

        def die(*_):
            os.kill(os.getpid(), signal.SIGKILL)

        rotation.{where} = die
        database = Database({fresh.url!r}, wire())
        asyncio.run(rotation.rotate(Settings(data_dir={str(folder)!r}), database, timedelta(days=30)))
    """
    done = run_script(textwrap.dedent(script))
    assert done.returncode == -signal.SIGKILL, done.stderr
    keys = await settle(settings, fresh)  # the next start
    assert (keys.current != old) is new_key_counts
    assert not (folder / secret_file.NEXT).exists()
    if not new_key_counts:
        await rotation.rotate(settings, fresh, MONTH)
        keys = await settle(settings, fresh)
    assert keys.current != old
    assert keys.previous == old
    async with fresh.session(account.scope) as session:
        row = (await session.scalars(select(Connection))).one()
        assert Safe(keys.current).open(row.credentials, row.credentials_key_id, sealed_for(environment, row.id))
    assert names_in(folder) == {secret_file.NAME, secret_file.PREVIOUS}
    late = Database(fresh.url, wire(), clock=FixedClock(datetime.now(UTC) + timedelta(days=31)))
    await settle(settings, late)
    await late.close()
    assert names_in(folder) == {secret_file.NAME}


async def test_a_lost_key_is_replaced_and_all_that_it_opened_ends(fresh: Database) -> None:
    async with served(fresh, secret_key=OLD) as account:
        await account.post("/connections", {"name": "test", "provider_type": "stripe", "metadata": {"mode": "test"}})
        made = {"email": "ada@example.com", "password": "correct horse battery"}
        await account.post("/auth/signup", made, expect=200)
    settings = settings_for(fresh.url, secret_key=NEW)
    refused = run_command(["secret", "replace"], {"FARTHING_DATABASE_URL": fresh.url, "FARTHING_SECRET_KEY": NEW})
    assert refused.returncode == 2
    assert "--lost" in refused.stderr
    written = await activities_of(fresh, account)
    await rotation.replace_lost(settings, fresh)
    assert await activities_of(fresh, account) == written
    await confirm(fresh, MasterKeys(NEW))
    async with fresh.transaction(SYSTEM) as session:
        assert (await session.scalars(select(Secret).where(Secret.status == "published"))).all() == []
        assert None not in (await session.scalars(select(SignInSession.revoked_at))).all()
    assert (await sign_in(fresh, made["email"], made["password"])).email == made["email"]
    async with fresh.session(account.scope) as session:
        assert (await session.scalars(select(Connection.credentials))).all() == [b""]


async def activities_of(database: Database, account: Account) -> list[str]:
    """The actions in the log of the account's environment, and of its tenant."""
    async with database.session(account.scope) as session:
        return list(await session.scalars(select(SystemEvent.event_name).order_by(SystemEvent.id)))


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def run_script(script: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, timeout=120)


def run_command(arguments: list[str], environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, with these settings only."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FARTHING_")}
    return run_farthing(arguments, {**inherited, **environ})
