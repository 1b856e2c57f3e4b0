"""Turns at the pool: a tenant's share, its own queue, and who is next."""

from __future__ import annotations

import asyncio

import pytest

from farthing.core.errors import ServiceUnavailable, TooManyRequests
from farthing.settings import Settings
from farthing.storage.connections import shares as turns
from farthing.storage.connections.shares import ABREAST, OF_REQUEST, Admission, Shares, TenantActivity
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


def _abreast(*tenants: str) -> Shares:
    """Places to be worked on, after requests of these tenants."""
    activity = TenantActivity()
    for tenant in tenants:
        activity.note_request(tenant)
    return Shares(slots=500, per_tenant=500, activity=activity)


async def test_a_tenant_that_asks_alone_is_not_held_back() -> None:
    places = _abreast("a", "a")
    async with asyncio.timeout(1):
        for _ in range(100):
            await places.acquire("a")


async def test_while_several_tenants_ask_few_requests_of_each_are_worked_on_abreast(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns, "ABREAST_SECONDS", 600)
    places = _abreast("a", "b")
    for _ in range(ABREAST):
        await places.acquire("a")
    waiting = [asyncio.create_task(places.acquire("a")) for _ in range(3)]
    await _settle()
    async with asyncio.timeout(1):
        for _ in range(ABREAST):
            await places.acquire("b")
    assert not any(task.done() for task in waiting)
    waiting[0].cancel()
    places.release("a")
    await _settle()
    assert [task.done() for task in waiting] == [True, True, False], "the place goes to the next that still waits"
    waiting[2].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_tenant_that_has_had_more_than_its_share_is_worked_for_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns, "ABREAST_SECONDS", 600)
    monkeypatch.setattr(turns, "ACTIVE_SECONDS", 600)
    activity = TenantActivity()
    places = Shares(slots=500, per_tenant=500, activity=activity)
    for tenant, seconds in (("flood", 5.0), ("a", 0.5), ("b", 0.0)):
        activity.note_request(tenant)
        activity.note_work(tenant, seconds)
    await places.acquire("flood")
    waiting = [asyncio.create_task(places.acquire("flood")) for _ in range(2)]
    async with asyncio.timeout(1):
        for tenant in ("a", "b"):
            for _ in range(ABREAST):
                await places.acquire(tenant)
    assert not any(task.done() for task in waiting)
    places.release("flood")
    await _settle()
    assert [task.done() for task in waiting] == [True, False]
    activity.note_work("a", 20.0)  # the average is more now than the flood has had
    places.release("flood")
    async with asyncio.timeout(1):
        await asyncio.gather(*waiting, *(places.acquire("flood") for _ in range(2)))


def _flooded() -> tuple[TenantActivity, Shares]:
    """What was done lately, of which a flood had most, and places to be worked on."""
    activity = TenantActivity()
    for tenant, seconds in (("flood", 5.0), ("light", 0.0)):
        activity.note_request(tenant)
        activity.note_work(tenant, seconds)
    return activity, Shares(slots=500, per_tenant=500, activity=activity)


async def test_who_has_had_more_than_its_share_begins_when_nobody_else_is_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns, "ABREAST_SECONDS", 600)
    monkeypatch.setattr(turns, "ACTIVE_SECONDS", 600)
    activity, places = _flooded()
    for _ in range(2):
        activity.begin_request("light")  # such as reads that take no place
    activity.begin_request("flood")
    waiting = asyncio.create_task(places.acquire("flood"))
    activity.end_request("light")
    places.pass_on()
    await _settle()
    assert not waiting.done()
    async with asyncio.timeout(1):
        await places.acquire("light")
        activity.end_request("light")
        places.pass_on()
        await waiting


async def test_who_has_had_more_than_its_share_waits_for_no_other_that_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "ABREAST_SECONDS", 600)
    monkeypatch.setattr(turns, "ACTIVE_SECONDS", 600)
    activity, places = _flooded()
    activity.note_request("another flood")
    activity.note_work("another flood", 5.0)
    for tenant in ("flood", "another flood"):
        activity.begin_request(tenant)
    async with asyncio.timeout(1):
        await places.acquire("flood")
        await places.acquire("another flood")


async def test_who_gives_way_goes_on_when_the_other_is_slow_or_has_had_as_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns, "ABREAST_SECONDS", 0.02)
    activity, places = _flooded()
    activity.begin_request("light")
    async with asyncio.timeout(5):
        await places.acquire("flood")
    activity.begin_request("light")
    activity.note_work("light", 6.0)
    async with asyncio.timeout(5):
        await places.acquire("flood")


async def test_work_under_way_of_who_has_had_more_than_its_share_waits_until_the_other_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns, "ABREAST_SECONDS", 600)
    monkeypatch.setattr(turns, "ACTIVE_SECONDS", 600)
    activity, _ = _flooded()
    for _ in range(2):
        activity.begin_request("light")
    going_on = [asyncio.create_task(activity.give_way("flood")) for _ in range(3)]
    activity.begin_request("flood")
    activity.end_request("flood")
    activity.end_request("light")
    await _settle()
    assert not any(task.done() for task in going_on), "one of the other's is still in hand"
    async with asyncio.timeout(1):
        await activity.give_way("light")
        activity.end_request("light")
        await asyncio.gather(*going_on)
        await activity.give_way("flood")


async def test_work_under_way_goes_on_when_the_other_is_slow_or_has_had_as_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns, "ABREAST_SECONDS", 0.02)
    monkeypatch.setattr(turns, "ACTIVE_SECONDS", 600)
    activity, _ = _flooded()
    activity.begin_request("light")
    async with asyncio.timeout(5):
        await activity.give_way("flood")
    monkeypatch.setattr(turns, "ABREAST_SECONDS", 600)
    activity.note_work("light", 6.0)
    async with asyncio.timeout(1):
        await activity.give_way("flood")


def test_what_a_request_takes_is_its_tenants_and_forgotten_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    activity = TenantActivity()
    for tenant in ("flood", "light"):
        activity.note_request(tenant)
    activity.note_work("flood", turns.LITTLE_SECONDS)
    assert not activity.has_more_than_its_share("flood"), "nobody minds a little"
    activity.note_work("flood", turns.LITTLE_SECONDS)
    now = 1.9 * turns.ACTIVE_SECONDS
    activity.note_request("light")
    assert activity.is_of_several()
    assert activity.has_more_than_its_share("flood")
    assert not activity.has_more_than_its_share("light")
    now = 3 * turns.ACTIVE_SECONDS
    activity.note_request("light")
    assert not activity.is_of_several()
    assert not activity.has_more_than_its_share("flood")


def test_who_asks_alone_has_no_less_than_its_share() -> None:
    activity = TenantActivity()
    activity.note_request("a")
    activity.note_work("a", 100.0)
    assert not activity.is_of_several()
    assert not activity.has_more_than_its_share("a")


async def test_a_place_that_comes_to_who_has_given_up_goes_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "ABREAST_SECONDS", 600)
    places = _abreast("a", "b")
    for _ in range(ABREAST):
        await places.acquire("a")
    given_up, next_one = [asyncio.create_task(places.acquire("a")) for _ in range(2)]
    await _settle()
    places.release("a")  # the place is given to a task that is cancelled before it runs
    given_up.cancel()
    async with asyncio.timeout(1):
        await next_one


async def test_what_takes_long_keeps_no_request_of_its_tenant_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a request that waits for a lock: nothing is given back here, and all get their place."""
    monkeypatch.setattr(turns, "ABREAST_SECONDS", 0.02)
    places = _abreast("a", "b")
    async with asyncio.timeout(5):
        await asyncio.gather(*(places.acquire("a") for _ in range(4 * ABREAST)))
    for _ in range(4 * ABREAST):
        places.release("a")
    assert not places._held


async def test_who_waits_while_others_ask_goes_on_when_they_have_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "ABREAST_SECONDS", 0.02)
    monkeypatch.setattr(turns, "ACTIVE_SECONDS", 0.05)
    places = _abreast("a", "b")
    async with asyncio.timeout(5):
        await asyncio.gather(*(places.acquire("a") for _ in range(100)))


async def test_a_request_that_holds_a_slot_needs_no_second_one() -> None:
    shares = Shares(slots=1, per_tenant=1)
    await shares.acquire("a")
    admission = Admission()
    admission.tenant_id = "a"
    OF_REQUEST.set(admission)
    async with asyncio.timeout(1), shares.held("a"), shares.held("a"):
        pass
    OF_REQUEST.set(None)


async def test_large_bodies_give_way_as_requests_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "ABREAST_SECONDS", 600)
    monkeypatch.setattr(turns, "ACTIVE_SECONDS", 600)
    requests = Database("postgresql://farthing@/nothing?host=/nowhere", wire()).for_requests(
        Settings().request_timeouts
    )
    activity, large_bodies = requests.activity, requests.large_bodies
    assert activity is not None
    assert large_bodies is not None
    for tenant in ("flood", "light"):
        activity.begin_request(tenant)
    activity.note_work("flood", 5.0)
    waiting = asyncio.create_task(large_bodies.acquire("flood"))
    await _settle()
    assert not waiting.done()
    async with asyncio.timeout(1):
        await large_bodies.acquire("light")
        activity.end_request("light")
        large_bodies.pass_on()
        await waiting


def test_what_part_of_the_connections_requests_and_a_tenant_have() -> None:
    database = Database("postgresql://farthing@/nothing?host=/nowhere", wire(), pool_size=20, overflow=10, hot_reads=10)
    requests = database.for_requests(Settings().request_timeouts)
    shares, hot = requests.shares, requests._hot_shares
    assert shares is not None
    assert hot is not None
    assert (shares.slots, shares.per_tenant) == (20, 10)
    assert (hot.slots, hot.per_tenant) == (10, 5)
