"""A full disk, on a real small file system: what is said, what goes on, and that nothing acknowledged is lost."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import free_port
from tests.test_server import KEY, _environment, _until_ready

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


@pytest.mark.slow
def test_a_full_disk_is_said_loses_nothing_and_needs_no_restart(small_disk: Path) -> None:
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-m", "farthing", "serve"],
        env=_environment(small_disk / "data", FARTHING_PORT=str(port), FARTHING_WORKER="false"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"x-api-key": KEY}, timeout=60) as client:
                _until_ready(client, process)
                _live_through(client, small_disk)
        finally:
            process.terminate()
            _, log = process.communicate(timeout=60)
    assert "free space on the disk" in log, "the operator is told what to do"


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
    deadline = time.monotonic() + 60
    while (answer := _create(client, 100_000)).status_code != 201:
        assert answer.status_code == 503, answer.text
        assert time.monotonic() < deadline
        time.sleep(0.1)
    for id in acknowledged:
        assert client.get(f"/v1/customers/{id}").status_code == 200


def _create(client: httpx.Client, n: int) -> httpx.Response:
    body = {"external_id": f"c{n}", "name": "C", "metadata": {"note": "x" * 200}}
    return client.post("/v1/customers", json=body)
