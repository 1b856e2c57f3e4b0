"""Having the OpenAPI document made before anybody asks for it."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL
from contextlib import suppress

from farthing.api.kept_document import is_to_be_made
from farthing.api.transport.metrics import FOLDER

_AFTER_ALL_OTHERS = 19
"""The priority of what nobody waits for."""


async def have_document_made() -> None:
    """Return when the document is kept for this code, or cannot be.

    It is made by a process of its own, which waits for all others and is ended with this one: made here, it would keep
    requests waiting for seconds, and its memory would stay.
    """
    variables = {name: value for name, value in os.environ.items() if name != FOLDER}  # it answers nothing to count
    command = (sys.executable, "-m", "farthing", "openapi")
    with suppress(OSError):  # where it cannot be looked for or started, the first reader waits
        if not await asyncio.to_thread(is_to_be_made):
            return
        making = await asyncio.create_subprocess_exec(
            *command, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL, env=variables
        )
        try:
            os.setpriority(os.PRIO_PROCESS, making.pid, _AFTER_ALL_OTHERS)
            await making.wait()
        finally:
            if making.returncode is None:
                making.terminate()
