"""Long computations in short slices beside the event loop, so that no request waits for another's arithmetic.

Python runs one thread at a time, so a thread alone would not be enough: what keeps the loop alive is that a slice is
short, and that the loop has its turn after every slice. Whoever computes much takes turns with himself alone: of each
`owner` one computation is worked on at a time, and the slices of different owners alternate. Between two slices a
request lets others go first where it has to (`GIVE_WAY`).

A slice is measured in time of the processor, not by the clock on the wall: on a machine that has other work a thread
is set aside in the middle of a slice, and one that the wall's clock ends then has done next to nothing for its turn, so
that a report takes many times as many turns, each of which costs a trip through the loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Final, TypeVar
from weakref import WeakValueDictionary

SLICE_SECONDS: Final = 0.001
AT_ONCE_SECONDS: Final = 0.005
"""What is worked off at once, on the loop: a usual batch of events, which a thread would only make dearer."""
AT_ONCE_IN_TURN_SECONDS: Final = 0.0005
"""The same while a computation of this owner is under way: a single event need not wait for it."""

GIVE_WAY: ContextVar[Callable[[], Awaitable[object]] | None] = ContextVar("give_way", default=None)
"""What the request at hand waits for between two parts of its work; None for work that is no request's."""

_THREAD: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="slices")

Item = TypeVar("Item")


class _Turns:
    """One lock per owner, kept while somebody uses it."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[tuple[int, str], asyncio.Lock] = WeakValueDictionary()

    def of(self, owner: str) -> asyncio.Lock:
        key = (id(asyncio.get_running_loop()), owner)
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        return lock


_TURNS: Final = _Turns()


async def collect(steps: Iterator[Item], owner: str) -> list[Item]:
    """All items of `steps`, each of which must be cheap to make.

    What takes a few milliseconds is worked off at once; the rest runs in a thread beside the loop, slice by slice.
    """
    items: list[Item] = []
    turn = _TURNS.of(owner)
    if _work(steps, items, AT_ONCE_IN_TURN_SECONDS if turn.locked() else AT_ONCE_SECONDS):
        return items
    async with turn:
        loop = asyncio.get_running_loop()
        while not await loop.run_in_executor(_THREAD, _work, steps, items, SLICE_SECONDS):
            await _give_way()
    return items


async def pause() -> None:
    """Let others be answered, between two parts of what is worked off on the loop."""
    await asyncio.sleep(0)
    await _give_way()


async def _give_way() -> None:
    give_way = GIVE_WAY.get()
    if give_way is not None:
        await give_way()


def _work(steps: Iterator[Item], items: list[Item], seconds: float) -> bool:
    """Take items until the slice is over; whether `steps` has come to its end.

    A thread has no more time of the processor than has passed, so its own clock, which is dear to read, is read only
    when the other says that the slice may be over.
    """
    end, may_end = time.thread_time() + seconds, time.perf_counter() + seconds
    for item in steps:
        items.append(item)
        now = time.perf_counter()
        if now >= may_end:
            left = end - time.thread_time()
            if left <= 0:
                return False
            may_end = now + left
    return True
