"""Recovery to a point in time, by the very lines of docs/operations.md."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from farthing import secret_file
from farthing.storage.embedded import EmbeddedPostgres
from farthing.storage.migrations import upgrade

OPERATIONS = Path(__file__).parent.parent.parent / "docs/operations.md"


def _lines(section: str) -> list[str]:
    """The lines of a block that the tests type."""
    block = re.search(
        rf"<!-- {section}: the tests run these lines -->\n```console\n(.*?)```", OPERATIONS.read_text(), re.DOTALL
    )
    assert block is not None
    return re.findall(r"^\$ (.*)$", block[1], re.MULTILINE)


def _type(lines: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FARTHING_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{clean['PATH']}"
    return subprocess.run(
        ["bash", "-euc", "\n".join(lines)],
        cwd=folder,
        env={**clean, "PATH": path, **variables},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def _recovered(folder: Path, lines: list[str], **variables: str) -> str:
    """What the doctor says of a recovery into an empty place by these lines."""
    shutil.rmtree(folder / "recovered", ignore_errors=True)
    done = _type(lines, folder, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _names(folder: Path) -> set[str]:
    """Which runs a data folder knows; and life goes on in it."""
    with EmbeddedPostgres(folder) as server, psycopg.connect(server.url(), autocommit=True) as connection:
        found = {name for (name,) in connection.execute("SELECT name FROM job_runs")}
        _record(connection, "life goes on")
        return found


def _record(connection: psycopg.Connection, name: str) -> None:
    connection.execute(
        "INSERT INTO job_runs (id, name, scheduled_at, started_at, counts) VALUES (%s, %s, now(), now(), '{}')",
        [name, name],
    )


def _finish_piece(connection: psycopg.Connection) -> str:
    """End the piece of the log that is written to; its name."""
    found = connection.execute("SELECT pg_walfile_name(pg_switch_wal())").fetchone()
    assert found is not None
    return str(found[0])


def _wait_until(true: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


@pytest.mark.slow
def test_a_database_is_recovered_to_a_time_between_two_commits(tmp_path: Path) -> None:
    data, archive = tmp_path / "farthing-data", tmp_path / "archive"
    log = data / "postgres.log"
    secret_file.ensure(data)
    with EmbeddedPostgres(data, wal_archive=archive) as server:
        upgrade(server.url())
        with psycopg.connect(server.url(role="postgres"), autocommit=True) as connection:
            _record(connection, "in the base backup")
            done = _type(_lines("base backup"), tmp_path)
            assert done.returncode == 0, done.stdout + done.stderr
            _record(connection, "before")
            moment = connection.execute("SELECT clock_timestamp()::text").fetchone()
            assert moment is not None
            _record(connection, "after")
            finished = _finish_piece(connection)
            _wait_until((archive / finished).exists, log)
            # the folder cannot be written for a while: what it should hold is kept, and is there when it can
            archive.rename(tmp_path / "elsewhere")
            archive.write_text("no folder")
            _record(connection, "while the archive was away")
            kept = _finish_piece(connection)
            _wait_until(lambda: "archive command failed" in log.read_text(), log)
            assert (data / "postgres/pg_wal" / kept).exists()
            archive.unlink()
            (tmp_path / "elsewhere").rename(archive)
            _record(connection, "at last")
            _wait_until((archive / _finish_piece(connection)).exists, log)
            assert (archive / kept).exists()
    lines = _lines("recovery")
    assert "differences     0" in _recovered(tmp_path, lines, TIME=moment[0])
    assert _names(tmp_path / "recovered") == {"in the base backup", "before"}
    untimed = [line for line in lines if "recovery_target_time" not in line]
    assert len(untimed) == len(lines) - 1
    _recovered(tmp_path, untimed)
    assert _names(tmp_path / "recovered") >= {"after", "while the archive was away", "at last"}
    shutil.rmtree(tmp_path / "recovered")
    never = _type(lines, tmp_path, TIME="2126-01-01 00:00:00+00")
    assert never.returncode != 0
    assert "recovery ended before configured recovery target was reached" in never.stdout + never.stderr
