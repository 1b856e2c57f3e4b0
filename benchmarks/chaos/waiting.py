"""Waiting for a state, with a bound."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


async def wait_until(is_so: Callable[[], bool], seconds: float, every_seconds: float = 0.05) -> bool:
    """Whether `is_so` came true in time; it is asked again and again, because processes do not announce themselves."""
    deadline = time.monotonic() + seconds
    while True:
        if is_so():
            return True
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(every_seconds)
