"""Long computations beside the event loop: what a slice is measured in."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

from farthing.core.event_loop import slices
from tests.waiting import PATIENCE_SECONDS


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


async def test_a_request_gives_way_between_its_slices_and_other_work_does_not() -> None:
    stopped, goes_on = asyncio.Event(), asyncio.Event()

    async def give_way() -> None:
        stopped.set()
        await goes_on.wait()

    def computing() -> Iterator[int]:
        for number in range(4):
            end = time.thread_time() + slices.AT_ONCE_SECONDS
            while time.thread_time() < end:
                pass
            yield number

    async def of_a_request() -> list[int]:
        slices.GIVE_WAY.set(give_way)
        return await slices.collect(computing(), "anybody")

    request = asyncio.create_task(of_a_request())
    async with asyncio.timeout(PATIENCE_SECONDS):
        await stopped.wait()
        assert await slices.collect(computing(), "a duty") == [0, 1, 2, 3]
        assert not request.done()
        goes_on.set()
        assert await request == [0, 1, 2, 3]


async def test_a_request_gives_way_in_a_pause_of_what_is_worked_off_on_the_loop() -> None:
    goes_on = asyncio.Event()

    async def of_a_request() -> None:
        slices.GIVE_WAY.set(goes_on.wait)
        await slices.pause()

    request = asyncio.create_task(of_a_request())
    async with asyncio.timeout(PATIENCE_SECONDS):
        await slices.pause()
        await slices.pause()
        assert not request.done()
        goes_on.set()
        await request
