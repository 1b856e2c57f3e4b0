"""What a start loads, and when; and what it says on the way."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.ports import free_port
from tests.processes import ForkedProcess, farthing
from tests.waiting import PATIENCE_SECONDS

_NOTED = """
import os, sys

notes = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def note(what):
    os.write(notes, f"{os.getpid()} {what}\\n".encode())


sys.addaudithook(lambda event, given: note(given[0]) if event == "import" else None)

from farthing.serving.loading import Loading

arrange = Loading.routes
Loading.routes = lambda loading: note("arranged") or arrange(loading)

from farthing.cli import main

main()
"""
"""The command line, which notes by process what it imports for the first time and when its routes are arranged."""


def _environment(folder: Path, url: str, port: int, **more: str) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("FARTHING_")},
        "FARTHING_DATA_DIR": str(folder),
        "FARTHING_DATABASE_URL": url,
        "FARTHING_SECRET_KEY": "a master key for tests only",
        "FARTHING_PORT": str(port),
        **more,
    }


def _until(holds: Callable[[], bool], process: subprocess.Popen[bytes] | ForkedProcess) -> None:
    deadline = time.monotonic() + 3 * PATIENCE_SECONDS
    while not holds():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _answers(port: int, path: str = "/health/ready") -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE_SECONDS).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.slow
def test_all_is_loaded_and_arranged_before_the_processes_part(tmp_path: Path, new_database: Callable[..., str]) -> None:
    port, notes = free_port(), tmp_path / "notes"
    environment = _environment(tmp_path, new_database(), port, FARTHING_LOG_LEVEL="error")
    command = [sys.executable, "-c", _NOTED, str(notes), "serve", "--processes", "2"]
    supervisor = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        _until(lambda: _answers(port), supervisor)
        assert _answers(port, "/openapi.json")
        assert _answers(port, "/sign-in")
    finally:
        supervisor.terminate()
        assert supervisor.wait(PATIENCE_SECONDS) == 0
    by_process: dict[str, list[str]] = {}
    for line in notes.read_text().splitlines():
        process, what = line.split(" ", 1)
        by_process.setdefault(process, []).append(what)
    before = by_process.pop(str(supervisor.pid))
    assert before.count("arranged") == 1
    assert len(before) > 2000
    later = {what for noted in by_process.values() for what in noted if what.startswith(("farthing", "arranged"))}
    assert later <= {"farthing.identity.sign_in.operator"}, "only the very first start invites the owner, once"
    # what libraries import when they are first needed is little beside that
    assert all(len(noted) < len(before) / 50 for noted in by_process.values()), by_process


@contextmanager
def _demo(folder: Path, url: str, **more: str) -> Iterator[tuple[ForkedProcess, Path]]:
    """A demo that was asked for a page, and what it logs."""
    folder.mkdir()
    port, printed, logged = free_port(), folder / "printed", folder / "logged"
    printed.touch()
    process = farthing(["serve", "--demo"], _environment(folder, url, port, **more), output=printed, errors=logged)
    try:
        _until(lambda: "Sign in: " in printed.read_text(), process)
        _until(lambda: _answers(port, "/sign-in"), process)
        yield process, logged
    finally:
        process.kill()
        process.wait(PATIENCE_SECONDS)


@pytest.mark.slow
def test_a_demo_logs_warnings_only_unless_it_is_asked_for_more(
    tmp_path: Path, new_database: Callable[..., str]
) -> None:
    with _demo(tmp_path / "louder", new_database(), FARTHING_LOG_LEVEL="info") as (process, logged):
        _until(lambda: '"path":"/sign-in"' in logged.read_text(), process)
        assert '"level":"info"' in logged.read_text()
    with _demo(tmp_path / "as it is", new_database()) as (_, logged):
        pass
    assert '"level":"info"' not in logged.read_text()
