"""Long computations beside the event loop: what a slice is measured in."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

from farthing.core.event_loop import slices


async def test_time_in_which_others_had_the_processor_does_not_end_a_slice() -> None:
    """A sleep stands for other work of the machine; what takes no time of the processor is worked off at once."""
    seen: list[int] = []

    def set_aside() -> Iterator[int]:
        for _ in range(5):
            time.sleep(2 * slices.AT_ONCE_SECONDS)
            yield threading.get_ident()

    seen = await slices.collect(set_aside(), "anybody")
    assert seen == [threading.get_ident()] * 5


async def test_work_that_lasts_goes_to_a_thread_and_leaves_turns_to_the_loop() -> None:
    turns = 0
    done = asyncio.Event()

    async def take_turns() -> None:
        nonlocal turns
        while not done.is_set():
            await asyncio.sleep(0)
            turns += 1

    def computing() -> Iterator[int]:
        for _ in range(8):
            end = time.thread_time() + slices.AT_ONCE_SECONDS
            while time.thread_time() < end:
                pass
            yield threading.get_ident()

    other = asyncio.create_task(take_turns())
    first, *rest = await slices.collect(computing(), "anybody")
    done.set()
    await other
    assert first == threading.get_ident()
    assert threading.get_ident() not in rest
    assert turns >= len(rest)
