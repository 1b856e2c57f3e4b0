"""Processes of Farthing that start in a moment, as forks of one that has everything imported.

A fork runs the command line with arguments, environment and output of its own, and is killed like any other process;
what it saves is the second or three that Python takes to import the program, which no fault has to do with.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["__main__", "farthing.cli", "farthing.serving.server", "farthing.storage.migrations"])


class Running(Protocol):
    """A process that was started; `subprocess.Popen` is one."""

    @property
    def pid(self) -> int | None:
        """Its number."""

    def poll(self) -> int | None:
        """Its exit status, or the number of the signal that ended it, negative; None while it runs."""

    def send_signal(self, sig: int) -> None:
        """Send it a signal."""


class Fork:
    """The command line in a fork."""

    def __init__(self, command: str, environment: Mapping[str, str], log: Path) -> None:
        self._process = _forks.Process(target=_run_command, args=(command, dict(environment), str(log)), daemon=True)
        self._process.start()

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, sig: int) -> None:
        if self._process.exitcode is None and self._process.pid is not None:
            os.kill(self._process.pid, sig)


def prepare() -> None:
    """Start the process that forks, and wait until it has imported everything: no restart is the first."""
    first = _forks.Process(target=_do_nothing)
    first.start()
    first.join()


def _do_nothing() -> None:
    pass


def _run_command(command: str, environment: dict[str, str], log: str) -> None:
    from farthing import cli  # the process that forks has it already

    os.setsid()  # Ctrl-C stops the harness, which stops everything in order
    os.environ.clear()
    os.environ.update(environment)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    os.close(output)
    sys.argv = ["farthing", command]
    cli.main()
