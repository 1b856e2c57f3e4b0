"""A small file system in memory, for filling it up."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SIZE_MEGABYTES = 400


class CannotMount(RuntimeError):
    """No file system can be mounted here; the message says why."""


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A tmpfs mounted on `folder` while this is open. Raises CannotMount."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MEGABYTES}m,mode=755", "tmpfs", str(folder)]
        mounted = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except FileNotFoundError as error:
        raise CannotMount("there is no `mount` here") from error
    if mounted.returncode != 0:
        raise CannotMount(mounted.stderr.strip() or f"mount ended with status {mounted.returncode}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=False, timeout=20)
