"""The data folder as an operator knows it: nobody else reads it, and its key is changed, missed and replaced."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import threading
from pathlib import Path

import psutil
import pytest

from farthing.storage import embedded
from farthing.storage.embedded import EmbeddedPostgres
from tests.processes import run_farthing


def _run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FARTHING_")}
    return run_farthing([*command], {**clean, "FARTHING_DATA_DIR": str(folder)})


def _open_to_others(folder: Path) -> set[str]:
    found = (folder, *folder.iterdir())
    return {path.name for path in found if stat.S_IMODE(path.lstat().st_mode) & 0o077}


@pytest.mark.slow
def test_a_life_of_the_key(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    listed = _run(folder, "keys", "list")
    assert listed.returncode == 0, listed.stderr
    assert _open_to_others(folder) == set()
    first = (folder / "secret.key").read_text()

    rotated = _run(folder, "secret", "rotate", "--keep-days", "7")
    assert rotated.returncode == 0, rotated.stderr
    assert "the new master key is in force" in rotated.stdout
    assert (folder / "secret.key").read_text() != first
    assert (folder / "secret.key.previous").read_text() == first

    (folder / "secret.key").chmod(0o644)
    sick = _run(folder, "doctor")
    assert sick.returncode == 1, sick.stdout
    assert f"chmod 0600 {folder / 'secret.key'}" in sick.stdout
    assert "the one before is accepted until" in sick.stdout

    (folder / "secret.key").unlink()
    refused = _run(folder, "doctor")
    assert refused.returncode == 2
    assert "is missing, but the folder holds a database" in refused.stderr
    replaced = _run(folder, "secret", "replace", "--lost")
    assert replaced.returncode == 0, replaced.stderr
    healthy = _run(folder, "doctor")
    assert healthy.returncode == 0, healthy.stdout + healthy.stderr
    assert "files           ok" in healthy.stdout
    assert _open_to_others(folder) == set()


def _runs_as_nobody_with_one_capability(server: EmbeddedPostgres, folder: Path) -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    assert psutil.Process(server.process_id).uids().effective == nobody
    assert {folder.joinpath(name).stat().st_uid for name in ("postgres", "run")} == {nobody}
    status = Path(f"/proc/{server.process_id}/status").read_text()
    capabilities = re.search(r"^CapEff:\s*(\w+)$", status, re.MULTILINE)
    assert capabilities is not None
    assert int(capabilities[1], 16) in {0, 1 << 1}, "CAP_DAC_OVERRIDE, where this process has it to give"
    assert os.getuid() == 0, "what started it stays root"


@pytest.mark.skipif(os.getuid() != 0, reason="only root is refused")
def test_postgresql_refuses_to_run_as_root(tmp_path: Path) -> None:
    started = subprocess.run(
        [str(embedded._BINARIES / "postgres"), "-D", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert started.returncode != 0
    assert "root" in started.stderr


@pytest.mark.database
def test_what_an_earlier_release_left_open_is_closed_and_a_shared_folder_keeps_its_mode(tmp_path: Path) -> None:
    own, shared = tmp_path / "own", tmp_path / "shared"
    for folder in (own, shared):
        folder.mkdir(mode=0o755)
        folder.chmod(0o755)
        for name in ("postgres.log", "lock"):
            (folder / name).touch(mode=0o644)
            (folder / name).chmod(0o644)
    (shared / "notes.txt").touch(mode=0o600)
    with EmbeddedPostgres(own, {"shared_buffers": "16MB"}) as server:
        assert _open_to_others(own) == set()
        if os.getuid() == 0:
            _runs_as_nobody_with_one_capability(server, own)
    with EmbeddedPostgres(shared, {"shared_buffers": "16MB"}):
        assert _open_to_others(shared) == {"shared"}
    shutil.rmtree(own / "postgres")


@pytest.mark.database
def test_a_server_starts_whose_killed_predecessor_was_not_reaped_yet(tmp_path: Path) -> None:
    """As in a container, where nobody may have asked yet how the killed process ended."""
    predecessor, successor = EmbeddedPostgres(tmp_path / "data"), EmbeddedPostgres(tmp_path / "data")
    predecessor.start()
    killed, predecessor._server = predecessor._server, None
    assert killed is not None
    killed.send_signal(signal.SIGKILL)
    predecessor.stop()  # which lets go of the folder, as the end of its process would
    reaping = threading.Timer(1, killed.wait)
    reaping.start()
    successor.start()
    successor.stop()
    reaping.join()
