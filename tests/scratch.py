"""A folder of this process for what outlives a single test; `conftest` removes it when the process ends."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path


@cache
def scratch() -> Path:
    """The folder, made when it is first asked for."""
    return Path(tempfile.mkdtemp(prefix="farthing-scratch-"))
