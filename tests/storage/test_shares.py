"""Turns at the pool: a tenant's share, its own queue, and who is next."""

from __future__ import annotations

import asyncio

import pytest

from farthing.core.errors import ServiceUnavailable, TooManyRequests
from farthing.settings import Settings
from farthing.storage.connections.shares import OF_REQUEST, Admission, Shares
from farthing.storage.postgres import Database
from farthing.wiring import wire


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_tenant_that_uses_its_share_up_leaves_the_rest_to_others() -> None:
    shares = Shares(slots=6, per_tenant=2)
    for _ in range(2):
        await shares.acquire("busy")
    waiting = [asyncio.create_task(shares.acquire("busy")) for _ in range(40)]
    await _settle()
    async with asyncio.timeout(1):
        for tenant in ("a", "b", "c", "d"):
            await shares.acquire(tenant)
    assert not any(task.done() for task in waiting)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_free_slots_go_to_the_tenants_in_turn() -> None:
    shares = Shares(slots=1, per_tenant=1)
    await shares.acquire("a")
    order: list[str] = []

    async def ask(tenant: str) -> None:
        await shares.acquire(tenant)
        order.append(tenant)
        shares.release(tenant)

    tasks = [asyncio.create_task(ask(tenant)) for tenant in ("a", "a", "a", "b", "c")]
    await _settle()
    shares.release("a")
    await asyncio.gather(*tasks)
    assert order == ["a", "b", "c", "a", "a"]


async def test_a_full_queue_and_a_long_wait_are_refused_with_when_to_come_back() -> None:
    shares = Shares(slots=1, per_tenant=1, most_waiting=1, wait_seconds=0.05)
    await shares.acquire("a")
    waiting = asyncio.create_task(shares.acquire("a"))
    await _settle()
    with pytest.raises(TooManyRequests) as full:
        await shares.acquire("a")
    assert full.value.retry_after_seconds
    with pytest.raises(ServiceUnavailable) as late:
        await waiting
    assert late.value.retry_after_seconds
    shares.release("a")
    async with asyncio.timeout(1):
        await shares.acquire("a")


async def test_whoever_gives_up_waiting_takes_no_slot_along() -> None:
    shares = Shares(slots=2, per_tenant=1)
    await shares.acquire("a")
    waiting = asyncio.create_task(shares.acquire("a"))
    await _settle()
    shares.release("a")  # the slot is given to the waiting task, which is cancelled before it runs
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    async with asyncio.timeout(1):
        await shares.acquire("a")


async def test_a_request_that_holds_a_slot_needs_no_second_one() -> None:
    shares = Shares(slots=1, per_tenant=1)
    await shares.acquire("a")
    admission = Admission()
    admission.tenant_id = "a"
    OF_REQUEST.set(admission)
    async with asyncio.timeout(1), shares.held("a"), shares.held("a"):
        pass
    OF_REQUEST.set(None)


def test_what_part_of_the_connections_requests_and_a_tenant_have() -> None:
    database = Database("postgresql://farthing@/nothing?host=/nowhere", wire(), pool_size=20, overflow=10, hot_reads=10)
    requests = database.for_requests(Settings().request_timeouts)
    shares, hot = requests.shares, requests._hot_shares
    assert shares is not None
    assert hot is not None
    assert (shares.slots, shares.per_tenant) == (20, 10)
    assert (hot.slots, hot.per_tenant) == (10, 5)
