"""What a newcomer meets: a start that says how to sign in, and one line with status 2 where a start cannot be."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest
from sqlalchemy import text

from farthing.identity.bootstrap import first_start
from farthing.storage.postgres import Database
from farthing.storage.scope import SYSTEM
from farthing.wiring import wire
from tests.conftest import settings_for
from tests.ports import free_port
from tests.processes import run_farthing

SECRET = "k" * 40


def _environment(**variables: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FARTHING_")}
    return {**clean, "FARTHING_LOG_LEVEL": "error", **variables}


def _refusal(*arguments: str, **variables: str) -> str:
    """What a command that cannot be says; checked to be one line with status 2."""
    # as many processes as an operator gets who says nothing of them
    return _one_line(run_farthing([*arguments], _environment(FARTHING_PROCESSES="0", **variables)))


def _one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


@contextmanager
def _serving(folder: Path, port: int, *arguments: str, until: str) -> Iterator[str]:
    """A server that runs, and what it had printed when `until` was in it."""
    printed = folder.parent / f"{folder.name}.{time.monotonic_ns()}.txt"
    with printed.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "farthing", "serve", "--data-dir", str(folder), "--port", str(port), *arguments],
            env=_environment(),
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 120
        while until not in printed.read_text():
            assert process.poll() is None, printed.read_text()
            assert time.monotonic() < deadline, printed.read_text()
            time.sleep(0.05)
        yield printed.read_text()
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose first start was without the demo."""
    return tmp_path_factory.mktemp("first") / "data"


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_a_port_that_something_else_listens_on_is_refused(tmp_path: Path, host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = _refusal("serve", "--host", host, "--port", str(port), FARTHING_DATA_DIR=str(tmp_path / "data"))
    assert f"port {port} at {host} is taken" in said
    assert not (tmp_path / "data").exists(), "nothing is made for a server that cannot be"


def test_a_port_that_shares_itself_is_refused_too(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as other:
        port = other.getsockname()[1]
        said = _refusal("serve", "--port", str(port), FARTHING_DATA_DIR=str(tmp_path / "data"))
    assert "is taken" in said


def test_an_address_of_another_machine_is_refused(tmp_path: Path) -> None:
    said = _refusal("serve", "--host", "203.0.113.7", "--port", "8080", FARTHING_DATA_DIR=str(tmp_path / "data"))
    assert "cannot listen on port 8080 at 203.0.113.7" in said


@pytest.mark.slow
def test_the_first_start_says_how_to_sign_in_and_two_servers_never_share_a_port(folder: Path) -> None:
    port = free_port()
    with _serving(folder, port, until="works once") as printed:
        assert re.search(r"API key: sk_\w+", printed)
        link = re.search(r"http://\S+/password/\S+", printed)
        assert link is not None
        assert httpx.get(link[0]).status_code == 200
        assert "owner@farthing.local" in printed
        refused = subprocess.run(
            [sys.executable, "-m", "farthing", "serve", "--port", str(port)],
            env=_environment(FARTHING_DATA_DIR=str(folder.parent / "second")),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "is taken" in _one_line(refused)
    # what lingers of an earlier process is no obstacle
    with _serving(folder, port, until=" at http://") as printed:
        assert "API key" not in printed
        assert "/password/" not in printed


@pytest.mark.parametrize(
    ("command", "url", "said"),
    [
        pytest.param("serve", "postgresql://a:hush@127.0.0.1:1/b", "cannot be reached", id="nobody listens"),
        pytest.param("migrate", "postgresql://a:hush@nowhere.invalid/b", "cannot be reached", id="no such host"),
        pytest.param("doctor", "postgresql://a:hush@/b?host=/nowhere", "cannot be reached", id="no such socket"),
        pytest.param("worker", "postgresql://a:hush:5/b", "must look like postgresql://", id="no URL"),
    ],
)
def test_a_database_that_cannot_be_reached_is_one_line(command: str, url: str, said: str) -> None:
    refusal = _refusal(command, FARTHING_DATABASE_URL=url, FARTHING_SECRET_KEY=SECRET)
    assert said in refusal
    assert "hush" not in refusal


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        pytest.param("CREATE TABLE tenants (id int)", '"tenants" already exists', id="another program's"),
        pytest.param(
            "CREATE TABLE alembic_version (version_num varchar(32)); INSERT INTO alembic_version VALUES ('9999')",
            "it is at revision 9999, which a later release made",
            id="a later release's",
        ),
    ],
)
def test_a_wrong_database_is_one_line(new_database: Callable[..., str], statement: str, said: str) -> None:
    url = new_database(migrated=False)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)
    assert said in _refusal("migrate", FARTHING_DATABASE_URL=url, FARTHING_SECRET_KEY=SECRET)


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/nowhere"])
def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    said = _refusal("serve", "--data-dir", str(tmp_path / place), "--port", str(free_port()))
    assert "cannot be used" in said


async def test_the_first_start_happens_once_however_many_processes_start(new_database: Callable[..., str]) -> None:
    settings = settings_for(new_database())
    databases = [Database(settings.database_url or "", wire(), pool_size=1) for _ in range(4)]
    try:
        made = await asyncio.gather(*(first_start(database, settings) for database in databases))
        (first,) = [each for each in made if each is not None]
        assert first.api_key.startswith("sk_")
        async with databases[0].transaction(SYSTEM, read_only=True) as session:
            for table in ("tenants", "users", "environments", "secrets"):
                assert await session.scalar(text(f"SELECT count(*) FROM {table}")) == 1, table
            assert await session.scalar(text("SELECT name FROM environments")) == "Sandbox"
    finally:
        for database in databases:
            await database.close()


def test_a_migration_makes_nothing_but_the_schema(new_database: Callable[..., str]) -> None:
    url = new_database()
    done = run_farthing(["migrate"], _environment(FARTHING_DATABASE_URL=url, FARTHING_SECRET_KEY=SECRET))
    assert (done.returncode, done.stderr) == (0, "")
    assert "nothing to do" in done.stdout
    with psycopg.connect(url.replace("farthing@", "postgres@")) as connection:
        for table in ("tenants", "master_keys"):
            assert connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone() == (0,), table
