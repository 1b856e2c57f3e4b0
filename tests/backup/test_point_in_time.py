"""Recovery to a point in time, by the very lines of docs/operations.md."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from farthing import secret_file
from farthing.storage.embedded import EmbeddedPostgres
from farthing.storage.migrations import upgrade

OPERATIONS = Path(__file__).parent.parent.parent / "docs/operations.md"


def _follow(section: str, folder: Path, **variables: str) -> str:
    """Type the lines of a block that the tests run."""
    block = re.search(
        rf"<!-- {section}: the tests run these lines -->\n```console\n(.*?)```", OPERATIONS.read_text(), re.DOTALL
    )
    assert block is not None
    script = "\n".join(re.findall(r"^\$ (.*)$", block[1], re.MULTILINE))
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FARTHING_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{clean['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=folder,
        env={**clean, "PATH": path, **variables},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _record(connection: psycopg.Connection, name: str) -> None:
    connection.execute(
        "INSERT INTO job_runs (id, name, scheduled_at, started_at, counts) VALUES (%s, %s, now(), now(), '{}')",
        [name, name],
    )


@pytest.mark.slow
def test_a_database_is_recovered_to_a_time_between_two_commits(tmp_path: Path) -> None:
    data, archive = tmp_path / "farthing-data", tmp_path / "archive"
    secret_file.ensure(data)
    with EmbeddedPostgres(data, wal_archive=archive) as server:
        upgrade(server.url())
        with psycopg.connect(server.url(role="postgres"), autocommit=True) as connection:
            _record(connection, "in the base backup")
            _follow("base backup", tmp_path)
            _record(connection, "before")
            moment = connection.execute("SELECT clock_timestamp()::text").fetchone()
            assert moment is not None
            _record(connection, "after")
            finished = connection.execute("SELECT pg_walfile_name(pg_switch_wal())").fetchone()
            assert finished is not None
            deadline = time.monotonic() + 60
            while not (archive / finished[0]).exists():
                assert time.monotonic() < deadline, server.folder.joinpath("postgres.log").read_text()
                time.sleep(0.05)
    examined = _follow("recovery", tmp_path, TIME=moment[0])
    assert "differences     0" in examined
    with EmbeddedPostgres(tmp_path / "recovered") as recovered, psycopg.connect(recovered.url()) as connection:
        found = {name for (name,) in connection.execute("SELECT name FROM job_runs")}
        assert found == {"in the base backup", "before"}
        _record(connection, "life goes on")
