"""What the processes that tests start are forks of: everything imported, and the routes of one application arranged.

Loaded by the process that is forked (processes.py), and by nothing else but what runs in its forks.
"""

from __future__ import annotations

import gc
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from litestar import Litestar

gc.disable()  # nothing of what is loaded here ends
for _name in (
    "farthing.backup",
    "farthing.cli",
    "farthing.commands.access.secret",
    "farthing.commands.access.users",
    "farthing.doctor",
    "farthing.rotation",
    "farthing.serving.server",
    "farthing.storage.migrations",
    "tests.jobs.quick_process",
):
    import_module(_name)
_ROUTES: Litestar = import_module("farthing.app").arranged()
gc.freeze()  # a fork that walked what it inherits would copy it
gc.enable()
gc.set_threshold(50_000, 20, 20)  # as the command does


def inherited_routes() -> Litestar:
    """The routes for the application of a process, which need not arrange its own."""
    return _ROUTES
