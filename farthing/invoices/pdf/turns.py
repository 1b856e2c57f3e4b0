"""Whose turn it is to have a document typeset: long ones take seconds and much memory, and tenants take turns.

The threads are the typesetter's own, so that nothing else waits behind documents.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from farthing.storage.connections.shares import Shares

Given = ParamSpec("Given")
Result = TypeVar("Result")

AT_ONCE = 2
"""In one process; more would only share the same cores and need more memory."""
WAIT_SECONDS = 30.0

AFTER_REQUESTS = 10
"""How much lower the priority of these threads is than that of the one that answers requests."""


def _give_way() -> None:
    """Let this thread have the processor after those that answer requests; the system says so of single threads."""
    if sys.platform == "linux":
        usual = os.getpriority(os.PRIO_PROCESS, os.getpid())
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(usual + AFTER_REQUESTS, 19))


_threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="typesetter", initializer=_give_way)
_turns = Shares(
    AT_ONCE, 1, wait_seconds=WAIT_SECONDS, refusal="Other documents of this tenant are being made; please try again"
)


async def typeset(tenant_id: str, work: Callable[Given, Result], *given: Given.args, **named: Given.kwargs) -> Result:
    """What `work` makes in a thread, when it is the tenant's turn: one document of each tenant at a time.

    Raises ServiceUnavailable when its turn does not come in time, TooManyRequests when too many wait.
    """
    await _turns.acquire(tenant_id)
    making = asyncio.get_running_loop().run_in_executor(_threads, lambda: work(*given, **named))
    # the turn lasts as long as the thread is busy, also when nobody waits for the document any more
    making.add_done_callback(lambda _: _turns.release(tenant_id))
    return await asyncio.shield(making)
