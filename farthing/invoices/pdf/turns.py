"""Whose turn it is to have a document typeset: long ones take seconds and much memory, and tenants take turns.

The threads are the typesetter's own, so that nothing else waits behind documents.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from farthing.storage.connections.shares import Shares

Given = ParamSpec("Given")
Result = TypeVar("Result")

AT_ONCE = 2
"""In one process; more would only share the same cores and need more memory."""
WAIT_SECONDS = 30.0

_threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="typesetter")
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
