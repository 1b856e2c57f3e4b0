"""Processes of Farthing that start in a moment: forks of a process that has everything imported.

They are processes like any other, with arguments, environment and output of their own, to be signalled and killed. That
`python -m farthing` and `farthing` themselves start is the subject of tests/serving/test_first_contact.py and of
tests/chaos.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from farthing.identity.bootstrap import FirstStart
    from farthing.serving.engine import Engine
    from farthing.settings import Settings
    from farthing.storage.postgres import Database

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["tests.forked"])


class ForkedProcess:
    """What `subprocess.Popen` is for a program, for a function of this project."""

    def __init__(
        self,
        work: Callable[..., None],
        *given: Any,
        environment: Mapping[str, str],
        output: Path | None = None,
        errors: Path | None = None,
    ) -> None:
        """What it prints goes to `output`, errors too unless `errors` is given; to nowhere without either."""
        streams = str(output or os.devnull), str(errors or output or os.devnull)
        self._process = _forks.Process(target=_run, args=(work, given, dict(environment), streams), daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, or the number of the signal that killed it, negative; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float = PATIENCE_SECONDS) -> int:
        """The exit status once it has ended. Raises subprocess.TimeoutExpired."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


def farthing(arguments: list[str], environment: Mapping[str, str], **streams: Path) -> ForkedProcess:
    """The command line with these arguments and this environment, and nothing else of it; one process that serves."""
    return ForkedProcess(_command_line, arguments, environment={"FARTHING_PROCESSES": "1", **environment}, **streams)


def run_farthing(
    arguments: list[str], environment: Mapping[str, str], timeout: float = 3 * PATIENCE_SECONDS
) -> subprocess.CompletedProcess[str]:
    """The same to its end, with what it printed."""
    with tempfile.TemporaryDirectory(prefix="farthing-output-") as folder:
        output, errors = Path(folder, "output"), Path(folder, "errors")
        process = farthing(arguments, environment, output=output, errors=errors)
        try:
            status = process.wait(timeout)
        finally:
            process.kill()
        return subprocess.CompletedProcess(arguments, status, output.read_text(), errors.read_text())


def serving(environment: Mapping[str, str]) -> ForkedProcess:
    """A server that listens already."""
    with tempfile.TemporaryDirectory(prefix="farthing-output-") as folder:
        output = Path(folder, "output")
        output.touch()
        process = ForkedProcess(_serve, environment=environment, output=output)
        deadline = time.monotonic() + 3 * PATIENCE_SECONDS
        while "started" not in output.read_text():
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise AssertionError(output.read_text())
            time.sleep(0.05)
        return process


def _serve() -> None:
    from farthing.serving import server
    from farthing.serving.engine import engine
    from farthing.settings import load
    from tests.forked import inherited_routes

    async def say_so(_database: Database, _first: FirstStart | None) -> None:
        print("started", flush=True)

    async def serve(settings: Settings, postgres: Engine) -> None:
        async with server.opened(settings, postgres) as database:
            await server.serve(settings, database, say_so, arrange=inherited_routes)

    settings = load(os.environ)
    with engine(settings) as postgres:
        asyncio.run(serve(settings, postgres))


def _command_line(arguments: list[str]) -> None:
    from farthing import cli

    sys.argv = ["farthing", *arguments]
    cli.main()


def _run(
    work: Callable[..., None], given: tuple[Any, ...], environment: dict[str, str], paths: tuple[str, str]
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, path in zip((1, 2), paths, strict=True):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    work(*given)
