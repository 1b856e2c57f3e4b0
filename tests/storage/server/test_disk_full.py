"""A full disk, on a real small file system: what is said, what goes on, and that nothing acknowledged is lost."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest

from farthing.storage.embedded import EmbeddedPostgres
from tests.conftest import free_port
from tests.serving.test_server import KEY, _environment, _until_ready

SIZE_MB = 160


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, small enough to fill."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.getuid() != 0:
        pytest.skip("only root may mount a file system to fill")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"mounting is not possible here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take every byte that is left."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        block = b"\0" * 65536
        try:
            while file.write(block) == len(block):
                pass
        except OSError:
            pass
    return ballast


@contextmanager
def serving_on(disk: Path, log: list[str]) -> Iterator[httpx.Client]:
    """A server whose data are on the disk; what it has logged is put into `log` when it has ended."""
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-m", "farthing", "serve"],
        env=_environment(disk / "data", FARTHING_PORT=str(port), FARTHING_WORKER="false", FARTHING_PROCESSES="1"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"x-api-key": KEY}, timeout=60) as client:
                _until_ready(client, process)
                yield client
        finally:
            process.terminate()
            log.append(process.communicate(timeout=60)[1])


@pytest.mark.slow
def test_a_full_disk_is_said_loses_nothing_and_needs_no_restart(small_disk: Path) -> None:
    log: list[str] = []
    with serving_on(small_disk, log) as client:
        _live_through(client, small_disk)
    assert "free space on the disk" in log[0], "the operator is told what to do"


@pytest.mark.slow
def test_a_database_that_ends_because_its_log_has_no_room_comes_back_when_there_is_some(small_disk: Path) -> None:
    with serving_on(small_disk, []) as client:
        acknowledged = [_create(client, n).json()["id"] for n in range(3)]
        ballast = fill(small_disk)
        with pytest.raises(psycopg.OperationalError):
            _use_up_the_log(EmbeddedPostgres(small_disk / "data").url(role="postgres"))
        answer = _create(client, 3)
        assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable"), answer.text
        ballast.unlink()
        _until_created(client)
        for id in acknowledged:
            assert client.get(f"/v1/customers/{id}").status_code == 200


def _use_up_the_log(url: str) -> None:
    """Write until a new piece of the write-ahead log is needed, and more."""
    with psycopg.connect(url, autocommit=True) as connection:
        for _ in range(100):
            connection.execute("SELECT pg_logical_emit_message(false, 'test', repeat('x', 100000)), pg_switch_wal()")


def _until_created(client: httpx.Client) -> None:
    """Until a write is taken; those before are refused in the ordinary way."""
    deadline = time.monotonic() + 60
    while (answer := _create(client, 100_000)).status_code != 201:
        assert answer.status_code == 503, answer.text
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _live_through(client: httpx.Client, disk: Path) -> None:
    acknowledged = [_create(client, n).json()["id"] for n in range(3)]
    ballast = fill(disk)
    refused = None
    for n in range(3, 5_000):
        answer = _create(client, n)
        if answer.status_code != 201:
            refused = answer
            break
        acknowledged.append(answer.json()["id"])
    assert refused is not None
    body = refused.json()
    assert (refused.status_code, body["code"]) == (503, "service_unavailable"), refused.text
    assert "disk of the database is full" in body["message"]
    assert int(refused.headers["retry-after"]) > 0
    assert client.get(f"/v1/customers/{acknowledged[0]}").status_code == 200, "reads go on"
    assert client.get("/health/ready").status_code == 200
    ballast.unlink()
    _until_created(client)
    for id in acknowledged:
        assert client.get(f"/v1/customers/{id}").status_code == 200


def _create(client: httpx.Client, n: int) -> httpx.Response:
    body = {"external_id": f"c{n}", "name": "C", "metadata": {"note": "x" * 200}}
    return client.post("/v1/customers", json=body)
