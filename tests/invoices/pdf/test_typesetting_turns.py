"""Documents are made in turns: a tenant that asks for many long ones keeps nobody else waiting."""

from __future__ import annotations

import asyncio
import os
import sys
import threading

import pytest

from farthing.invoices.pdf.turns import AFTER_REQUESTS, AT_ONCE, typeset
from tests.waiting import PATIENCE_SECONDS


class Press:
    """Work that goes on until it is let go."""

    def __init__(self) -> None:
        self.begun, self.let_go = threading.Event(), threading.Event()
        self.at_work = 0

    def work(self) -> str:
        self.at_work += 1
        self.begun.set()
        assert self.let_go.wait(PATIENCE_SECONDS)
        return "done"


async def begun(press: Press) -> None:
    assert await asyncio.to_thread(press.begun.wait, PATIENCE_SECONDS)


async def test_many_documents_of_one_tenant_keep_no_other_waiting() -> None:
    press = Press()
    many = [asyncio.create_task(typeset("tenant_a", press.work)) for _ in range(3 * AT_ONCE)]
    try:
        await begun(press)
        assert await typeset("tenant_b", lambda: "of another") == "of another"
        assert press.at_work == 1
    finally:
        press.let_go.set()
    assert await asyncio.gather(*many) == ["done"] * len(many)


async def test_a_document_that_nobody_waits_for_holds_its_turn_until_it_is_made() -> None:
    press = Press()
    first = asyncio.create_task(typeset("tenant_a", press.work))
    await begun(press)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    second = asyncio.create_task(typeset("tenant_a", lambda: "later"))
    assert await typeset("tenant_b", lambda: "of another") == "of another"
    assert not second.done()
    press.let_go.set()
    assert await second == "later"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread has no priority of its own")
async def test_documents_are_made_after_what_answers_requests() -> None:
    def own_priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    usual = own_priority()
    assert await typeset("tenant_a", own_priority) == min(usual + AFTER_REQUESTS, 19)
    assert own_priority() == usual
